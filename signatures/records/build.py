"""From emitted rows to records: which field of a row is which field of a schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from stillroom.errors import BadConfig
from stillroom.rows import EmittedRow

from .meta import meta_of
from .schemas import Record

__all__ = ["Columns", "build", "build_all", "check_columns", "taken"]

Columns: TypeAlias = Mapping[str, Sequence[str]]
"""For fields of a schema, the fields of the row they are made of; a field that is not named has its own name."""

_TEXTS = ("prompt", "completion", "chosen", "rejected", "response", "text", "instruction", "solution", "feedback")
"""Fields that hold words: a value that is not a text is spelled as JSON."""


def check_columns(schema: type[Record], columns: Columns) -> None:
    """See that columns are given for fields that the schema has. Raises BadConfig if not."""
    unknown = sorted(set(columns) - set(schema.names()))
    if unknown:
        raise BadConfig(f"fields of {schema.schema_id!r} are {', '.join(schema.names())}, got {', '.join(unknown)}")


def build(
    schema: type[Record], row: EmittedRow, columns: Columns | None = None, *, seed: int | None = None, round: int = 0
) -> Record:
    """Make a record of one row.

    Args:
        schema: Which one.
        row: As it was emitted.
        columns: Fields that are called otherwise in the row. Several become one text, a line each.
        seed: Of the run.
        round: Of an iterated recipe.

    Raises:
        BadConfig: If a column names no field of the schema, or a field is made of several that are no texts.
        BadData: If the row breaks a rule of the schema.
    """
    columns = columns or {}
    check_columns(schema, columns)
    fields = {name: taken(row, name, columns) for name in schema.names()}
    return schema.make(fields, meta_of([row], seed=seed, round=round), of=told(row))


def build_all(
    schema: type[Record],
    rows: Iterable[EmittedRow],
    columns: Columns | None = None,
    *,
    seed: int | None = None,
    round: int = 0,
) -> Iterator[Record]:
    """Make a record of each row, one at a time. Raises as `build` does."""
    return (build(schema, row, columns, seed=seed, round=round) for row in rows)


def taken(row: EmittedRow, name: str, columns: Columns) -> Any:
    """What a row has for the field `name`; None where it has nothing."""
    sources = columns.get(name, (name,))
    values = [row.values.get(source) for source in sources]
    missing = [source for source, value in zip(sources, values, strict=True) if value is None]
    if missing and name in columns:
        raise BadConfig(
            f"{told(row)} must have the fields that {name!r} is made of, got none called {', '.join(missing)}",
            mend=f"The row has {', '.join(row.values)}.",
        )
    if len(values) > 1:
        return "\n".join(map(_spelled, values))
    value = values[0]
    return _spelled(value) if name in _TEXTS and isinstance(value, (bool, int, float, dict)) else value


def told(row: EmittedRow) -> str:
    """What an error calls a row."""
    return f"row {row.id} at {row.place}"


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
