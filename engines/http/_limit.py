"""How many requests an endpoint is sent at once: as many as do it good."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Limit"]

START = 16  # sent at once before anything is known
WINDOW = 5  # good answers that must be in before anything is decided, ...
PATIENCE = 4  # ... unless so many windows went by
CHANCE = 0.2  # share of failures that may come of chance and not of want of room
TOLERANCE = 2.0  # latency may be so many times its floor: at twice, half of it is spent in a queue
LEAST = 4  # latency alone never takes the limit below this
EXCUSED = 1.5  # what a latency that is no queue's may be above its floor; less than the tolerance, as verdicts may err
MARGIN = 1.25  # and a share of failures that no cut mends, above what it was
SMOOTHING = 0.3
CUTS = (0.5, 0.75)  # what a cut leaves: large enough to tell by the answers whether it helped


class _Window(NamedTuple):
    """What so many answers told: good ones, the share that failed, the mean latency and good ones a second."""

    good: int
    failed: float
    latency: float
    rate: float


class Limit:
    """A limit that grows while an endpoint serves and shrinks when it fails or slows down.

    It decides on windows of as many answers as it allows at once. It doubles until the first sign
    of trouble, then grows by its square root and shrinks by a share (additive increase,
    multiplicative decrease: Chiu and Jain 1989).

    Trouble is, first, failures: the limit falls by half their share, as soon as they are more
    than endpoints that fail by chance give. Second, latency: when its smoothed mean is more than
    `TOLERANCE` times the lowest that it has been, requests wait in a queue over there, and the
    limit falls in that proportion (the gradient of Netflix's concurrency-limits). Both by a quarter to a half.

    But answers may fail for reasons that are in them, and be slow for longer texts, a larger
    model, other people's load. So every cut has to prove itself: out of a queue, answers come faster
    by as much as the limit was cut, and where there was no room, as many come as before. If
    not by about half of that, the cut is taken back, and that much is put up with from then on.
    A slow model costs a few windows, not its throughput.

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
        self._next: Callable[[_Window], None] = self._watch  # what the next window is for
        self._then: Callable[[_Window], None] = self._watch  # and the one after a cut has settled
        self._latency: float | None = None
        self._floor = math.inf
        self._chance = CHANCE
        self._before = (self.now, _Window(0, 0.0, 0.0, 0.0))  # a cut that has to prove itself
        self._since: float | None = None
        self._window = max(self.now, WINDOW)
        self._seen = self._failed = 0
        self._seconds = self._under_way = 0.0

    def answered(self, sent: float, at: float, *, failed: bool) -> None:
        """Count one answer: when it was sent and came, in seconds of one clock, and whether the endpoint failed."""
        self._seen += 1
        if failed:
            self._failed += 1
        else:
            self._seconds += at - sent
        if self._since is None:
            self._since = at
        good = self._seen - self._failed
        if self._seen < self._window or (good < WINDOW and self._seen < PATIENCE * self._window):
            return
        rate = good / (at - self._since) if at > self._since else math.inf
        self._next(_Window(good, self._failed / self._seen, self._seconds / max(good, 1), rate))
        self._begin(at)

    def _watch(self, seen: _Window) -> None:
        """Grow, unless answers fail or have become slow."""
        self._next = self._watch
        if seen.failed > self._chance:
            self._cut(1.0 - seen.failed / 2.0, seen, then=self._judge_rate)
            return
        self._chance = max(CHANCE, min(self._chance, MARGIN * seen.failed))
        latency = seen.latency
        self._latency = latency if self._latency is None else self._latency + SMOOTHING * (latency - self._latency)
        self._floor = min(self._floor, self._latency)
        if self._latency > TOLERANCE * self._floor and self.now > LEAST:
            self._next = self._suspect
        elif self.full:
            self.now = min(self.most, self.now * 2.0 if self._doubling else self.now + math.sqrt(self.now))

    def _suspect(self, seen: _Window) -> None:
        """Cut if they are slow still, now that the limit has stood for a window."""
        self._latency, self._next = seen.latency, self._watch
        gradient = TOLERANCE * self._floor / seen.latency if seen.latency else 1.0
        if gradient < 1.0:
            self._cut(max(gradient, LEAST / self.now), seen, then=self._judge_latency)

    def _settle(self, seen: _Window) -> None:
        """Pass over what was under way at the cut: it speaks of the limit before."""
        self._next = self._then

    def _judge_rate(self, seen: _Window) -> None:
        """A cut for failures is useless if fewer answers come for it, as many failing as before."""
        limit, before = self._before
        lost = seen.rate < before.rate * (1.0 + self.now / limit) / 2.0
        if lost and seen.failed > self._chance and min(seen.good, before.good) >= WINDOW:
            self.now, self._chance = limit, MARGIN * seen.failed
        self._watch(seen)

    def _judge_latency(self, seen: _Window) -> None:
        """A cut for latency is useless if no answer comes faster for it."""
        limit, before = self._before
        self._latency, self._next = seen.latency, self._watch
        if seen.latency > before.latency * (2.0 + self.now / limit) / 3.0:
            self.now, self._floor = limit, seen.latency / EXCUSED

    def _cut(self, factor: float, seen: _Window, then: Callable[[_Window], None]) -> None:
        self._before = (self.now, seen)
        self._under_way = self.now
        self.now = max(1.0, self.now * min(max(factor, CUTS[0]), CUTS[1]))
        self._doubling = False
        self._next, self._then = self._settle, then

    def _begin(self, at: float | None = None) -> None:
        self._since = at
        self._window = max(self.now, self._under_way, WINDOW)
        self._seen = self._failed = 0
        self._seconds = self._under_way = 0.0
        self.full = False
