"""The one queue before an endpoint: who may send now, and who waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from stillroom.errors import EngineBusy, EngineError, EngineRefused

from ._breaker import Breaker
from ._limit import Limit

__all__ = ["Gate", "closed"]


def closed() -> EngineRefused:
    """What a closed engine says."""
    return EngineRefused("a closed engine cannot be used again", mend="Open a new one.")


class Gate:
    """Let as many in as the limit says, and while the breaker is open one at a time; first come, first served.

    Not thread-safe: it belongs to one event loop.
    """

    def __init__(self, host: str, limit: Limit, breaker: Breaker) -> None:
        self.limit, self.breaker = limit, breaker
        self.busy = 0
        self._host = host
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def enter(self) -> None:
        """Wait for a place; `leave` gives it back.

        Raises:
            EngineBusy: If the endpoint has been down for longer than anybody should wait.
            EngineRefused: If the gate is closed.
        """
        if self._closed:
            raise closed()
        if not self._waiting and self.try_enter():
            return
        if self.breaker.out_of_patience(monotonic()):
            raise self._down()
        self.limit.full = True
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:  # let in, and gone already
                self.breaker.unheard()
                self.leave()
            raise

    def try_enter(self) -> bool:
        """Take a place if one is free this moment."""
        if self.busy < self.limit.now and self.breaker.may_send(monotonic()):
            self.busy += 1
            return True
        return False

    def leave(self) -> None:
        """Give a place back."""
        self.busy -= 1
        if self._waiting:
            self._admit()

    def succeeded(self, sent: float) -> None:
        """Hear that what was sent at `sent` was answered."""
        self.breaker.succeeded(sent)
        self.limit.answered(sent, monotonic(), failed=False)

    def failed(self, sent: float, error: EngineBusy, caller: object) -> None:
        """Hear that the endpoint failed what `caller` sent at `sent`."""
        now = monotonic()
        self.breaker.failed(now, sent, error, caller, error.retry_after)
        self.limit.answered(sent, now, failed=True)

    def close(self) -> None:
        """Send everybody away, now and from now on."""
        self._closed = True
        self._dismiss(closed)

    def _admit(self) -> None:
        now = monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.breaker.out_of_patience(now):
            self._dismiss(self._down)
        while self._waiting:
            if not self._waiting[0].done():
                if not self.try_enter():
                    break
                self._waiting[0].set_result(None)
            self._waiting.popleft()
        pause = self.breaker.pause_left(now) if self._waiting else None
        if pause is not None:
            self._timer = asyncio.get_running_loop().call_later(pause + 0.001, self._admit)

    def _dismiss(self, why: Callable[[], EngineError]) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(why())

    def _down(self) -> EngineBusy:
        since = monotonic() - (self.breaker.down_since or 0.0)
        return EngineBusy(
            f"{self._host} must come back while rows wait, got none of it for {since:.0f} s; last: {self.breaker.last}",
            mend="Run again when it is up (what was answered is kept), or raise patience=.",
        )
