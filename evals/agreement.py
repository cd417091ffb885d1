"""Agreement of a judge with people: how often, beyond chance, and which way it leans where they part.

Intervals are of a bootstrap over prompts: rows that share a prompt are
drawn together, because they are easy or hard together. A row that the judge left open
counts against it. Biases are told against people's own habits:
where people prefer the longer answer six times in ten, a judge that does so is not biased.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from stillroom.errors import BadConfig

from .stats import Interval, detectable_difference, wilson

__all__ = [
    "OPEN",
    "Judged",
    "agreement",
    "bootstrap",
    "calibration",
    "family",
    "kappa",
    "kendall",
    "length_bias",
    "positions",
    "self_preference",
    "spearman",
]

OPEN = "open"
"""The judge's label of a row that it left open."""
LEAST = 5  # rows below which a bias is not told: its interval would say nothing

Statistic: TypeAlias = Callable[..., float]


@dataclass(frozen=True)
class Judged:
    """One row that people and a judge have judged.

    Attributes:
        group: Its prompt; rows of one prompt are resampled together.
        people: People's label.
        judge: The judge's label, or `OPEN`.
        people_value: People's label as a number, higher is better.
        judge_value: The judge's, or None where it left the row open.
        p: Probability that the judge gives its positive label ("first", "yes"), where it has one.
        right: Whether people gave the positive label; None where they gave neither or there is none.
        readings: Of a pair: P(the answer shown first is better), once for each order of the two.
        lengths: Words of the two answers of a pair, or of the one answer.
        systems: Who wrote the two answers of a pair, or the one; "" where it is not known.
    """

    group: str
    people: str
    judge: str
    people_value: float
    judge_value: float | None
    p: float | None = None
    right: bool | None = None
    readings: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    systems: tuple[str, ...] = ()


def bootstrap(
    statistic: Statistic,
    *columns: Sequence[Any],
    groups: Sequence[str] | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Percentile interval of `statistic(*columns)` over `n` resamples of rows, or of whole groups of rows.

    Args:
        statistic: Of numpy columns; NaN where it is undefined.
        columns: Of equal length, a value each row.
        groups: A group's name each row (Efron and Tibshirani 1993, chapter 8.6); every row is one by default.

    Returns:
        None where the statistic is undefined on the rows themselves, or on half of the resamples.

    Raises:
        BadConfig: If the columns' lengths differ.
    """
    arrays = [np.asarray(column) for column in columns]
    sizes = {len(array) for array in arrays} | ({len(groups)} if groups is not None else set())
    if len(sizes) != 1:
        raise BadConfig(f"columns need one value each row, got lengths {sorted(sizes)}")
    (size,) = sizes
    point = float(statistic(*arrays)) if size else math.nan
    if math.isnan(point):
        return None
    members = _members(groups, size)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        drawn = np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])
        found.append(float(statistic(*(array[drawn] for array in arrays))))
    known = np.asarray([value for value in found if not math.isnan(value)])
    if len(known) < n / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(min(float(low), point), max(float(high), point), point, level)


def kappa(people: Sequence[str], judge: Sequence[str], order: Sequence[str] | None = None) -> float:
    """Cohen's kappa (Cohen 1960), with quadratic weights where labels have an `order` (Cohen 1968).

    NaN where everybody gave one and the same label: chance explains it in full. `OPEN` is a label
    like any other, and with an `order` the farthest from whatever people said.
    """
    codes = {label: at for at, label in enumerate(order or sorted({*people, *judge}))}
    sides = [np.asarray([codes.get(label, -1) for label in side]) for side in (people, judge)]
    return _coded_kappa(len(codes), ordered=order is not None)(*sides)


def spearman(people: Sequence[float], judge: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN where a side does not vary."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, people, judge)


def kendall(people: Sequence[float], judge: Sequence[float]) -> float:
    """Kendall's tau-b; NaN where a side does not vary."""
    from scipy.stats import kendalltau

    return _correlation(kendalltau, people, judge)


def agreement(
    rows: Sequence[Judged], *, order: Sequence[str] | None = None, n: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Tell how far the judge agrees with people, with intervals, and what so many rows can show.

    Accuracy and kappa count rows left open as disagreement; the rank correlations leave
    them out. An interval is never narrower than Wilson's for so many prompts: a bootstrap of
    rows that are all right has no width, and five of those prove nothing.

    Args:
        rows: At least one.
        order: Labels from worst to best, where they have an order; kappa is then weighted.
    """
    if not rows:
        raise BadConfig("agreement needs rows that people and the judge have judged, got none")
    groups = [row.group for row in rows]
    settings: dict[str, Any] = {"n": n, "seed": seed}
    people, judge = [row.people for row in rows], [row.judge for row in rows]
    right = [float(row.people == row.judge) for row in rows]
    prompts = len(set(groups))
    accuracy = _at_least_wilson(bootstrap(_mean, right, groups=groups, **settings), prompts)
    codes = {label: at for at, label in enumerate(order or sorted({*people, *judge}))}
    numbered = [[codes.get(label, -1) for label in side] for side in (people, judge)]
    agreed = bootstrap(_coded_kappa(len(codes), ordered=order is not None), *numbered, groups=groups, **settings)
    told = [row for row in rows if row.judge_value is not None]
    values = [row.people_value for row in told], [row.judge_value for row in told]
    ranks = {"groups": [row.group for row in told], **settings}
    return {
        "n": len(rows),
        "prompts": prompts,
        "open": len(rows) - len(told),
        "accuracy": _told(accuracy),
        "kappa": _told(_kappa_at_least(agreed, prompts, order is not None)),
        "spearman": _told(bootstrap(spearman, *values, **ranks)),
        "kendall": _told(bootstrap(kendall, *values, **{**ranks, "n": min(n, 400)})),  # slow, and it follows spearman
        "detectable_difference": _finite(detectable_difference(prompts, p=float(np.mean(right)))),
    }


def positions(rows: Sequence[Judged], *, n: int = 1000, seed: int = 0) -> dict[str, Any] | None:
    """Tell what the place of an answer does: swap consistency and P(first), with intervals.

    Swap consistency is the share of pairs of which both orders name the same answer. P(first)
    is how often the answer shown first is named, over both orders; 0.5 where place has no
    pull. A reading that names neither counts half. None without pairs read in both orders.
    """
    pairs = [row for row in rows if len(row.readings) == 2]
    if not pairs:
        return None
    same = [
        _named(row.readings[0]) + _named(row.readings[1]) == 1.0 and _named(row.readings[0]) != 0.5 for row in pairs
    ]
    firsts = [(_named(row.readings[0]) + _named(row.readings[1])) / 2 for row in pairs]
    chance = [sum(row.readings) / 2 for row in pairs]
    settings: dict[str, Any] = {"groups": [row.group for row in pairs], "n": n, "seed": seed}
    shares = {"p_first": firsts, "p_first_mean_probability": chance}
    found = {name: _told(bootstrap(_mean, column, **settings)) for name, column in shares.items()}
    return {"pairs": len(pairs), "swap_consistency": _told(wilson(sum(same), len(pairs))), **found}


def length_bias(rows: Sequence[Judged], *, n: int = 300, seed: int = 0) -> dict[str, Any] | None:
    """Tell whether the judge likes length more than people do.

    For pairs: how often the longer answer wins with each, the difference, and the partial
    effect of length, that is, the factor on the judge's odds of naming an answer for twice its
    words, people's label held fixed (logistic regression with a weak ridge). For single
    answers: the rank correlation of length and score with each, and the difference.
    None where under five rows can tell.
    """
    told = [row for row in rows if row.judge_value is not None and row.lengths]
    if any(len(row.lengths) == 2 for row in told):
        return _length_of_pairs(
            [row for row in told if len(row.lengths) == 2 and row.lengths[0] != row.lengths[1]], n, seed
        )
    return _length_of_answers(told, n, seed) if len(told) >= LEAST else None


def family(name: str) -> str:
    """The family of a model: the first word of its name, less provider, path and digest.

    >>> family("local/qwen2.5-coder-1.5b@cc324af07"), family("bloom-7b"), family("openai/gpt-4o")
    ('qwen', 'bloom', 'gpt')
    """
    found = re.match(r"[a-z]+", name.partition("@")[0].rpartition("/")[2].casefold())
    return found[0] if found else ""


def self_preference(rows: Sequence[Judged], model: str, *, n: int = 1000, seed: int = 0) -> dict[str, Any] | None:
    """Tell whether the judge favours answers of its own family beyond what people do.

    Of pairs in which one answer alone is by the family of `model`: how often that one wins with
    the judge and with people, and the difference. None where under five such pairs are known.
    """
    own = family(model)
    pairs = [row for row in rows if len(row.systems) == 2 and all(row.systems) and row.judge_value is not None]
    mine = [
        (row, family(row.systems[0]) == own) for row in pairs if [family(name) for name in row.systems].count(own) == 1
    ]
    if len(mine) < LEAST or not own:
        return None
    judge, people = (
        [abs(_named(value) - (not first)) for value, (_, first) in zip(side, mine, strict=True)]
        for side in ([row.judge_value for row, _ in mine], [row.people_value for row, _ in mine])
    )
    settings: dict[str, Any] = {"groups": [row.group for row, _ in mine], "n": n, "seed": seed}
    return {"family": own, "pairs": len(mine), **_beside(judge, people, settings)}


def calibration(rows: Sequence[Judged], *, bins: int = 10) -> dict[str, Any] | None:
    """Tell whether probabilities mean what they say: the curve, its ECE and the Brier score.

    Bins are of equal width over P(positive label); ECE is the mean gap of a bin's probability
    to its share of positive rows, weighted by rows (Naeini et al. 2015). None without probabilities.

    Raises:
        BadConfig: If `bins` is under 1.
    """
    if bins < 1:
        raise BadConfig(f"bins must be at least 1, got {bins}")
    known = [(row.p, float(row.right)) for row in rows if row.p is not None and row.right is not None]
    if not known:
        return None
    p, right = (np.asarray(column, dtype=float) for column in zip(*known, strict=True))
    place = np.minimum((p * bins).astype(int), bins - 1)
    curve = [
        {
            "from": round(at / bins, 4),
            "to": round((at + 1) / bins, 4),
            "rows": int((place == at).sum()),
            "probability": round(float(p[place == at].mean()), 4),
            "share": round(float(right[place == at].mean()), 4),
        }
        for at in range(bins)
        if (place == at).any()
    ]
    ece = sum(each["rows"] * abs(each["probability"] - each["share"]) for each in curve) / len(p)
    return {"rows": len(p), "ece": round(ece, 4), "brier": round(float(((p - right) ** 2).mean()), 4), "bins": curve}


# -- parts ---------------------------------------------------------------------------------


def _members(groups: Sequence[str] | None, size: int) -> list[np.ndarray]:
    if groups is None:
        return [np.asarray([at]) for at in range(size)]
    found: dict[str, list[int]] = {}
    for at, group in enumerate(groups):
        found.setdefault(group, []).append(at)
    return [np.asarray(each) for each in found.values()]


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def _correlation(measure: Callable[..., Any], people: Sequence[float], judge: Sequence[float]) -> float:
    first, second = np.asarray(people, dtype=float), np.asarray(judge, dtype=float)
    if len(first) < 2 or np.all(first == first[0]) or np.all(second == second[0]):
        return math.nan
    return float(measure(first, second).statistic)


def _coded_kappa(count: int, *, ordered: bool) -> Statistic:
    """Kappa of numbered labels; -1 is open. Written out because a bootstrap asks it a thousand times."""
    places = np.arange(count)
    weights = ((places[:, None] - places[None, :]) / max(count - 1, 1)) ** 2 if ordered else 1.0 - np.eye(count)
    # a last row and column for rows left open: in full disagreement with everything but themselves
    whole = np.ones((count + 1, count + 1))
    whole[:count, :count], whole[count, count] = weights, 0.0

    def measure(people: np.ndarray, judge: np.ndarray) -> float:
        table = np.zeros((count + 1, count + 1))
        np.add.at(table, (people, judge), 1.0)  # -1 is the last place
        table /= table.sum()
        expected = float((whole * np.outer(table.sum(axis=1), table.sum(axis=0))).sum())
        return math.nan if expected <= 1e-12 else 1.0 - float((whole * table).sum()) / expected

    return measure


def _at_least_wilson(found: Interval | None, prompts: int) -> Interval | None:
    if found is None:
        return None
    share = wilson(round(found.mean * prompts), prompts)
    return Interval(min(found.low, share.low), max(found.high, min(share.high, 1.0)), found.mean, found.level)


def _kappa_at_least(found: Interval | None, prompts: int, ordered: bool) -> Interval | None:
    """Widen a bootstrap that has no width: perfect agreement on few prompts is not yet agreement."""
    if found is None or found.low < found.mean:
        return found
    # with all right, chance agreement about a half: kappa = (accuracy - 1/2) / (1/2)
    low = 2 * wilson(prompts, prompts).low - 1
    return Interval(min(found.low, low), found.high, found.mean, found.level)


def _named(p: float | None) -> float:
    """1 for the first, 0 for the second, a half for neither."""
    return 0.5 if p is None or p == 0.5 else float(p > 0.5)


def _beside(judge: Sequence[float], people: Sequence[float], settings: dict[str, Any]) -> dict[str, Any]:
    gap = [mine - theirs for mine, theirs in zip(judge, people, strict=True)]
    columns = {"judge": judge, "people": people, "difference": gap}
    return {name: _told(bootstrap(_mean, column, **settings)) for name, column in columns.items()}


def _length_of_pairs(pairs: Sequence[Judged], n: int, seed: int) -> dict[str, Any] | None:
    if len(pairs) < LEAST:
        return None
    settings: dict[str, Any] = {"groups": [row.group for row in pairs], "n": n, "seed": seed}
    longer = [row.lengths[0] > row.lengths[1] for row in pairs]
    sides = [[_named(row.judge_value) for row in pairs], [_named(row.people_value) for row in pairs]]
    judge, people = ([value if up else 1 - value for value, up in zip(side, longer, strict=True)] for side in sides)
    ratio = [math.log2((row.lengths[0] + 1) / (row.lengths[1] + 1)) for row in pairs]
    effect = bootstrap(_odds_for_twice, ratio, *sides, **{**settings, "n": min(n, 200)})
    return {"pairs": len(pairs), **_beside(judge, people, settings), "odds_for_twice_the_words": _told(effect)}


def _odds_for_twice(ratio: np.ndarray, judge: np.ndarray, people: np.ndarray) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    told = judge != 0.5
    if len(set(judge[told].tolist())) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # the ridge keeps the effect finite where length and people's labels tell the judge's in full
        model = LogisticRegression(C=10.0).fit(np.column_stack([ratio[told], people[told]]), judge[told])
    return float(math.exp(model.coef_[0][0]))


def _length_of_answers(rows: Sequence[Judged], n: int, seed: int) -> dict[str, Any]:
    words = [row.lengths[0] for row in rows]
    judge, people = [row.judge_value for row in rows], [row.people_value for row in rows]
    settings: dict[str, Any] = {"groups": [row.group for row in rows], "n": n, "seed": seed}
    columns: dict[str, tuple[Statistic, tuple[Any, ...]]] = {
        "judge": (spearman, (words, judge)),
        "people": (spearman, (words, people)),
        "difference": (
            lambda size, mine, theirs: spearman(size, mine) - spearman(size, theirs),
            (words, judge, people),
        ),
    }
    found = {name: bootstrap(measure, *values, **settings) for name, (measure, values) in columns.items()}
    return {"answers": len(rows), **{name: _told(interval) for name, interval in found.items()}}


def _told(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else {name: round(value, 4) for name, value in asdict(interval).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
