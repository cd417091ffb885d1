"""One thread that owns the pipeline and keeps its batch full.

Any thread may `put` jobs; the worker adds them to the running batch between two steps, holds back
those which should find a prefix that is just being computed (`_prefixes`), and settles each future
as its request ends. It knows the pipeline by the four methods in `Pipeline`, so tests need no model.
"""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from stillroom.errors import EngineError, EngineRefused, StillroomError

from ._prefixes import Claim, Prefixes, Prompt

__all__ = ["Batcher", "Handle", "Job", "Output", "Pipeline", "first_line"]

logger = logging.getLogger(__name__)

MOMENT = 0.002  # seconds; a step of the smallest model takes five times as long


@dataclass(frozen=True)
class Output:
    """What came of a request. `finish` is `stop`, `length`, or `full` when the cache had no room."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str


class Handle(Protocol):
    """One request in the pipeline."""

    def begun(self) -> bool:
        """Whether the prompt has been read."""

    def output(self) -> Output | None:
        """What came of it, or None while it runs."""

    def cancel(self) -> None:
        """Drop it at the next step."""


class Pipeline(Protocol):
    """A continuous batch."""

    def add(self, number: int, ids: Sequence[int], settings: Any) -> Handle:
        """Add a request; its cached prefix is looked up now."""

    def step(self) -> None:
        """Advance every request by a token, or by a piece of its prompt."""


@dataclass(eq=False)
class Job:
    """A request on its way.

    Attributes:
        settings: What the pipeline takes.
        constraint: A grammar that is tried out alone the first time, since a broken one fails its whole batch.
        answer: Turns the output into what the future gives.
    """

    prompt: Prompt
    settings: Any
    answer: Callable[[Output], Any]
    constraint: object = None
    future: Future[Any] = field(default_factory=Future)


@dataclass(eq=False)
class _Active:
    job: Job
    handle: Handle
    claim: Claim
    steps: int = 0  # since the prompt was read, counting the one that read it


class Batcher:
    """Run jobs on the pipeline that `build` makes, at most `width` at a time.

    Args:
        build: Called on the worker thread, with the first job and again after a failure.
        blocks: How many cache blocks the pipeline has.
    """

    def __init__(self, build: Callable[[], Pipeline], *, width: int, blocks: int, name: str) -> None:
        self._build, self._width, self._name = build, width, name
        self._queue: deque[Job] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._pipeline: Pipeline | None = None
        self._active: list[_Active] = []
        self._prefixes = Prefixes(blocks)
        self._numbers = itertools.count(1)
        self._proven: set[object] = set()
        self._thread = threading.Thread(target=self._run, name=f"stillroom {name}", daemon=True)
        self._started = False

    def put(self, jobs: Sequence[Job]) -> None:
        """Queue `jobs`; all of them are there before the worker looks. Raises `EngineError` if closed."""
        with self._wake:
            if self._closed:
                raise EngineError(f"engine {self._name} is closed")
            if not self._started:
                self._thread.start()
                self._started = True
            self._queue.extend(jobs)
            self._wake.notify()

    def close(self) -> None:
        """End the worker and fail what has not ended. Safe to call twice."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._started and threading.current_thread() is not self._thread:
            self._thread.join()

    # -- everything below runs on the worker thread ---------------------------------

    def _run(self) -> None:
        while self._wait_for_work():
            try:
                self._turn()
            except StillroomError as error:
                self._fail(EngineRefused(str(error), mend=error.mend), everyone=True)
            except Exception as error:  # the library raises plain RuntimeErrors
                logger.warning("the local pipeline failed and will be loaded again: %s", error)
                # with nobody in the batch the next turn would fail in the same way
                self._fail(EngineError(f"the local pipeline failed: {first_line(error)}"), everyone=not self._active)
        for active in self._active:
            active.handle.cancel()
        if self._active and self._pipeline is not None:
            self._pipeline.step()  # it complains on stderr of requests that are there when it goes
        self._fail(EngineError(f"engine {self._name} was closed"), everyone=True)

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._closed or self._queue or self._active):
                self._wake.wait()
            return not self._closed

    def _turn(self) -> None:
        if self._pipeline is None:
            self._pipeline = self._build()
        unproven = self._admit()
        if unproven is not None:
            self._prove(unproven, self._pipeline)
        for active in self._active:
            # half a prompt would leave a block behind that is found by its text and holds only part of it
            if active.steps and active.job.future.cancelled():
                active.handle.cancel()
        if self._active:
            self._pipeline.step()
            self._settle()

    def _admit(self) -> Job | None:
        """Add to the batch what may join it; give the job that must be tried alone, if it is its turn."""
        window, unproven = self._window()
        chosen = self._prefixes.choose([job.prompt for job in window])
        taken = {index for index, _ in chosen}
        with self._wake:
            self._queue.extendleft(reversed([job for index, job in enumerate(window) if index not in taken]))
        for index, claim in chosen:
            self._add(window[index], claim)
        return unproven

    def _window(self) -> tuple[list[Job], Job | None]:
        """Take the first jobs off the queue, up to one that must be tried alone."""
        window: list[Job] = []
        with self._wake:
            while self._queue and len(window) + len(self._active) < self._width:
                job = self._queue[0]
                if self._unproven(job) and (window or self._active):
                    break
                self._queue.popleft()
                if job.future.cancelled():
                    continue
                if self._unproven(job):
                    return [], job
                window.append(job)
        return window, None

    def _unproven(self, job: Job) -> bool:
        return job.constraint is not None and job.constraint not in self._proven

    def _add(self, job: Job, claim: Claim) -> bool:
        assert self._pipeline is not None
        try:
            handle = self._pipeline.add(next(self._numbers), job.prompt.ids, job.settings)
        except RuntimeError as error:
            self._prefixes.lost(claim)
            _give(job.future, EngineRefused(f"the local engine takes no such request: {first_line(error)}"))
            return False
        self._active.append(_Active(job, handle, claim))
        return True

    def _prove(self, job: Job, pipeline: Pipeline) -> None:
        """Let a job with a new constraint choose its first token while nobody else is in the batch."""
        if not self._add(job, self._prefixes.claim(job.prompt)):
            return
        active = self._active[0]
        try:
            while not active.handle.begun():
                pipeline.step()
        except RuntimeError as error:
            self._active.clear()
            self._prefixes.lost(active.claim)
            refusal = EngineRefused(
                f"the constraint must be one the grammar compiler takes: {first_line(error)}",
                mend="Correct the schema, regex or grammar.",
            )
            _give(job.future, refusal)
            active.handle.cancel()
            pipeline.step()  # clears the broken request away, as long as nothing else is there
            return
        self._proven.add(job.constraint)
        self._settle()

    def _settle(self) -> None:
        before = len(self._active)
        self._active = [active for active in self._active if self._goes_on(active)]
        self._let_ask_again(before - len(self._active))

    def _let_ask_again(self, answered: int) -> None:
        """Give callers that were just answered a moment to send their next request with this step, not the one after."""
        ends = time.monotonic() + MOMENT
        with self._wake:
            while len(self._queue) < answered and not self._closed and (left := ends - time.monotonic()) > 0:
                self._wake.wait(left)

    def _goes_on(self, active: _Active) -> bool:
        output = active.handle.output()
        if active.steps or output is not None or active.handle.begun():
            active.steps += 1
        if active.steps == 1:
            self._prefixes.arrived(active.claim)
        elif active.steps == 2:
            self._prefixes.moved(active.claim)
        if output is None:
            return True
        self._prefixes.ended(active.claim, output.ids)
        _answer(active.job, output)
        return False

    def _fail(self, error: EngineError, *, everyone: bool) -> None:
        failed = [active.job for active in self._active]
        self._active, self._pipeline = [], None
        self._prefixes.forget()
        if everyone:
            with self._wake:
                failed += self._queue
                self._queue.clear()
        for job in failed:
            _give(job.future, error)


def _answer(job: Job, output: Output) -> None:
    if job.future.cancelled():
        return
    try:
        _give(job.future, job.answer(output))
    except Exception as error:  # it belongs to whoever waits for this answer, not to the batch
        _give(job.future, error)


def _give(future: Future[Any], value: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)


def first_line(error: BaseException) -> str:
    """What a library's message says: its last line, without the place in its source."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return re.sub(r"^.*\.(cc|cpp|hpp):\d+:\s*", "", lines[-1])[-300:] if lines else type(error).__name__
