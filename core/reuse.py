"""Finished calls of other runs, to be taken over instead of paid for again.

Sharing is never a default: an endpoint may change what it serves without notice,
and two runs that share answers are no longer two samples. So a run sees the
answers of exactly those runs that are named to it. Keys are hashes of model,
messages, decoding and seed, so an answer to anything else is never found.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .database import UNREADABLE, check, reading
from .errors import BadConfig, RunDamaged, RunError
from .values import seal

__all__ = ["OtherRuns"]


class OtherRuns:
    """The stores of other runs, read-only. False where there are none.

    Raises:
        BadConfig: If the run itself is among them.
        RunError: If a folder holds no run that can be read.
    """

    def __init__(self, folders: Sequence[Path | str], own: Path) -> None:
        self._open = ExitStack()
        self._guard = threading.Lock()
        self._sources: list[tuple[Path, sqlite3.Connection, str]] = []
        try:
            for folder in map(Path, folders):
                if folder.resolve() == own.resolve():
                    raise BadConfig(f"a run can take over answers of other runs, got itself: {folder}")
                self._sources.append((folder, *self._source(folder)))
        except BaseException:
            self.close()
            raise

    def __bool__(self) -> bool:
        return bool(self._sources)

    def _source(self, folder: Path) -> tuple[sqlite3.Connection, str]:
        path = folder / "run.db"
        if not path.is_file():
            raise RunError(f"a run to take answers from must hold run.db, got {str(folder)!r}")
        try:
            database = self._open.enter_context(reading(path))
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            columns = {name for _, name, *_ in database.execute("PRAGMA table_info(calls)")}
        except UNREADABLE as error:
            raise RunError(f"a run to take answers from must be readable, got {path} ({error})") from error
        taken = "model, request, response, tokens_in, tokens_out, usd, seconds"
        query = f"SELECT NULL, {taken}, {'seal' if 'seal' in columns else 'NULL'} FROM calls WHERE key = :key AND status = 'done'"
        if "reused" in tables:  # what it took over itself comes from where it took it
            query += f" UNION ALL SELECT origin, {taken}, seal FROM reused WHERE key = :key"
        return database, query

    def find(self, key: str) -> tuple[Any, ...] | None:
        """The first finished call under `key`, as (origin, model, request, response, tokens_in, ..., seal).

        Raises:
            RunDamaged: If it is not the answer that was recorded, or cannot be read.
        """
        for folder, database, query in self._sources:
            try:
                with self._guard:
                    found = database.execute(query, {"key": key}).fetchone()
            except UNREADABLE as error:
                raise RunDamaged(f"a run to take answers from must be readable, got {folder} ({error})") from error
            if found is None:
                continue
            origin, *taken, sealed = found
            check(folder / "run.db", sealed, key, taken[2])
            return (origin or str(folder), *taken, seal(key, taken[2]))
        return None

    def close(self) -> None:
        """Let go of all of them."""
        self._open.close()
