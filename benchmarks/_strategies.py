"""Racing strategies, replayed on response tables.

Each is a function of a `World` and plays until everything is scored or the world
ends it. A call is one candidate on one row; a cell that was paid for once is free
afterwards, as calls in a store are (and in DSPy's cache).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np

from stillroom.optimizers.rules import balanced_order, chance_ahead, opening

from ._bounds import Worse, bernstein, betting, f_race, fives, growing, rungs, unlikely
from ._world import Strategy, World, arriving, by_tpe, guided, posterior

__all__ = ["STRATEGIES", "mipro"]


def informative_order(scores: Sequence[Sequence[float]], rng: random.Random) -> list[int]:
    """Rows in the order in which they tell candidates apart.

    A row's weight is its discrimination, the covariance over the candidates of the row's score with
    the mean of the candidate's other rows (item-rest covariance, the moment form of an item's
    discrimination in classical test theory and of a in the 2PL model; Lord and Novick 1968), plus
    its variance, which is what is left where few candidates are known. Ties fall as `rng` shuffles.

    Args:
        scores: One complete list of row scores for each candidate.
        rng: Breaks ties.
    """
    table = np.asarray(scores, dtype=np.float64)
    count, rows = table.shape
    order = list(range(rows))
    rng.shuffle(order)
    if count < 2:
        return order
    rest = (table.sum(axis=1, keepdims=True) - table) / max(rows - 1, 1)
    weight = ((table - table.mean(axis=0)) * (rest - rest.mean(axis=0))).mean(axis=0) * 4 + table.var(axis=0) / count
    return sorted(order, key=lambda row: -weight[row])


def random_search(world: World, order: Callable[[World], Iterator[int]] = arriving) -> None:
    """Score each candidate in full."""
    for candidate in order(world):
        world.complete(candidate)


def mipro(world: World, trials: int = 10) -> None:
    """MIPROv2: a minibatch of 35 rows a trial, the best mean in full every 5 trials and at the end.

    The state after `trials` (auto="light" has 10) is marked "end"; it then goes on.
    """
    world.complete(0)
    found: dict[int, list[float]] = {}
    scored = {0}
    waiting = [each for each in world.arrival if each]
    for number, candidate in enumerate(waiting, 1):
        rows = world.rng.sample(range(world.n), min(35, world.n))
        found.setdefault(candidate, []).append(float(world.take(candidate, rows).mean()))
        if number % 5 == 0 or number in (trials, len(waiting)):
            left = [each for each in found if each not in scored]
            best = max(left, key=lambda each: float(np.mean(found[each])))
            scored.add(best)
            world.complete(best)
        if number == trials:
            world.marks["end"] = (world.calls, world.incumbent)


def by_mean(world: World, group: list[int], rows: int) -> list[int]:
    """By the mean over the rows seen."""
    return sorted(group, key=lambda each: -float(world.scores[each, :rows].mean()))


def by_model(world: World, group: list[int], rows: int) -> list[int]:
    """By the expected mean, which borrows from candidates with the same features."""
    mean, _ = posterior(world)
    return sorted(group, key=lambda each: -mean[each])


def halving(
    world: World,
    bracket: int = 9,
    eta: int = 3,
    first: int = 0,
    order: Callable[[World], Iterator[int]] = arriving,
    rank: Callable[[World, list[int], int], list[int]] = by_mean,
) -> None:
    """Successive halving (Jamieson and Talwalkar 2016), bracket after bracket; each survivor meets the incumbent.

    `rank` orders a group, best first.
    """
    coming = order(world)
    while True:
        group = list(islice(coming, bracket))
        if not group:
            return
        _bracket(world, group, eta, first or max(4, round(world.n / bracket)), rank)


def _bracket(
    world: World,
    group: list[int],
    eta: int,
    first: int,
    rank: Callable[[World, list[int], int], list[int]] = by_mean,
) -> None:
    rows = first
    while group and rows < world.n:
        for each in group:
            world.take(each, rows)
        if len(group) == 1:
            break
        group = rank(world, group, rows)[: max(1, len(group) // eta)]
        rows = min(rows * eta, world.n)
    for each in group:
        world.complete(each)


def opened(
    world: World,
    worse: Worse = unlikely,
    count: int = 9,
    order: Callable[[World], Iterator[int]] = arriving,
    steps: Callable[[int], Sequence[int]] = growing,
) -> None:
    """One bracket of halving gives the first incumbent; then one candidate at a time against the incumbent."""
    coming = order(world)
    _open(world, list(islice(coming, count)))
    against_incumbent(world, worse, steps, lambda _: coming)


def _open(world: World, group: list[int]) -> None:
    for rows, keep in opening(world.n):
        for each in group:
            world.take(each, rows)
        group = by_mean(world, group, rows)[:keep]
    world.complete(group[0])


def opened_informative(world: World, worse: Worse = unlikely, known: int = 3) -> None:
    """As `opened`; from `known` complete candidates on, the rows that told them apart come first."""
    _open(world, world.arrival[:9])
    for candidate in world.arrival[9:]:
        rows = list(range(world.n))
        if len(world.full) >= known:
            rows = informative_order(world.scores[world.full].tolist(), random.Random(0))
        theirs = world.scores[world.incumbent]
        if not any(worse(world.take(candidate, rows[:end]), theirs[rows[:end]], world.n) for end in growing(world.n)):
            world.complete(candidate)


def hyperband(world: World, eta: int = 3) -> None:
    """Brackets from bold to none in turn (Li et al. 2018)."""
    coming = arriving(world)
    while True:
        for size, first in ((9, world.n // 9), (5, world.n // 3), (3, world.n)):
            group = list(islice(coming, size))
            if not group:
                return
            _bracket(world, group, eta, max(first, 4))


def against_incumbent(
    world: World,
    worse: Worse,
    steps: Callable[[int], Sequence[int]],
    order: Callable[[World], Iterator[int]] = arriving,
) -> None:
    """One candidate at a time on growing prefixes until `worse(mine, theirs, n)` or the end."""
    for candidate in order(world):
        if world.incumbent < 0:
            world.complete(candidate)
            continue
        theirs = world.scores[world.incumbent]
        if not any(worse(world.take(candidate, end), theirs[:end], world.n) for end in steps(world.n)):
            world.complete(candidate)


def balanced(world: World, strategy: Strategy) -> None:
    """Any strategy on rows in a label-balanced order."""
    world.reorder(balanced_order(world.gold, world.rng))
    strategy(world)


def imputed(world: World, below: float = 0.25, sort: bool = True) -> None:
    """As `opened`, by the full mean expected.

    To what was seen comes for each unseen row the mean of the complete candidates on it, shifted by
    how the candidate did on the rows seen (a Rasch model, linearised).
    """
    rows = list(range(world.n))
    _open(world, world.arrival[:9])
    for candidate in world.arrival[9:]:
        easy = (world.scores[world.full].sum(axis=0) + 1) / (len(world.full) + 2)
        theirs = world.means[world.incumbent] * world.n
        if sort and len(world.full) > 2:
            rows = informative_order(world.scores[world.full].tolist(), world.rng)
        for end in growing(world.n):
            mine, unseen = world.take(candidate, rows[:end]), rows[end:]
            shift = (mine - easy[rows[:end]]).sum() / (end + 6)
            guess = np.clip(easy[unseen] + shift, 0.02, 0.98)
            variance = (guess * (1 - guess)).sum() + len(unseen) ** 2 * 0.2 / (end + 6)
            if 0.5 * math.erfc((theirs - mine.sum() - guess.sum()) / math.sqrt(2 * variance)) < below:
                break
        else:
            world.complete(candidate)


def revisited(world: World, strategy: Strategy, floor: float = 0.1) -> None:
    """Any strategy, then whoever was dropped too early: the likeliest to end ahead first, half as many rows again."""
    strategy(world)
    while True:
        theirs, chances = world.scores[world.incumbent], {}
        for each in range(world.size):
            seen = world.seen[each]
            if not seen.all():
                chances[each] = chance_ahead(world.scores[each, seen], theirs[seen], int((~seen).sum()))
        if not chances or max(chances.values()) < floor:
            return
        pick = max(chances, key=lambda each: chances[each])
        end = int(world.seen[pick].sum() * 1.5) + 3
        if end < world.n:
            world.take(pick, end)
        else:
            world.complete(pick)


def informative_halving(world: World, bracket: int = 9, eta: int = 3) -> None:
    """Successive halving on the rows that told the complete candidates apart."""
    coming, rows = arriving(world), list(range(world.n))
    while True:
        group = list(islice(coming, bracket))
        if not group:
            return
        end = max(4, world.n // bracket)
        while len(group) > 1 and end < world.n:
            group = sorted(group, key=lambda each: -float(world.take(each, rows[:end]).mean()))[
                : max(1, len(group) // eta)
            ]
            end *= eta
        for each in group:
            world.complete(each)
        if len(world.full) > 1:
            rows = informative_order(world.scores[world.full].tolist(), world.rng)


def allocate(world: World, chunk: int = 5, bold: float = 1.0, begin: int = 1) -> None:
    """Next rows to the candidate with the highest upper bound by the model of features.

    UCB on a GP (Srinivas et al. 2010), with freezing and thawing (Swersky et al. 2014); what is
    complete and best is the incumbent.
    """
    if begin > 1:
        _open(world, world.arrival[:begin])
    else:
        world.take(0, 2 * chunk)
    while True:
        counts = world.seen.sum(axis=1)
        left = np.flatnonzero(counts < world.n)
        if not len(left):
            return
        mean, sd = posterior(world)
        pick = int(left[np.argmax((mean + bold * sd)[left])])
        end = min(world.n, int(counts[pick]) + max(chunk, int(counts[pick] // 2)))
        if end == world.n:
            world.complete(pick)
        else:
            world.take(pick, end)


STRATEGIES: dict[str, Strategy] = {
    "full": random_search,
    "full, TPE": partial(random_search, order=by_tpe),
    "full, feature model": partial(random_search, order=guided),
    "MIPROv2": mipro,
    "halving 8/2": partial(halving, bracket=8, eta=2),
    "halving 9/3": halving,
    "halving 16/4": partial(halving, bracket=16, eta=4),
    "halving 9/3, feature model": partial(halving, rank=by_model),
    "halving 9/3, informative": informative_halving,
    "Hyperband": hyperband,
    "F-race rungs": partial(against_incumbent, worse=f_race, steps=rungs),
    "F-race rungs, TPE": partial(against_incumbent, worse=f_race, steps=rungs, order=by_tpe),
    "empirical Bernstein": partial(against_incumbent, worse=bernstein, steps=fives),
    "betting": partial(against_incumbent, worse=betting, steps=fives),
    "chance .25": partial(against_incumbent, worse=unlikely, steps=growing),
    "allocate": allocate,
    "opened, F-race rungs": partial(opened, worse=f_race, steps=rungs),
    "opened, betting": partial(opened, worse=betting, steps=fives),
    "opened, chance .15": partial(opened, worse=partial(unlikely, below=0.15)),
    "opened, chance .25": opened,
    "opened, chance .35": partial(opened, worse=partial(unlikely, below=0.35)),
    "opened, chance .25 on rungs": partial(opened, steps=rungs),
    "opened, chance .25, informative": opened_informative,
    "opened, imputed": partial(imputed, sort=False),
    "opened, imputed, informative": imputed,
    "opened, chance .25, feature model": partial(opened, order=guided),
    "opened, chance .25, TPE": partial(opened, order=by_tpe),
    "opened, chance .25, revisited": partial(revisited, strategy=opened),
    "opened, chance .25, balanced": partial(balanced, strategy=opened),
    "race: opened, chance .25, balanced, TPE": partial(balanced, strategy=partial(opened, order=by_tpe)),
    "race, dropped ones revisited": partial(
        balanced, strategy=partial(revisited, strategy=partial(opened, order=by_tpe))
    ),
    "allocate, balanced": partial(balanced, strategy=allocate),
    "allocate: opened, balanced": partial(balanced, strategy=partial(allocate, begin=9)),
}
"""All that are compared, by name."""
