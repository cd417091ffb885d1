"""One SQLite file per run: everything that was paid for, decided or emitted.

    calls   every model call: its request, answer, cost; `done` calls are found again by key
    evals   one (plan, example, model, sample) -> output, score, why
    rows    every emitted row and every reject, with its passport
    notes   derived facts for reports (trials, funnels, proofs), replaceable by recomputing
    claims  the fingerprint each phase was started with

A write is committed before the call that made it returns, so kill -9 loses at
most the answers still under way. One process at a time holds a run (`flock`).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import FingerprintChanged, RunError, RunLocked, RunReadOnly
from .ledger import Spent
from .rows import EmittedRow
from .values import canonical

__all__ = ["Store"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (phase TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, phase TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, phase TEXT NOT NULL, model TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'done', 'failed', 'lost')),
    request TEXT, response TEXT, error TEXT,
    tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0,
    usd REAL NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS done_calls ON calls (key) WHERE status = 'done';
CREATE TABLE IF NOT EXISTS evals (
    key TEXT PRIMARY KEY, plan TEXT NOT NULL, example TEXT NOT NULL, outcome TEXT NOT NULL,
    score REAL, why TEXT NOT NULL, output TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    recipe TEXT NOT NULL, place TEXT NOT NULL, status TEXT NOT NULL, row TEXT NOT NULL,
    PRIMARY KEY (recipe, place));
CREATE TABLE IF NOT EXISTS notes (kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, key));
"""


class Store:
    """The memory of one run folder. Safe to use from many threads of one process.

    Raises:
        RunLocked: If another process works in the folder.
        RunReadOnly: If the folder cannot be written.
        RunError: If the file there is not a store.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._guard = threading.RLock()
        self._sessions: dict[str, tuple[int, float]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder / "run.lock")
        except OSError as error:
            raise RunReadOnly(
                f"run folder must be writable, got {self.folder} ({error.strerror})",
                mend="Choose another --run folder.",
            ) from error
        try:
            self._db = _database(self.folder / "run.db")
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Write out the session clocks and let go of the folder."""
        with self._guard:
            for phase in self._sessions:
                self._tick(phase)
            self._db.close()
            os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- claims and sessions -------------------------------------------------

    def claim(self, phase: str, fingerprint: Mapping[str, Any]) -> None:
        """Start or resume `phase`; its fingerprint must be the one it was started with.

        Raises:
            FingerprintChanged: Naming each part that differs, old and new.
        """
        with self._guard:
            found = self._db.execute("SELECT fingerprint FROM claims WHERE phase = ?", (phase,)).fetchone()
            if found is None:
                self._db.execute("INSERT INTO claims VALUES (?, ?)", (phase, canonical(dict(fingerprint))))
            else:
                _compare(phase, json.loads(found[0]), dict(fingerprint), self.folder)
            session = self._db.execute("INSERT INTO sessions (phase, seconds) VALUES (?, 0)", (phase,)).lastrowid
            assert session is not None
            self._sessions[phase] = (session, time.monotonic())

    def spent(self, phase: str | None = None) -> Spent:
        """What `phase` (or everything) has cost over all sessions, lost calls at their worst case."""
        where, values = _where("phase", phase)
        with self._guard:
            calls = self._db.execute(
                f"SELECT COALESCE(SUM(status != 'failed'), 0), COALESCE(SUM(tokens_in), 0), COALESCE(SUM(tokens_out), 0), COALESCE(SUM(usd), 0.0) FROM calls {where}",
                values,
            ).fetchone()
            seconds = self._db.execute(f"SELECT COALESCE(SUM(seconds), 0.0) FROM sessions {where}", values).fetchone()[
                0
            ]
        return Spent(calls[0], calls[1], calls[2], calls[3], seconds)

    def _tick(self, phase: str) -> None:
        if phase in self._sessions:
            session, started = self._sessions[phase]
            self._db.execute("UPDATE sessions SET seconds = ? WHERE id = ?", (time.monotonic() - started, session))

    # -- calls ----------------------------------------------------------------

    def find_call(self, key: str) -> str | None:
        """The recorded answer of a finished call, or `None`."""
        with self._guard:
            found = self._db.execute("SELECT response FROM calls WHERE key = ? AND status = 'done'", (key,)).fetchone()
        return None if found is None else str(found[0])

    def open_call(self, key: str, phase: str, model: str, tokens: int, usd: float) -> int:
        """Record that a call is about to be made that may cost this much; give its id."""
        with self._guard:
            call = self._db.execute(
                "INSERT INTO calls (key, phase, model, status, tokens_in, usd) VALUES (?, ?, ?, 'open', ?, ?)",
                (key, phase, model, tokens, usd),
            ).lastrowid
        assert call is not None
        return call

    def finish_call(
        self, key: str, phase: str, model: str, request: str, response: str, cost: Spent, opened: int | None = None
    ) -> None:
        """Record a finished call, in place of its `opened` record if it had one."""
        with self._guard, self._db:
            self._db.execute("BEGIN")
            if opened is not None:
                self._db.execute("DELETE FROM calls WHERE id = ?", (opened,))
            self._db.execute(
                "INSERT INTO calls (key, phase, model, status, request, response, tokens_in, tokens_out, usd, seconds) VALUES (?, ?, ?, 'done', ?, ?, ?, ?, ?, ?)",
                (key, phase, model, request, response, cost.tokens_in, cost.tokens_out, cost.usd, cost.seconds),
            )
            self._tick(phase)

    def fail_call(self, key: str, phase: str, model: str, error: str, opened: int | None = None) -> None:
        """Record a call that the infrastructure failed; it costs nothing and is never found again."""
        with self._guard, self._db:
            self._db.execute("BEGIN")
            if opened is not None:
                self._db.execute("DELETE FROM calls WHERE id = ?", (opened,))
            self._db.execute(
                "INSERT INTO calls (key, phase, model, status, error) VALUES (?, ?, ?, 'failed', ?)",
                (key, phase, model, error),
            )

    def call_counts(self) -> dict[str, int]:
        """How many calls stand in each status, and how many finished keys stand twice (always 0)."""
        with self._guard:
            counts = dict(self._db.execute("SELECT status, COUNT(*) FROM calls GROUP BY status").fetchall())
            counts["twice"] = self._db.execute(
                "SELECT COUNT(*) FROM (SELECT key FROM calls WHERE status = 'done' GROUP BY key HAVING COUNT(*) > 1)"
            ).fetchone()[0]
        return counts

    # -- evaluations, rows, notes ----------------------------------------------

    def put_evals(self, records: Iterable[tuple[str, str, str, str, float | None, str, Any]]) -> None:
        """Record evaluations: (key, plan, example, outcome, score, why, output). The first of a key stays."""
        with self._guard, self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO evals VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*record[:6], canonical(record[6])) for record in records],
            )

    def find_eval(self, key: str) -> tuple[str, float | None, str, Any] | None:
        """The recorded (outcome, score, why, output) of one evaluation, or `None`."""
        with self._guard:
            found = self._db.execute("SELECT outcome, score, why, output FROM evals WHERE key = ?", (key,)).fetchone()
        return None if found is None else (*found[:3], json.loads(found[3]))

    def put_rows(self, recipe: str, rows: Iterable[EmittedRow]) -> None:
        """Record rows and rejects of a recipe run. The first of a place stays."""
        with self._guard, self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?)",
                [(recipe, row.place, row.status, canonical(row.as_json())) for row in rows],
            )

    def rows(self, recipe: str | None = None) -> Iterator[EmittedRow]:
        """All recorded rows, of one recipe run or of all, in the order they were recorded."""
        where, values = _where("recipe", recipe)
        with self._guard:
            found = self._db.execute(f"SELECT row FROM rows {where} ORDER BY rowid", values).fetchall()
        return (EmittedRow.from_json(json.loads(text)) for (text,) in found)

    def put_note(self, kind: str, key: str, value: Any) -> None:
        """Record a derived fact, in place of an earlier one of the same kind and key."""
        with self._guard:
            self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (kind, key, canonical(value)))

    def notes(self, kind: str) -> dict[str, Any]:
        """All facts of a kind by key, sorted by key."""
        with self._guard:
            found = self._db.execute("SELECT key, value FROM notes WHERE kind = ? ORDER BY key", (kind,)).fetchall()
        return {key: json.loads(value) for key, value in found}


def _lock(path: Path) -> int:
    """Hold `path` for this process; the kernel lets go when the process ends, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise RunLocked(
            f"one process at a time may use a run, got a second one for {path.parent} (held by process {holder})",
            mend="Wait for it to end, or give another --run folder.",
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _database(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(SCHEMA)
        # whoever held these is gone; they may have been paid for, so they stay on the bill
        database.execute("UPDATE calls SET status = 'lost' WHERE status = 'open'")
    except sqlite3.OperationalError as error:
        raise RunReadOnly(
            f"run folder must be writable, got {path.parent} ({error})", mend="Choose another --run folder."
        ) from error
    except sqlite3.DatabaseError as error:
        raise RunError(f"{path} is not a run store ({error})", mend="Choose another --run folder.") from error
    return database


def _compare(phase: str, old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    changed = [
        f"{name} was {old.get(name)!r}, is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if changed:
        raise FingerprintChanged(
            f"{phase} in {folder} was started with something else: {'; '.join(changed)}",
            mend="Resume with what it was started with, or give a new --run folder.",
        )


def _where(column: str, value: str | None) -> tuple[str, tuple[str, ...]]:
    return ("", ()) if value is None else (f"WHERE {column} = ?", (value,))
