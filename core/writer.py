"""The one connection that writes to a run, in batches, on a thread of its own.

What is put is found at once, in memory, and is on disk a moment later: a batch is
committed `within` seconds after its first record, or when it has `every` records.
A batch is one transaction, and records that came from others are never in an
earlier one. Each statement writes many records: a thread that lets go of the
interpreter's lock for every record would wait for it again every time, up to 5 ms
beside a busy event loop.

When a batch cannot be written (disk full, read-only, input/output error) nothing
is dropped: it stays in memory, is tried again every second and at the end, and
`check` raises until it succeeds, so that nobody spends what cannot be recorded. What is
committed the disk is made to keep about once a second (`syncing.py`).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from .database import ORDER, Table
from .errors import RunError, RunReadOnly
from .syncing import Syncer

__all__ = ["EVERY", "MOST", "WITHIN", "Writer"]

EVERY, WITHIN, MOST = 256, 0.02, 2048
RETRY = 1.0

Batch: TypeAlias = "dict[Table, dict[Hashable, tuple[Any, ...]]]"


class Writer:
    """Write records to `database` in batches. Safe to use from many threads.

    Args:
        database: The connection; nobody else writes through it but `now`.
        where: The run folder, for messages.
        clock: Called in every transaction before it is committed, to write down how long the session has run.
        every: Records that make a batch go out at once.
        within: Seconds after which a batch goes out however small it is.
        most: Records that may wait in memory; whoever puts one more writes the batch out himself.
    """

    def __init__(
        self,
        database: sqlite3.Connection,
        where: Path,
        clock: Callable[[sqlite3.Connection], None],
        *,
        every: int = EVERY,
        within: float = WITHIN,
        most: int = MOST,
    ) -> None:
        self._database, self._where, self._clock = database, where, clock
        self._every, self._within, self._most = every, within, most
        self._queue, self._flying = _empty(), _empty()
        self._waiting = 0
        self._closed = False
        self._problem, self._unkept = "", ""
        self._syncer = Syncer(where / "run.db-wal", self._not_kept)
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition(threading.Lock())
        self._writing = threading.RLock()

    def put(self, table: Table, records: Mapping[Any, tuple[Any, ...]], *, instead_of: Hashable | None = None) -> None:
        """Queue records, each to be found under its key while it is on its way; all go into one batch.

        Args:
            table: What they are.
            records: By key.
            instead_of: A key whose record is taken back if it is still queued.

        Raises:
            RunError: If the run is closed.
        """
        with self._changed:
            if self._closed:
                raise RunError(f"a run must be open to record anything, got {self._where}, which is closed")
            queued = self._queue[table]
            if instead_of is not None:
                queued.pop(instead_of, None)
            for key, values in records.items():
                if not (table.first_stays and key in queued):
                    queued[key] = values
            before, self._waiting = self._waiting, self._waiting + len(records)
            if before == 0 or before < self._every <= self._waiting:
                self._wake()
            behind = self._waiting >= self._most and not self._problem
        if behind:
            with suppress(RunReadOnly):  # it is kept, and `check` says so before anything more is spent
                self.flush()

    def find(self, table: Table, key: Hashable) -> tuple[Any, ...] | None:
        """The record that is on its way under this key; `None` if there is none, or it is on disk."""
        with self._changed:
            return self._queue[table].get(key) or self._flying[table].get(key)

    def check(self) -> None:
        """Do nothing while records reach the disk.

        Raises:
            RunReadOnly: If the last batch did not, or the disk does not keep what it was given.
        """
        if self._unkept:
            raise RunReadOnly(
                f"what is paid for must be kept by the disk, got {self._unkept!r} for {self._where}",
                mend="Nothing more is spent. Look after the disk, then run the same command again.",
            )
        if self._problem:
            waiting = self._waiting + sum(map(len, self._flying.values()))
            raise RunReadOnly(
                f"what is paid for must be recorded, got {self._problem!r} for {self._where}",
                mend=f"Nothing more is spent. Make room or make it writable: the {waiting} records not yet on disk "
                "are tried again until this process ends. Then run the same command again.",
            )

    def flush(self) -> None:
        """Return when everything put so far is on disk.

        Raises:
            RunReadOnly: If it cannot be written; it is kept.
        """
        with self._writing:
            if any(self._flying.values()):
                self._commit()  # what could not be written before
            if self._take():
                self._commit()

    def now(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do `work` on the connection in one transaction, after everything put so far."""
        with self._writing:
            self.flush()
            try:
                self._database.execute("BEGIN IMMEDIATE")
                done = work(self._database)
                self._database.execute("COMMIT")
                self._syncer.committed()
            except sqlite3.OperationalError as error:
                self._roll_back()
                raise RunReadOnly(
                    f"run folder must be writable, got {self._where} ({error})", mend="Make room, and run it again."
                ) from error
            except BaseException:
                self._roll_back()
                raise
            return done

    def close(self) -> None:
        """Write everything out and end the thread. Nothing can be put any more.

        Raises:
            RunReadOnly: If the last records could not be written: they are lost with the process.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        try:
            with self._writing:
                self.flush()
                with suppress(sqlite3.Error):
                    self._clock(self._database)
        finally:
            self._syncer.close()

    # -- the thread ----------------------------------------------------------------

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stillroom-writer", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._problem or self._closed)
                if self._problem:
                    self._changed.wait_for(lambda: self._closed, RETRY)
                else:
                    self._changed.wait_for(
                        lambda: self._closed or self._problem or self._waiting >= self._every, self._within
                    )
                if self._closed:
                    return
            with suppress(RunReadOnly):
                self.flush()

    def _take(self) -> bool:
        """Make the queue the batch to be written; whether there is anything in it."""
        with self._changed:
            self._flying, self._queue, self._waiting = self._queue, _empty(), 0
            return any(self._flying.values())

    def _commit(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            for table, records in self._flying.items():
                _insert(self._database, table, list(records.values()))
            self._clock(self._database)
            self._database.execute("COMMIT")
        except Exception as error:  # whatever it is, it stops the spending and is told to the next who asks
            self._roll_back()
            with self._changed:
                self._problem = str(error) or type(error).__name__
                self._changed.notify_all()  # the thread tries again from here on, whoever wrote
            self.check()
        except BaseException:  # Ctrl-C: the batch is kept, and writing it twice changes nothing
            self._roll_back()
            raise
        self._syncer.committed()
        with self._changed:
            self._problem, self._flying = "", _empty()

    def _not_kept(self, error: OSError) -> None:
        self._unkept = error.strerror or str(error)

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # a full disk may have rolled back already
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")


def _empty() -> Batch:
    return {table: {} for table in ORDER}


def _insert(database: sqlite3.Connection, table: Table, records: Sequence[tuple[Any, ...]]) -> None:
    """Write records by statements of 256, 128, 64, ... of them, so that few statements are ever prepared."""
    start, size = 0, 256
    while start < len(records):
        while size > len(records) - start:
            size //= 2
        places = ",".join(["(" + ",".join("?" * table.width) + ")"] * size)
        part = records[start : start + size]
        database.execute(
            f"{table.insert} VALUES {places} {table.otherwise}", [value for values in part for value in values]
        )
        start += size
