"""When a candidate is taken to be worse than the incumbent, and after how many rows it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from stillroom.optimizers.rules import chance_ahead, looks

__all__ = ["Worse", "bernstein", "betting", "f_race", "fives", "growing", "rungs", "unlikely"]

Worse = Callable[[np.ndarray, np.ndarray, int], bool]


@lru_cache(maxsize=100_000)
def _tail(wins: int, count: int) -> float:
    return sum(math.comb(count, k) for k in range(wins + 1)) / 2**count


def worse_p(mine: np.ndarray, theirs: np.ndarray) -> float:
    """One-sided p of "not worse": exact McNemar for 0/1 scores, else the normal form of the sign-flip test."""
    gaps = mine - theirs
    gaps = gaps[gaps != 0]
    if not len(gaps):
        return 1.0
    if (np.abs(gaps) == 1).all():
        return _tail(int((gaps > 0).sum()), len(gaps))
    return 0.5 * math.erfc(-gaps.sum() / math.sqrt(2 * (gaps**2).sum()))


def bernstein_worse(mine: np.ndarray, theirs: np.ndarray, delta: float) -> bool:
    """Whether the empirical-Bernstein upper bound of the mean difference is below 0 (Audibert et al. 2007; Mnih et al. 2008)."""
    gaps, t = mine - theirs, len(mine)
    term = math.log(3 * 2 * t**1.1 / delta)  # union over steps, as EBStop does with p = 1.1
    return float(gaps.mean() + gaps.std() * math.sqrt(2 * term / t) + 3 * 2 * term / t) < 0


def betting_worse(mine: np.ndarray, theirs: np.ndarray, n: int, alpha: float) -> bool:
    """Whether betting against "the mean difference over all n rows is >= 0" has made 1/alpha.

    Sampling without replacement: the mean of what is left under the null is (0 - sum so far) / (n - t)
    (Waudby-Smith and Ramdas 2024, section 5), bets are the aGRAPA kind.
    """
    wealth, total, squares = 1.0, 0.0, 0.25
    for t, gap in enumerate(mine - theirs):
        expected = -total / (n - t)
        bet = min(max((expected - total / max(t, 1)) / (squares / (t + 1)), 0.0), 0.5) if t else 0.25
        wealth *= max(1 + bet * (expected - gap), 0.0)
        if wealth >= 1 / alpha:
            return True
        total += gap
        squares += (gap - total / (t + 1)) ** 2
    return False


def rungs(n: int) -> list[int]:
    """The rungs of the first race: 15, 35 and 60 %."""
    return [min(n, max(8, math.ceil(share * n))) for share in (0.15, 0.35, 0.6)]


def fives(n: int) -> range:
    """Every five rows."""
    return range(5, n, 5)


def growing(n: int, first: int = 5) -> list[int]:
    """5 rows, then half as many again each time; all of them are left to the strategy."""
    return looks(n, first=first)[:-1]


def f_race(mine: np.ndarray, theirs: np.ndarray, n: int) -> bool:
    """The first race's rule: exact p below 0.15, or behind at 35 % and later."""
    return (len(mine) >= 0.35 * n and mine.sum() < theirs.sum()) or worse_p(mine, theirs) < 0.15


def bernstein(mine: np.ndarray, theirs: np.ndarray, n: int, delta: float = 0.1) -> bool:
    """Empirical-Bernstein racing."""
    return bernstein_worse(mine, theirs, delta)


def betting(mine: np.ndarray, theirs: np.ndarray, n: int, alpha: float = 0.2) -> bool:
    """Betting race."""
    return betting_worse(mine, theirs, n, alpha)


def unlikely(
    mine: np.ndarray, theirs: np.ndarray, n: int, below: float = 0.25, prior: float = 0.0, spread: float = 0.12
) -> bool:
    """Predictive probability of ending ahead."""
    return chance_ahead(mine, theirs, n - len(mine), prior=prior, spread=spread) < below
