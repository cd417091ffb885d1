"""Forecasts of flows: bounds by arithmetic, budgets and prices, and what came beside what was forecast."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import flow_world as world
import judging_world
import pytest
from flow_world import Model, flow, plan, run
from forecast_world import judged, look, model, says, source, spent

from stillroom.engines import Price, open_session
from stillroom.errors import BadConfig, BudgetExceeded
from stillroom.ledger import Budget, Spent
from stillroom.programs import blind, judging
from stillroom.programs.flow import Ask, Do, Split, run_flow
from stillroom.programs.forecast import (
    Estimate,
    Seen,
    Standing,
    compared,
    forecast,
    probe,
    remember,
    seen_in,
)
from stillroom.programs.judging import as_gate
from stillroom.store import Store

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


def test_what_a_split_takes_at_most_bounds_what_comes_after_it(tmp_path: Path):
    """Of each list two items: for 5 rows 3 lists at the least, for 25 tries 3 calls each at the most; the run keeps to it."""
    listed = Do("list items", lambda row: {"items": [f"{row['a']} {at}" for at in range(4)]}, ("a",), ("items",))
    parts = (Ask("list", plan("q", "a")), listed, Split("split", "items", 2), Ask("more", plan("items", "b")))
    made = flow({"x": 5}, parts, emits=("items", "b"), text=("items", "b"), attempts=5)
    engine = Model(lambda request: json.dumps({"b" if "fine" in request.messages[-1].text else "a": "fine"}))
    told = forecast(made, [engine])
    asked = 2  # at the most: once more where an answer does not parse
    assert (told.calls.low, told.calls.high) == (3 + 5, 25 * (1 + 2) * asked)
    emitted = run(tmp_path, made, engine)
    assert {row.values["items"][-1] for row in emitted.rows} == {"0", "1"}
    assert told.calls.low <= spent(tmp_path).calls <= told.calls.high
    with pytest.raises(BadConfig, match="most of 'split' must be at least 1, got 0"):
        Split("split", "items", 0)


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
