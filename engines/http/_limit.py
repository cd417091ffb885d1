"""How many requests an endpoint is sent at once: as many as do it good."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["Limit"]

START = 16  # sent at once before anything is known
WINDOW = 5  # answers that must be in before anything is decided, at the least
CHANCE = 0.2  # share of failures that may come of chance and not of want of room
TOLERANCE = 2.0  # latency may be so many times its floor: at twice, half of it is spent in a queue
LEAST = 4  # latency alone never takes the limit below this
EXCUSED = 1.5  # what a latency that is no queue's may be above its floor; less than the tolerance, as verdicts may err
SMOOTHING = 0.3
CUTS = (0.5, 0.75)  # what a cut leaves: large enough to tell by the answers whether it helped


class Limit:
    """A limit that grows while an endpoint serves and shrinks when it fails or slows down.

    It decides on windows of as many answers as it allows at once. It doubles until the first sign
    of trouble, then grows by its square root and shrinks by a share (additive increase,
    multiplicative decrease: Chiu and Jain 1989).

    Trouble is, first, failures: the limit falls by half their share, as soon as they are more
    than endpoints that fail by chance give. Second, latency: when its smoothed mean is more than
    `TOLERANCE` times the lowest that it has been, requests wait in a queue over there, and the
    limit falls in that proportion (the gradient of Netflix's concurrency-limits), by a quarter to a half.
    But answers may be slow for other reasons: longer texts, a larger model, other people's
    load. Out of a queue they come faster by as much as the limit was cut; if not by a third of
    that, the cut is taken back, and the floor goes up. A slow model costs a few windows, not its
    throughput.

    Not thread-safe: it belongs to one event loop.

    Attributes:
        now: Requests that may be under way, 1 to `most`.
        full: Set by whoever had to wait; a limit that nobody has reached does not grow.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = float(min(START, most))
        self.full = False
        self._doubling = True
        self._next: Callable[[float], None] = self._watch  # what the next window is for
        self._then: Callable[[float], None] = self._watch  # and the one after a cut has settled
        self._latency: float | None = None
        self._floor = math.inf
        self._under_way = 0.0
        self._before = (0.0, 0.0)  # limit and latency before a cut that has to prove itself
        self._begin()

    def answered(self, seconds: float, *, failed: bool) -> None:
        """Count one answer, after so many seconds; `failed` means that the endpoint did."""
        self._seen += 1
        if failed:
            self._failed += 1
        else:
            self._seconds += seconds
        if self._seen < self._window:
            return
        share = self._failed / self._seen
        if share > CHANCE and self._next is not self._settle:
            self._shrink(1.0 - share / 2.0, then=self._watch)
        else:
            self._next(self._seconds / max(self._seen - self._failed, 1))
        self._begin()

    def _watch(self, latency: float) -> None:
        """Grow, unless the answers have become slow."""
        self._latency = latency if self._latency is None else self._latency + SMOOTHING * (latency - self._latency)
        self._floor = min(self._floor, self._latency)
        if self._latency > TOLERANCE * self._floor and self.now > LEAST:
            self._next = self._suspect
        elif self.full:
            self.now = min(self.most, self.now * 2.0 if self._doubling else self.now + math.sqrt(self.now))

    def _suspect(self, latency: float) -> None:
        """Cut if they are slow still, now that the limit has stood for a window."""
        self._latency, self._next = latency, self._watch
        gradient = TOLERANCE * self._floor / latency if latency else 1.0
        if gradient < 1.0:
            self._before = (self.now, latency)
            self._shrink(max(LEAST / self.now, min(max(gradient, CUTS[0]), CUTS[1])), then=self._judge)

    def _settle(self, latency: float) -> None:
        """Pass over what was under way at the cut: it speaks of the limit before."""
        self._next = self._then

    def _judge(self, latency: float) -> None:
        """Take the cut back if it made nothing faster."""
        limit, before = self._before
        self._latency, self._next = latency, self._watch
        if latency > before * (2.0 + self.now / limit) / 3.0:
            self.now, self._floor = limit, latency / EXCUSED

    def _begin(self) -> None:
        self._window = max(self.now, self._under_way, WINDOW)
        self._seen = self._failed = 0
        self._seconds = self._under_way = 0.0
        self.full = False

    def _shrink(self, factor: float, then: Callable[[float], None]) -> None:
        self._under_way = self.now
        self.now = max(1.0, self.now * factor)
        self._doubling = False
        self._next, self._then = self._settle, then
