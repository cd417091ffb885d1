"""DSPy modules as subjects: any shape of program, any metric, no outage scored, nothing paid for twice."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import dspy
import module_world as world
import pytest

from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig, BadData, BudgetExceeded, EngineBusy, EngineRefused
from stillroom.evals import Verdict, exact
from stillroom.ledger import Budget
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.subject import Candidate, Subject
from stillroom.optimizers.teleprompt._adapters import CompiledPredict
from stillroom.optimizers.teleprompt.declared import DeclaredModule
from stillroom.optimizers.teleprompt.metrics import module_metric
from stillroom.optimizers.teleprompt.modules import ModuleSubject
from stillroom.programs import Decoding, Demo


def mean(outcomes):
    return sum(each.score for each in outcomes) / len(outcomes)


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
        assert mean(outcomes) == 1
        assert subject.session.ledger.spent.calls == 2 * len(subject.search)
        example, outcome = subject.search[0], outcomes[0]
        write, sort = subject.steps(example, outcome)
    assert (write.part, write.inputs) == ("write", dict(example.inputs))
    assert sort.part == "sort.predict"
    assert sort.inputs == {**example.inputs, "note": write.outputs["note"]}
    assert sort.outputs == {"reasoning": "by its last digit", "topic": example.outputs["topic"]}
    assert outcome.outputs["prediction"] == {"topic": example.outputs["topic"], "note": write.outputs["note"]}
    assert outcome.cost.tokens_in > 0


def test_what_was_answered_is_never_asked_again(tmp_path: Path):
    """A second session finds outcomes in the store, and calls behind outcomes that were lost."""
    scripted = world.engine()
    with world.subject(world.Desk(), scripted, tmp_path) as subject:
        first = subject.run(subject.baseline, subject.search)
    served = scripted.served
    with world.subject(world.Desk(), scripted, tmp_path) as subject:
        assert subject.run(subject.baseline, subject.search) == first
        assert subject.run(Candidate({}, "another", subject.baseline.program), subject.search)[0].score == 1
    assert scripted.served == served


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
            assert mean(outcomes) == 1
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


def test_every_lm_of_a_module_is_metered(tmp_path: Path):
    """Two predictors with LMs of their own, one of them foreign to us, and one without."""
    first, second = world.engine(name="first"), world.engine(name="second")

    class Own(dspy.LM):  # not ours: DSPy's own class over some engine
        pass

    class Face:
        supports_response_schema = True

        def complete(self, request):
            return second.complete(request)

    student = world.Listed()
    student.steps[1].lm = Own("foreign/second", engine=Face(), cache=False, temperature=0.25)
    asked = []
    second._answer = lambda request, inner=second._answer: asked.append(request) or inner(request)
    with world.subject(student, first, tmp_path) as subject:
        outcomes = subject.run(subject.baseline, subject.search)
        assert mean(outcomes) == 1
        assert subject.session.ledger.spent.calls == 2 * len(subject.search)
        assert first.served == second.served == len(subject.search)
        assert subject.declared.models == [first.model, "foreign/second@live"]
        assert subject.finished({}).steps[1].lm is student.steps[1].lm
    assert asked[0].config.temperature == 0.25


def test_dspy_dummies_and_old_style_lms_are_wrapped(tmp_path: Path):
    """An LM that gives no usage is counted by an estimate."""
    from dspy.utils.dummies import DummyLM

    dummy = DummyLM([{"answer": "yes"}] * 50)
    trainset = [dspy.Example(question=f"is it {n}?", answer="yes").with_inputs("question") for n in range(20)]
    with world.subject(
        dspy.Predict("question -> answer"), dummy, tmp_path, trainset=trainset, metric=exact("answer")
    ) as subject:
        assert [part.name for part in subject.parts] == ["self"]
        assert mean(subject.run(subject.baseline, subject.search)) == 1
        assert subject.session.ledger.spent.calls == len(subject.search)


def test_an_outage_raises_after_all_else_was_recorded_and_a_resume_pays_only_for_the_rest(tmp_path: Path):
    """One row's call fails; the others are outcomes; the second session asks for what is missing."""
    broken = {"on": True}

    def fail(request):
        return EngineBusy("down") if broken["on"] and "number 7" in request.messages[-1].text else None

    scripted = world.engine(fail=fail)
    trainset, valset = world.rows(100, 4), world.rows(0, 10)
    with world.subject(world.Desk(), scripted, tmp_path, trainset=trainset, valset=valset) as subject:
        with pytest.raises(EngineBusy, match="down"):
            subject.run(subject.baseline, subject.search)
        assert subject.session.ledger.spent.calls == 18
    broken["on"], served = False, scripted.served
    with world.subject(world.Desk(), scripted, tmp_path, trainset=trainset, valset=valset) as subject:
        assert mean(subject.run(subject.baseline, subject.search)) == 1
    assert scripted.served == served + 2


def test_an_outage_that_the_program_swallows_is_no_score(tmp_path: Path):
    """A program that answers something whenever its model fails would be scored on the outage."""

    class Careless(dspy.Module):
        def __init__(self):
            super().__init__()
            self.write = dspy.Predict(world.Sort)

        def forward(self, message):
            try:
                return self.write(message=message, note="")
            except Exception:
                return dspy.Prediction(topic="odd")

    scripted = world.engine(fail=lambda request: EngineRefused("no such model"))
    with world.subject(Careless(), scripted, tmp_path) as subject:
        with pytest.raises(EngineRefused, match="no such model"):
            subject.run(subject.baseline, subject.search)
        assert subject.session.store.call_counts().get("done", 0) == 0


def test_the_budget_ends_a_run_and_keeps_what_was_paid_for(tmp_path: Path):
    """Seven calls are three rows and a half."""
    scripted = world.engine(max_concurrency=1)
    with world.subject(world.Desk(), scripted, tmp_path, budget=Budget(calls=7)) as subject:
        with pytest.raises(BudgetExceeded):
            subject.run(subject.baseline, subject.search)
        assert subject.session.ledger.spent.calls == 7
        assert mean(subject.run(subject.baseline, subject.search[:3])) == 1


def test_an_answer_that_does_not_parse_is_unparsed(tmp_path: Path):
    """One paid call, no fallback call, a reason, no score."""

    def mumble(request, known):
        return "mumble" if "number 3" in request.messages[-1].text else known

    scripted = world.engine(mumble)
    valset = world.rows(0, 8)
    with world.subject(world.Desk(), scripted, tmp_path, trainset=world.rows(50, 3), valset=valset) as subject:
        outcomes = subject.run(subject.baseline, subject.search)
        kinds = {row.inputs["message"]: each for row, each in zip(subject.search, outcomes, strict=True)}
    assert sum(each.kind == "unparsed" for each in outcomes) == 1
    bad = kinds["number 3"]
    assert (bad.kind, bad.score) == ("unparsed", 0.0)
    assert "AdapterParseError" in bad.why
    assert scripted.served == 2 * 7 + 1


class Brittle(dspy.Module):
    """Raises on some rows, by its own code."""

    def __init__(self, bad: str) -> None:
        super().__init__()
        self.bad = bad
        self.write = dspy.Predict(world.Sort)

    def forward(self, message: str) -> dspy.Prediction:
        """One call, or an error."""
        if self.bad in message:
            raise KeyError("colour")
        return self.write(message=message, note="")


def test_an_error_of_the_program_on_one_row_is_that_rows_and_on_all_rows_is_the_users(tmp_path: Path):
    """The first is an outcome with a reason; the second stops before anything is searched."""
    valset = world.rows(0, 10)
    more = {"trainset": world.rows(50, 3), "valset": valset}
    with world.subject(Brittle("number 3"), world.engine(), tmp_path / "one", **more) as subject:
        outcomes = subject.run(subject.baseline, subject.search)
        assert mean(outcomes) == 0.9
        assert [each.why for each in outcomes if each.kind == "unparsed"] == ["KeyError: 'colour'"]
    says = pytest.raises(BadConfig, match=r"same error on all 10 rows: KeyError: 'colour'")
    with world.subject(Brittle("number"), world.engine(), tmp_path / "all", **more) as subject, says:
        subject.run(subject.baseline, subject.search)


def test_a_prompt_too_long_for_its_model_is_the_candidates_fault(tmp_path: Path):
    """A candidate with too many demos scores 0 on such rows, and ends no search."""
    from dspy.lm15 import ContextLengthError

    def fail(request):
        error = EngineRefused("prompt of 9000 tokens is too long")
        error.__cause__ = ContextLengthError("too long")
        return error if "number 3" in request.messages[-1].text else None

    more = {"trainset": world.rows(50, 3), "valset": world.rows(0, 10)}
    with world.subject(world.Desk(), world.engine(fail=fail), tmp_path, **more) as subject:
        outcomes = subject.run(subject.baseline, subject.search)
    assert [each.kind for each in outcomes].count("unparsed") == 1
    assert mean(outcomes) == 0.9


def with_feedback(gold, pred, trace, pred_name, pred_trace):
    """GEPA's form, every argument required."""
    assert (trace, pred_name, pred_trace) == (None, None, None)
    return dspy.Prediction(score=0.5, feedback=f"{pred.topic} is half right")


def verdict_of_rows(expected, outputs) -> Verdict:
    """Ours."""
    return Verdict.ok() if expected["topic"] == outputs["topic"] else Verdict.fail("wrong")


class ByModule(dspy.Module):
    """A metric that is a module."""

    def forward(self, example, pred, trace=None):
        """Whether the topics agree."""
        return float(example.topic == pred.topic)


@pytest.mark.parametrize(
    ("metric", "kind", "score", "why"),
    [
        (world.right, "scored", 1.0, ""),
        (lambda example, pred: 0.25, "scored", 0.25, "gave 0.25"),
        (with_feedback, "scored", 0.5, "is half right"),
        (lambda example, pred, trace=None: None, "unverified", 0.0, "gave no score"),
        (lambda example, pred, trace=None: {"score": 1, "feedback": "good"}, "scored", 1.0, "good"),
        (exact("topic"), "scored", 1.0, ""),
        (verdict_of_rows, "scored", 1.0, ""),
        (ByModule(), "scored", 1.0, ""),
    ],
    ids=["bool", "number", "gepa", "none", "mapping", "verifier", "function", "module"],
)
def test_every_kind_of_metric_gives_outcomes(metric, kind, score, why, tmp_path: Path):
    """DSPy's, GEPA's and ours."""
    with world.subject(world.Desk(), world.engine(), tmp_path, metric=metric) as subject:
        for outcome in subject.run(subject.baseline, subject.search[:2]):
            assert (outcome.kind, outcome.score) == (kind, score)
            assert why in outcome.why


@pytest.mark.parametrize("given", [7, float("nan"), "good", -0.1])
def test_a_score_out_of_range_is_a_setting_that_cannot_work(given, tmp_path: Path):
    """A metric of 0..100 is refused with the way to mend it, never clipped."""
    says = pytest.raises(BadConfig, match=r"a metric must give a bool, a number in 0\.\.1")
    with world.subject(world.Desk(), world.engine(), tmp_path, metric=lambda example, pred: given) as subject, says:
        subject.run(subject.baseline, subject.search)


def test_a_metric_is_named_by_its_source():
    """An edited metric is another one; a partial shows its settings."""
    import functools

    assert module_metric(exact("topic")).name == exact("topic").name
    assert "world.right#" in module_metric(world.right).name
    assert module_metric(functools.partial(world.right, trace=3)).name.endswith("(trace=3)")
    made = eval("lambda example, pred: 1")  # a function without a source file
    with pytest.raises(BadConfig, match="no stable name"):
        module_metric(made)
    made.name = "always-v1"
    assert module_metric(made).name == "always-v1"


def test_rows_are_split_by_content_and_never_in_both(tmp_path: Path):
    """About two fifths may be shown; a valset takes its rows out of the trainset."""
    with world.subject(world.Desk(), world.engine(), tmp_path, trainset=world.rows(0, 50)) as subject:
        assert (len(subject.demos), len(subject.search)) == (20, 30)
        assert not {row.id for row in subject.demos} & {row.id for row in subject.search}
        first = [row.id for row in subject.demos]
    shuffled = world.rows(0, 50)[::-1]
    with world.subject(world.Desk(), world.engine(), tmp_path, trainset=shuffled) as subject:
        assert [row.id for row in subject.demos] == first
    with pytest.warns(UserWarning, match="5 trainset rows are also valset rows"):
        declared = DeclaredModule(world.Desk(), world.right, world.rows(0, 15), world.rows(10, 10), world.engine())
    assert (len(declared.rows.demos), len(declared.rows.search)) == (10, 10)


def test_rows_are_shown_where_their_labels_tell_a_parts_outputs(tmp_path: Path):
    """The note is not in the rows: only a program of one step can show them."""
    with world.subject(world.Desk(), world.engine(), tmp_path / "desk") as subject:
        assert [subject.shown(part, subject.demos[0]) for part in subject.parts] == [None, None]
    with world.subject(dspy.ChainOfThought("message -> topic"), world.engine(), tmp_path / "one") as subject:
        row = subject.demos[0]
        assert subject.shown(subject.parts[0], row) == Demo(row.id, row.inputs, row.outputs)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"trainset": []}, BadData, "trainset must hold rows"),
        ({"trainset": [dspy.Example(message="number 1", topic="odd")]}, BadData, "row 1: inputs are not set"),
        ({"trainset": [{"message": "number 1"}]}, BadData, "row 1: dict"),
        ({"trainset": world.rows(0, 10)}, BadData, "at least 8 rows"),
        ({"trainset": world.rows(0, 10), "valset": world.rows(20, 3)}, BadData, "got 3 in the valset"),
        ({"student": dspy.Module()}, BadConfig, "must have a predictor"),
        ({"student": "question -> answer"}, BadConfig, "must be a dspy.Module"),
        ({"lm": None}, BadConfig, "every predictor needs an LM, got none for write, sort.predict"),
        ({"lm": 3}, BadConfig, "an LM must be"),
        ({"metric": "exact"}, BadConfig, "metric must be callable"),
        ({"teacher": dspy.Predict("a -> b")}, BadConfig, "a teacher must have predictors of the student's names"),
        ({"settings": Settings(formats=["bare"])}, BadConfig, "formats of a module"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(change, error, says):
    """Rows, student, LM, metric, teacher and formats."""
    scripted = world.engine()
    given = {"student": world.Desk(), "metric": world.right, "trainset": world.rows(), "lm": scripted, **change}
    with pytest.raises(error, match=says):
        DeclaredModule(**given)
    assert scripted.served == 0


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
        assert mean(subject.run(candidate, subject.search)) >= 0.9


def test_code_is_the_users_own(tmp_path: Path):
    """Proposals are grounded in the user's classes, not in DSPy's."""
    with world.subject(world.Desk(), world.engine(), tmp_path / "desk") as subject:
        assert subject.code.startswith("class Desk(dspy.Module):")
        assert "class ChainOfThought" not in subject.code
    with world.subject(world.agent(), world.engine(), tmp_path / "agent") as subject:
        assert subject.code == ""
