"""Statistics agree with published values, with brute force and with what they promise."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.stats import (
    bootstrap_mean,
    detectable_difference,
    exact_paired_p,
    holm,
    macro_f1,
    mcnemar_power,
    paired_bootstrap,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_matches_the_published_table(successes, n, low, high):
    """Newcombe's four worked examples, to four digits."""
    found = wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.mean == successes / n


def test_mcnemar_is_the_binomial_tail():
    """Nine wins to one among the rows that differ: 2 (1 + 10) / 2^10."""
    a, b = [1] * 9 + [0] + [1] * 40, [0] * 9 + [1] + [1] * 40
    assert exact_paired_p(a, b) == pytest.approx(22 / 1024)
    assert exact_paired_p(a, b, alternative="greater") == pytest.approx(11 / 1024)
    assert exact_paired_p(a, b, alternative="less") == pytest.approx(1 - 1 / 1024)


def test_no_difference_gives_p_one():
    """Equal scores, whatever they are, say nothing."""
    for alternative in ("two-sided", "greater", "less"):
        assert exact_paired_p([1, 0, 0.5], [1, 0, 0.5], alternative=alternative) == 1.0


def brute_force(gaps: list[float], alternative: str) -> float:
    observed = np.mean(gaps)
    means = np.array(list(itertools.product((1, -1), repeat=len(gaps)))) @ gaps / len(gaps)
    high = np.mean([m >= observed - 1e-12 for m in means])
    low = np.mean([m <= observed + 1e-12 for m in means])
    return {"greater": high, "less": low, "two-sided": min(1.0, 2 * min(high, low))}[alternative]


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("rows", [1, 2, 5, 9])
def test_sign_flips_match_brute_force(rows, alternative):
    """Partial credit: every flip of every row counted by hand gives the same p."""
    rng = random.Random(rows)
    a = [rng.choice([0, 0.25, 0.75, 1]) for _ in range(rows)]
    b = [x - 0.1 * rng.choice([-2, 1, 3]) for x in a]
    gaps = [x - y for x, y in zip(a, b, strict=True)]
    assert exact_paired_p(a, b, alternative=alternative) == pytest.approx(brute_force(gaps, alternative))


def test_many_flips_are_seeded_and_never_zero():
    """Over 14 rows that differ, p is sampled, the same for the same seed, and at least 1/20001."""
    rng = random.Random(0)
    b = [rng.random() / 2 for _ in range(60)]
    a = [x + 0.3 + rng.random() / 10 for x in b]
    assert exact_paired_p(a, b, seed=1) == exact_paired_p(a, b, seed=1)
    assert exact_paired_p(a, b, alternative="greater", seed=1) == pytest.approx(1 / 20001)
    noise = [x + rng.choice([-0.1, 0.1]) for x in b]
    assert 0.02 < exact_paired_p(b, noise, seed=1) <= 1.0


def test_bootstrap_interval_is_near_the_normal_one():
    """On 400 rows the percentile interval is the mean plus or minus 1.96 standard errors."""
    rng = np.random.default_rng(0)
    a, b = (rng.random(400) < 0.8).astype(float), (rng.random(400) < 0.6).astype(float)
    found = paired_bootstrap(a, b, seed=3)
    error = np.std(a - b) / 20
    assert found.mean == pytest.approx(np.mean(a - b))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.01)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.01)
    assert found == paired_bootstrap(a, b, seed=3)
    assert found != paired_bootstrap(a, b, seed=4)


def test_bootstrap_of_equal_scores_has_no_width():
    """No spread, no interval; and the interval prints with its mean."""
    found = bootstrap_mean([0.5] * 10, seed=0)
    assert str(found) == "0.500 [0.500, 0.500]"


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """Of 200 intervals at 95%, between 88% and 99% hold the true mean."""
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        found = bootstrap_mean((rng.random(80) < 0.7).astype(float), n=400, seed=seed)
        held += found.low <= 0.7 <= found.high
    assert 0.88 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    ("a", "b"), [([1], [1]), ([1, 0], [1]), ([], []), ([1, None], [1, 0]), ([1, float("nan")], [1, 0]), ([[1], [0]], [1, 0])]
)  # fmt: skip
def test_scores_that_do_not_pair_are_refused(a, b):
    """Too few rows, different rows and unverified rows are named, not averaged away."""
    with pytest.raises(BadConfig):
        paired_bootstrap(a, b, seed=0)


def test_holm_matches_the_worked_example():
    """Steps 4p, 3p, 2p, p, never falling, in the order given."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@given(some.lists(some.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_order(ps):
    """Adjusted values are at least the raw ones, at most n times them, and rank the same."""
    adjusted = holm(ps)
    for raw, new in zip(ps, adjusted, strict=True):
        assert raw <= new <= min(1.0, raw * len(ps)) or new == pytest.approx(max(adjusted))
    ranked = [new for _, new in sorted(zip(ps, adjusted, strict=True))]
    assert ranked == sorted(ranked)


def test_power_agrees_with_simulation():
    """The exact sum gives the share of simulated experiments that the test calls."""
    rng, seen, n, gap, differ = np.random.default_rng(0), 0, 60, 0.15, 0.25
    draws = rng.choice([1, -1, 0], p=[(differ + gap) / 2, (differ - gap) / 2, 1 - differ], size=(1500, n))
    table = {}
    for row in draws:
        wins, losses = int((row > 0).sum()), int((row < 0).sum())
        if (wins, losses) not in table:
            table[wins, losses] = (
                exact_paired_p([1] * wins + [0] * losses, [0] * wins + [1] * losses) <= 0.05 if wins + losses else False
            )
        seen += table[wins, losses]
    assert mcnemar_power(n, gap, differ) == pytest.approx(seen / 1500, abs=0.035)


def test_no_difference_is_called_at_most_as_often_as_the_level_allows():
    """With no true difference the exact test errs in at most 5% of experiments."""
    for n, differ in ((20, 0.3), (100, 0.2), (400, 0.5)):
        assert mcnemar_power(n, 0.0, differ) <= 0.05


def test_detectable_difference_shrinks_with_rows_and_agreement():
    """More rows, or programs that agree more, show smaller differences."""
    gaps = [detectable_difference(n) for n in (20, 60, 200, 1000)]
    assert gaps == sorted(gaps, reverse=True)
    assert detectable_difference(200, discordance=0.05) < detectable_difference(200, discordance=0.5)
    assert detectable_difference(5) == float("inf")
    assert 0.1 < detectable_difference(60) < 0.25


def test_detectable_difference_is_the_edge_of_power():
    """At the answer the power is reached, a thousandth below it is not."""
    gap = detectable_difference(150, discordance=0.3)
    assert mcnemar_power(150, gap, 0.3) >= 0.8 > mcnemar_power(150, gap - 0.001, 0.3)


def test_macro_f1_counts_stray_answers_as_misses_only():
    """F1 of a is 2/3, of b 1/2; an answer outside the labels adds no class."""
    gold = ["a", "a", "b", "b"]
    assert macro_f1(gold, ["a", None, "b", "a"]) == pytest.approx((0.5 + 2 / 3) / 2)
    assert macro_f1(gold, gold) == 1.0
    assert macro_f1(gold, [None] * 4) == 0.0
    with pytest.raises(BadConfig):
        macro_f1(gold, ["a"])
