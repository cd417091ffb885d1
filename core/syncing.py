"""Make the disk keep what was committed, about once a second, so that a power cut loses no more than that.

SQLite with `synchronous=NORMAL` writes each commit to the write-ahead log and leaves it to the
operating system when the log reaches the disk, which may be half a minute later. The log is all
that has to be kept: its frames have checksums, and SQLite itself syncs it before a checkpoint
touches the file. It is synced on a thread of its own, as a slow disk must hold up no commit.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["EVERY", "Syncer"]

EVERY = 1.0  # seconds between two syncs, as long as something is committed


class Syncer:
    """Syncs the write-ahead log of one run while commits go on.

    Args:
        log: The file.
        broken: Told of a disk that does not keep what it was given, with its error. Nothing is synced after that:
            what a sync has failed to keep, a later one may report as kept.
        every: Seconds between two syncs.
        sync: What makes the disk keep an open file.
    """

    def __init__(
        self,
        log: Path,
        broken: Callable[[OSError], object],
        *,
        every: float = EVERY,
        sync: Callable[[int], object] = os.fsync,
    ) -> None:
        self._log, self._broken, self._every, self._sync = log, broken, every, sync
        self._committed, self._closed = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """Hear of a commit: it is synced within `every` seconds."""
        if self._committed.is_set():
            return
        self._committed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="stillroom-syncer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread. What was not synced is so when SQLite closes the file."""
        self._closed.set()
        self._committed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            # the log stays the same file while a connection is open; nobody locks it, so closing it gives up no lock
            log = os.open(self._log, os.O_RDONLY)
            try:
                while self._committed.wait() and not self._closed.is_set():
                    self._committed.clear()  # first: what is committed during the sync is synced by the next one
                    self._sync(log)
                    self._closed.wait(self._every)
            finally:
                os.close(log)
        except OSError as error:
            self._broken(error)
