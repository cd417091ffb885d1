"""What must not be trained on: the rows of a task, few-shot demos, benchmark files of the user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig
from stillroom.signatures import Task
from stillroom.signatures.data import read_rows

from .duplicates import folded, words

__all__ = [
    "Guarded",
    "guarded_demos",
    "guarded_file",
    "guarded_task",
    "known_answers",
    "says_something",
    "texts_in",
]

# fewer words are a label or a phrase that nobody owns
_LEAST_SAID = 6


@dataclass(frozen=True)
class Guarded:
    """A text that must not be trained on.

    Attributes:
        id: Its row.
        source: Where it is from, as reports name it: "bank/test", "gsm8k.jsonl:question".
        answer: What it is answered with, where known; tells siblings from copies.
    """

    id: str
    text: str
    source: str
    answer: str = ""


def guarded_task(task: Task) -> list[Guarded]:
    """Guard the rows of all splits of `task`, and its benchmarks: inputs, and outputs of six words or more.

    Outputs that are `known_answers` are left out, in the benchmarks too.

    Raises:
        BadConfig, BadData: If a benchmark cannot be read.
    """
    known = known_answers(task)
    out = []
    for split, examples in task.splits.items():
        for example in examples:
            answer = " ".join(str(value) for value in example.outputs.values())
            source = f"{task.name}/{split}"
            out.append(Guarded(example.id, example.text, source, answer))
            out += [
                Guarded(example.id, text, f"{source}:{name}")
                for name, value in example.outputs.items()
                for text in texts_in(value)
                if says_something(text) and folded(text) not in known
            ]
    for each in task.benchmarks:
        found = guarded_file(**each) if isinstance(each, Mapping) else guarded_file(each)
        out += [one for one in found if folded(one.text) not in known]
    return out


def known_answers(task: Task) -> frozenset[str]:
    """Answers that are nobody's, folded: every label, and what rows of the demos split are answered with.

    New rows are asked for by such answers: their saying them says nothing of where they come from.
    """
    labels = [label for each in task.shape.outputs for label in _enums(each.schema)]
    given = [text for example in task.demos for value in example.outputs.values() for text in texts_in(value)]
    return frozenset(map(folded, [*labels, *given]))


def guarded_demos(demos: Iterable[Mapping[str, Any]], source: str = "demos") -> list[Guarded]:
    """Guard worked examples: every text of six words or more in them."""
    return [each for at, demo in enumerate(demos) for each in _fields(demo, str(at), source, "", None)]


def guarded_file(
    path: Path | str, *, fields: Sequence[str] | None = None, answer: str | None = None, id: str = "id"
) -> list[Guarded]:
    """Guard a benchmark's file.

    Args:
        path: `.jsonl`, `.csv`, `.parquet`, a dataset folder, or `.txt` with one text a line.
        fields: Which fields to guard, whatever their length; every text of six words or more when None.
        answer: The field that holds the answer.
        id: The field that names a row; its number from 1 names rows without it.

    Raises:
        BadConfig: If there is no such file, its kind is unknown or a row lacks one of `fields`.
        BadData: If it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise BadConfig(f"a benchmark file must exist, got {str(path)!r}")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return [Guarded(str(at), line, path.name) for at, line in enumerate(lines, start=1) if line.strip()]
    out = []
    for number, row in read_rows(path):
        known = "" if answer is None or row.get(answer) is None else str(row[answer])
        out += _fields(row, str(row.get(id, number)), path.name, known, fields)
    return out


def _fields(row: Mapping[str, Any], id: str, source: str, answer: str, names: Sequence[str] | None) -> list[Guarded]:
    missing = [name for name in names or () if name not in row]
    if missing:
        raise BadConfig(f"row {id} of {source} must have the field {missing[0]!r}, got {sorted(row)}")
    return [
        Guarded(id, text, f"{source}:{name}", answer)
        for name in (row if names is None else names)
        for text in texts_in(row[name])
        if names is not None or says_something(text)
    ]


def _enums(schema: Any) -> list[str]:
    """Every text that a JSON schema lists as a value, however deep."""
    if isinstance(schema, Mapping):
        listed = [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]
        return [each for each in listed if isinstance(each, str)] + [
            each for inner in schema.values() for each in _enums(inner)
        ]
    return [each for inner in schema for each in _enums(inner)] if isinstance(schema, list) else []


def texts_in(value: Any) -> list[str]:
    """Give every text in a field: itself, or those of a list or mapping."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in texts_in(each)]
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in texts_in(each)]
    return []


def says_something(text: str) -> bool:
    """Say whether a text has six words or more: fewer are a label or a phrase that nobody owns."""
    return len(words(text)) >= _LEAST_SAID
