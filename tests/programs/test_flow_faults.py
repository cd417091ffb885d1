"""Faults of flows: calls that fail, functions that break, answers that are none, outages and full budgets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Asks, Model, answers, echo, judged, plan, response, said

from stillroom.errors import BudgetExceeded, EngineBusy, EngineRefused
from stillroom.evals import Verdict
from stillroom.ledger import Budget
from stillroom.programs.flow import Ask, Do
from stillroom.programs.flow.runner import DEPTH


def test_a_row_whose_call_fails_costs_no_other(tmp_path: Path):
    """It is quarantined with its error; another takes its place; the funnel still adds up."""

    def reply(request):
        return EngineRefused("too long, got 9000 tokens") if said(request) == "x 3" else echo(request)

    emitted = world.run(tmp_path, world.flow({"x": 20}), Model(reply))
    assert len(emitted.rows) == 20
    lost = [row for row in emitted.rejects if row.status == "quarantined"]
    assert {(row.place.split("/")[1], row.gate) for row in lost} == {("3", "write")}
    assert {row.why for row in lost} == {"EngineRefused: too long, got 9000 tokens"}
    assert emitted.funnel[0] == ("write", emitted.written, len(lost))


def test_a_judge_that_fails_on_a_row_costs_no_other(tmp_path: Path):
    """The row is quarantined at the judge, natively asked or on a thread."""

    def reply(request):
        if "verdict" in str(request.system):
            return EngineBusy("too slow") if " x 2 " in said(request) else '{"verdict": "yes"}'
        return echo(request)

    engine = Model(reply)

    @dataclass
    class OnThread:
        name: str = "thread judge"
        on_fail: str = "rejected"
        asks: bool = True

        def check(self, batch):
            if any(" x 5 " in candidate.text for candidate in batch):
                raise EngineBusy("no answer")
            return [Verdict.ok() for _ in batch]

        def keep(self, passed):
            pass

    parts = (Ask("write", plan()), Asks(engine), OnThread())
    emitted = world.run(tmp_path, world.flow({"x": 20}, parts, attempts=1), engine)
    assert {(row.place, row.status, row.gate) for row in emitted.rejects} == {
        ("x/2/0", "quarantined", "judge"),
        ("x/5/0", "quarantined", "thread judge"),
    }
    assert len(emitted.rows) == 18
    assert emitted.shortfall == {"x": 2}


def test_a_function_that_breaks_on_a_row_costs_no_other(tmp_path: Path):
    """Its error is the reason; a function that breaks on all rows ends the run."""
    parts = (Ask("write", plan()), Do("odd", lambda state: {"n": 1 / (state["q"] != "x 4")}, adds=("n",)))
    emitted = world.run(tmp_path / "one", world.flow({"x": 9}, parts, attempts=1), Model(echo))
    assert [(row.gate, row.why) for row in emitted.rejects] == [("odd", "ZeroDivisionError: division by zero")]
    broken = (Ask("write", plan()), Do("all", lambda state: {"n": 1 / 0}, adds=("n",)))
    with pytest.raises(ZeroDivisionError):
        world.run(tmp_path / "all", world.flow({"x": 9}, broken), Model(echo))


def test_when_nothing_works_the_run_ends_at_once(tmp_path: Path):
    """The error of all is raised, nothing is committed, and a mended engine goes on as if it had not been."""
    down = Model(lambda request: EngineRefused(f"wrong key, request {len(said(request))}a9"))
    with pytest.raises(EngineRefused, match="wrong key"):
        world.run(tmp_path, world.flow({"x": 5000}), down)
    assert sum(down.asked.values()) <= DEPTH * down.max_concurrency
    assert world.stored(tmp_path) == []
    assert len(world.run(tmp_path, world.flow({"x": 20}, recipe=world.flow({"x": 5000}).key), Model(echo)).rows) == 20


def test_an_outage_in_the_middle_ends_the_run_before_it_burns_through_it(tmp_path: Path):
    """A window full of the same error is enough; what was committed stays."""
    served = 0

    def reply(request):
        nonlocal served
        served += 1
        return echo(request) if served <= 100 else EngineBusy("the endpoint is gone")

    with pytest.raises(EngineBusy, match="the endpoint is gone"):
        world.run(tmp_path, world.flow({"x": 5000}, window=32), Model(reply))
    assert served < 100 + 4 * 32
    assert Counter(row["status"] for row in world.stored(tmp_path))["accepted"] >= 80


@pytest.mark.parametrize(
    ("said", "finish", "calls", "gate", "status", "why"),
    [
        ("no JSON", "stop", 2, "schema", "quarantined", "answer must be a JSON object"),
        ('{"b": "the wrong key"}', "stop", 2, "schema", "quarantined", "is missing"),
        ("", "stop", 1, "schema", "rejected", "answer is empty"),
        ('{"a": "cut of', "stop", 2, "schema", "quarantined", "ends in the middle"),
        ('{"a": "cut of', "length", 1, "whole", "rejected", "cut off"),
        ("cut of", "length", 1, "schema", "rejected", "cut off"),
        ("", "content_filter", 1, "schema", "rejected", "filter"),
        ("I'm sorry, but I can't help with that request.", "stop", 1, "schema", "rejected", "refusal"),
        ('{"a": "I\'m sorry, but I can\'t help with that request."}', "stop", 1, "whole", "rejected", "refusal"),
        ('{"a": "..."}', "stop", 1, "whole", "rejected", "empty"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, said, finish, calls, gate, status, why):
    """Empty, cut off and refused answers fail a gate; malformed ones are asked for once more, then quarantined."""
    engine = Model(lambda request: response(said, finish))
    emitted = world.run(tmp_path, world.flow({"x": 1}, attempts=1), engine)
    (row,) = emitted.rejects
    assert (row.gate, row.status, row.passport.calls) == (gate, status, calls)
    assert why in row.why
    assert sum(engine.asked.values()) == calls
    assert emitted.counts.get("reasked", 0) == calls - 1


def test_malformed_answers_are_mended_or_asked_for_again(tmp_path: Path):
    """A mended value must fit the schema; the second asking shows the error. Both are counted, in the note too."""

    def reply(request):
        number = int(request.messages[0].text.split()[1])
        if number == 1:
            return '{"a": "mended",}'
        if number == 3:
            return '{"a": "a "quoted" word"'
        if number == 2 and len(request.messages) == 1:
            return "what?"
        if number == 2:
            assert request.messages[1].text == "what?"
            assert "does not fit: answer must be a JSON object" in said(request)
        return json.dumps({"a": f"fine {number}"})

    emitted = world.run(tmp_path, world.flow({"x": 4}), Model(reply))
    assert [row.values["a"] for row in emitted.rows] == ["fine 0", "mended", "fine 2", 'a "quoted" word']
    assert emitted.counts == {"repaired": 2, "reasked": 1}
    assert [row.extra for row in emitted.rows] == [{}, {"repaired": 1}, {"reasked": 1}, {"repaired": 1}]
    with world.Store(tmp_path) as store:
        (note,) = store.notes("funnel").values()
    assert (note["repaired"], note["reasked"], note["accepted"]) == (2, 1, 4)


def test_a_full_budget_ends_the_run_and_a_larger_one_goes_on(tmp_path: Path):
    """What was under way is finished, no call is made twice, and the rows are those of a run without a limit."""
    whole = Model(answers)
    world.run(tmp_path / "whole", judged(whole), whole)
    engine = Model(answers, wait=world.shuffled(3))
    with pytest.raises(BudgetExceeded, match="budget of 60 calls is full") as caught:
        world.run(tmp_path / "cut", judged(engine), engine, budget=Budget(calls=60))
    assert any("lacks" in note for note in caught.value.__notes__)
    first = engine.asked.copy()
    with pytest.raises(BudgetExceeded):
        world.run(tmp_path / "cut", judged(engine), engine, budget=Budget(calls=90))
    world.run(tmp_path / "cut", judged(engine), engine)
    written = {key: count for key, count in engine.asked.items() if key[1] is not None}
    assert set(written.values()) == {1}
    assert first.total() >= 60
    assert world.stored(tmp_path / "cut") == world.stored(tmp_path / "whole")
