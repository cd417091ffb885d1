"""What is emitted: a row, where it came from, and what every check said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .errors import BadConfig

__all__ = ["By", "EmittedRow", "Passport", "Status"]

Status = Literal["accepted", "rejected", "audit", "quarantined", "surplus"]
"""`audit` waits for a person; `quarantined` broke before it could be judged; `surplus` passed when its quota was full."""
By = Literal["form", "verifier", "judge", "person"]
"""Who decided: a look at form and copies alone, a program that knows what is right, a model, or a person."""


@dataclass(frozen=True)
class Passport:
    """The papers of one row.

    Attributes:
        recipe: Name and parameters of the recipe, as its digest.
        plan: Digest of the plan that wrote the row.
        model: `provider/name@digest` of the model that wrote it.
        licence: The strictest licence among the model's and the sources'.
        parents: Ids of the labelled rows shown as demos.
        decoding: Temperature, seed and the like.
        target: What the row was asked to be (label, attributes).
        calls: Model calls spent on this row, judge and agreement calls included.
        tokens: Prompt plus completion tokens of those calls.
        verdicts: Each gate's name (`gate`), who decided (`by`, one of `By`), whether it passed (`passed`) and
            why not (`why`); what was found in figures (`found`), and the digest of a judge's certificate
            (`certificate`), where there is one.
    """

    recipe: str
    plan: str
    model: str
    licence: str
    parents: tuple[str, ...]
    decoding: Mapping[str, Any]
    target: Mapping[str, Any]
    calls: int
    tokens: int
    verdicts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class EmittedRow:
    """One row that was written, accepted or not.

    Attributes:
        id: Content hash of the row's fields.
        place: Where in the recipe run it stands (`cell/slot/attempt`), unique in the run.
        status: `accepted`, `rejected`, or one of the others in `Status`.
        values: The fields of the task, inputs and outputs.
        gate: The gate that rejected it, or "".
        why: The gate's reason, or "".
    """

    id: str
    place: str
    status: Status
    values: Mapping[str, Any]
    passport: Passport
    gate: str = ""
    why: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row as a plain JSON value. It shares the row's values: change neither."""
        # not `asdict`: copying a small tree in depth takes longer than everything else that is done to a row
        return {**vars(self), "passport": dict(vars(self.passport))}

    def reviewed(self, passed: bool, *, who: str, why: str = "") -> EmittedRow:
        """Give the row as it stands after a person looked at it: accepted or rejected, with the person's verdict.

        Raises:
            BadConfig: If nobody is named, or a gate rejected the row: a person decides what waits for one.
        """
        if not who.strip():
            raise BadConfig(f"a review must say who looked, got {who!r}")
        if self.status not in ("accepted", "audit"):
            raise BadConfig(
                f"a person decides rows that were accepted or wait for audit, got one that {self.gate} rejected"
            )
        verdict = {"gate": "review", "by": "person", "passed": passed, "why": why, "who": who}
        passport = replace(self.passport, verdicts=(*self.passport.verdicts, verdict))
        if passed:
            return replace(self, status="accepted", passport=passport, gate="", why="")
        return replace(self, status="rejected", passport=passport, gate="review", why=why or "a person rejected it")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EmittedRow:
        """Read back what `as_json` wrote."""
        passport = dict(value["passport"])
        passport["parents"] = tuple(passport["parents"])
        passport["verdicts"] = tuple(passport["verdicts"])
        return cls(**{**value, "passport": Passport(**passport)})
