"""The file of a run: its tables, who may open it, and whether it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import RunDamaged, RunError, RunLocked, RunReadOnly
from .values import seal

__all__ = [
    "CALLS",
    "EVALS",
    "NOTES",
    "ORDER",
    "REUSED",
    "ROWS",
    "SCHEMA",
    "SEALED",
    "UNREADABLE",
    "Table",
    "check",
    "copied",
    "damaged",
    "hold",
    "open_to_read",
    "open_to_write",
    "reading",
]

# what is added in a later version comes last: salvage reads damaged files by the places that tables had
SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (phase TEXT PRIMARY KEY, fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, phase TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, phase TEXT NOT NULL, model TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('open', 'done', 'failed', 'lost')),
    request TEXT, response TEXT, error TEXT,
    tokens_in INTEGER NOT NULL DEFAULT 0, tokens_out INTEGER NOT NULL DEFAULT 0,
    usd REAL NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0, seal INTEGER);
CREATE UNIQUE INDEX IF NOT EXISTS done_calls ON calls (key) WHERE status = 'done';
CREATE TABLE IF NOT EXISTS evals (
    key TEXT PRIMARY KEY, plan TEXT NOT NULL, example TEXT NOT NULL, outcome TEXT NOT NULL,
    score REAL, why TEXT NOT NULL, output TEXT NOT NULL, seal INTEGER);
CREATE TABLE IF NOT EXISTS rows (
    recipe TEXT NOT NULL, place TEXT NOT NULL, status TEXT NOT NULL, row TEXT NOT NULL, seal INTEGER,
    PRIMARY KEY (recipe, place));
CREATE TABLE IF NOT EXISTS notes (
    kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, seal INTEGER, PRIMARY KEY (kind, key));
CREATE TABLE IF NOT EXISTS reused (
    key TEXT PRIMARY KEY, origin TEXT NOT NULL, model TEXT NOT NULL, request TEXT, response TEXT NOT NULL,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, usd REAL NOT NULL, seconds REAL NOT NULL, seal INTEGER);
"""
SEALED = {  # the columns whose checksum is in the column `seal`, which stores of the first version lack
    "calls": ("key", "response"),
    "evals": ("key", "outcome", "score", "why", "output"),
    "rows": ("recipe", "row"),
    "notes": ("kind", "key", "value"),
    "reused": ("key", "response"),
}
MULTIPLE_CONFLICTS = (3, 35)  # the SQLite since which one INSERT may name two conflicts

UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)  # the second where the names of columns are overwritten
SALVAGE = "Keep what can still be read: stillroom salvage {}"


@dataclass(frozen=True)
class Table:
    """How records of one kind are written: many of them by one statement.

    Attributes:
        insert: The statement up to VALUES.
        width: Values of one record.
        otherwise: What follows the values.
        first_stays: Whether a second record under the same key is passed over.
    """

    insert: str
    width: int
    otherwise: str = ""
    first_stays: bool = True


REUSED = Table("INSERT OR IGNORE INTO reused", 10)
CALLS = Table(
    "INSERT INTO calls (id, key, phase, model, status, request, response, error, tokens_in, tokens_out, usd, seconds, seal)",
    13,
    # a call that was recorded as open becomes what came of it; the first answer of a key stays
    "ON CONFLICT (key) WHERE status = 'done' DO NOTHING ON CONFLICT (id) DO UPDATE SET "
    "(status, request, response, error, tokens_in, tokens_out, usd, seconds, seal) = (excluded.status, excluded.request, "
    "excluded.response, excluded.error, excluded.tokens_in, excluded.tokens_out, excluded.usd, excluded.seconds, excluded.seal)",
    first_stays=False,
)
EVALS = Table("INSERT OR IGNORE INTO evals (key, plan, example, outcome, score, why, output, seal)", 8)
ROWS = Table("INSERT OR IGNORE INTO rows (recipe, place, status, row, seal)", 5)
NOTES = Table("INSERT OR REPLACE INTO notes (kind, key, value, seal)", 4, first_stays=False)
ORDER = (REUSED, CALLS, EVALS, ROWS, NOTES)  # what others came from is written before them


def hold(folder: Path) -> int:
    """Make the run folder and take it for this process; the kernel lets go when the process ends, however it ends.

    Returns:
        The handle to close.

    Raises:
        RunLocked: If another process holds it.
        RunReadOnly: If it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunReadOnly(
            f"run folder must be writable, got {folder} ({error.strerror})", mend="Choose another --run folder."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise RunLocked(
            f"one process at a time may use a run, got a second one for {folder} (held by process {holder})",
            mend="Wait for it to end, or give another --run folder.",
        ) from error
    with suppress(OSError):  # on a full disk the name of the holder is what can be done without
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open the store at `path`, made when missing; calls that a dead process left open become `lost`.

    The file is looked through first, which takes about a second for each gigabyte.

    Raises:
        RunReadOnly: If it cannot be written.
        RunDamaged: If pages of it are missing or overwritten.
        RunError: If it never was a store, or SQLite is too old.
    """
    if sqlite3.sqlite_version_info < MULTIPLE_CONFLICTS:
        raise RunError(f"SQLite must be 3.35 or newer, got {sqlite3.sqlite_version}")
    database = None
    try:
        database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise damaged(path, f"pages are missing or overwritten: {found.splitlines()[-1]}")
        database.executescript(SCHEMA)
        for table in SEALED:
            if "seal" not in {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}:
                database.execute(f"ALTER TABLE {table} ADD COLUMN seal INTEGER")
        # whoever held these is gone; they may have been paid for, so they stay on the bill
        database.execute("UPDATE calls SET status = 'lost' WHERE status = 'open'")
    except BaseException as error:
        if database is not None:
            database.close()
        if isinstance(error, UNREADABLE):
            raise _unusable(path, error) from error
        raise
    return database


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open the store at `path` without taking it: no lock, no write, also while a run is under way.

    Raises:
        sqlite3.DatabaseError: If it cannot be read.
    """
    database = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("SELECT name FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the store at `path` and cannot write to it, wherever it lies.

    Raises:
        sqlite3.DatabaseError: If it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="stillroom-") as scratch:
        try:
            database = open_to_read(path)
        except sqlite3.OperationalError:
            # SQLite cannot read a WAL store in a folder where it may make no side file: read a copy
            database = open_to_read(copied(path, Path(scratch)))
        try:
            yield database
        finally:
            database.close()


def copied(path: Path, folder: Path) -> Path:
    """Copy a store, with what its write-ahead log still holds, into `folder`; give the copy's path."""
    for suffix in ("", "-wal"):
        if (each := path.with_name(path.name + suffix)).is_file():
            shutil.copyfile(each, folder / each.name)
    return folder / path.name


def _unusable(path: Path, error: Exception) -> RunError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code == sqlite3.SQLITE_NOTADB:
        return RunDamaged(
            f"{path} is not a run store, or no longer one ({error})",
            mend=f"Choose another --run folder. {SALVAGE.format(path.parent)}",
        )
    if code == sqlite3.SQLITE_CORRUPT or isinstance(error, UnicodeDecodeError):
        return damaged(path, str(error))
    return RunReadOnly(f"run folder must be writable, got {path.parent} ({error})", mend="Choose another --run folder.")


def check(path: Path, sealed: int | None, *parts: object) -> None:
    """See that a record is read as it was written; records of the first version have no seal. Raises `RunDamaged`."""
    if sealed is not None and sealed != seal(*parts):
        raise damaged(path, "a record does not match its checksum")


def damaged(path: Path, found: str) -> RunDamaged:
    """The error for a store that is not as it was written, and the way out."""
    return RunDamaged(f"{path} is damaged ({found})", mend=SALVAGE.format(path.parent))
