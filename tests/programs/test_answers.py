"""Answers: the same faces and books whether a plan writes or scores its labels."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest
import scripted_world as world
from dspy.lm15 import Response

from stillroom.engines import Score, ScriptedEngine, as_lm, open_session
from stillroom.errors import BadConfig, EngineBusy, EngineError
from stillroom.evals.gates import Candidate
from stillroom.programs import (
    Answer,
    Cost,
    Decoding,
    Evaluator,
    Outcome,
    Plan,
    answer_many,
    blind,
    calibrated,
    mean_cost,
    scorable,
)

TASK = world.task()
ROWS = TASK.search[:6]
FLAT = dict.fromkeys(world.WORDS, 0.0)
BIAS = {"billing": 5.0, "delivery": 0.0, "account": 0.0}


def likes(request, continuations):
    """Log-probabilities of a model that knows the words and has a bias for billing."""
    last = request.messages[-1].text or ""
    if "outage" in last:
        raise EngineBusy("not now")
    return [
        Score(text, BIAS[topic] + 3.0 * any(word in last for word in words) - 20.0, 4)
        for text in continuations
        for topic, words in world.WORDS.items()
        if topic in text
    ]


def scoring() -> ScriptedEngine:
    return ScriptedEngine(world.answer, name="world", score=likes)


def plan(**changes) -> Plan:
    return replace(Plan(TASK.shape, world.engine().model, TASK.shape.instruction), **changes)


def right(answers) -> int:
    return sum(answer.outputs["topic"] == row.outputs["topic"] for answer, row in zip(answers, ROWS, strict=True))


def test_contextual_calibration_takes_a_bias_out():
    """Uncalibrated, every answer is the label that the model likes anyway; calibrated, none is."""
    inputs = [row.inputs for row in ROWS]
    flat = answer_many(plan(scored=FLAT), scoring(), inputs)
    assert {answer.outputs["topic"] for answer in flat} == {"billing"}
    fair = calibrated(plan(), scoring())
    assert fair.scored == pytest.approx(
        {"billing": math.log(math.exp(5) / (math.exp(5) + 2)), "delivery": -5.0134, "account": -5.0134}, abs=1e-4
    )
    assert right(answer_many(fair, scoring(), inputs)) == len(ROWS)


def test_unlabelled_rows_calibrate_too():
    """Their mean answer stands for no answer."""
    fair = calibrated(plan(), scoring(), [row.inputs for row in TASK.demos])
    assert right(answer_many(fair, scoring(), [row.inputs for row in ROWS])) == len(ROWS)
    assert fair.scored != calibrated(plan(), scoring()).scored


def test_an_outage_in_calibration_is_raised():
    """A plan is calibrated or it is not."""
    with pytest.raises(EngineBusy):
        calibrated(plan(), scoring(), [{"message": "outage"}])


def test_who_can_be_scored():
    """One categorical output, no reasoning, a format that tells labels apart, an engine that can."""
    assert scorable(TASK.shape, scoring())
    assert scorable(plan(format="tags"), scoring())
    assert not scorable(TASK.shape, world.engine())
    assert not scorable(plan(reasoning=True), scoring())
    assert not scorable(replace(TASK.shape, outputs=TASK.shape.inputs), scoring())
    with pytest.raises(BadConfig, match="needs an engine that can"):
        answer_many(plan(scored=FLAT), world.engine(), [ROWS[0].inputs])
    with pytest.raises(BadConfig, match="one categorical output"):
        calibrated(Plan(replace(TASK.shape, outputs=TASK.shape.inputs), "m", "Do it."), scoring())


@pytest.mark.parametrize("scored", [None, FLAT])
def test_one_failure_does_not_cost_the_others(scored):
    """It stands in its place."""

    def fail(request):
        return EngineBusy("not now") if "outage" in request.messages[-1].text else None

    engine = ScriptedEngine(world.answer, score=likes, fail=fail)
    first, second, third = answer_many(
        plan(scored=scored), engine, [ROWS[0].inputs, {"message": "outage"}, ROWS[1].inputs]
    )
    assert isinstance(second, EngineError)
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)


def test_an_answer_that_does_not_parse_says_why_and_is_paid_for():
    """Cost is what the usage says."""
    (answer,) = answer_many(plan(), ScriptedEngine(lambda request: "no idea at all"), [ROWS[0].inputs])
    assert answer.outputs is None
    assert "JSON object" in answer.problem
    assert (answer.cost.tokens_out, answer.cost.usd) == (4, 0.0)
    assert answer.cost.tokens_in > 10


def test_costs_are_those_of_the_ledger(tmp_path: Path):
    """Written and scored, to the token; by the price list where there is one."""
    for scored in (None, FLAT):
        with open_session(scoring(), tmp_path / str(scored is None), "test", {}) as session:
            answers = answer_many(plan(scored=scored), session.engine, [row.inputs for row in ROWS])
            spent = session.ledger.spent
            assert sum(answer.cost.tokens_in for answer in answers) == spent.tokens_in
            assert sum(answer.cost.tokens_out for answer in answers) == spent.tokens_out
            assert sum(answer.cost.calls for answer in answers) == spent.calls == len(ROWS)
            assert all(answer.cost.seconds > 0 for answer in answers)
            # found in the store, an answer costs what it cost
            assert answer_many(plan(scored=scored), session.engine, [row.inputs for row in ROWS]) == answers
    engine = scoring()
    engine.model = "openai/gpt-4o-mini@live"
    assert answer_many(plan(), engine, [ROWS[0].inputs])[0].cost.usd > 0


def test_seeds_keep_samples_apart():
    """One for each row."""
    seen = []
    engine = ScriptedEngine(lambda request: seen.append(request.config.seed) or world.answer(request))
    answer_many(plan(decoding=Decoding(temperature=1.0)), engine, [ROWS[0].inputs] * 2, [1, 2])
    assert seen == [1, 2]


@pytest.mark.parametrize("scored", [None, FLAT])
def test_a_resumed_evaluation_has_the_same_outcomes_at_no_cost(tmp_path: Path, scored):
    """Costs included: they are recorded beside the outputs."""
    found = []
    for _ in range(2):
        engine = scoring()
        with open_session(engine, tmp_path, "test", {}) as session:
            evaluator = Evaluator(session.engine, session.store, TASK.metric, TASK.metric_name)
            found.append(evaluator.run(plan(scored=scored), ROWS))
            calls = session.ledger.spent.calls
    assert found[0] == found[1]
    assert calls == len(ROWS)
    assert all(outcome.cost.tokens > 0 for outcome in found[0])
    assert found[0][0].outputs.keys() == {"topic"}


def test_evaluations_recorded_without_costs_are_read(tmp_path: Path):
    """A run folder made before costs were recorded goes on."""
    with open_session(scoring(), tmp_path, "test", {}) as session:
        evaluator = Evaluator(session.engine, session.store, TASK.metric, TASK.metric_name)
        now = evaluator.run(plan(), ROWS[:1])[0]
        session.store.flush()
        (key,) = [row[0] for row in session.store._db.execute("SELECT key FROM evals")]
        session.store._db.execute("UPDATE evals SET output = ?, seal = NULL", ('{"topic": "billing"}',))
        before = evaluator.run(plan(), ROWS[:1])[0]
        assert session.store.find_eval(key)[3] == {"topic": "billing"}
    assert before == replace(now, outputs={"topic": "billing"}, cost=Cost())


def test_mean_cost_is_per_row():
    """All zero for no outcomes."""
    costs = [Cost(10, 1, 0.5, 2.0), Cost(21, 3, 0.0, 0.0)]
    assert mean_cost([Outcome("a", "scored", 1.0, "", {}, cost) for cost in costs]) == Cost(15.5, 2.0, 0.25, 1.0)
    assert mean_cost([]) == Cost()


def test_a_judge_may_be_a_plan_that_scores():
    """The blind judge answers however its plan answers."""
    judge = blind(calibrated(plan(), scoring()), scoring(), TASK.metric)
    topics = (ROWS[0].outputs["topic"], "none")
    wanted, other = (Candidate("0", dict(ROWS[0].inputs), "", {"topic": topic}) for topic in topics)
    assert [verdict.passed for verdict in judge([wanted, other])] == [True, False]
    with pytest.raises(EngineBusy):
        judge([Candidate("0", {"message": "outage"}, "", {"topic": "billing"})])


def test_a_scored_plan_is_a_dspy_module_on_our_engines():
    """It asks the engine behind the LM; any other LM is refused with what to do."""
    import dspy

    module = calibrated(plan(), scoring()).module(as_lm(scoring()))
    assert module(**ROWS[0].inputs).topic == ROWS[0].outputs["topic"]
    assert asyncio.run(acall(module)).topic == ROWS[0].outputs["topic"]
    with pytest.raises(EngineBusy):
        module(message="outage")
    elsewhere = plan(scored=FLAT).module()
    with dspy.context(lm=None), pytest.raises(BadConfig, match="engine of ours"):
        elsewhere(**ROWS[0].inputs)


async def acall(module) -> Response:
    return await module.acall(**ROWS[0].inputs)
