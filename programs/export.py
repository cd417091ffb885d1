"""Write emitted rows where people and trainers read them, if their licences allow it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stillroom.release import Override, Purpose, export_allowed, refuse
from stillroom.rows import EmittedRow
from stillroom.values import atomic, compact

from .flow import Emitted
from .flow.emitted import Stored
from .table import write_table

__all__ = ["emitted_lines", "read_emitted", "save_emitted", "write_rows"]


def save_emitted(
    emitted: Emitted, folder: Path, *, purpose: Purpose | None = None, overrides: Sequence[Override] = ()
) -> None:
    """Write `rows.jsonl`, `rejects.jsonl`, `contamination.jsonl` and `rows.parquet`.

    Each atomically, in a fixed order and a few rows at a time. `contamination.jsonl` names every row that was
    removed as a copy of a guarded text, with the rule and what it copies, and every row that
    stays with something to report.

    Args:
        emitted: What to write.
        folder: Where.
        purpose: What the rows are for; to train a model of no known family by default.
        overrides: Who answers for licences that would forbid it.

    Raises:
        LicenceForbids: If a licence of the rows does not allow it. Nothing is written then.
    """
    refuse(export_allowed(emitted.rows, purpose or Purpose(), overrides=overrides), "rows may be saved")
    write_rows(emitted, folder)


def write_rows(emitted: Emitted, folder: Path) -> None:
    """Write the files of `save_emitted` without asking what the rows are for: each row says its licence itself."""
    with atomic(folder / "contamination.jsonl") as found:
        _write(folder / "rows.jsonl", emitted.rows, found)
        _write(folder / "rejects.jsonl", emitted.rejects, found)
    write_table(folder / "rows.parquet", lambda: map(_row, _plain(emitted.rows)))


def read_emitted(path: Path) -> list[EmittedRow]:
    """The rows of a `rows.jsonl` or `rejects.jsonl`."""
    return list(emitted_lines(path))


def emitted_lines(path: Path) -> Iterator[EmittedRow]:
    """The same, one at a time."""
    with path.open(encoding="utf-8") as file:
        for value in map(json.loads, file):
            fields = {key: each for key, each in value.items() if key != "meta"}
            yield EmittedRow.from_json({**value["meta"], "values": fields})


def _plain(rows: Iterable[EmittedRow]) -> Iterator[dict[str, Any]]:
    """Rows as plain JSON values; of a run's store without making more of them in between."""
    return rows.plain() if isinstance(rows, Stored) else (row.as_json() for row in rows)


def _flat(whole: dict[str, Any]) -> dict[str, Any]:
    """The task's fields, and everything else under `meta`; `whole` is used up."""
    return {**whole.pop("values"), "meta": whole}


def _row(whole: dict[str, Any]) -> dict[str, Any]:
    """The same for a table: `meta` is JSON text, because passports are not all of one shape."""
    return {**whole.pop("values"), "meta": compact(whole)}


def _write(path: Path, rows: Iterable[EmittedRow], found: BinaryIO) -> None:
    """Write a line for each row, and to `found` one for each that decontamination found something about."""
    with atomic(path) as file:
        for whole in _plain(rows):
            for verdict in whole["passport"]["verdicts"]:
                if "rule" in verdict.get("found", {}):
                    about = {name: whole[name] for name in ("id", "place", "status")}
                    found.write(_line({**about, **verdict["found"]}))
            file.write(_line(_flat(whole)))


def _line(value: dict[str, Any]) -> bytes:
    return f"{compact(value)}\n".encode()
