"""Calls of modules: every LM on one bill, no outage scored, nothing paid for twice, each fault where it belongs."""

from __future__ import annotations

from pathlib import Path

import dspy
import module_world as world
import pytest

from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, EngineRefused
from stillroom.evals import exact
from stillroom.ledger import Budget
from stillroom.optimizers.subject import Candidate
from stillroom.programs import mean_score


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
        assert mean_score(outcomes) == 1
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
        assert mean_score(subject.run(subject.baseline, subject.search)) == 1
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
        assert mean_score(subject.run(subject.baseline, subject.search)) == 1
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
        assert mean_score(subject.run(subject.baseline, subject.search[:3])) == 1


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
        assert mean_score(outcomes) == 0.9
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
    assert mean_score(outcomes) == 0.9
