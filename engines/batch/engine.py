"""The batch API of an OpenAI-compatible endpoint as an engine."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from stillroom.engines.contract import Engine, outcomes
from stillroom.engines.http import Backoff, HttpEngine, Reader, Thread
from stillroom.errors import BadConfig, EngineError

from ._api import BatchApi, State
from ._desk import Desk, Terms
from ._notes import Notes

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["BatchEngine"]

MOST_LINES, MOST_BYTES = 50_000, 200_000_000  # OpenAI's own limits
LEAST_BYTES = 1_000


class BatchEngine(Engine):
    """Gather requests into batches, which the endpoint answers within a day and for less money.

    Requests that come within `linger` seconds of each other are one file and one batch; more than
    `max_lines` or `max_bytes` are several. A request waits until its batch has ended. Lines that
    failed for no fault of theirs, or expired with their batch, go into a further one. So use it for
    many rows at once: a program of three steps takes three batches, one after the other.

    Batches under way are noted in the folder of the run. A run that was killed finds them
    again and reads their answers, instead of paying for them twice; its batches go on
    meanwhile. Without a run, and without `folder`, notes end with the process.

    Args:
        live: The same endpoint, asked directly: it says how requests are written and answers read.
            It is closed with this engine.
        max_lines: Requests to a batch, at the most.
        max_bytes: Bytes to a file, at the most.
        linger: Seconds without another request after which a batch is sent.
        poll: Seconds between two looks at a batch, at the most.
        patience: Seconds for which the endpoint may not tell of a batch before its rows fail.
        retries: Further batches for a line that failed.
        window: Within which it is to be answered; OpenAI knows "24h" alone.
        path: What each line asks, from the host's root.
        folder: Where batches are noted, in place of the run's folder.
        rng: Where the jitter comes from.

    Raises:
        BadConfig: If a setting cannot work.
        RunError: If a note in `folder` cannot be read.
    """

    charges_unanswered = False  # its batch is found again, and the answer in it

    def __init__(
        self,
        live: HttpEngine,
        *,
        max_lines: int = MOST_LINES,
        max_bytes: int = MOST_BYTES,
        linger: float = 2.0,
        poll: float = 30.0,
        patience: float = 3600.0,
        retries: int = 2,
        window: str = "24h",
        path: str = "/v1/chat/completions",
        folder: Path | str | None = None,
        rng: Random | None = None,
    ) -> None:
        _check(max_lines, max_bytes, retries, path, linger=linger, poll=poll, patience=patience)
        self.live = live
        self.model = f"batch+{live.model}"
        self.licence = live.licence
        self.max_concurrency = max_lines
        self.supports_response_schema = live.supports_response_schema
        self.supports_function_calling = live.supports_function_calling
        self.supports_regex = live.supports_regex
        self.supported_params = live.supported_params
        self._pinned = folder is not None
        self._notes = Notes(None if folder is None else Path(folder))
        api = BatchApi(live.endpoint, path, window, Backoff(retries=8), rng or Random())
        terms = Terms(live.host, self.model, max_lines, max_bytes, linger, poll, patience, retries, path)
        reader = Reader(live.endpoint, live.wire, live.reader.served, self.model)
        self._desk = Desk(api, live.wire, reader, terms, self._notes)
        self._thread = Thread("stillroom-batch")
        self._end = weakref.finalize(self, _close, self._thread, self._notes, live)

    def __repr__(self) -> str:
        return f"BatchEngine({self.model!r})"

    @property
    def batches(self) -> tuple[State, ...]:
        """The batches of this session as they were last seen, oldest first."""
        return tuple(self._desk.states.values())

    def resume_in(self, folder: Path) -> None:
        """Note batches in the folder of a run, and find those that it has under way."""
        if not self._pinned:
            self._thread.run(self._settle(Notes(folder / "batches"))).result()

    def submit(self, request: Request) -> Future[Response]:
        """Put `request` into the next batch. Cancelling the future does not take it out of one that was sent."""
        try:
            return self._thread.run(self._desk.answer(request, self.live.wire.body(request)))
        except EngineError as error:
            failed: Future[Response] = Future()
            failed.set_exception(error)
            return failed

    def complete_many(self, requests: Sequence[Request]) -> list[Response | EngineError]:
        """Answer all `requests` in order, in one batch if they fit, which is sent at once."""
        futures = [self.submit(request) for request in requests]
        if futures:
            self.flush()
        return outcomes(futures)

    def flush(self) -> None:
        """Send what was gathered now, without lingering."""
        self._thread.run(self._flush()).result()

    def check(self) -> tuple[str, ...]:
        """As `HttpEngine.check`: once and for free."""
        return self.live.check()

    def count_tokens(self, request: Request) -> int:
        """As `HttpEngine` counts."""
        return self.live.count_tokens(request)

    def close(self) -> None:
        """Stop watching. Batches under way go on, and are found again by the next session of the run."""
        self._end()

    async def _settle(self, notes: Notes) -> None:
        self._desk.settle_in(notes)

    async def _flush(self) -> None:
        self._desk.flush()


def _close(thread: Thread, notes: Notes, live: HttpEngine) -> None:
    thread.close()
    notes.close()
    live.close()


def _check(lines: int, size: int, retries: int, path: str, **seconds: float) -> None:
    if not (isinstance(lines, int) and 1 <= lines <= MOST_LINES):
        raise BadConfig(f"max_lines must be 1 to {MOST_LINES}, got {lines!r}")
    if not (isinstance(size, int) and LEAST_BYTES <= size <= MOST_BYTES):
        raise BadConfig(f"max_bytes must be {LEAST_BYTES} to {MOST_BYTES}, got {size!r}")
    if not (isinstance(retries, int) and retries >= 0):
        raise BadConfig(f"retries must be at least 0, got {retries!r}")
    if not path.startswith("/"):
        raise BadConfig(f"path must begin with a /, got {path!r}", mend="For example /v1/chat/completions.")
    for name, value in seconds.items():
        if not value >= 0:
            raise BadConfig(f"{name} must be at least 0 seconds, got {value!r}")
