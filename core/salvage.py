"""What can still be read of a damaged run: a new store in place of the old one, which is kept beside it.

A page that is missing or overwritten takes the records on it along; all others
are copied, unless they do not match their checksums. What is lost is made, and
paid for, again when the run goes on.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .database import SEALED, UNREADABLE, copied, hold, open_to_write
from .errors import RunError
from .values import seal

__all__ = ["Salvaged", "salvage"]

GAP = 100_000  # places without a readable record after which there is taken to be none


@dataclass(frozen=True)
class Salvaged:
    """What came of it: records kept by table, and where the damaged file lies now."""

    kept: Mapping[str, int]
    damaged: Path


def salvage(run: Path | str) -> Salvaged:
    """Put what can still be read of the run folder `run` into a new store, in place of the damaged one.

    Raises:
        RunError: If there is no run.db, or it is held by another process, or cannot be written.
    """
    path = Path(run) / "run.db"
    if not path.is_file():
        raise RunError(f"a run folder must hold run.db, got {str(run)!r}")
    held = hold(path.parent)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".salvage-") as scratch:
            source = Path(scratch, "old")
            source.mkdir()
            made = Path(scratch, "run.db")
            with closing(open_to_write(made)) as fresh:
                kept = _copy(copied(path, source), fresh)
                fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            aside = _aside(path)
            # the old log must be gone before the new file is there: it would be read as the new one's
            path.with_name("run.db-shm").unlink(missing_ok=True)
            path.with_name("run.db-wal").unlink(missing_ok=True)
            os.replace(made, path)
        return Salvaged(kept, aside)
    finally:
        os.close(held)


def _aside(path: Path) -> Path:
    """Copy the damaged file and its log to a name of their own."""
    number = 1
    while (aside := path.with_name(f"damaged-{number}")).exists():
        number += 1
    aside.mkdir()
    return copied(path, aside)


def _copy(path: Path, fresh: sqlite3.Connection) -> dict[str, int]:
    kept = {}
    with closing(_opened(path, fresh)) as old:
        for (table,) in fresh.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = [name for _, name, *_ in fresh.execute(f"PRAGMA table_info({table})")]
            known = {name for _, name, *_ in old.execute(f"PRAGMA table_info({table})")}
            columns = [name for name in columns if name in known]
            places = ",".join("?" * len(columns))
            fresh.execute("BEGIN")
            for record in _records(old, table, columns) if columns else ():
                if _sound(table, dict(zip(columns, record, strict=True))):
                    fresh.execute(f"INSERT OR IGNORE INTO {table} ({','.join(columns)}) VALUES ({places})", record)
            fresh.execute("COMMIT")
            (kept[table],) = fresh.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return kept


def _opened(path: Path, fresh: sqlite3.Connection) -> sqlite3.Connection:
    """Open what is left; where the first page is gone it is that of a fresh store, whose tables begin where the old ones do."""
    old = sqlite3.connect(path, isolation_level=None)
    try:
        old.execute("PRAGMA writable_schema=ON")  # a file shorter than it says is read as far as it goes
        old.execute("SELECT * FROM sqlite_master").fetchall()
    except UNREADABLE:
        old.close()
        first = bytearray(fresh.serialize()[: fresh.execute("PRAGMA page_size").fetchone()[0]])
        first[92:96] = bytes(
            byte ^ 0xFF for byte in first[24:28]
        )  # says: the length written here is not to be believed
        with path.open("r+b") as file:
            file.write(first)
        path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
        old = sqlite3.connect(path, isolation_level=None)
        old.execute("PRAGMA writable_schema=ON")
    return old


def _records(old: sqlite3.Connection, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """All records that can be read, in their order; those on bad pages are passed over."""
    chosen = f"SELECT rowid, {','.join(columns)} FROM {table} WHERE rowid"
    last = 0
    while True:
        try:
            for record in old.execute(f"{chosen} > ? ORDER BY rowid", (last,)):
                last = record[0]
                yield record[1:]
            return
        except UNREADABLE:
            found = _next(old, chosen, last + 1)
            if found is None:
                return
            last = found[0]
            yield found[1:]


def _next(old: sqlite3.Connection, chosen: str, first: int) -> tuple[Any, ...] | None:
    """The first readable record at or after the place `first`."""
    for place in range(first, first + GAP):
        try:
            found: tuple[Any, ...] | None = old.execute(f"{chosen} = ?", (place,)).fetchone()
        except UNREADABLE:
            continue
        if found is not None:
            return found
    return None


def _sound(table: str, record: Mapping[str, object]) -> bool:
    """Whether a record is as it was written, as far as that can be told."""
    sealed = record.get("seal")
    if sealed is None:
        return table != "reused"  # every one of those has a seal: this is a record of another table
    return seal(*(record[name] for name in SEALED[table])) == sealed
