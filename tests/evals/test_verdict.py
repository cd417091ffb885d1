"""Verdicts have three states, and combine without losing the third."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier, mean, named

scores = some.one_of(some.none(), some.sampled_from([0.0, 0.25, 0.5, 1.0]))


def says(score: float | None, name: str = "x") -> Verifier:
    return Verifier(name, lambda expected, outputs: Verdict(score, "" if score == 1.0 else f"{name} says {score}"))


def ask(verifier: Verifier) -> float | None:
    return verifier({}, {}).score


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_score_outside_0_to_1_is_refused(score):
    """A score that is no share of full credit cannot be made."""
    with pytest.raises(BadConfig, match=r"0\.\.1"):
        Verdict(score)


def test_only_full_credit_passes():
    """Half right is not right, and unverified is neither passed nor failed."""
    assert Verdict.ok().passed
    assert not Verdict(0.99).passed
    assert Verdict(0.99).reaches(0.5)
    assert not Verdict.unverified("no gold").passed
    assert not Verdict.unverified("no gold").reaches(0.0)
    assert not Verdict.unverified("no gold").verified
    assert Verdict.fail("wrong").verified


@pytest.mark.parametrize(
    ("left", "right", "both", "either"),
    [
        (1.0, 1.0, 1.0, 1.0),
        (1.0, 0.0, 0.0, 1.0),
        (0.5, 0.25, 0.25, 0.5),
        (None, 0.0, 0.0, None),
        (None, 1.0, None, 1.0),
        (None, 0.5, None, None),
        (None, None, None, None),
    ],
)
def test_combining_keeps_the_third_state(left, right, both, either):
    """Unverified spreads only where it could change the outcome."""
    assert ask(says(left) & says(right)) == both
    assert ask(says(left) | says(right)) == either


@given(scores, scores)
def test_de_morgan_holds(left, right):
    """Not (a and b) is (not a) or (not b), for partial credit and unverified too."""
    a, b = says(left, "a"), says(right, "b")
    assert ask(~(a & b)) == ask(~a | ~b)
    assert ask(~(a | b)) == ask(~a & ~b)
    assert ask(a & b) == ask(b & a)
    assert ask(~~a) == ask(a)


@given(some.lists(scores, min_size=1, max_size=4))
def test_less_than_full_credit_always_has_a_reason(parts):
    """Whatever is combined, what is lost is explained."""
    verifiers = [says(score, f"v{i}") for i, score in enumerate(parts)]
    for combined in (mean(*verifiers), ~verifiers[0], verifiers[0] & verifiers[-1], verifiers[0] | verifiers[-1]):
        found = combined({}, {})
        assert (found.score == 1.0) == (found.why == "")


def test_mean_weighs_and_all_right_is_exactly_one():
    """Weights are shares, and rounding never costs a full score."""
    assert ask(mean(says(1.0), says(0.0), weights=(3, 1))) == 0.75
    assert ask(mean(*[says(1.0)] * 10, weights=(0.1,) * 10)) == 1.0
    assert ask(mean(says(1.0), says(None))) is None


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0), (1.0, float("nan")), (0.0, 1.0)])
def test_mean_refuses_bad_weights(weights):
    """One positive weight each."""
    with pytest.raises(BadConfig, match="weight"):
        mean(says(1.0), says(0.0), weights=weights)
    with pytest.raises(BadConfig, match="none"):
        mean()


def test_names_state_the_whole_combination():
    """The name of a combination tells it from any other."""
    a, b, c = says(1.0, "a"), says(1.0, "b"), says(1.0, "c")
    assert (a & ~b | c).name == "((a & not(b)) | c)"
    assert mean(a, b).name == "mean(a, b)"
    assert mean(a, b, weights=(2, 1)).name == "mean(2*a, 1*b)"


def half(expected, outputs):
    return 0.5


def test_named_takes_any_function():
    """Bools, numbers, None and verdicts become verdicts; the name follows the source."""
    verifier = named(half)
    assert verifier({}, {}) == Verdict(0.5, f"{verifier.name} gave 0.5")
    assert verifier.name == named(half).name
    assert "half#" in verifier.name
    assert named(lambda expected, outputs: True, "yes")({}, {}) == Verdict.ok()
    assert named(lambda expected, outputs: None, "none")({}, {}).score is None
    assert named(verifier) is verifier


def test_a_metric_without_source_needs_a_name():
    """A name that could not be told apart after an edit is refused."""
    metric = eval("lambda expected, outputs: True")
    with pytest.raises(BadConfig, match="no stable name"):
        named(metric)
    metric.name = "always-v1"
    assert named(metric).name == "always-v1"


class Within:
    """A metric with a setting."""

    def __call__(self, expected, outputs):
        return 1.0


def test_partials_and_objects_have_names_too():
    """A partial shows its arguments; an object is named by its class."""
    assert named(functools.partial(half, outputs={"a": 1})).name == f"{named(half).name}(outputs={{'a': 1}})"
    assert "Within#" in named(Within()).name
