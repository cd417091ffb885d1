"""What is emitted: a row, where it came from, and what every check said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["EmittedRow", "Passport", "Status"]

Status = Literal["accepted", "rejected", "audit"]


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
        verdicts: Each gate's name, whether it passed, and why not.
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
    """One accepted, rejected or audited row.

    Attributes:
        id: Content hash of the row's fields.
        place: Where in the recipe run it stands (`cell/slot/attempt`), unique in the run.
        status: `accepted`, `rejected`, or `audit` (a person should look).
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
        """The row as a plain JSON value."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EmittedRow:
        """Read back what `as_json` wrote."""
        passport = dict(value["passport"])
        passport["parents"] = tuple(passport["parents"])
        passport["verdicts"] = tuple(passport["verdicts"])
        return cls(**{**value, "passport": Passport(**passport)})
