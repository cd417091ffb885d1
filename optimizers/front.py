"""The front of score against cost, and the rule that picks one program off it."""

from __future__ import annotations

from collections.abc import Sequence

from .race import Trial
from .settings import Preference

__all__ = ["front", "pick"]


def front(trials: Sequence[Trial], cost: str) -> list[Trial]:
    """Trials that no other beats in score and cost at once (Pareto), dearest first.

    Args:
        trials: With all rows each.
        cost: `tokens`, `usd` or `seconds` of a row.
    """
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda each: (amount(each, cost), -each.mean, each.number)):
        if not kept or trial.mean > kept[-1].mean:
            kept.append(trial)
    return kept[::-1]


def pick(trials: Sequence[Trial], incumbent: Trial, prefer: Preference) -> Trial:
    """The trial that the user's rule picks; the incumbent is the best by score, cheaper ones first among equals.

    A limit that no trial keeps gives the cheapest of the front: nearest to what was asked.
    """
    if prefer.rule == "score":
        return incumbent
    choices = front(trials, prefer.cost)
    if prefer.rule == "within":
        return next(each for each in reversed(choices) if each.mean >= incumbent.mean - prefer.limit - 1e-12)
    return next((each for each in choices if amount(each, prefer.cost) <= prefer.limit), choices[-1])


def amount(trial: Trial, cost: str) -> float:
    """What a row costs with this trial's program."""
    return float(getattr(trial.cost, cost))
