"""Write emitted rows where people and trainers read them, if their licences allow it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from stillroom.release import Override, Purpose, export_allowed, refuse
from stillroom.rows import EmittedRow
from stillroom.values import atomic, canonical

from .flow import Emitted
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
    _write(folder / "rows.jsonl", map(_flat, emitted.rows))
    _write(folder / "rejects.jsonl", map(_flat, emitted.rejects))
    _write(folder / "contamination.jsonl", _found(chain(emitted.rows, emitted.rejects)))
    write_table(folder / "rows.parquet", lambda: map(_row, emitted.rows))


def read_emitted(path: Path) -> list[EmittedRow]:
    """The rows of a `rows.jsonl` or `rejects.jsonl`."""
    return list(emitted_lines(path))


def emitted_lines(path: Path) -> Iterator[EmittedRow]:
    """The same, one at a time."""
    with path.open(encoding="utf-8") as file:
        for value in map(json.loads, file):
            fields = {key: each for key, each in value.items() if key != "meta"}
            yield EmittedRow.from_json({**value["meta"], "values": fields})


def _flat(row: EmittedRow) -> dict[str, object]:
    """The task's fields, and everything else under `meta`."""
    whole = row.as_json()
    return {**whole.pop("values"), "meta": whole}


def _row(row: EmittedRow) -> dict[str, Any]:
    """The same for a table: `meta` is JSON text, because passports are not all of one shape."""
    return {**row.values, "meta": canonical(_flat(row)["meta"])}


def _write(path: Path, lines: Iterable[Any]) -> None:
    with atomic(path) as file:
        file.writelines(f"{canonical(line)}\n".encode() for line in lines)


def _found(rows: Iterable[EmittedRow]) -> Iterator[dict[str, Any]]:
    """What decontamination found, a line for each row it found something about."""
    for row in rows:
        for verdict in row.passport.verdicts:
            found = verdict.get("found", {})
            if "rule" in found:
                yield {"id": row.id, "place": row.place, "status": row.status, **found}
