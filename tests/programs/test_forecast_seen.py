"""Forecasts from what was seen: a probe that is not paid for twice, the run's own rows, those of another run."""

from __future__ import annotations

import json
import random
from bisect import bisect
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Model, flow, plan, run, stored
from forecast_world import judged, look, model, says, spent
from scripted_world import chance

from stillroom.engines import Price
from stillroom.errors import BadConfig, BudgetExceeded, EngineRefused, RunError
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty, Schema, Whole
from stillroom.ledger import Budget
from stillroom.programs.flow import Ask, Inputs, Split
from stillroom.programs.forecast import (
    forecast,
    seen_in,
)
from stillroom.signatures import Field
from stillroom.store import Store

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
