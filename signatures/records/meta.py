"""What every record carries: the papers of the rows it was made from, whole, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from pydantic import ConfigDict

from stillroom.errors import BadConfig
from stillroom.involvement import involvement
from stillroom.licences import licence, strictest
from stillroom.rows import EmittedRow

__all__ = ["Meta", "meta_of"]


@dataclass(frozen=True)
class Meta:
    """The papers of one record. All of it are plain JSON values.

    Attributes:
        id: Content hash of the record's fields, this one left out; "" until the record is made.
        rows: Of each emitted row it was made from: everything but its values, with the passport as it is.
        models: Who wrote them, as `provider/name@digest`; the digest is that of the model's file where there is one.
        licence: The strictest of the rows' licences.
        calls: Model calls spent on the rows.
        tokens: Tokens of those calls.
        level: Human involvement, 1 (all) to 6 (none): that of the least human row.
        seed: Of the run; None where nobody said.
        round: Which round of an iterated recipe the rows come from, from 0.
        made: How this record was made of another one, or of several rows; "" for a row as it was emitted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # read back, nothing is dropped unseen
    id: str
    rows: tuple[dict[str, Any], ...]
    models: tuple[str, ...]
    licence: str
    calls: int
    tokens: int
    level: int
    seed: int | None = None
    round: int = 0
    made: str = ""

    def as_json(self) -> dict[str, Any]:
        """As a plain JSON value."""
        return {**vars(self), "rows": list(self.rows), "models": list(self.models)}


def meta_of(rows: Sequence[EmittedRow], *, seed: int | None = None, round: int = 0, made: str = "") -> Meta:
    """The papers of a record that is made of `rows`.

    Raises:
        BadConfig: If there are no rows, or the round is negative.
    """
    if not rows:
        raise BadConfig("a record is made of emitted rows, got none")
    if round < 0:
        raise BadConfig(f"a round is counted from 0, got {round}")
    papers = [row.passport for row in rows]
    return Meta(
        id="",
        rows=tuple(_papers(row) for row in rows),
        models=tuple(dict.fromkeys(each.model for each in papers)),
        licence=_strictest(frozenset(each.licence or "unknown" for each in papers)),
        calls=sum(each.calls for each in papers),
        tokens=sum(each.tokens for each in papers),
        level=involvement(papers).level,
        seed=seed,
        round=round,
        made=made,
    )


@lru_cache(256)
def _strictest(names: frozenset[str]) -> str:
    """Rows of one run share a few licences, which take longer to join than all else that is done to a record."""
    return strictest(map(licence, sorted(names))).name


def _papers(row: EmittedRow) -> dict[str, Any]:
    """Everything of a row but its values, with lists for tuples, as JSON gives it back."""
    whole = row.as_json()
    del whole["values"]
    passport = whole["passport"]
    whole["passport"] = {**passport, "parents": list(passport["parents"]), "verdicts": list(passport["verdicts"])}
    return whole
