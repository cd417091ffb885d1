"""When to try an endpoint again, and after how long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

__all__ = ["RETRIED", "Backoff", "retry_after"]

# 408, 425 and 429 ask for another try; of the 5xx only these two never change their mind
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).

    Attributes:
        retries: Further tries after the first.
        base: Ceiling of the first wait, in seconds; doubled with each try.
        cap: Ceiling of any wait, in seconds. An endpoint that asks for longer is given up on.
    """

    retries: int = 5
    base: float = 0.5
    cap: float = 60.0

    def wait(self, attempt: int, wish: float | None, rng: Random) -> float | None:
        """Seconds to wait after try number `attempt` (from 0), or `None` to give up."""
        if attempt >= self.retries or (wish or 0.0) > self.cap:
            return None
        return self.pause(attempt, wish, rng)

    def pause(self, attempt: int, wish: float | None, rng: Random) -> float:
        """Seconds to wait after try number `attempt` (from 0), however many there were.

        `wish` is what the endpoint asked for; the jitter comes on top of it, so
        that callers turned away together do not come back together. A small wish says
        that the endpoint soon has room, so it makes the jitter small as well.
        """
        wish = wish or 0.0
        base = min(wish, self.base) or self.base
        return wish + rng.uniform(0.0, min(self.cap, base * 2.0 ** min(attempt, 60)))


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, 10.2.3); `None` if neither.

    >>> retry_after("2.5")
    2.5
    >>> retry_after("Wed, 21 Oct 2015 07:28:00 GMT", datetime(2015, 10, 21, 7, 27, 30, tzinfo=UTC))
    30.0
    >>> retry_after("soon") is None
    True
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            until = parsedate_to_datetime(header)
        except ValueError:
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        seconds = (until - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None
