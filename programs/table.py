"""Write rows as a Parquet table, a few at a time, whatever their values are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from stillroom.values import atomic, canonical

__all__ = ["write_table"]

CHUNK = 4096
INT64 = 2**63

Row = Mapping[str, Any]


def write_table(path: Path, read: Callable[[], Iterable[Row]]) -> None:
    """Write rows to the Parquet file `path`, atomically; a column for each field of any row.

    They are read once where the first few thousand have all columns in their types, else twice: to
    learn them, then to write. Whole numbers and fractions in one column become fractions; a column
    whose values have no type in common (text here, a number there) holds each value as JSON text.

    Args:
        path: The file.
        read: Gives the rows from the start, the same ones each time.
    """
    types: dict[str, Any] = {}
    with atomic(path) as file:
        if not _written(file, read(), types):
            file.seek(0)
            file.truncate()
            _written(file, read(), types)


def _written(file: BinaryIO, rows: Iterable[Row], types: dict[str, Any]) -> bool:
    """Write rows in the `types` of their columns, and learn those; whether all rows went by the first ones."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    writer = None
    fits = True
    for chunk in _chunks(rows):
        known = dict(types)
        plain = _learn(types, chunk)
        fits = fits and (writer is None or types == known)
        if fits:
            schema = _schema(types)
            writer = writer or ParquetWriter(file, schema)
            writer.write_table(_from_json(chunk, schema) if plain else _from_values(chunk, types, schema))
    if writer is None:
        writer = ParquetWriter(file, pyarrow.schema([]))
    writer.close()
    return fits


def _learn(types: dict[str, Any], rows: Sequence[Row]) -> bool:
    """Join the types of these rows into `types`, None for a column that has none; whether all values are plain here."""
    import pyarrow

    plain = True
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        here = _plain(values)
        plain = plain and here is not None
        known = types.get(name, pyarrow.null())
        types[name] = None if known is None else _joined(known, here, values)
    return plain and all(kind is not None for kind in types.values())


def _schema(types: Mapping[str, Any]) -> Any:
    import pyarrow

    return pyarrow.schema([(name, pyarrow.string() if kind is None else kind) for name, kind in types.items()])


def _plain(values: Sequence[Any]) -> Any:
    """The type of texts, of truth values, of whole numbers or of fractions; None for all else."""
    import pyarrow

    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pyarrow.null()
    if kinds == {str}:
        return pyarrow.string()
    if kinds == {bool}:
        return pyarrow.bool_()
    given = [each for each in values if each is not None]
    if kinds == {int} and min(given) >= -INT64 and max(given) < INT64:
        return pyarrow.int64()
    return pyarrow.float64() if kinds == {float} and all(map(math.isfinite, given)) else None


def _from_json(rows: Sequence[Row], schema: Any) -> Any:
    """A table of plain values. As JSON, since what makes it of Python's values loads pandas first, however few they are."""
    import pyarrow
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    text = b"\n".join(map(orjson.dumps, rows))
    whole = ReadOptions(use_threads=False, block_size=len(text) + 1)
    return read_json(pyarrow.BufferReader(text), whole, ParseOptions(explicit_schema=schema))


def _from_values(rows: Sequence[Row], types: Mapping[str, Any], schema: Any) -> Any:
    import pyarrow

    mixed = [name for name, kind in types.items() if kind is None]
    plain = [{**row, **{name: canonical(row[name]) for name in mixed if name in row}} for row in rows]
    return pyarrow.Table.from_pylist(plain, schema=schema)


def _joined(known: Any, here: Any, values: list[Any]) -> Any:
    """The type that holds what `known` holds and `values` too, which are of the type `here` if that is known; None if there is none."""
    import pyarrow

    if here == known:
        return known
    try:
        here = pyarrow.array(values).type if here is None else here
        sides = [pyarrow.schema([("x", kind)]) for kind in (known, here)]
        return pyarrow.unify_schemas(sides, promote_options="permissive").field("x").type
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError, OverflowError):
        return None


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
