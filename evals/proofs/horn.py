"""Horn clauses, decided by the whole truth table: no chaining, no order of derivation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stillroom.evals.verifiers import entailed

from .questions import yes_or_no

__all__ = ["Horn"]

_CLAIM = re.compile(r"[a-z](?: & [a-z])* -> [a-z]|[a-z]")
_ENTAILED = entailed("claim", "premises")


class Horn:
    """Claims are letters and implications between them (`p & q -> r`)."""

    constructs = False

    def follows(self, premises: Sequence[str], claim: str) -> bool:
        """Whether `claim` is true in every row of the truth table in which all `premises` are."""
        for text in (*premises, claim):
            if not _CLAIM.fullmatch(text):
                raise ValueError(f"{text!r} is no Horn clause")
        if not premises:
            return False  # no clause of this form is a tautology unless its head is in its body, which nobody needs
        found = _ENTAILED({"premises": list(premises)}, {"claim": claim})
        if found.score is None:
            raise ValueError(found.why)
        return found.passed

    def names(self, claim: str) -> frozenset[str]:
        """The letters."""
        return frozenset(re.findall("[a-z]", claim))

    def answers(self, asked: str, premises: Sequence[str], solution: str) -> str:
        """Whether yes or no is right."""
        return yes_or_no(self.follows, asked, premises, solution)
