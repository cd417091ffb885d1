"""Read labelled rows from where people keep them: JSONL, CSV, Parquet, DataFrame, dataset folder."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, BadData

__all__ = ["LINE_LIMIT", "Cell", "read_rows"]

LINE_LIMIT = 10_000_000
"""Longest accepted line of a text file, in bytes: a longer one is a broken file, not a row."""


class Cell(str):
    """A CSV cell: text that may stand for a number, a truth value or nothing, as its field's type says."""


def read_rows(source: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give (row number from 1, values) for each row of `source`.

    Args:
        source: A path to `.jsonl`, `.csv`, `.parquet` or a dataset folder written by
            `datasets.Dataset.save_to_disk`; a folder of `.txt` and `.md` files, each a row with its `title` and `text`;
            a DataFrame; or an iterable of mappings.

    Raises:
        BadConfig: If the path does not exist or its kind is unknown.
        BadData: If the content cannot be read as rows.
    """
    if isinstance(source, (str, Path)):
        return _from_path(Path(source))
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return _numbered(source.to_dict(orient="records"))
    if isinstance(source, Iterable):
        return _numbered(source)
    raise BadConfig(f"data must be a path, a DataFrame or rows, got {type(source).__name__}")


def _from_path(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.exists():
        raise BadConfig(f"data file must exist, got {str(path)!r}")
    if path.is_dir():
        return _from_folder(path)
    readers = {".jsonl": _from_jsonl, ".ndjson": _from_jsonl, ".csv": _from_csv, ".parquet": _from_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BadConfig(f"data must be one of {', '.join(sorted(readers))} or a dataset folder, got {path.name!r}")
    if path.stat().st_size == 0:
        raise BadData(f"data file must hold rows, got the empty file {path.name!r}")
    return reader(path)


def _from_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise BadData(
                f"line {number} of {path.name} must be one JSON object, got {line[:60]!r} ({error})"
            ) from error
        if not isinstance(value, dict):
            raise BadData(f"line {number} of {path.name} must be a JSON object, got {type(value).__name__}")
        yield number, value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(LINE_LIMIT + 1):
            number += 1
            if len(raw) > LINE_LIMIT:
                raise BadData(
                    f"a line may have {LINE_LIMIT:,} bytes, got a longer one at line {number} of {path.name}",
                    mend="Is the file really one row a line?",
                )
            yield number, _decode(raw, path, number)


def _decode(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadData(
            f"text must be UTF-8, got byte 0x{raw[error.start]:02x} at line {number}, column {error.start + 1} of {path.name}",
            mend="Convert it, for example: iconv -f latin1 -t utf-8.",
        ) from error


def _from_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(LINE_LIMIT)
    reader = csv.DictReader(text for _, text in _lines(path))
    try:
        for number, row in enumerate(reader, start=1):
            if None in row or None in row.values():
                raise BadData(
                    f"row {number} of {path.name} must have {len(reader.fieldnames or ())} columns like its header, got another number"
                )
            yield number, {str(name): Cell(cell) for name, cell in row.items()}
    except csv.Error as error:
        raise BadData(f"{path.name} must be CSV, got a fault at line {reader.line_num} ({error})") from error


def _from_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    def rows() -> Iterator[dict[str, Any]]:
        try:
            with ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from batch.to_pylist()
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise BadData(
                f"{path.name} must be Parquet, got a file that does not read ({str(error).splitlines()[0]})"
            ) from error

    return _numbered(rows())


def _from_folder(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    texts = sorted(each for each in path.rglob("*") if each.suffix.lower() in (".txt", ".md") and each.is_file())
    if texts and not (path / "state.json").exists():
        return _numbered(_text(each, path) for each in texts)
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise BadData(
            f"{path.name} must be a folder saved by datasets, got one that does not load ({str(error).splitlines()[0]})"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        raise BadData(
            f"{path.name} must hold one table, got splits {sorted(loaded)}",
            mend=f"Give one of them: {path / sorted(loaded)[0]}",
        )
    return _numbered(loaded)


def _text(path: Path, folder: Path) -> dict[str, Any]:
    try:
        return {"title": path.relative_to(folder).as_posix(), "text": path.read_text(encoding="utf-8")}
    except UnicodeDecodeError as error:
        raise BadData(f"{path.name} must be text in UTF-8, got other bytes ({error.reason})") from error


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise BadData(f"row {number} must be a mapping of fields, got {type(row).__name__}")
        yield number, {str(name): _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    """Numpy scalars and not-a-number, as tables have them, in JSON terms."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
