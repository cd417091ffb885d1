"""Statistics of paired scores: intervals, exact tests and what a split can show.

scipy does the work. Scores are one number a row, 0..1, higher is better; two
programs are compared on the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from stillroom.errors import BadConfig

__all__ = [
    "Alternative",
    "Interval",
    "bootstrap_mean",
    "detectable_difference",
    "exact_paired_p",
    "holm",
    "macro_f1",
    "mcnemar_power",
    "p_words",
    "paired_bootstrap",
    "wilson",
]

Alternative: TypeAlias = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Interval:
    """A mean and the interval around it, `low` <= `mean` <= `high`, at confidence `level`."""

    low: float
    high: float
    mean: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], *, n: int = 2000, seed: int, level: float = 0.95
) -> Interval:
    """Percentile interval of mean(a - b) over `n` resamples of the rows.

    Rows are drawn with replacement in pairs, so what both programs find hard cancels
    (Efron and Tibshirani 1993, chapter 13; Koehn 2004 for paired systems).

    Raises:
        BadConfig: If the lengths differ, a score is not finite or there are under 2 rows.
    """
    first, second = _paired(a, b)
    return bootstrap_mean(first - second, n=n, seed=seed, level=level)


def bootstrap_mean(a: Sequence[float] | np.ndarray, *, n: int = 2000, seed: int, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of mean(a). Same raises as `paired_bootstrap`."""
    from scipy.stats import bootstrap

    scores = _scores(a)
    if len(scores) < 2 or n < 1 or not 0 < level < 1:
        raise BadConfig(
            f"a bootstrap needs 2 rows, n >= 1 and 0 < level < 1, got {len(scores)} rows, n={n}, level={level}"
        )
    mean = float(scores.mean())
    if np.all(scores == scores[0]):  # no spread to resample
        return Interval(mean, mean, mean, level)
    found = bootstrap(
        (scores,),
        np.mean,
        n_resamples=n,
        batch=max(1, 2_000_000 // len(scores)),
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high), mean, level)


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of a share (Wilson 1927); holds up at small n and near 0 and 1."""
    from scipy.stats import binomtest

    if n < 1 or not 0 <= successes <= n or not 0 < level < 1:
        raise BadConfig(f"wilson needs 0 <= successes <= n, n >= 1 and 0 < level < 1, got {successes}, {n}, {level}")
    found = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    return Interval(float(found.low), float(found.high), successes / n, level)


def exact_paired_p(
    a: Sequence[float], b: Sequence[float], *, alternative: Alternative = "two-sided", seed: int = 0
) -> float:
    """P-value of "a and b are equally good", from paired scores.

    For scores of 0 and 1: exact McNemar, a binomial test on the rows where the two
    differ (Edwards 1948). Else a sign-flip permutation test of the mean difference
    (Fisher 1935): every flip of up to 14 rows that differ, 20,000 seeded flips above,
    counting the observed one (Phipson and Smyth 2010), so p is never 0.

    Args:
        a: One score a row.
        b: Scores of the same rows, in the same order.
        alternative: "greater" asks whether a is better than b, "less" whether it is worse.
        seed: Of the flips; unused where the test is exact.
    """
    from scipy.stats import binomtest, permutation_test

    if alternative not in ("two-sided", "greater", "less"):
        raise BadConfig(f"alternative must be two-sided, greater or less, got {alternative!r}")
    first, second = _paired(a, b)
    gaps = first - second
    gaps = gaps[gaps != 0]  # a row on which both agree says nothing
    if len(gaps) == 0:
        return 1.0
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        return float(binomtest(int((gaps > 0).sum()), len(gaps), 0.5, alternative=alternative).pvalue)
    if len(gaps) == 1:
        return 0.5 if (alternative == "greater") == bool(gaps[0] > 0) and alternative != "two-sided" else 1.0
    found = permutation_test(
        (gaps,),
        lambda flipped, axis: flipped.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**14 if len(gaps) <= 14 else 20_000,
        batch=max(1, 2_000_000 // len(gaps)),
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    return float(min(found.pvalue, 1.0))


def p_words(p: float) -> str:
    """Spell a p-value as reports do.

    >>> p_words(0.0312), p_words(3e-9)
    ('p = 0.0312', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def holm(ps: Sequence[float]) -> list[float]:
    """Adjust p-values for many comparisons, in their order (Holm 1979). Compare with alpha as they are."""
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = worst
    return adjusted


def mcnemar_power(n: int, difference: float, discordance: float, level: float = 0.95) -> float:
    """Chance that a two-sided exact McNemar test sees a true `difference` on `n` rows.

    Summed over how many rows differ, and how (Duffy 1984), with no approximation.

    Args:
        n: Rows.
        difference: True gap of the two accuracies, 0..1.
        discordance: Share of rows on which exactly one of the two is right; at least `difference`.
        level: 1 - alpha.
    """
    from scipy.stats import binom

    if n < 1 or not 0 <= difference <= discordance <= 1:
        raise BadConfig(
            f"power needs n >= 1 and 0 <= difference <= discordance <= 1, got {n}, {difference}, {discordance}"
        )
    if discordance == 0:
        return 0.0
    differ = np.arange(n + 1)
    # the largest count c with 2 P(X <= c) <= alpha, or -1
    edge = binom.ppf((1 - level) / 2, differ, 0.5)
    edge = np.where(2 * binom.cdf(edge, differ, 0.5) <= 1 - level, edge, edge - 1)
    share = (discordance + difference) / (2 * discordance)
    seen = binom.cdf(edge, differ, share) + binom.sf(differ - edge - 1, differ, share)
    return float((binom.pmf(differ, n, discordance) * np.where(edge >= 0, seen, 0.0)).sum())


def detectable_difference(
    n: int, p: float = 0.7, discordance: float | None = None, power: float = 0.8, level: float = 0.95
) -> float:
    """Smallest true difference of two accuracies that `n` paired rows would show.

    Args:
        n: Rows in the split.
        p: Accuracy of the weaker program, used to guess `discordance`.
        discordance: Share of rows on which exactly one program is right. Default: half
            of 2 p (1 - p), the share for programs that err independently, as two
            programs on one model share about half of their errors. Never taken below the
            difference itself.
        power: How surely it must be seen.
        level: 1 - alpha of the two-sided exact McNemar test.

    Returns:
        A difference in 0..1, to 0.001; infinity where even the largest would not be seen.
    """
    if not 0 <= p <= 1 or not 0 < power < 1 or (discordance is not None and not 0 <= discordance <= 1):
        raise BadConfig(f"p, discordance and power must be in 0..1, got {p}, {discordance}, {power}")
    differ = p * (1 - p) if discordance is None else discordance

    def enough(thousandths: int) -> bool:
        gap = thousandths / 1000
        return mcnemar_power(n, gap, max(gap, differ), level) >= power

    low, high = 0, 1000
    if not enough(high):
        return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high / 1000


def macro_f1(gold: Sequence[Hashable], got: Sequence[Hashable]) -> float:
    """Unweighted mean of the F1 of each gold label, 0..1.

    An answer that is no gold label (None, say) is a miss of its row's label and no
    label of its own, so that one stray answer does not add a class of F1 zero.
    """
    from sklearn.metrics import f1_score

    if len(gold) != len(got) or not gold:
        raise BadConfig(f"macro_f1 needs as many answers as labels, and one at least, got {len(gold)} and {len(got)}")
    numbers = {label: i for i, label in enumerate(dict.fromkeys(gold))}
    truth, answers = ([numbers.get(label, -1) for label in side] for side in (gold, got))
    return float(f1_score(truth, answers, labels=list(numbers.values()), average="macro", zero_division=0.0))


def _paired(a: Sequence[float], b: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    first, second = _scores(a), _scores(b)
    if len(first) != len(second):
        raise BadConfig(f"paired scores need the same rows, got {len(first)} and {len(second)}")
    return first, second


def _scores(a: Sequence[float] | np.ndarray) -> np.ndarray:
    scores = np.asarray(a, dtype=np.float64)  # None becomes NaN
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise BadConfig(
            f"scores must be one finite number a row, got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} that are not",
            mend="Leave unverified rows out of both sides.",
        )
    return scores
