"""Write emitted rows where people and trainers read them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stillroom.rows import EmittedRow
from stillroom.values import canonical, write_atomic

from .emit import Emitted

__all__ = ["read_emitted", "save_emitted"]


def save_emitted(emitted: Emitted, folder: Path) -> None:
    """Write `rows.jsonl`, `rejects.jsonl` and `rows.parquet`, each atomically and in a fixed order."""
    write_atomic(folder / "rows.jsonl", _lines(emitted.rows))
    write_atomic(folder / "rejects.jsonl", _lines(emitted.rejects))
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


def _parquet(rows: Sequence[EmittedRow], path: Path) -> None:
    """The same table; `meta` is JSON text, because passports are not all of one shape."""
    import pandas as pd

    temporary = path.with_name(f".{path.name}.part")
    pd.DataFrame([{**row.values, "meta": canonical(_flat(row)["meta"])} for row in rows]).to_parquet(
        temporary, index=False
    )
    os.replace(temporary, path)
