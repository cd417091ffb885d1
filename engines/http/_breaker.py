"""A circuit breaker: while an endpoint is down nobody sends, but for one at a time who asks whether it is back."""

from __future__ import annotations

from math import inf
from random import Random

from ._failures import Down
from ._retry import Backoff

__all__ = ["Breaker"]

EVIDENCE = 8
LONGEST = 30.0  # seconds between two who ask


class Breaker:
    """Closed, open, half-open (Nygard, "Release It!", 2007); times are seconds of one clock.

    `EVIDENCE` failures in a row, with no answer between them, open it. A failure that
    speaks of the endpoint (no connection, 429, 502, 503) counts each time, any other once for
    each request, and not at all for one that failed before while others were answered: requests
    that always fail are not an outage. Open, it lets one request through after a pause that
    doubles from try to try, or is as long as the endpoint asked for. Its answer closes the breaker.

    Not thread-safe: it belongs to one event loop.

    Attributes:
        down_since: When it opened, or `None` while it is closed.
        good: When the last request that was answered was sent.
    """

    def __init__(self, *, patience: float, base: float, rng: Random) -> None:
        self.down_since: float | None = None
        self.last = ""
        self.good = -inf
        self._patience = patience
        self._backoff = Backoff(base=max(base, 0.01), cap=LONGEST)
        self._rng = rng
        self._until = 0.0
        self._probing = False
        self._trips = 0
        self._marks = 0
        self._callers: set[object] = set()

    def may_send(self, now: float) -> bool:
        """Tell whether a request may go out; the one that may while it is open is the one who asks."""
        if self.down_since is None:
            return True
        if self._probing or now < self._until:
            return False
        self._probing = True
        return True

    def pause_left(self, now: float) -> float | None:
        """Seconds until somebody may ask, or `None` when it is closed or somebody is asking."""
        return None if self.down_since is None or self._probing else max(self._until - now, 0.0)

    def out_of_patience(self, now: float) -> bool:
        """Tell whether it has been open for longer than anybody should wait."""
        return self.down_since is not None and now - self.down_since >= self._patience

    def succeeded(self, sent: float) -> None:
        """Hear of an answer to what was sent at `sent`; one from before the breaker opened does not close it."""
        if self.down_since is None or sent >= self.down_since:
            self.down_since, self._probing, self._trips = None, False, 0
        self.good = max(self.good, sent)
        if self._marks or self._callers:
            self._marks = 0
            self._callers.clear()

    def failed(self, now: float, sent: float, error: Exception, caller: object | None, wish: float | None) -> None:
        """Hear of a failure at `now` of what was sent at `sent`.

        `caller` is whose it was, or `None` if the fault is known to be its own; `wish` is the pause it asked for.
        """
        if self.down_since is None:
            if isinstance(error, Down):
                self._marks += 1
            elif caller is not None:
                self._callers.add(caller)
            if self._marks + len(self._callers) < EVIDENCE:
                return
            self.down_since = now
        elif sent < self.down_since:  # it was on its way when the breaker opened: what it says is known
            self._until = max(self._until, now + (wish or 0.0))
            return
        self.last = str(error)
        pause = self._backoff.pause(self._trips, wish, self._rng)
        end = self.down_since + self._patience
        self._until = max(now, min(now + pause, end)) if now < end else now + pause
        self._trips += 1
        self._probing = False

    def unheard(self) -> None:
        """Hear that a request was dropped before its answer: it may have been the one who asks."""
        self._probing = False
