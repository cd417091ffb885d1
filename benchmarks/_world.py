"""One replay of a search on a response table: what may be looked at, what it costs, and who comes next."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .tables import Table

__all__ = ["Done", "Strategy", "World", "adjusted_means", "arriving", "by_tpe", "expected_means", "guided", "posterior"]

FEATURES = ("instruction", "draw", "size", "format", "constrained")


class Done(Exception):
    """The calls of a replay are spent."""


class World:
    """One replay: a table with shuffled rows and arrivals, and the bill.

    Attributes:
        scores: Candidates x search rows, in the shared order; look only at what was `take`n.
        arrival: Candidates in the order they are proposed; the baseline is the first.
        crowned: (calls, candidate) whenever a fully scored candidate became the incumbent.
    """

    def __init__(self, table: Table, seed: int, most: int) -> None:
        self.rng = random.Random(seed)
        rows = self.rng.sample(range(table.search.shape[1]), table.search.shape[1])
        self.scores = table.search[:, rows]
        gold = [each for each, held in zip(table.meta["gold"], table.held_out, strict=True) if not held]
        self.gold = [gold[row] for row in rows]
        self.size, self.n = self.scores.shape
        self.arrival = [0, *self.rng.sample(range(1, self.size), self.size - 1)]
        self.features = [
            {**{name: each[name] for name in FEATURES if name in each}, "size": len(each["demos"])}
            for each in table.candidates
        ]
        self.seen = np.zeros(self.scores.shape, dtype=bool)
        self.calls, self.most = 0, most
        self.crowned: list[tuple[int, int]] = []
        self.marks: dict[str, tuple[int, int]] = {}
        self.means = self.scores.mean(axis=1)

    def take(self, candidate: int, rows: Sequence[int] | int) -> np.ndarray:
        """Pay for the rows (a number means the first so many) that are not known yet; their scores."""
        chosen = np.arange(rows) if isinstance(rows, int) else np.asarray(rows, dtype=int)
        self.calls += int((~self.seen[candidate, chosen]).sum())
        if self.calls > self.most:
            raise Done
        self.seen[candidate, chosen] = True
        return self.scores[candidate, chosen]

    def reorder(self, order: Sequence[int]) -> None:
        """Change the shared order of the rows."""
        self.scores, self.seen = self.scores[:, order], self.seen[:, order]
        self.gold = [self.gold[row] for row in order]

    @property
    def incumbent(self) -> int:
        """The fully scored candidate with the best mean; -1 while there is none."""
        return self.crowned[-1][1] if self.crowned else -1

    def complete(self, candidate: int) -> bool:
        """Score a candidate in full; whether it is the incumbent now. Ties keep the old one."""
        self.take(candidate, self.n)
        if not self.crowned or self.means[candidate] > self.means[self.incumbent]:
            self.crowned.append((self.calls, candidate))
            return True
        return False

    @property
    def full(self) -> np.ndarray:
        """Candidates that are fully scored."""
        return np.flatnonzero(self.seen.all(axis=1))


Strategy = Callable[[World], None]


def arriving(world: World) -> Iterator[int]:
    """In the order of arrival."""
    yield from world.arrival


def by_tpe(world: World, startup: int = 5) -> Iterator[int]:
    """The untried candidate nearest to what Optuna's TPE suggests, which is told every mean; the first as they arrive."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=world.rng.randrange(2**31), n_startup_trials=startup)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    choices = {name: sorted({each[name] for each in world.features}) for name in world.features[0]}
    kinds = {name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()}
    left, told = list(world.arrival), set[int]()
    while left:
        for each in np.flatnonzero(world.seen.any(axis=1)):
            if each not in told:
                told.add(int(each))
                value = float(world.scores[each, world.seen[each]].mean())
                params = dict(world.features[each])
                study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=value))
        pick = left[0]
        if len(told) >= startup:
            wanted = study.ask(kinds).params
            pick = max(left, key=lambda each: sum(world.features[each][name] == wanted[name] for name in wanted))
        left.remove(pick)
        yield pick


def adjusted_means(scores: Sequence[Mapping[int, float]]) -> tuple[list[float], list[int]]:
    """Mean of each candidate over the rows it saw, with their difficulty taken out, and how many they were.

    A row's ease is its mean over the candidates that saw it, less the mean of all, with three rows of
    nothing added to it, so that a row few have seen counts as an ordinary one.

    Args:
        scores: For each candidate, score by row; empty for one that was not tried.
    """
    totals: dict[int, list[float]] = {}
    for each in scores:
        for row, score in each.items():
            totals.setdefault(row, []).append(score)
    count = sum(map(len, totals.values()))
    level = sum(map(sum, totals.values())) / max(count, 1)
    ease = {row: (sum(seen) + 3 * level) / (len(seen) + 3) - level for row, seen in totals.items()}
    means = [sum(score - ease[row] for row, score in each.items()) / len(each) if each else level for each in scores]
    return means, [len(each) for each in scores]


def expected_means(
    features: Sequence[Mapping[str, Any]], means: Sequence[float], counts: Sequence[int]
) -> tuple[list[float], list[float]]:
    """Expected full mean of every candidate, and its standard deviation, from what all have shown so far.

    Gaussian process over candidates: two share what they have in common. The covariance is the
    variance of candidates, split over features (equal value: full share) with the rest to the
    candidate itself; a mean over n rows has noise 0.25 / n. The variance is the likeliest of a
    small grid (Rasmussen and Williams 2006, eqs 2.23-2.26 and 5.8).

    Args:
        features: For each candidate, value by feature name.
        means: Mean score over the rows seen, as `adjusted_means` gives it; ignored where none.
        counts: Rows seen; 0 for candidates that were not tried.

    The next rows go to the candidate whose mean plus one standard deviation is highest (UCB: Srinivas
    et al. 2010), tried before or not.
    """
    names = sorted({name for each in features for name in each})
    size = len(features)
    same = np.zeros((size, size))
    for name in names:
        values = [repr(each.get(name)) for each in features]
        codes = np.unique(values, return_inverse=True)[1]
        same += codes[:, None] == codes[None, :]
    unit = 0.7 * same / max(len(names), 1) + 0.3 * np.eye(size)
    count = np.asarray(counts, dtype=np.float64)
    known = np.flatnonzero(count > 0)
    if not len(known):
        return [0.5] * size, [0.3] * size
    y, noise = np.asarray(means, dtype=np.float64)[known], 0.25 / count[known]
    level = float(np.average(y, weights=count[known]))
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    for variance in (0.0025, 0.01, 0.03, 0.09):
        inner = np.linalg.inv(variance * (unit[np.ix_(known, known)] + 1.0) + np.diag(noise))
        likely = 0.5 * np.linalg.slogdet(inner)[1] - 0.5 * (y - level) @ inner @ (y - level)
        if best is None or likely > best[0]:
            cross = variance * (unit[:, known] + 1.0)
            best = (likely, variance, cross @ inner @ (y - level), np.einsum("ij,jk,ik->i", cross, inner, cross))
    assert best is not None
    left = np.maximum(best[1] * 2.0 - best[3], 1e-9)
    return (level + best[2]).tolist(), np.sqrt(left).tolist()


def posterior(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Expected means of all candidates and their standard deviations, from all that was seen."""
    scores = [
        {int(row): float(each[row]) for row in np.flatnonzero(seen)}
        for each, seen in zip(world.scores, world.seen, strict=True)
    ]
    mean, sd = expected_means(world.features, *adjusted_means(scores))
    return np.array(mean), np.array(sd)


def guided(world: World, bold: float = 1.0) -> Iterator[int]:
    """The untried candidate with the highest upper bound by the model of features."""
    left = list(world.arrival)
    while left:
        if len(left) == world.size:
            pick = left[0]
        else:
            mean, sd = posterior(world)
            pick = max(left, key=lambda each: mean[each] + bold * sd[each])
        left.remove(pick)
        yield pick
