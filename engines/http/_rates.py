"""How fast an endpoint is asked: at a rate that was set, and no faster than its headers allow."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic

from ._retry import retry_after

__all__ = ["Pace", "Rates", "duration", "wish"]

KINDS = ("requests", "tokens")
UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")


class Pace:
    """So many a minute, evenly, with a burst of one second (the generic cell rate algorithm, ITU-T I.371)."""

    def __init__(self, per_minute: float) -> None:
        self._seconds = 60.0 / per_minute  # for one
        self._due = -1e9  # when all that was taken is due

    def take(self, amount: float, now: float) -> float:
        """Take `amount`, and give the seconds to wait before using it."""
        start = max(self._due, now)
        self._due = start + amount * self._seconds
        return max(start - now - 1.0, 0.0)

    def give(self, amount: float) -> None:
        """Give back what was not used (or take, if below 0, what was used on top)."""
        self._due -= amount * self._seconds


class Rates:
    """The rates of one endpoint. Safe to use from many threads: a rate that was promised holds for all loops.

    Args:
        requests: A minute, or `None`: as the endpoint's headers say, if they say anything.
        tokens: A minute, prompt and answer, likewise.
    """

    def __init__(self, requests: float | None, tokens: float | None) -> None:
        self._requests = Pace(requests) if requests else None
        self._tokens = Pace(tokens) if tokens else None
        self._free_at = 0.0  # the endpoint's headers ask for nothing before this
        self._gap = 0.0  # and for so many seconds between two requests while its allowance is low
        self._guard = threading.Lock()

    def take(self, tokens: float) -> float:
        """Book one request of about `tokens` tokens, and give the seconds to wait before it is sent."""
        if self._requests is None and self._tokens is None and not self._free_at:
            return 0.0
        now = monotonic()
        with self._guard:
            wait = max(self._free_at - now, 0.0)
            if wait:
                self._free_at += self._gap
            else:
                self._free_at = 0.0
            if self._requests is not None:
                wait = max(wait, self._requests.take(1.0, now))
            if self._tokens is not None:
                wait = max(wait, self._tokens.take(tokens, now))
            return wait

    def used(self, booked: float, tokens: float) -> None:
        """Put right what was booked: this many tokens were used."""
        if self._tokens is not None:
            with self._guard:
                self._tokens.give(booked - tokens)

    def heard(self, headers: Mapping[str, str], busy: int, tokens: float) -> None:
        """Read an answer's headers, with `busy` requests of about `tokens` tokens under way.

        While what remains covers those under way, nothing happens. When it does not, requests go out as
        fast as the allowance comes back: all that was used of it comes back by its reset.
        """
        if "x-ratelimit-remaining-requests" not in headers and "x-ratelimit-remaining-tokens" not in headers:
            return
        for kind, each in zip(KINDS, (1.0, tokens), strict=True):
            remaining, limit, reset = _allowance(headers, kind)
            if remaining is None or not reset or remaining >= each * (busy + 1):
                continue
            used = limit - remaining if limit is not None else 0.0
            gap = min(reset, reset * each / used) if used > 0 else 0.0  # without a limit: all at once, after the reset
            with self._guard:
                self._free_at, self._gap = max(self._free_at, monotonic() + (gap or reset)), gap


def wish(headers: Mapping[str, str]) -> float | None:
    """The wait in seconds that a refusal asks for: `retry-after-ms`, Retry-After, or the reset of what is used up."""
    milliseconds = retry_after(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    seconds = retry_after(headers.get("retry-after"))
    if seconds is not None:
        return seconds
    resets = [reset for kind in KINDS for left, _, reset in [_allowance(headers, kind)] if left == 0 and reset]
    return max(resets, default=None)


def duration(text: str, now: datetime | None = None) -> float | None:
    """Read the seconds until a reset: `20`, `6m0s`, `17ms`, a date; `None` if it is none of these.

    >>> duration("6m0s"), duration("17ms"), duration("1.5"), duration("soon")
    (360.0, 0.017, 1.5, None)
    >>> duration("2026-01-01T00:00:30Z", datetime(2026, 1, 1, tzinfo=UTC))
    30.0
    """
    seconds = retry_after(text, now)
    if seconds is not None:
        return seconds
    if PART.sub("", text) == "" and text:
        return sum(float(count) * UNITS[unit] for count, unit in PART.findall(text))
    try:
        until = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max((until.replace(tzinfo=until.tzinfo or UTC) - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _allowance(headers: Mapping[str, str], kind: str) -> tuple[float | None, float | None, float | None]:
    """What remains of `kind`, its limit, and the seconds until its reset."""
    remaining = retry_after(headers.get(f"x-ratelimit-remaining-{kind}"))
    limit = retry_after(headers.get(f"x-ratelimit-limit-{kind}"))
    return remaining, limit, duration(headers.get(f"x-ratelimit-reset-{kind}", ""))
