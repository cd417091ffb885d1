"""The laws of every verifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stillroom.evals.verdict import Verdict, Verifier

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]


class VerifierContract:
    """Subclass with `verifier`, `right` and `wrong` fixtures, the latter two as (expected, outputs)."""

    @pytest.fixture
    def unanswered(self, right: Pair) -> Pair:
        """The row of `right` with no outputs at all."""
        return right[0], {}

    def test_right_is_full_credit_without_reasons(self, verifier: Verifier, right: Pair) -> None:
        """A right answer scores 1.0 and there is nothing to explain."""
        assert verifier(*right) == Verdict.ok()

    def test_separates_right_from_wrong(self, verifier: Verifier, right: Pair, wrong: Pair) -> None:
        """A wrong answer scores lower, and does not pass."""
        good, bad = verifier(*right).score, verifier(*wrong).score
        assert good is not None
        assert bad is not None
        assert good > bad
        assert not verifier(*wrong).passed

    def test_failure_says_why(self, verifier: Verifier, wrong: Pair) -> None:
        """Less than full credit comes with a reason."""
        assert verifier(*wrong).why

    def test_no_answer_is_a_low_score_not_an_error(self, verifier: Verifier, unanswered: Pair) -> None:
        """A bad row never raises."""
        found = verifier(*unanswered)
        assert found.score is not None
        assert found.score < 1
        assert found.why

    def test_strange_values_never_raise(self, verifier: Verifier, right: Pair) -> None:
        """Whatever type a model's answer has, there is a verdict."""
        for value in (None, True, 3, float("nan"), float("inf"), "", "\x00", "(" * 500, [], [{}], {"a": 1}, b"x"):
            found = verifier(right[0], dict.fromkeys(right[1], value))
            assert found.score is None or 0 <= found.score <= 1

    def test_asking_twice_changes_nothing(self, verifier: Verifier, right: Pair, wrong: Pair) -> None:
        """A verifier is a pure function of the row and the outputs."""
        assert [verifier(*wrong), verifier(*right)] == [verifier(*wrong), verifier(*right)]

    def test_name_is_one_stable_line(self, verifier: Verifier) -> None:
        """The name enters fingerprints: no addresses in memory, no line breaks."""
        assert verifier.name
        assert "\n" not in verifier.name
        assert " at 0x" not in verifier.name
