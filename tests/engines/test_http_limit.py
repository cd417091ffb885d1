"""How many requests are sent at once, against endpoints that exist only as arithmetic."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from stillroom.engines.http._limit import START, Limit


@dataclass
class Outcome:
    """Answers a second, the share of tries that failed, and the limit after each answer."""

    rate: float
    failed: float
    limits: list[float]

    @property
    def late(self) -> float:
        """The mean limit over the second half."""
        half = self.limits[len(self.limits) // 2 :]
        return sum(half) / len(half)


def simulate(
    most: int,
    seconds: Callable[[Random, int, float], float],
    *,
    answers: int,
    servers: int | None = None,
    room: int | None = None,
    chance: float = 0.0,
    seed: int = 0,
) -> Outcome:
    """Send as many as the limit allows, always, to an endpoint in simulated time.

    `seconds` are those of the work, given chance, how many are under way and the time; `servers`
    work at once and the others wait in line; above `room` requests are refused, and some by `chance`.
    """
    rng, limit, now = Random(seed), Limit(most), 0.0
    under_way: list[tuple[float, float, bool]] = []
    free = [0.0] * servers if servers else []
    good = bad = 0
    limits = []
    while good < answers:
        while len(under_way) < limit.now:
            if (room is not None and len(under_way) >= room) or rng.random() < chance:
                heapq.heappush(under_way, (now + 0.002, now, True))
                continue
            start = max(now, heapq.heappop(free)) if servers else now
            end = start + seconds(rng, len(under_way) + 1, now)
            if servers:
                heapq.heappush(free, end)
            heapq.heappush(under_way, (end, now, False))
        limit.full = True
        now, sent, failed = heapq.heappop(under_way)
        limit.answered(sent, now, failed=failed)
        good, bad = good + (not failed), bad + failed
        limits.append(limit.now)
    return Outcome(good / now, bad / (good + bad), limits)


def varied(mean: float) -> Callable[[Random, int, float], float]:
    """Latencies of a mean, some three times as long."""
    return lambda rng, busy, now: mean * (0.3 + rng.expovariate(1 / 0.7))


@pytest.mark.parametrize("mean", [0.02, 1.0, 30.0])
def test_a_slow_model_is_not_throttled(mean: float) -> None:
    """However long answers take: with room for all, the limit goes to the most and stays there."""
    found = simulate(64, varied(mean), answers=5000)
    assert found.limits[0] == START
    assert found.late > 60
    assert found.rate > 0.9 * 64 / mean


def test_longer_answers_in_the_middle_of_a_run_cost_no_throughput() -> None:
    """Fifty times longer from one moment on: the cut made nothing faster, so it is taken back."""
    found = simulate(64, lambda rng, busy, now: varied(0.2 if now < 60 else 10.0)(rng, busy, now), answers=26_000)
    assert min(found.limits[len(found.limits) // 2 :]) < 64  # it was tried
    assert sum(found.limits[-3000:]) / 3000 > 55


def test_two_kinds_of_answers_are_no_queue() -> None:
    """Short and hundredfold longer ones, mixed by chance."""
    found = simulate(64, lambda rng, busy, now: rng.choice([0.2, 20.0]), answers=5000)
    assert found.rate > 0.9 * 64 / 10.1


@pytest.mark.parametrize("servers", [1, 4])
def test_a_queue_at_the_endpoint_is_kept_short(servers: int) -> None:
    """As much is answered as with all at once, and fewer wait over there until they time out."""
    found = simulate(64, varied(1.0), answers=2000, servers=servers)
    assert found.rate > 0.9 * servers
    assert found.late < 48


def test_an_endpoint_that_batches_is_used() -> None:
    """Latency grows a little with every request beside, and throughput grows too: not a queue."""
    found = simulate(256, lambda rng, busy, now: (1 + busy / 256) * varied(1.0)(rng, busy, now), answers=20_000)
    assert found.rate > 0.9 * 128


@pytest.mark.parametrize("room", [4, 20])
def test_refusals_bring_the_limit_down_to_the_room_there_is(room: int) -> None:
    """Multiplicative decrease, additive increase, around what is taken."""
    found = simulate(64, lambda rng, busy, now: 0.02, answers=5000, room=room)
    assert room / 2 < found.late < room * 1.3
    assert found.rate > 0.6 * room / 0.02


@pytest.mark.parametrize(("chance", "least"), [(0.05, 0.9), (0.3, 0.6)])
@pytest.mark.parametrize("seed", range(4))
def test_failures_by_chance_do_not_throttle(chance: float, least: float, seed: int) -> None:
    """Whatever the limit is, so many fail: fewer at once would only mean fewer answers."""
    found = simulate(64, lambda rng, busy, now: 0.02, answers=10_000, chance=chance, seed=seed)
    assert found.rate > least * (1 - chance) * 64 / 0.02


def test_it_stays_between_one_and_the_most() -> None:
    """Whatever happens."""
    limit = Limit(8)
    for now in range(300):
        limit.answered(now - 0.001, now, failed=True)
    assert limit.now == 1
    for now in range(300, 600):
        limit.full = True
        limit.answered(now - 0.001, now, failed=False)
    assert limit.now == 8


def test_a_limit_that_nobody_reached_does_not_grow() -> None:
    """Twenty quiet callers are no evidence for more."""
    limit = Limit(64)
    for now in range(500):
        limit.answered(now - 0.02, now, failed=False)
    assert limit.now == START
