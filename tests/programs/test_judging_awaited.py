"""Judges in a flow: awaited like any other asking, whatever they ask, and the same as when they are waited for."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Model, draw, plan, said
from judging_world import engine, rank, scoring, writing

from stillroom.engines import Engine, open_session
from stillroom.errors import EngineError, EngineRefused
from stillroom.programs import judging
from stillroom.programs.flow import Ask, Flow, Quotas

PAIR = {"instruction": "Say hello.", "first": "good", "second": "bad"}
ONE = {"instruction": "Say hello.", "response": "good good"}
LIST = {"instruction": "Say hello.", "answers": ["bad", "good", "plain"]}
TEXT = {"question": "Is it good?", "text": "good"}


def points(request) -> str:
    """Points by seed: three samples are not one."""
    return json.dumps({"feedback": "fine", "points": str(3 + (request.config.seed or 0) % 3)})


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        pytest.param(lambda: judging.pairwise(scoring()), [PAIR, {**PAIR, "first": ""}, PAIR], id="scored pairs"),
        pytest.param(lambda: judging.pairwise(writing(), written=True), [PAIR, {"first": "good"}], id="written pairs"),
        pytest.param(lambda: judging.rubric(engine(points)), [ONE, {**ONE, "response": "bad"}, {}], id="samples"),
        pytest.param(lambda: judging.ranking(engine(rank)), [LIST, {**LIST, "answers": ["one"]}], id="orders"),
        pytest.param(lambda: judging.yes_no(scoring()), [TEXT, {**TEXT, "text": "bad"}], id="yes or no"),
    ],
)
def test_a_judge_says_the_same_awaited(make, rows: list):
    """Opinions, their cost and the bill, of rows that can be judged and of others."""
    waited, awaited = make(), make()
    told = waited.judge(rows)
    assert asyncio.run(awaited.ajudge(rows)) == told
    assert (awaited.bill.calls, awaited.bill.cost) == (waited.bill.calls, waited.bill.cost)
    assert waited.bill.calls == sum(opinion.calls for opinion in told) > 0


def test_a_call_that_fails_costs_its_own_row_and_no_other():
    """Awaited, the error stands in its place; waited for, it is raised once the others were made. Both are on the bill."""

    def answer(request) -> str:
        if "broken" in said(request):
            raise EngineRefused("too long")
        return json.dumps({"answer": "yes"})

    rows = [TEXT, {**TEXT, "text": "broken"}, {**TEXT, "text": "other"}]
    judge = judging.yes_no(engine(answer), written=True)
    found = asyncio.run(judge.ajudge(rows))
    assert [isinstance(each, EngineError) for each in found] == [False, True, False]
    assert judge.bill.calls == 2
    with pytest.raises(EngineRefused, match="too long"):
        judge.judge(rows)
    assert judge.bill.calls == 4


def judged(lm: Engine, count: int = 64) -> Flow:
    """A step, and a judge of what it wrote."""
    judge = judging.yes_no(lm, written=True)
    gate = judging.as_gate(judge, question=lambda row, values: "Is it good?", text="a")
    return Flow("judged", Quotas({"x": count}, draw), (Ask("write", plan()), gate), text=("a",), block=8)


def answers(request) -> str:
    """A judge who dislikes sevens, beside a writer."""
    if "yes or no" in str(request.system) or '"yes"' in str(request.config.response_format):
        return json.dumps({"answer": "no" if "7" in said(request).split("re ")[-1].split(" ")[1] else "yes"})
    return world.echo(request)


def test_a_judge_gate_is_awaited_and_takes_no_thread(tmp_path: Path):
    """Its calls are awaited on the run's loop, and recorded and paid for like all others."""
    threads = set()

    async def wait(request) -> None:
        threads.add(threading.current_thread())
        await asyncio.sleep(0)

    lm = Model(answers, wait=wait)
    flow = judged(lm)
    with open_session(lm, tmp_path, "emit", {"flow": flow.key}) as session:
        emitted = world.run_flow(flow, session)
        assert session.ledger.spent.calls == sum(lm.asked.values())
    assert len(threads) == 1
    assert emitted.fates["rejected"] > 0
    rejected = [row for row in emitted.rejects if row.status == "rejected"]
    assert all(row.passport.calls == 2 and "7" in row.values["q"] for row in rejected)


def test_a_judge_that_fails_for_good_on_a_row_is_asked_once(tmp_path: Path):
    """The row is quarantined at the gate; no second asking of the whole block, and none of that row."""
    broken = []

    def failing(request):
        found = answers(request)
        if json.loads(found).get("answer") == "no":
            broken.append(said(request))
            return EngineRefused("too long")
        return found

    lm = Model(failing)
    flow = judged(lm)
    emitted = world.run(tmp_path, flow, lm)
    lost = [row for row in emitted.rejects if row.status == "quarantined"]
    assert len(lost) == len(broken) == len(set(broken)) > 0
    assert {row.gate for row in lost} == {flow.names[-1]}
