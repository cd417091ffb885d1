"""Modules with rows and a metric: any kind of metric, rows split by content, and what is refused before a call."""

from __future__ import annotations

from pathlib import Path

import dspy
import module_world as world
import pytest

from stillroom.errors import BadConfig, BadData
from stillroom.evals import Verdict, exact
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.teleprompt.declared import DeclaredModule
from stillroom.optimizers.teleprompt.metrics import module_metric


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
