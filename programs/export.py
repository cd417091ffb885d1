"""Write emitted rows where people and trainers read them, if their licences allow it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stillroom.release import Override, Purpose, export_allowed, refuse
from stillroom.rows import EmittedRow
from stillroom.values import canonical, write_atomic

from .emit import Emitted

__all__ = ["read_emitted", "save_emitted"]


def save_emitted(
    emitted: Emitted, folder: Path, *, purpose: Purpose | None = None, overrides: Sequence[Override] = ()
) -> None:
    """Write `rows.jsonl`, `rejects.jsonl`, `contamination.jsonl` and `rows.parquet`.

    Each atomically and in a fixed order. `contamination.jsonl` names every row that was
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
    write_atomic(folder / "rows.jsonl", _lines(emitted.rows))
    write_atomic(folder / "rejects.jsonl", _lines(emitted.rejects))
    write_atomic(folder / "contamination.jsonl", _found((*emitted.rows, *emitted.rejects)))
    _parquet(emitted.rows, folder / "rows.parquet")


def read_emitted(path: Path) -> list[EmittedRow]:
    """The rows of a `rows.jsonl` or `rejects.jsonl`."""
    import json

    with path.open(encoding="utf-8") as file:
        return [
            EmittedRow.from_json(
                {**value["meta"], "values": {key: each for key, each in value.items() if key != "meta"}}
            )
            for value in map(json.loads, file)
        ]


def _flat(row: EmittedRow) -> dict[str, object]:
    """The task's fields, and everything else under `meta`."""
    whole = row.as_json()
    return {**whole.pop("values"), "meta": whole}


def _lines(rows: Sequence[EmittedRow]) -> str:
    return "".join(canonical(_flat(row)) + "\n" for row in rows)


def _found(rows: Sequence[EmittedRow]) -> str:
    """What decontamination found, a line for each row it found something about."""
    lines = [
        {"id": row.id, "place": row.place, "status": row.status, **found}
        for row in rows
        for verdict in row.passport.verdicts
        if "rule" in (found := verdict.get("found", {}))
    ]
    return "".join(canonical(line) + "\n" for line in lines)


def _parquet(rows: Sequence[EmittedRow], path: Path) -> None:
    """The same table; `meta` is JSON text, because passports are not all of one shape."""
    import pandas as pd

    temporary = path.with_name(f".{path.name}.part")
    pd.DataFrame([{**row.values, "meta": canonical(_flat(row)["meta"])} for row in rows]).to_parquet(
        temporary, index=False
    )
    os.replace(temporary, path)
