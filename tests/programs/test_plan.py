"""Plans: readable values that render, read, save and load back into DSPy with the same requests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
import scripted_world as world
from dspy.lm15 import Message, Response, Usage

from stillroom.engines import ScriptedEngine, as_lm
from stillroom.errors import BadConfig
from stillroom.programs import Decoding, Demo, Plan
from stillroom.programs.plan import separable
from stillroom.signatures import FORMATS, Unparsed
from stillroom.signatures.shape import Field, Shape

TASK = world.task()
MODEL = world.engine().model


def plan(**changes) -> Plan:
    demos = tuple(Demo.of(example) for example in TASK.demos[:3])
    return replace(Plan(TASK.shape, MODEL, TASK.shape.instruction, demos), **changes)


def response(text: str, finish: str = "stop") -> Response:
    return Response(id=None, model=MODEL, message=Message.assistant(text), finish_reason=finish, usage=Usage(1, 1, 2))


def test_a_saved_plan_is_readable_and_comes_back_the_same(tmp_path: Path):
    """Plain JSON in, the same plan out, the same requests."""
    saved = plan(notes={"search_score": 0.9}).save(tmp_path / "plan.json")
    again = Plan.load(saved)
    assert again == plan(notes={"search_score": 0.9})
    assert again.render({"message": "hello"}) == plan().render({"message": "hello"})
    assert json.loads(saved.read_text())["demos"][0]["inputs"]["message"] == TASK.demos[0].inputs["message"]


def test_a_plan_edited_without_its_digest_is_refused(tmp_path: Path):
    """An edit by hand is noticed."""
    saved = plan().save(tmp_path / "plan.json")
    saved.write_text(saved.read_text().replace("Name the topic", "Guess the topic"))
    with pytest.raises(BadConfig, match="digest must match its content"):
        Plan.load(saved)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"kind": "plan", "stillroom": 1}', '{"kind": "plan", "stillroom": 99}']
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str):
    """No traceback for a wrong file."""
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(BadConfig):
        Plan.load(tmp_path / "plan.json")


def test_notes_do_not_change_what_a_plan_is():
    """Scores in the notes leave the digest alone; anything asked of the model does not."""
    assert plan(notes={"x": 1}).digest == plan().digest
    others = [
        plan(instruction="Do it."),
        plan(format="tags"),
        plan(decoding=Decoding(temperature=0.5)),
        plan(reasoning=True),
    ]
    assert len({each.digest for each in [plan(), *others]}) == 5


@pytest.mark.parametrize("format", list(FORMATS))
def test_the_dspy_module_sends_what_the_plan_renders(format: str):
    """Search in DSPy and emission without it ask the model the same thing, to the byte."""
    seen = []

    def answer(request):
        seen.append(request)
        return FORMATS[format].write(TASK.shape, {"topic": "billing"})

    wanted = plan(format=format, decoding=Decoding(max_tokens=40, temperature=0.3, top_p=0.9))
    engine = ScriptedEngine(answer, name="world")
    module = Plan.from_json(wanted.as_json()).module(as_lm(engine))
    assert module(message="where is my refund").topic == "billing"
    assert seen == [wanted.render({"message": "where is my refund"})]
    assert isinstance(module, dspy.Module)
    assert len(module.predictors()[0].demos) == 3


async def _acall(module):
    return await module.acall(message="where is my refund")


def test_the_dspy_module_works_async():
    """`acall` goes through the async face of the engine."""
    import asyncio

    module = plan().module(as_lm(world.engine()))
    assert asyncio.run(_acall(module)).topic in world.WORDS


def test_reasoning_comes_first_and_is_no_output_of_the_task():
    """A plan with reasoning asks for it before the outputs."""
    asked = plan(reasoning=True)
    assert [each.name for each in asked.asked.outputs] == ["reasoning", "topic"]
    assert asked.read(response('{"reasoning": "an invoice", "topic": "billing"}')) == {
        "reasoning": "an invoice",
        "topic": "billing",
    }
    assert [each.name for each in asked.shape.outputs] == ["topic"]
    with pytest.raises(BadConfig, match="cannot ask for"):
        plan(reasoning=True, format="bare")


@pytest.mark.parametrize(
    ("text", "finish", "why"),
    [("", "stop", "empty"), ('{"topic": "bil', "length", "cut off at"), ("no idea", "stop", "must be a JSON object")],
)
def test_an_answer_that_does_not_fit_says_why(text: str, finish: str, why: str):
    """Empty, cut off and unreadable are told apart."""
    with pytest.raises(Unparsed, match=why):
        plan().read(response(text, finish))


FLAT = {"billing": 0.0, "delivery": 0.0, "account": 0.0}


def test_a_plan_that_scores_is_another_plan_and_one_that_writes_stays_what_it_was(tmp_path: Path):
    """Calibration is part of what a plan is; plans saved before there was any keep their digest and load."""
    assert "scored" not in plan().as_json()
    assert len({plan().digest, plan(scored=FLAT).digest, plan(scored={**FLAT, "account": -1.0}).digest}) == 3
    assert Plan.load(plan(scored=FLAT).save(tmp_path / "plan.json")) == plan(scored=FLAT)


def test_digests_of_saved_plans_never_change():
    """A digest is a promise to every run folder there is."""
    shape = replace(TASK.shape, instruction="Name it.")
    assert Plan(shape, "scripted/x@0", "Name it.").digest == "4818a07909fa81fb"


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"scored": {"billing": 0.0}}, "calibration of each label"),
        ({"scored": {**FLAT, "else": 0.0}}, "calibration of each label"),
        ({"scored": {**FLAT, "account": float("nan")}}, "must be finite"),
        ({"scored": FLAT, "reasoning": True}, "writes nothing"),
    ],
)
def test_a_calibration_that_cannot_work_is_refused(changes: dict, rule: str):
    """Before anything is asked."""
    with pytest.raises(BadConfig, match=rule):
        plan(**changes)


def labelled(*labels: str) -> Shape:
    label = Field("topic", {"type": "string", "enum": list(labels)})
    return Shape("T", "Name it.", TASK.shape.inputs, (label,))


def test_a_format_must_tell_labels_apart():
    """A bare label that begins another is never less likely than it."""
    prefixes = labelled("card", "card lost")
    assert not separable(prefixes, "bare")
    assert separable(prefixes, "json")
    assert separable(labelled("card", "lost"), "bare")
    assert not separable(replace(prefixes, outputs=TASK.shape.inputs), "json")
    with pytest.raises(BadConfig, match="cannot tell the labels"):
        Plan(prefixes, MODEL, "Name it.", format="bare", scored={"card": 0.0, "card lost": 0.0})


def test_calibration_decides_and_ties_go_to_the_first_label():
    """The highest log-probability less the calibration wins."""
    totals = {"billing": -1.0, "delivery": -1.0, "account": -2.0}
    assert plan(scored=FLAT).choose(totals) == {"topic": "billing"}
    assert plan(scored={**FLAT, "account": -1.5}).choose(totals) == {"topic": "account"}
    with pytest.raises(BadConfig, match="one that writes"):
        plan().choose(totals)
