"""Write rows as a Parquet table, a few at a time, whatever their values are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from stillroom.values import atomic, canonical

__all__ = ["write_table"]

CHUNK = 4096

Row = Mapping[str, Any]


def write_table(path: Path, read: Callable[[], Iterable[Row]]) -> None:
    """Write rows to the Parquet file `path`, atomically; a column for each field of any row.

    They are read twice: to learn the types of the columns, then to write. Whole numbers and
    fractions in one column become fractions; a column whose values have no type in common
    (text here, a number there) holds each value as JSON text.

    Args:
        path: The file.
        read: Gives the rows from the start, the same ones each time.
    """
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    types: dict[str, Any] = {}
    for rows in _chunks(read()):
        for name in dict.fromkeys(name for row in rows for name in row):
            known = types.get(name, pyarrow.null())
            types[name] = None if known is None else _joined(known, [row.get(name) for row in rows])
    schema = pyarrow.schema([(name, pyarrow.string() if kind is None else kind) for name, kind in types.items()])
    mixed = [name for name, kind in types.items() if kind is None]
    with atomic(path) as file, ParquetWriter(file, schema) as writer:
        for rows in _chunks(read()):
            plain = [{**row, **{name: canonical(row[name]) for name in mixed if name in row}} for row in rows]
            writer.write_table(pyarrow.Table.from_pylist(plain, schema=schema))


def _joined(known: Any, values: list[Any]) -> Any:
    """The type that holds what `known` holds and `values` too; None if there is none."""
    import pyarrow

    try:
        here = pyarrow.array(values).type
        sides = [pyarrow.schema([("x", kind)]) for kind in (known, here)]
        return pyarrow.unify_schemas(sides, promote_options="permissive").field("x").type
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, OverflowError):
        return None


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
