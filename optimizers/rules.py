"""Elimination rules and the order of examples: pure functions over scores of 0..1.

Which rules were compared, on which response tables and with what result is told in
docs/racing.md; only those that won are here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["balanced_order", "chance_ahead", "drop", "looks", "opening"]

SPREAD = 0.12  # how far two candidates' true means usually lie apart (standard deviation of the difference)
NOISE = 0.5  # standard deviation of one row's paired difference, before any was seen
WEIGHT = 4.0  # how many rows the guess above counts for


def chance_ahead(
    mine: Sequence[float], theirs: Sequence[float], unseen: int, *, spread: float = SPREAD, prior: float = 0.0
) -> float:
    """Chance that a candidate ends ahead of the incumbent once the `unseen` rows are scored too.

    Normal predictive probability over a finite population: the paired differences d of the t rows
    seen have mean m; the difference of the true means is given the prior N(prior, spread^2), which
    the rows seen pull towards m (precision t / s^2); the final difference is (t m + u D) / (t + u)
    with D the mean over the u rows unseen (predictive probability of Bayesian sequential trials:
    Spiegelhalter, Freedman and Blackburn 1986; Lee and Liu 2008). A tie counts half.

    Args:
        mine: Scores on the rows seen, 0..1.
        theirs: The incumbent's scores on the same rows.
        unseen: Rows that are still to be scored.
        spread: Standard deviation of the true difference before any row is seen.
        prior: Its mean.
    """
    gaps = np.asarray(mine, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    seen, total = len(gaps), float(gaps.sum())
    noise = (WEIGHT * NOISE**2 + float((gaps**2).sum())) / (WEIGHT + seen)  # mean square, shrunk to the guess
    precision = 1 / spread**2 + seen / noise
    mean = (prior / spread**2 + total / noise) / precision
    spare = total + unseen * mean
    variance = unseen * noise + unseen**2 / precision
    if variance == 0:
        return 0.5 * ((spare > 0) + (spare >= 0))
    return 0.5 * math.erfc(-spare / math.sqrt(2 * variance))


def drop(
    mine: Sequence[float],
    theirs: Sequence[float],
    unseen: int,
    *,
    below: float = 0.25,
    spread: float = SPREAD,
    prior: float = 0.0,
) -> bool:
    """Whether a candidate is too unlikely to end ahead of the incumbent to be scored further."""
    return chance_ahead(mine, theirs, unseen, spread=spread, prior=prior) < below


def opening(rows: int, *, eta: int = 3) -> list[tuple[int, int]]:
    """Stages of the first bracket of successive halving: rows that each candidate has seen, and how many go on.

    The first of a list of about `eta`^2 candidates see a twelfth of the rows, the best 1/eta of them eta
    times as many, the best of these all (Jamieson and Talwalkar 2016). The baseline is one of them.

    >>> opening(80)
    [(7, 3), (21, 1), (80, 1)]
    """
    first = min(rows, max(5, math.ceil(rows / 12)))
    stages = [(first, eta), (min(rows, eta * first), 1), (rows, 1)]
    return [stage for at, stage in enumerate(stages) if at == 2 or stage[0] < rows]


def looks(rows: int, *, first: int = 5, growth: float = 1.5) -> list[int]:
    """After how many rows a candidate is asked whether it drops: `first`, half as many again each time, all.

    Equal steps on the scale of what is at stake, as in the geometric schedules of Mnih et al. 2008.

    >>> looks(80)
    [5, 7, 11, 16, 25, 37, 56, 80]
    """
    found, at = [], float(first)
    while at < rows:
        found.append(int(at))
        at *= growth
    return [*found, rows]


def balanced_order(strata: Sequence[Hashable], rng: random.Random) -> list[int]:
    """Rows in a random order in which every beginning holds each stratum in its share of the whole.

    Proportional stratified sampling without replacement (Neyman 1934; systematic places within each
    stratum): where candidates differ in their bias between labels, a beginning that is balanced tells
    their full means with less noise, and without bias.

    Args:
        strata: For each row what it is balanced by: its gold label, say.
        rng: Shuffles.
    """
    groups: dict[Hashable, list[int]] = {}
    for row in rng.sample(range(len(strata)), len(strata)):
        groups.setdefault(strata[row], []).append(row)
    place = {}
    for rows in groups.values():
        start = rng.random()
        place.update({row: (rank + start) / len(rows) for rank, row in enumerate(rows)})
    return sorted(place, key=lambda row: place[row])
