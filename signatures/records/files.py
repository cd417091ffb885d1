"""Records as files, written and read a few at a time: JSONL, Parquet, a Hugging Face dataset folder.

`meta` is JSON text in tables: datasets' own `Json` columns round numbers when they are read.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, BadData
from stillroom.signatures import read_rows
from stillroom.values import atomic, canonical

from .schemas import Record, schema

__all__ = ["features", "read_records", "write_folder", "write_jsonl", "write_parquet"]

CHUNK = 1000


def write_jsonl(records: Iterable[Record], path: Path) -> int:
    """Write a JSON object a line to `path`, atomically; give how many."""
    count = 0
    with atomic(path) as file:
        for record in records:
            file.write(f"{canonical(record.as_json())}\n".encode())
            count += 1
    return count


def write_parquet(records: Iterable[Record], name: str, path: Path) -> int:
    """Write records of the schema called `name` to the Parquet file `path`, atomically; give how many.

    `datasets.load_dataset("parquet", ...)` finds the columns' types in it.
    """
    with _arrow(records, name, path.parent) as dataset, atomic(path) as file:
        dataset.to_parquet(file, batch_size=CHUNK)
        return len(dataset)


def write_folder(records: Iterable[Record], name: str, folder: Path) -> int:
    """Write records of the schema called `name` as a dataset folder (`datasets.load_from_disk`); give how many.

    Raises:
        BadConfig: If something is in its place; nothing is written over.
    """
    if folder.exists():
        raise BadConfig(f"a dataset folder must be new, got {str(folder)!r}", mend="Name another, or remove it.")
    with _arrow(records, name, folder.parent) as dataset:
        made = Path(dataset.cache_files[0]["filename"]).with_name("made")
        dataset.save_to_disk(str(made))
        os.replace(made, folder)
        return len(dataset)


def read_records(path: Path, name: str) -> Iterator[Record]:
    """Read records of the schema called `name` from a file or folder written here, one at a time.

    Raises:
        BadConfig: If there is no such schema, or no such file.
        BadData: If something there is no such record, or has lost its papers.
    """
    kind = schema(name)
    # Parquet has JSON as text; of a folder, datasets would decode it and round its numbers
    rows = enumerate(_stored(path), 1) if path.is_dir() else read_rows(path)
    return (kind.from_json(_back(row), of=f"row {number} of {path.name}") for number, row in rows)


def features(name: str) -> Any:
    """The columns of a schema's tables, as `datasets.Features`."""
    import datasets

    text, number = datasets.Value("string"), datasets.Value("float64")
    turns = datasets.List({"role": text, "content": text})
    columns: dict[str, dict[str, Any]] = {
        "sft": {"prompt": turns, "completion": turns},
        "chat": {"messages": turns},
        "pref": {
            "prompt": turns, "chosen": turns, "rejected": turns,
            "p_chosen": number, "score_chosen": number, "score_rejected": number,
        },
        "rank": {"prompt": turns, "responses": datasets.List({"completion": turns, "model": text, "score": number})},
        "unpaired": {"prompt": turns, "completion": turns, "label": datasets.Value("bool")},
        "steps": {"prompt": text, "completions": datasets.List(text), "labels": datasets.List(datasets.Value("bool"))},
        "critique": {
            "instruction": text, "response": text, "rubric": text, "feedback": text,
            "score": datasets.Value("int64"), "reference": text, "revision": text,
        },
        "attr": {"prompt": turns, "response": turns, "attributes": datasets.Json()},
        "tool": {
            "messages": datasets.List(
                {"role": text, "content": text, "tool_calls": datasets.Json(), "name": text, "tool_call_id": text}
            ),
            "tools": datasets.List(datasets.Json()),
        },
        "text": {"text": text},
        "label": {"text": text, "label": text, "probs": datasets.List(number)},
        "verifiable": {"prompt": turns, "solution": text, "tests": datasets.List(text)},
        "audit": {"values": datasets.Json(), "status": text, "gate": text, "why": text},
    }  # fmt: skip
    return datasets.Features({**columns[schema(name).schema_id], "meta": text})


@contextmanager
def _arrow(records: Iterable[Record], name: str, near: Path) -> Iterator[Any]:
    """The records as a dataset over a file beside the goal, which is gone afterwards; nothing is held in memory."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    columns = features(name)
    near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=near, prefix=".records.") as folder, _quiet(datasets):
        path = str(Path(folder) / "records.arrow")
        with ArrowWriter(path=path, features=columns, writer_batch_size=CHUNK) as writer:
            for record in records:
                if record.schema_id != name:
                    raise BadData(f"a table holds records of one schema, {name!r}, got one of {record.schema_id!r}")
                writer.write(_row(record, columns))
            writer.finalize()
        yield datasets.Dataset.from_file(path)


@contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Keep the bars of datasets off the terminal."""
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _row(record: Record, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The record with every column filled, JSON as text."""
    whole = {**record.fields(), "meta": canonical(record.meta.as_json())}
    return {column: _stored_as(whole.get(column), kind) for column, kind in columns.items()}


def _stored_as(value: Any, kind: Any) -> Any:
    """A value as its column has it: JSON spelled by us, because datasets rounds numbers; absent keys None."""
    name = type(kind).__name__
    if value is None:
        return None
    if name == "Json":
        return canonical(value)
    if name == "List":
        return [_stored_as(each, kind.feature) for each in value]
    if isinstance(kind, dict):
        return {key: _stored_as(value.get(key), each) for key, each in kind.items()}
    return value


def _stored(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of a dataset folder as they are stored."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise BadData(f"{folder.name} must be a dataset folder, got one that does not load ({error})") from error
    for table in loaded.with_format("arrow").iter(CHUNK):
        yield from table.to_pylist()


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_JSON: dict[str, Callable[[Any], Any]] = {
    "meta": _read,
    "attributes": _read,
    "values": _read,
    "tools": lambda value: [_read(each) for each in value],
    "messages": lambda value: [
        {**each, "tool_calls": _read(each["tool_calls"])} if each.get("tool_calls") else each for each in value
    ],
}
"""How to read each column that tables keep as JSON text; JSONL has them as they are."""


def _back(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _JSON[name](value) if name in _JSON and value is not None else value for name, value in row.items()}
