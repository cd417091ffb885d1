"""From what was said of several answers to an order, and from an order to pairs: pure functions."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, Literal, TypeAlias

__all__ = [
    "Answered",
    "Reducer",
    "agreed",
    "flagged",
    "longer_side",
    "pairs",
    "permutation",
    "points",
    "ranked",
    "settled",
    "within",
]

Answered: TypeAlias = Mapping[str, Any]
"""One of several answers: `completion`, `model`, and its `score` (higher is better; None where nobody scored it)."""
Reducer: TypeAlias = Literal["none", "best-worst", "best-random", "all"]


def points(readings: Sequence[Sequence[float | None]]) -> float | None:
    """The mean over aspects of the mean over samples; None where an aspect has no reading.

    >>> points([[4, 5], [3]]), points([[4], []])
    (3.75, None)
    """
    means = [fmean(found) if (found := [each for each in some if each is not None]) else None for some in readings]
    whole = [each for each in means if each is not None]
    return fmean(whole) if whole and len(whole) == len(means) else None


def within(readings: Sequence[float], lowest: float, highest: float) -> float:
    """The mean of the readings that are on the scale; 0 where none is."""
    return fmean([each for each in readings if lowest <= each <= highest] or [0])


def ranked(answers: Sequence[Answered]) -> list[Answered]:
    """Best first; equals stay as they were, those without a score come last."""
    return sorted(answers, key=lambda each: (each["score"] is None, -(each["score"] or 0.0)))


def pairs(answers: Sequence[Answered], how: Reducer, rng: random.Random) -> list[tuple[Answered, Answered]]:
    """(better, worse) pairs of scored answers, never of equals.

    Args:
        answers: In any order; those without a score are left out.
        how: `best-worst` one pair, or none where all are equal (Self-Rewarding, arXiv:2401.10020, section 2.2);
            `best-random` the best and one of the worse, drawn evenly (Zephyr, arXiv:2310.16944, section 4);
            `all` of C(K, 2) that differ; `none`.
        rng: Draws the other.
    """
    order = ranked([each for each in answers if each["score"] is not None])
    differing = [(one, two) for one, two in combinations(order, 2) if one["score"] > two["score"]]
    if not differing or how == "none":
        return []
    if how == "all":
        return differing
    best, worst = order[0], order[-1]
    if how == "best-worst":
        return [(best, worst)]
    return [(best, rng.choice([each for each in order if each["score"] < best["score"]]))]


def settled(p_ab: float, p_ba: float) -> float:
    """How probable it is that the first of two answers is better: the mean of both orders.

    Args:
        p_ab: Probability of "A" where the first answer is A.
        p_ba: Probability of "B" where the first answer is B.

    >>> settled(0.9, 0.1)
    0.5
    """
    return round((p_ab + p_ba) / 2, 12)  # what exp and log leave behind that is no preference


def agreed(p_ab: float, p_ba: float) -> bool:
    """Whether both orders prefer the same answer, told as `settled` is; a half prefers none."""
    return (p_ab - 0.5) * (p_ba - 0.5) > 0


def flagged(overall: float | None, mean: float | None) -> bool:
    """Whether an overall score of 10 contradicts aspects whose mean is 2 or less, of 5.

    2,628 tens of the published set had to be looked at again (code: fix_overall_score_issue.py; what it re-annotates
    at a mean up to 4 stays as it is here).
    """
    return overall is not None and mean is not None and overall >= 10 and mean <= 2


def permutation(order: Sequence[int], count: int) -> list[int] | None:
    """Numbers from 1 as places from 0, if each is named once; else None.

    >>> permutation([2, 1, 3], 3), permutation([1, 1, 3], 3)
    ([1, 0, 2], None)
    """
    return [each - 1 for each in order] if sorted(order) == list(range(1, count + 1)) else None


def longer_side(found: Sequence[tuple[Answered, Answered]]) -> str:
    """Which side of pairs has more characters in all: "chosen", "rejected" or "neither"."""
    gap = sum(len(better["completion"]) - len(worse["completion"]) for better, worse in found)
    return "chosen" if gap > 0 else "rejected" if gap < 0 else "neither"
