"""Tries of a row: for answers that gates stop. What no engine answered spends none of them, and waits to be tried again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Model, plan, said

from stillroom.errors import EngineBusy, EngineRefused
from stillroom.evals.gates import Schema, Whole
from stillroom.programs.flow import Ask, Do, Flow, Inputs

ROWS = [{"q": f"row {number}"} for number in range(40)]
POISON = {"row 3", "row 17"}
BAD = {"row 5", "row 17"}


def flow(*more) -> Flow:
    """Each row of an input, with three tries."""
    asked = plan()
    parts = (Ask("write", asked), *more, Schema(asked.shape), Whole())
    return Flow("input", Inputs(ROWS, asked.shape.inputs), parts, text=("a",), attempts=3, block=8, recipe="input")


def tries(engine: Model) -> Counter[str]:
    """How often each row was asked about."""
    return Counter(
        {question: sum(n for (text, _), n in engine.asked.items() if text == question) for question, _ in engine.asked}
    )


def test_what_no_engine_answers_is_asked_once(tmp_path: Path):
    """Busy or refused for good: quarantined at its first try, while an answer that is none has all three."""

    def reply(request):
        if said(request) in POISON:
            return EngineBusy("given up") if said(request) == "row 3" else EngineRefused("too long")
        return json.dumps({"a": "..." if said(request) in BAD else "fine"})

    engine = Model(reply)
    emitted = world.run(tmp_path, flow(), engine)
    assert tries(engine) == Counter({row["q"]: 1 for row in ROWS}) | Counter({"row 5": 3})
    assert emitted.fates == {"accepted": 37, "quarantined": 2, "rejected": 3}


def test_what_was_not_answered_has_all_its_tries_once_it_is(tmp_path: Path):
    """Tried again on request: the try that nobody answered is not one of its three. A run that is gone over decides the same."""
    down = Model(lambda request: EngineBusy("down") if said(request) in POISON else json.dumps({"a": "fine"}))
    assert world.run(tmp_path, flow(), down).shortfall == {"rows": 2}
    up = Model(lambda request: json.dumps({"a": "..." if said(request) in BAD else "fine"}))
    emitted = world.run(tmp_path, flow(), up, retry=True)
    assert tries(up) == {"row 3": 1, "row 17": 3}
    assert emitted.shortfall == {"rows": 1}
    again = Model(lambda request: AssertionError("all of it is on record"))
    assert world.run(tmp_path, flow(), again).fates == emitted.fates
    assert world.run(tmp_path, flow(), again, retry=True).fates == emitted.fates
    assert not again.asked


def test_a_function_that_breaks_on_an_answer_has_further_tries(tmp_path: Path):
    """That is a fault of the answer, and another one may do."""
    engine = Model(world.echo)
    seen = Counter()

    def parse(row):
        seen[row["q"]] += 1
        return {"n": 1 / (row["q"] != "row 5" or seen[row["q"]] - 1)}

    emitted = world.run(tmp_path, flow(Do("parse", parse, reads=("q", "a"), adds=("n",))), engine)
    assert tries(engine)["row 5"] == 2
    assert (emitted.fates["accepted"], emitted.shortfall) == (40, {})


def test_a_short_outage_leaves_its_rows_to_be_tried_again_and_costs_no_other(tmp_path: Path):
    """Twenty rows in a row: each is asked about once, not three times into the same outage."""
    late = {f"row {number}" for number in range(12, 32)}
    engine = Model(lambda request: EngineBusy("down") if said(request) in late else json.dumps({"a": "fine"}))
    emitted = world.run(tmp_path, flow(), engine)
    assert set(tries(engine).values()) == {1}
    assert emitted.fates == {"accepted": 20, "quarantined": 20}
    well = Model(lambda request: json.dumps({"a": "fine"}))
    assert world.run(tmp_path, flow(), well, retry=True).shortfall == {}
    assert set(tries(well)) == late


def test_an_outage_up_to_the_end_ends_the_run_and_what_it_has_cost_is_tried_again(tmp_path: Path):
    """The last thirty-five of forty rows: fewer than a window, but nothing has worked since."""
    late = {f"row {number}" for number in range(5, 40)}
    engine = Model(lambda request: EngineBusy("down") if said(request) in late else json.dumps({"a": "fine"}))
    with pytest.raises(EngineBusy, match="down"):
        world.run(tmp_path, flow(), engine)
    well = Model(lambda request: json.dumps({"a": "fine"}))
    assert world.run(tmp_path, flow(), well).fates["accepted"] == 40
    assert set(tries(well)) == late
    again = Model(lambda request: json.dumps({"a": "fine"}))
    assert world.run(tmp_path, flow(), again).shortfall == {}
    assert not again.asked


def test_rows_that_always_fail_are_put_aside_when_they_are_all_that_is_left(tmp_path: Path):
    """Told once as an outage, which they cannot be told from; the next run tries them once more and ends."""
    bad = {f"row {number}" for number in range(5, 40)}
    engine = Model(lambda request: EngineBusy("too long") if said(request) in bad else json.dumps({"a": "fine"}))
    with pytest.raises(EngineBusy, match="too long"):
        world.run(tmp_path, flow(), engine)
    emitted = world.run(tmp_path, flow(), engine)
    assert (emitted.fates["accepted"], emitted.shortfall) == (5, {"rows": 35})
    assert {tries(engine)[row] for row in bad} == {2}
