"""An engine that can be stopped between calls, and that counts what this session has paid for.

Ctrl-C must lose no answer that was paid for. The first one lets the calls under way be
answered and recorded and starts no other; a second one stops at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from stillroom.engines import Engine, Score
from stillroom.errors import EngineError, Interrupted
from stillroom.ledger import Spent

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Watched", "stoppable"]

STOPPING = "\nstopping: {} calls under way are finished first; Ctrl-C again stops at once\n"


class Watched(Engine):
    """Pass everything to `inner`; keep count, and start nothing once `stop` was called.

    Attributes:
        spent: Calls, tokens and dollars of what was answered in this session.
        under_way: Calls that are not recorded yet.
        stopping: Whether `stop` was called.
    """

    def __init__(self, inner: Engine, on_answer: Callable[[Spent], None] | None = None) -> None:
        """Watch `inner`; `on_answer` hears `spent` after each answer, on any thread."""
        self.inner = inner
        for name in Engine.__annotations__:  # what the contract says of an engine is what it says of the inner one
            setattr(self, name, getattr(inner, name))
        self.prices = inner.prices
        self.spent = Spent()
        self.under_way = 0
        self.stopping = False
        self._on_answer = on_answer or (lambda spent: None)
        self._changed = threading.Condition()

    def submit(self, request: Request) -> Future[Response]:
        """Start `request`. Raises `KeyboardInterrupt` after `stop`, once nothing is under way."""
        self.check()
        outer: Future[Response] = Future()
        with self._changed:
            self.under_way += 1
        try:
            inner = self.inner.submit(request)
        except BaseException:
            self._settled(None)
            raise
        outer.add_done_callback(lambda future: inner.cancel() if future.cancelled() else None)
        inner.add_done_callback(lambda done: self._pass_on(done, outer))
        return outer

    async def acomplete(self, request: Request) -> Response:
        """Answer `request`. After `stop` it raises `Interrupted` instead: a `KeyboardInterrupt` would end the event loop."""
        if self.stopping:
            raise Interrupted("no call is begun after Ctrl-C")
        with self._changed:
            self.under_way += 1
        answer: Response | None = None
        try:
            answer = await self.inner.acomplete(request)
        finally:
            self._settled(answer)
        return answer

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """As the inner engine does."""
        self.check()
        with self._changed:
            self.under_way += 1
        try:
            return self.inner.score(request, continuations)
        finally:
            self._settled(None)

    def score_many(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[Score] | EngineError]:
        """As the inner engine does."""
        self.check()
        with self._changed:
            self.under_way += 1
        try:
            return self.inner.score_many(requests, continuations)
        finally:
            self._settled(None)

    def count_tokens(self, request: Request) -> int:
        """As the inner engine counts."""
        return self.inner.count_tokens(request)

    def resume_in(self, folder: Path) -> None:
        """Tell the inner engine."""
        self.inner.resume_in(folder)

    def close(self) -> None:
        """Close the inner engine."""
        self.inner.close()

    def stop(self) -> None:
        """Start no further call. Takes no lock: a signal handler calls it."""
        self.stopping = True

    def check(self) -> None:
        """After `stop`: wait until everything under way is recorded, then raise `KeyboardInterrupt`."""
        if not self.stopping:
            return
        with self._changed:
            while self.under_way:
                self._changed.wait()
        raise KeyboardInterrupt

    def _pass_on(self, done: Future[Response], outer: Future[Response]) -> None:
        """Hand an answer out; what is called back there records it, so it counts as under way until then."""
        answer: Response | None = None
        try:
            if not outer.set_running_or_notify_cancel():
                return
            if done.cancelled():
                outer.set_exception(EngineError("the call was cancelled"))
            elif (error := done.exception()) is not None:
                outer.set_exception(error)
            else:
                answer = done.result()
                outer.set_result(answer)
        finally:
            self._settled(answer)

    def _settled(self, answer: Response | None) -> None:
        with self._changed:
            self.under_way -= 1
            if answer is not None:
                tokens_in, tokens_out = answer.usage.input_tokens or 0, answer.usage.output_tokens or 0
                self.spent += Spent(1, tokens_in, tokens_out, self.cost(tokens_in, tokens_out) or 0.0)
            self._changed.notify_all()
        if answer is not None:
            self._on_answer(self.spent)


@contextmanager
def stoppable(engine: Watched) -> Iterator[None]:
    """Let Ctrl-C stop `engine` between calls while this lasts.

    With no call under way it is the usual `KeyboardInterrupt`, at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(number: int, frame: FrameType | None) -> None:
        if engine.stopping or not engine.under_way:
            engine.stop()
            raise KeyboardInterrupt
        engine.stop()
        # not through sys.stderr: it may be in the middle of a write
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, STOPPING.format(engine.under_way).encode())

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
        engine.check()
    finally:
        signal.signal(signal.SIGINT, before)
