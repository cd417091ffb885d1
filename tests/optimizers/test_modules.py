"""DSPy modules as subjects: parts, choices and steps of programs of any shape."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import dspy
import module_world as world
import pytest

from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.evals import exact
from stillroom.optimizers.subject import Subject
from stillroom.optimizers.teleprompt._adapters import CompiledPredict
from stillroom.optimizers.teleprompt.modules import ModuleSubject
from stillroom.programs import Decoding, Demo, mean_score


def test_parts_are_the_predictors_that_are_not_frozen(tmp_path: Path):
    """Names, fields, labels, formats and reasoning of a Predict and a ChainOfThought."""
    with world.subject(world.Desk(), world.engine(), tmp_path) as subject:
        assert isinstance(subject, ModuleSubject)
        checked: Subject = subject
        write, sort = checked.parts
    assert (write.name, write.inputs, write.outputs) == ("write", ("message",), ("note",))
    assert write.instruction == "Note what the message is about."
    assert (write.labels, write.formats, write.reasoning) == ((), ("chat", "json", "xml"), (False, True))
    assert (sort.name, sort.outputs, sort.labels) == ("sort.predict", ("reasoning", "topic"), ("odd", "even"))
    assert sort.reasoning == (False,)
    frozen = world.Desk()
    frozen.sort._compiled = True
    with world.subject(frozen, world.engine(), tmp_path / "frozen") as subject:
        assert [part.name for part in subject.parts] == ["write"]
        (outcome,) = subject.run(subject.baseline, subject.search[:1])
        assert outcome.score == 1
        assert [step.part for step in subject.steps(subject.search[0], outcome)] == ["write"]
        assert subject.session.ledger.spent.calls == 2, "the frozen predictor asks through the ledger too"


def test_a_run_scores_every_row_and_tells_every_step(tmp_path: Path):
    """Outcomes in order, with the prediction, the steps of both parts, and what the row cost."""
    with world.subject(world.Desk(), world.engine(), tmp_path) as subject:
        outcomes = subject.run(subject.baseline, subject.search)
        assert [each.example for each in outcomes] == [each.id for each in subject.search]
        assert mean_score(outcomes) == 1
        assert subject.session.ledger.spent.calls == 2 * len(subject.search)
        example, outcome = subject.search[0], outcomes[0]
        write, sort = subject.steps(example, outcome)
    assert (write.part, write.inputs) == ("write", dict(example.inputs))
    assert sort.part == "sort.predict"
    assert sort.inputs == {**example.inputs, "note": write.outputs["note"]}
    assert sort.outputs == {"reasoning": "by its last digit", "topic": example.outputs["topic"]}
    assert outcome.outputs["prediction"] == {"topic": example.outputs["topic"], "note": write.outputs["note"]}
    assert outcome.cost.tokens_in > 0
    assert (outcome.cost.calls, outcome.cost.seconds > 0) == (2, True)


@pytest.mark.parametrize("make", [world.agent, world.Listed], ids=["agent", "listed"])
def test_programs_of_other_shapes_run(make, tmp_path: Path):
    """An agent with a tool, and predictors in lists and dicts."""
    with world.subject(make(), world.engine(), tmp_path) as subject:
        names = [part.name for part in subject.parts]
        candidate = subject.build(
            {part.name: replace(subject.default(part), format="xml", instruction="Be right.") for part in subject.parts}
        )
        for tried in (subject.baseline, candidate):
            outcomes = subject.run(tried, subject.search)
            assert mean_score(outcomes) == 1
        steps = [step.part for step in subject.steps(subject.search[0], outcomes[0])]
    if make is world.agent:
        assert names == ["react", "extract.predict"]
        assert steps == ["react", "react", "extract.predict"]
        assert all(part.reasoning == (False,) for part in subject.parts)
    else:
        assert names == ["steps[0]", "steps[1]", "spare['last']"]
        assert steps == ["steps[0]", "steps[1]"]


def test_steps_are_told_of_copies_and_threads(tmp_path: Path):
    """BestOfN runs copies of its module, and `dspy.Parallel` asks from threads of its own."""

    class Threads(dspy.Module):
        def __init__(self):
            super().__init__()
            self.sort = dspy.Predict(world.Sort)

        def forward(self, message):
            pairs = [(self.sort, {"message": message, "note": note}) for note in "ab"]
            return dspy.Parallel(num_threads=2, disable_progress_bar=True)(pairs)[0]

    best = dspy.BestOfN(world.Desk(), N=2, reward_fn=lambda args, pred: 0.5, threshold=1.0)
    for name, student, parts in (
        ("best", best, ["module.write", "module.sort.predict"]),
        ("threads", Threads(), ["sort", "sort"]),
    ):
        with world.subject(student, world.engine(), tmp_path / name) as subject:
            (outcome,) = subject.run(subject.baseline, subject.search[:1])
            assert outcome.score == 1
            assert [step.part for step in subject.steps(subject.search[0], outcome)] == parts
            assert subject.session.ledger.spent.calls >= 2


def test_choices_change_what_is_asked_and_nothing_else(tmp_path: Path):
    """Instruction, demos, format, reasoning and decoding reach the request of their part alone."""
    asked = []

    def listen(request, known):
        asked.append(request)
        return known

    student = world.Desk()
    with world.subject(student, world.engine(listen), tmp_path) as subject:
        write = subject.parts[0]
        demo = Demo("d", {"message": "number 5"}, {"note": "five it is", "reasoning": "counted"})
        choice = replace(
            subject.default(write),
            instruction="Say the number.",
            demos=(demo,),
            format="xml",
            reasoning=True,
            decoding=Decoding(0.5, 77),
        )
        candidate = subject.build({"write": choice})
        (outcome,) = subject.run(candidate, subject.search[:1])
        again = subject.build({"write": replace(choice, decoding=Decoding(0.5, 77, constrained=False))})
    first, second = asked
    assert outcome.score == 1
    assert "Say the number." in str(first.system)
    assert "<note>" in str(first.system)
    assert "<reasoning>" in str(first.system)
    assert "five it is" in first.messages[1].text
    assert (first.config.temperature, first.config.max_tokens) == (0.5, 77)
    assert "[[ ## topic ## ]]" in str(second.system)
    assert second.config.temperature is None
    assert type(candidate.program.write) is CompiledPredict
    assert type(candidate.program.sort.predict) is dspy.Predict
    assert candidate.digest == again.digest != subject.baseline.digest
    assert student.write.signature.instructions == "Note what the message is about."
    assert student.write.demos == []
    assert student.write.lm is None


def test_choices_that_no_part_can_take_are_refused(tmp_path: Path):
    """An unknown part, a format that is none, reasoning twice over."""
    with world.subject(world.Desk(), world.engine(), tmp_path) as subject:
        write, sort = (subject.default(part) for part in subject.parts)
        for choices in (
            {"wrote": write},
            {"write": replace(write, format="bare")},
            {"sort.predict": replace(sort, reasoning=True)},
            {"write": replace(write, scored=True)},
        ):
            with pytest.raises(BadConfig):
                subject.build(choices)


def test_a_format_survives_copies_and_threads(tmp_path: Path):
    """A copy of a compiled predictor asks in the same format, also through `dspy.Parallel` and async."""
    import asyncio

    seen = []

    def listen(request, known):
        seen.append("JSON object" in str(request.system))
        return known

    scripted = world.engine(listen)
    with world.subject(world.Desk(), scripted, tmp_path) as subject:
        choice = replace(subject.default(subject.parts[0]), format="json")
        module = subject.finished({"write": choice})
    copied = copy.deepcopy(module).deepcopy().write
    assert type(copied) is CompiledPredict
    with dspy.context(lm=world.lm(scripted)):
        assert copied(message="number 4").note == "it is 4"
        assert asyncio.run(copied.acall(message="number 6")).note == "it is 6"
        found = dspy.Parallel(num_threads=2, disable_progress_bar=True)(
            [(copied, {"message": "number 8"}), (copied, {"message": "number 10"})]
        )
    assert [each.note for each in found] == ["it is 8", "it is 10"]
    assert seen == [True] * 4


def test_rows_are_shown_where_their_labels_tell_a_parts_outputs(tmp_path: Path):
    """The note is not in the rows: only a program of one step can show them."""
    with world.subject(world.Desk(), world.engine(), tmp_path / "desk") as subject:
        assert [subject.shown(part, subject.demos[0]) for part in subject.parts] == [None, None]
    with world.subject(dspy.ChainOfThought("message -> topic"), world.engine(), tmp_path / "one") as subject:
        row = subject.demos[0]
        assert subject.shown(subject.parts[0], row) == Demo(row.id, row.inputs, row.outputs)


def test_a_teacher_answers_where_demos_are_bootstrapped(tmp_path: Path):
    """Its steps are steps of the student's parts; without one the candidate answers."""
    strong = world.engine(lambda request, known: {**known, "note": "from the teacher"}, name="strong")
    teacher = world.Desk()
    teacher.set_lm(world.lm(strong))
    with world.subject(world.Desk(), world.engine(), tmp_path / "with", teacher=teacher) as subject:
        found = subject.bootstrap(subject.baseline, subject.demos)
        assert [example for example, _ in found] == list(subject.demos)
        (write, _), outcome = subject.steps(*found[0]), found[0][1]
        assert (write.part, write.outputs["note"], outcome.score) == ("write", "from the teacher", 1.0)
        assert strong.served == 2 * len(subject.demos)
        assert subject.session.ledger.spent.calls == strong.served
    with world.subject(world.Desk(), world.engine(), tmp_path / "without") as subject:
        (example, outcome), *_ = subject.bootstrap(subject.baseline, subject.demos)
        assert subject.steps(example, outcome)[0].outputs["note"].startswith("it is")


def test_typed_values_are_shown_as_they_were(tmp_path: Path):
    """Rows with models of their own have stable ids, and demos get their types back."""
    trainset = [
        dspy.Example(place=world.Place(row=n, column=n // 2), diagonal=n == 0).with_inputs("place") for n in range(20)
    ]
    script = ScriptedEngine(lambda request: "[[ ## diagonal ## ]]\nFalse\n\n[[ ## completed ## ]]")
    with world.subject(
        dspy.Predict(world.Where), script, tmp_path, trainset=trainset, metric=exact("diagonal")
    ) as subject:
        (part,) = subject.parts
        assert part.labels == ("True", "False")
        demo = subject.shown(part, subject.demos[0])
        assert set(demo.inputs["place"]) == {"row", "column"}
        candidate = subject.build({"self": replace(subject.default(part), demos=(demo,))})
        assert isinstance(candidate.program.demos[0].place, world.Place)
        assert mean_score(subject.run(candidate, subject.search)) >= 0.9


def test_code_is_the_users_own(tmp_path: Path):
    """Proposals are grounded in the user's classes, not in DSPy's."""
    with world.subject(world.Desk(), world.engine(), tmp_path / "desk") as subject:
        assert subject.code.startswith("class Desk(dspy.Module):")
        assert "class ChainOfThought" not in subject.code
    with world.subject(world.agent(), world.engine(), tmp_path / "agent") as subject:
        assert subject.code == ""
