"""Forecasts of flows: from arithmetic, from a probe that is not paid for twice, from rows that are there."""

from __future__ import annotations

import asyncio
import json
import random
from bisect import bisect
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import flow_world as world
import judging_world
import pytest
from flow_world import Model, flow, plan, run, said, stored
from scripted_world import chance

from stillroom.engines import Price, open_session
from stillroom.errors import BadConfig, BudgetExceeded, EngineRefused, RunError
from stillroom.evals import Verdict
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Agreement, Novelty, Schema, Whole
from stillroom.ledger import Budget, Spent
from stillroom.programs import blind, judging
from stillroom.programs.flow import Ask, Flow, Inputs, Split, run_flow
from stillroom.programs.forecast import (
    Estimate,
    Forecast,
    Seen,
    Standing,
    compared,
    forecast,
    foresee,
    probe,
    remember,
    seen_in,
)
from stillroom.programs.judging import as_gate
from stillroom.signatures import Field
from stillroom.store import Store

SHARES = {"x": 0.8, "y": 0.4}


class Coin:
    """A gate that lets rows of each cell pass by chance: a fixed function of what was written."""

    name, on_fail, by = "coin", "rejected", "verifier"

    def __init__(self, shares=SHARES, salt: int = 0) -> None:
        self.shares, self.salt = shares, salt

    def check(self, batch):
        return [Verdict.ok() if self._lucky(each) else Verdict.fail("bad luck") for each in batch]

    def keep(self, passed):
        pass

    def _lucky(self, candidate) -> bool:
        cell = candidate.place.split("/")[0]
        return chance(candidate.text, self.salt) < self.shares.get(cell, 1.0)


def judged(engine: Model, quotas=None, *, shares=SHARES, salt=0, **settings) -> Flow:
    """Write, let chance decide, then let a model that did not see the wish read it."""
    reader = blind(plan("a", "verdict", name="Judge", temperature=0.0), engine, lambda wished, outputs: Verdict.ok())
    parts = (Ask("write", plan()), Schema(plan().shape), Coin(shares, salt), Agreement(reader))
    return flow(quotas or {"x": 24, "y": 12}, parts, **{"attempts": 6, **settings})


def says(request):
    """Answers of writer and reader."""
    if "verdict" in str(request.system):
        return json.dumps({"verdict": "yes"})
    return json.dumps({"a": f"re {said(request)} {request.config.seed}"})


def model(**settings) -> Model:
    return Model(says, **settings)


def look(folder: Path, made: Flow, engine: Model, budget: Budget | None = None, **how) -> Forecast:
    """Forecast in the run's folder without beginning it."""
    with open_session(engine, folder, "emit", {"flow": made.key}, budget, begin=False) as session:
        return foresee(made, session, **how)


def spent(folder: Path):
    with Store(folder) as store:
        return store.spent("emit")


# -- arithmetic ------------------------------------------------------------------------


def test_bounds_hold_whatever_happens(tmp_path: Path):
    """Nothing is asked for them; calls, tokens and rows of real runs lie between, at any luck."""
    engine = model()
    made = judged(engine)
    found = forecast(made, [engine])
    assert not engine.asked
    assert (found.level, found.per_begun, found.seconds) == (1.0, None, None)
    assert (found.calls.low, found.calls.mean, found.calls.high) == (36 * 2, None, 36 * 6 * 3)
    assert (found.rows, found.wanted) == (Estimate(0, None, 36), 36)
    for salt in range(4):
        luck = judged(engine, salt=salt, shares={"x": 0.2 * salt + 0.2, "y": 0.9})
        rows = run(tmp_path / str(salt), luck, engine).rows
        took = spent(tmp_path / str(salt))
        if len(rows) == 36:
            assert found.calls.low <= took.calls
        assert took.calls <= found.calls.high
        assert took.tokens_in <= found.tokens_in.high
        assert found.tokens_out.low <= took.tokens_out <= found.tokens_out.high


def test_what_cannot_be_bounded_is_said_to_be_unknown():
    """A gate that asks as it likes, and steps behind a split."""
    engine = model()
    unseen = forecast(world.judged(engine), [engine])
    assert unseen.calls.high is None
    assert any("judge: asks models, nobody knows how often" in note for note in unseen.notes)
    parts = (Ask("list", plan("q", "a"), samples=2, into="each"), Split("split", "each"), Ask("more", plan("a", "b")))
    split = forecast(flow({"x": 5}, parts, emits=("a", "b"), text=("a",)), [engine])
    assert split.calls.high is None
    assert any("more: no upper bound" in note for note in split.notes)


@pytest.mark.parametrize(
    ("judge", "calls"),
    [
        (judging.rubric, 3), (judging.pairwise, 2), (judging.ranking, 2), (judging.yes_no, 1),
    ],
)  # fmt: skip
def test_judges_say_how_often_they_ask(judge, calls: int):
    """Each calls of an accepted row are known at the least; what a function reads has no upper bound."""
    engine = judging_world.scoring()
    made = judge(engine)
    sources = {each.name: "a" for each in made.plan.shape.inputs}
    row = flow({"x": 10}, (Ask("write", replace(plan(), model=engine.model)), as_gate(made, **sources)), attempts=1)
    found = forecast(row, [engine])
    assert (found.calls.low, found.calls.high) == (10, 10 * (2 + calls))
    assert found.tokens_in.high is not None
    sources = dict.fromkeys(sources, lambda wished, values: values["a"])
    row = replace(row, parts=(row.parts[0], as_gate(made, **sources)))
    assert forecast(row, [engine]).tokens_in.high is None


def test_prompts_are_counted_as_they_are():
    """A longer question raises the bounds of tokens by what it is longer."""
    engine = model()
    short, long = (forecast(flow(source=source(text)), [engine]) for text in ("a b", "a b" + " word" * 100))
    assert long.tokens_in.low - short.tokens_in.low == 100 * long.calls.low
    assert long.tokens_in.high - short.tokens_in.high == 500 * long.calls.high


def source(text: str) -> Inputs:
    return Inputs([{"q": text}] * 4, plan().shape.inputs, plan().shape.outputs)


# -- a probe ---------------------------------------------------------------------------


def test_a_probe_is_not_paid_for_twice(tmp_path: Path):
    """Its calls are the run's: the run asks for the others only, and ends with the same rows as without it."""
    plain, probing = model(), model()
    run(tmp_path / "plain", judged(plain), plain)
    made = judged(probing)
    found = look(tmp_path / "probed", made, probing, rows=10)
    assert found.basis == "a probe of 10 rows"
    assert sum(probing.asked.values()) == found.spent.calls > 10
    run(tmp_path / "probed", made, probing)
    assert set(probing.asked.values()) == {1}
    assert probing.asked == plain.asked
    assert stored(tmp_path / "probed") == stored(tmp_path / "plain")


def test_a_probe_begins_nothing(tmp_path: Path):
    """No row is committed and the phase is not claimed: what is wanted may still change, and the calls still count."""
    engine = model()
    look(tmp_path, judged(engine), engine, rows=8)
    with Store(tmp_path) as store:
        assert store.count_rows() == {}
        store.claim("emit", {"something": "else"}, begin=False)
    paid = sum(engine.asked.values())
    more = judged(engine, {"x": 60, "y": 30})
    assert look(tmp_path, more, engine).basis == "a probe of 8 rows"
    run(tmp_path, more, engine)
    assert set(engine.asked.values()) == {1}
    assert sum(engine.asked.values()) > paid


def test_a_probe_is_spread_over_the_cells(tmp_path: Path):
    """And what it saw of each is told."""
    engine = model()
    found = look(tmp_path, judged(engine), engine, rows=10)
    assert [(each.cell, each.wanted, each.begun) for each in found.strata] == [("x", 24, 5), ("y", 12, 5)]
    assert all(each.share.low <= each.share.mean <= each.share.high for each in found.strata)


def test_a_second_probe_asks_for_what_is_new(tmp_path: Path):
    """The same one again asks nothing and says the same; a larger one asks for the rest."""
    engine = model()
    made = judged(engine)
    first = look(tmp_path, made, engine, rows=8)
    asked = sum(engine.asked.values())
    again = look(tmp_path, made, engine, rows=8)
    assert sum(engine.asked.values()) == asked
    assert (again.calls, again.rows, again.tokens_in) == (first.calls, first.rows, first.tokens_in)
    assert look(tmp_path, made, engine).calls == first.calls
    larger = look(tmp_path, made, engine, rows=16)
    assert set(engine.asked.values()) == {1}
    assert larger.basis == "a probe of 16 rows"


def test_a_probe_stays_within_the_budget_and_tells_outages(tmp_path: Path):
    """As the run would."""
    engine = model()
    with pytest.raises(BudgetExceeded):
        look(tmp_path / "a", judged(engine), engine, Budget(calls=5), rows=8)
    assert spent(tmp_path / "a").calls == 5
    broken = Model(lambda request: EngineRefused("no such model"))
    with pytest.raises(EngineRefused):
        look(tmp_path / "b", judged(broken), broken, rows=8)
    with pytest.raises(BadConfig, match="at least 2 rows"):
        look(tmp_path / "c", judged(engine), engine, rows=1)
    with pytest.raises(BadConfig, match="there are none"):
        look(tmp_path / "d", judged(engine, {"x": 0}), engine, rows=4)


def test_most_forecasts_by_a_probe_hold_what_comes(tmp_path: Path):
    """Whole runs of rows with luck of their own: calls and tokens lie between low and high nine times in ten, or so."""
    held = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "rows": 0}
    runs = 40
    for salt in range(runs):
        engine = model()
        made = judged(engine, salt=salt, shares={"x": 0.7 + 0.007 * salt, "y": 0.5})
        found = look(tmp_path / str(salt), made, engine, rows=12)
        rows = run(tmp_path / str(salt), made, engine).rows
        took = spent(tmp_path / str(salt))
        came = {"calls": took.calls, "tokens_in": took.tokens_in, "tokens_out": took.tokens_out, "rows": len(rows)}
        for name, value in came.items():
            estimate = getattr(found, name)
            held[name] += estimate.low - 1e-9 <= value <= estimate.high + 1e-9
    assert min(held.values()) >= 0.75 * runs, held


def test_cells_that_look_impossible_are_named_before_they_are_paid_for(tmp_path: Path):
    """With what stopped their rows and how many are to be expected."""
    engine = model()
    made = judged(engine, {"x": 20, "dry": 20}, shares={"x": 1.0, "dry": 0.0}, attempts=3)
    found = look(tmp_path, made, engine, rows=16)
    assert [each.cell for each in found.short] == ["dry"]
    (warning,) = found.warnings
    assert warning.startswith("dry: 0 of 8 rows passed, ")
    assert "of 20 wanted rows" in warning
    assert "coin stopped 8" in warning
    assert found.short[0].chance < 0.2


# -- rows that are there ---------------------------------------------------------------


def test_a_run_that_has_ended_is_forecast_to_the_call(tmp_path: Path):
    """Nothing is left to guess."""
    engine = model()
    made = judged(engine)
    rows = run(tmp_path, made, engine).rows
    found, took = look(tmp_path, made, engine), spent(tmp_path)
    for name, value in {"calls": took.calls, "tokens_in": took.tokens_in, "rows": len(rows)}.items():
        estimate = getattr(found, name)
        assert (estimate.low, estimate.mean, estimate.high) == pytest.approx((value, value, value))


def test_a_run_under_way_is_forecast_from_its_own_rows(tmp_path: Path):
    """What was spent is in it, and the rest follows from what was seen."""
    engine = model()
    made = judged(engine, {"x": 200, "y": 100}, window=32)
    with pytest.raises(BudgetExceeded):
        run(tmp_path, made, engine, budget=Budget(calls=300))
    found = look(tmp_path, made, engine)
    assert found.basis.endswith("rows of this run")
    assert found.spent.calls == 300
    run(tmp_path, made, engine)
    assert found.calls.low <= spent(tmp_path).calls <= found.calls.high
    assert found.calls.high < 2 * found.calls.low


def test_another_run_tells_of_a_larger_one(tmp_path: Path):
    """The same plan, five times the rows."""
    engine, other = model(), model()
    run(tmp_path / "small", judged(engine), engine)
    seen = seen_in(tmp_path / "small")
    large = judged(other, {"x": 120, "y": 60}, salt=3)
    found = forecast(large, [other], seen)
    assert not other.asked
    assert found.basis == f"{seen.begun} rows of {tmp_path / 'small'}"
    run(tmp_path / "large", large, other)
    took = spent(tmp_path / "large")
    assert found.calls.low <= took.calls <= found.calls.high
    assert found.tokens_out.low <= took.tokens_out <= found.tokens_out.high


def test_another_models_rows_are_priced_as_this_ones(tmp_path: Path):
    """Its tokens are taken over and its pace is not; both are told."""
    cheap = model()
    run(tmp_path, judged(cheap), cheap)
    dear = Model(says, name="http/host/dear@live")
    dear.prices = {"http/host/dear": Price("http/host/dear", 1000, 2000)}
    made = judged(dear)
    made = replace(made, parts=(Ask("write", replace(plan(), model=dear.model)), *made.parts[1:]))
    found = forecast(made, [dear], seen_in(tmp_path))
    assert "of scripted/flow@0" in found.basis
    assert found.usd.mean == pytest.approx((found.tokens_in.mean + 2 * found.tokens_out.mean) / 1000)
    assert found.seconds is None
    assert any("time is not known" in note for note in found.notes)


def test_a_folder_without_rows_tells_nothing(tmp_path: Path):
    """And says so."""
    with pytest.raises(RunError, match=r"must hold run\.db"):
        seen_in(tmp_path / "none")
    with Store(tmp_path / "empty"):
        pass
    with pytest.raises(RunError, match="needs rows"):
        seen_in(tmp_path / "empty")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.db").write_bytes(b"not a database, whatever its name says " * 40)
    with pytest.raises(RunError, match="not a run that can be read"):
        seen_in(tmp_path / "torn")


def test_rows_of_an_input_and_rows_that_are_split_are_forecast_too(tmp_path: Path):
    """By a probe of the first ones."""
    engine = model()
    rows = [{"q": f"question {number}"} for number in range(50)]
    answering = flow(source=Inputs(rows, [Field("q", world.TEXT)], [Field("a", world.TEXT)]), attempts=1)
    found = look(tmp_path / "inputs", answering, engine, rows=10)
    run(tmp_path / "inputs", answering, engine)
    assert found.calls.low <= spent(tmp_path / "inputs").calls <= found.calls.high
    assert found.wanted == 50
    assert found.rows.low < 50 == found.rows.high
    parts = (Ask("list", plan(), samples=3, into="each"), Split("split", "each"))
    split = flow({"x": 90}, parts, emits=("q", "a"), text=("a",))
    found = look(tmp_path / "split", split, engine, rows=6)
    run(tmp_path / "split", split, engine)
    assert found.calls.low <= spent(tmp_path / "split").calls <= found.calls.high
    with pytest.raises(BadConfig, match="read once only"):
        forecast(flow(source=Inputs(iter(rows), [Field("q", world.TEXT)])), [engine])


def test_rows_that_repeat_are_foreseen_to_repeat_more(tmp_path: Path):
    """A model that comes back to a few favourite texts needs more calls for 60 rows: 25 of them tell, before the rest is paid for."""
    rng = random.Random(3)
    left, sticks = 1.0, []
    while left > 1e-6:  # how often each text is written: a draw of Ewens' formula with a variety of 30
        sticks.append(left * rng.betavariate(1, 30))
        left -= sticks[-1]

    def favourite(request):
        return json.dumps({"a": f"text {bisect(list(accumulate(sticks)), chance(request.config.seed))}"})

    engine = Model(favourite)
    parts = (Ask("write", plan()), Schema(plan().shape), Whole(), Novelty("exact", Exact))
    made = flow({"x": 60}, parts, attempts=4)
    found = look(tmp_path, made, engine, rows=25)
    run(tmp_path, made, engine)
    assert spent(tmp_path).calls > 120
    assert found.calls.low <= spent(tmp_path).calls <= found.calls.high
    assert any("rows repeat themselves" in note for note in found.notes)


# -- budgets and prices ----------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget(calls=40), Budget(tokens=700), Budget(usd=0.5)])
def test_a_budget_that_is_too_small_is_told_with_the_rows_it_pays_for(tmp_path: Path, budget: Budget):
    """And the run under it ends there."""
    engine = model(max_concurrency=1)
    engine.prices = {world.MODEL: Price(world.MODEL, 1000, 1000)}
    made = judged(engine, {"x": 60, "y": 30}, block=4, window=4)
    with open_session(engine, tmp_path / "probe", "emit", {}, begin=False) as session:
        seen = probe(made, session, 16)
    found = forecast(made, [engine], seen, standing=Standing(budget=budget))
    (limit,) = found.limits
    assert limit.chance == 1.0
    assert "would end the run at" in str(limit)
    with pytest.raises(BudgetExceeded):
        run(tmp_path / "run", made, engine, budget=budget)
    with Store(tmp_path / "run") as store:
        came = store.row_totals()["accepted"]
    assert limit.rows.low - 4 <= came <= limit.rows.high  # what is under way when the budget ends is not committed
    assert forecast(made, [engine], seen, standing=Standing(budget=Budget(calls=10_000))).limits == ()


def test_bounds_say_of_a_budget_that_it_will_or_may_end_the_run():
    """The surer limits first."""
    engine = model()
    engine.prices = {world.MODEL: Price(world.MODEL, 1, 1)}
    found = forecast(judged(engine), [engine], standing=Standing(budget=Budget(calls=36, usd=0.01)))
    assert [(limit.name, limit.chance) for limit in found.limits] == [("calls", 1.0), ("usd", None)]
    assert str(found.limits[0]) == "the budget of 36 calls would end the run at 0 to 18 rows"
    assert str(found.limits[1]).startswith("the budget of 0.01 usd may end the run")


def test_an_unknown_price_is_never_zero(tmp_path: Path):
    """Dollars stay unknown, with the model's name; a budget in dollars is refused before anything is asked."""
    engine = Model(says, name="http/host/m@live")
    made = flow({"x": 6}, (Ask("write", replace(plan(), model=engine.model)),))
    for found in (forecast(made, [engine]), look(tmp_path, made, engine, rows=4)):
        assert found.usd is None
        assert "no price known for http/host/m@live" in found.notes
        assert "usd" not in found.per_row
    with pytest.raises(BadConfig, match="needs a price"):
        forecast(made, [engine], standing=Standing(budget=Budget(usd=1)))
    free = model()
    assert forecast(flow({"x": 6}), [free]).usd == Estimate(0.0, None, 0.0)


def test_time_follows_the_pace_that_was_seen(tmp_path: Path):
    """Calls under way at once are counted; more of them may be faster, which is the low end."""

    async def wait(request):
        await asyncio.sleep(0.02)

    engine = Model(says, wait=wait, max_concurrency=4)
    found = look(tmp_path, judged(engine), engine, rows=12)
    assert 0 < found.seconds.low < found.seconds.mean < found.seconds.high
    with Store(tmp_path) as store:
        seen = Seen.from_json(next(iter(store.notes("probe").values())))
    assert 1 < seen.under_way <= 12
    assert found.seconds.mean - found.spent.seconds == pytest.approx(
        (found.calls.mean - found.spent.calls) / seen.pace, rel=0.2
    )


# -- what came ------------------------------------------------------------------------


def test_what_came_is_compared_with_what_was_forecast(tmp_path: Path):
    """The forecast is noted before the first row, once; for the funnel that came it gives the calls that were made."""
    engine = model()
    made = judged(engine)
    look(tmp_path, made, engine, rows=12)
    with open_session(engine, tmp_path, "emit", {"flow": made.key}) as session:
        remember(made, session)
        noted = session.store.notes("forecast")
        assert compared(session.store, "emit", made.key) is None
        rows = run_flow(made, session).rows
        remember(made, session)
        assert session.store.notes("forecast") == noted
        found = compared(session.store, "emit", made.key)
    assert found.basis == "a probe of 12 rows"
    assert found.observed["calls"] == pytest.approx(spent(tmp_path).calls / len(rows))
    assert found.at_funnel == pytest.approx(found.observed["calls"])
    assert found.close
    assert found.forecast["calls"].low <= found.observed["calls"] <= found.forecast["calls"].high
    assert f"forecast {found.forecast['calls'].low:.2f} to " in str(found)
    json.dumps(found.as_json(), allow_nan=False)


def test_a_forecast_that_is_far_off_is_said_to_be(tmp_path: Path):
    """Calls that no row tells of, here of somebody else in the same phase, do not add up."""
    engine = model()
    made = judged(engine)
    with open_session(engine, tmp_path, "emit", {"flow": made.key}) as session:
        probe(made, session, 8)
        remember(made, session)
        run_flow(made, session)
        for number in range(40):
            session.store.finish_call(f"k{number}", "emit", engine.model, "{}", "{}", Spent(1, 3, 3))
        found = compared(session.store, "emit", made.key)
    assert not found.close
    assert found.off < -0.1


def test_by_arithmetic_alone_there_is_less_to_compare(tmp_path: Path):
    """The least that a row takes, and nothing about the funnel."""
    engine = model()
    made = judged(engine)
    with open_session(engine, tmp_path, "emit", {"flow": made.key}) as session:
        remember(made, session)
        run_flow(made, session)
        found = compared(session.store, "emit", made.key)
    assert (found.at_funnel, found.off, found.close) == (None, None, True)
    assert found.observed["calls"] >= found.forecast["calls"].low == 2
    assert "2.00 or more calls, from arithmetic alone" in str(found)


def test_forecasts_are_plain_values(tmp_path: Path):
    """JSON without NaN or infinity, the same each time; what was seen comes back as it was."""
    engine = model()
    made = judged(engine)
    found = look(tmp_path, made, engine, rows=6)
    value = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert value["calls"] == {"low": found.calls.low, "mean": found.calls.mean, "high": found.calls.high}
    assert look(tmp_path, made, engine) == found
    json.dumps(forecast(world.judged(engine), [engine]).as_json(), allow_nan=False)
    run(tmp_path, made, engine)
    seen = seen_in(tmp_path)
    assert Seen.from_json(json.loads(json.dumps(seen.as_json()))) == seen
    with pytest.raises(BadConfig, match="level must be between 0 and 1"):
        forecast(made, [engine], seen, level=90)


def test_the_page_on_forecasts_is_true(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Its program runs, its table of prices is one, and its figures are those that the benchmark left."""
    import re

    import scripted_world

    import stillroom as st
    from stillroom.engines import price_table
    from stillroom.optimizers import Program
    from stillroom.optimizers.task_subject import baseline_plan

    root = Path(__file__).parents[2]
    page = (root / "docs" / "forecast.md").read_text(encoding="utf-8")
    task, engine = scripted_world.task(), scripted_world.engine()
    as_declared = baseline_plan(task, engine.model)
    program = Program(task, as_declared, as_declared, engine, tmp_path)
    gates = st.gates.default(task, blind(as_declared, engine, task.metric))
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(code, "forecast.md", "exec"), {"program": program, "st": st, "gates": gates})
    assert capsys.readouterr().out == "True 0.9\nthe budget of 60 calls would end\n"
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prices.toml").write_text(toml, encoding="utf-8")
    prices = price_table(tmp_path / "prices.toml")
    assert prices["openai/gpt-4o-mini"] == Price(
        "openai/gpt-4o-mini", 0.15, 0.6, 0.075, 0.5, "2026-10-02", "our contract"
    )
    assert prices["http/gpu-box:8000/qwen2.5-7b"].date == "2026-11-01"
    measured = json.loads((root / "benchmarks" / "results" / "forecast.json").read_text())["figures"]["runs"].values()
    told = re.findall(r"^\| \d.* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(told) == len(measured)
    for row, each in zip(told, measured, strict=True):
        assert [float(cell) for cell in row] == pytest.approx([each["held"], each["width"], each["mean"]], abs=0.0051)
