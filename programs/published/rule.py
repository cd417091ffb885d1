"""A rule as a gate: a plain function of a row's fields that says why not; what a step has said already; what all are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate
from stillroom.programs.flow import At, Do
from stillroom.rows import By, Status

__all__ = ["Rule", "always", "told"]


@dataclass(frozen=True)
class Rule:
    """Reject rows of which `why` has something to say.

    Attributes:
        name: As funnels and passports name it; it states every setting.
        why: The reason against a row's fields, or "".
        by: Who decides: "form" for a look at the text alone, "verifier" for a program that knows what is right,
            "judge" where the row's fields hold what a model said of it.
        on_fail: What becomes of a row that fails.
    """

    name: str
    why: Callable[[Mapping[str, Any]], str]
    by: By = "form"
    on_fail: Status = "rejected"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        why = self.why(candidate.values)
        return Verdict.fail(why) if why else Verdict.ok()

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


def told(name: str, field: str, by: By = "form", on_fail: Status = "rejected") -> At:
    """A gate that stops rows of which a step has said why not, in a field of its own; "" lets pass."""
    return At(Rule(name, lambda row: row[field], by, on_fail), (field,))


def always(name: str, fields: Mapping[str, Any]) -> Do:
    """A step that gives every row the same fields: what a call is told beside the row."""
    return Do(name, lambda row: fields, reads=(), adds=tuple(fields))
