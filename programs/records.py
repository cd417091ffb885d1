"""Hand emitted rows over as records of one schema, if their licences allow it, with a card of what was handed over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias, get_args

from stillroom.errors import BadConfig, BadData
from stillroom.involvement import involvement
from stillroom.release import Override, Purpose, blocks, ledger, refuse
from stillroom.rows import EmittedRow
from stillroom.signatures.records import (
    TRAINERS,
    Columns,
    Record,
    as_trl,
    audits,
    build_all,
    check_rank,
    preferences,
    schema,
    trl_schema,
    unpaired,
    write_folder,
    write_jsonl,
    write_parquet,
)
from stillroom.values import pretty, write_atomic

__all__ = ["FORMS", "Cap", "Form", "HandOver", "Handed", "hand_over", "made_of"]

Form: TypeAlias = Literal["trl", "hf", "parquet", "jsonl"]
FORMS: tuple[Form, ...] = get_args(Form)
Rows: TypeAlias = Callable[[], Iterable[EmittedRow]]
"""Gives the rows from the start, the same ones each time."""


@dataclass(frozen=True)
class Cap:
    """Accepted rows whose `field` is `value` are at most a share `most` (0..1) of all, or none are handed over."""

    field: str
    value: Any
    most: float

    def check(self, rows: Iterable[EmittedRow]) -> None:
        """Raises `BadData` if they are more."""
        every = such = 0
        for row in rows:
            every, such = every + 1, such + (row.values.get(self.field) == self.value)
        if such > Fraction(str(self.most)) * every:  # as it is written: 0.15 of 20 is 3
            raise BadData(
                f"at most {self.most:g} of the rows may have {self.field} {self.value!r} to be exported, "
                f"got {such} of {every}",
                mend="Make rows of other kinds too, or declare another share in a new run (--reuse takes over what was paid).",
            )


@dataclass(frozen=True)
class HandOver:
    """What is made of emitted rows.

    Attributes:
        schema: Id of the record schema.
        to: A table as TRL's trainers take it (`trl`), the records as a dataset folder (`hf`), Parquet or JSONL.
        columns: What fields of the schema are called in the rows.
        field: The field of the rows that holds the record's fields, as one mapping or a list of them: a record for
            each. Then there are no columns.
        rejects: Whether records are made of rejects too: pairs of accepted and rejected answers for `pref`,
            wanted and unwanted ones for `unpaired`. `audit` takes them always.
        per_prompt: Most pairs of one prompt; None for all.
        rank: Pairs made of a ranking for TRL: `all`, or `best-vs-random`.
        seed: Of the run; also of what is drawn here.
        round: Of an iterated recipe.
        caps: Shares that must hold among the accepted rows, unless they are for people to look at.

    Raises:
        BadConfig: If something does not go together.
    """

    schema: str
    to: Form = "trl"
    columns: Columns = field(default_factory=dict)
    rejects: bool = False
    per_prompt: int | None = 1
    rank: str = "all"
    seed: int | None = None
    round: int = 0
    field: str = ""
    caps: Sequence[Cap] = ()

    def __post_init__(self) -> None:
        schema(self.schema)
        if self.field and self.columns:
            raise BadConfig(
                f"records are made of columns or of one field that holds them, got {self.field!r} and columns"
            )
        check_rank(self.rank)
        if self.to not in FORMS:
            raise BadConfig(f"records are handed over as one of {', '.join(FORMS)}, got {self.to!r}")
        if self.to == "trl":
            trl_schema(self.schema)
        if self.rejects and self.schema not in ("pref", "unpaired", "audit"):
            raise BadConfig(f"rejects make records of pref, unpaired and audit, got {self.schema!r}")
        if self.per_prompt is not None and self.per_prompt < 1:
            raise BadConfig(f"pairs per prompt must be at least 1, got {self.per_prompt}")
        if self.round < 0:
            raise BadConfig(f"a round is counted from 0, got {self.round}")

    @property
    def name(self) -> str:
        """Of the file or folder that is made."""
        return {"trl": f"{self.schema}-trl", "hf": self.schema}.get(self.to, f"{self.schema}.{self.to}")

    @property
    def takes_rejects(self) -> bool:
        """Whether rejects are among its rows."""
        return self.rejects or self.schema == "audit"


@dataclass(frozen=True)
class Handed:
    """What was handed over: where it lies, how many records, and the card beside it."""

    path: Path
    records: int
    card: dict[str, Any]


def hand_over(
    rows: Rows,
    rejects: Rows,
    wish: HandOver,
    folder: Path,
    *,
    purpose: Purpose | None = None,
    overrides: Sequence[Override] = (),
) -> Handed:
    """Write records of emitted rows to `folder`, a few at a time, and a card of where they come from.

    Args:
        rows: Accepted rows.
        rejects: All others; read where the wish takes them.
        wish: What to make of them.
        folder: Where.
        purpose: What they are for: to train a model of no known family by default, to be looked at for `audit`.
        overrides: Who answers for licences that would forbid it; on the card.

    Raises:
        LicenceForbids: If a licence of a row that is used does not allow it. Nothing is written then.
        BadConfig: If a dataset folder of that name is there, or rows lack a field.
        BadData: If a row breaks a rule of the schema, rows of one kind are too many, or no record can be made. Nothing
            is written then.
    """
    for cap in wish.caps if wish.schema != "audit" else ():
        cap.check(rows())
    purpose = purpose or Purpose(train=wish.schema != "audit")
    used: Rows = (lambda: chain(rows(), rejects())) if wish.takes_rejects else rows
    entries = ledger(used())
    refuse(blocks({each.licence: () for each in entries}, purpose, overrides=overrides), "records may be exported")
    records = made_of(rows, rejects, wish)
    if wish.to == "trl":
        records = as_trl(records, rank=wish.rank, rng=Random(wish.seed or 0))
    first = next(records, None)
    if first is None:
        raise BadData(
            f"an export must hold records, got none of schema {wish.schema!r}",
            mend="Was anything emitted? Pairs need a prompt with an accepted and a rejected answer."
            if wish.takes_rejects
            else "Was anything emitted?",
        )
    path = folder / wish.name
    count = _write(chain([first], records), wish, path)
    card = {
        **asdict(wish),
        "columns": {name: list(each) for name, each in wish.columns.items()},
        "records": count,
        "trainers": list(TRAINERS[trl_schema(wish.schema)]) if wish.to == "trl" else [],
        "licences": [{name: getattr(each, name) for name in ("model", "licence", "terms", "rows")} for each in entries],
        "people": asdict(involvement(used())),
        "purpose": asdict(purpose),
        "overrides": [asdict(each) for each in overrides],
    }
    write_atomic(folder / f"{wish.name}.card.json", pretty(card))
    return Handed(path, count, card)


def made_of(rows: Rows, rejects: Rows, wish: HandOver) -> Iterator[Record]:
    """The records of some rows, one at a time, before they are turned into what a trainer takes. Raises as `hand_over` does."""
    said: dict[str, Any] = {"seed": wish.seed, "round": wish.round}
    if wish.schema == "audit":
        return audits(chain(rows(), rejects()), **said)
    if wish.rejects and wish.schema == "pref":
        return preferences(rows(), rejects(), wish.columns, per_prompt=wish.per_prompt, **said)
    if wish.rejects:
        return unpaired(rows(), rejects(), wish.columns, **said)
    if wish.field:
        return build_all(schema(wish.schema), _held(rows(), wish.field), **said)
    return build_all(schema(wish.schema), rows(), wish.columns, **said)


def _held(rows: Iterable[EmittedRow], name: str) -> Iterator[EmittedRow]:
    """A row for each record that a field of the rows holds, with the papers of the row it stands in."""
    for row in rows:
        held = row.values.get(name) or []
        for fields in [held] if isinstance(held, Mapping) else held:
            yield replace(row, values=fields)


def _write(records: Iterable[Record], wish: HandOver, path: Path) -> int:
    if wish.to == "jsonl":
        return write_jsonl(records, path)
    if wish.to == "parquet":
        return write_parquet(records, wish.schema, path)
    return write_folder(records, trl_schema(wish.schema) if wish.to == "trl" else wish.schema, path)
