"""The selection-aware test announces what is there, and seldom what is not."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.selection import max_t_p
from stillroom.evals.stats import exact_paired_p

ROOT = Path(__file__).parents[2]


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's made-up searches."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.selection")


def scores(rows: int, seed: int, mean: float = 0.6) -> list[float]:
    return (np.random.default_rng(seed).random(rows) < mean).astype(float).tolist()


def test_one_candidate_is_the_exact_paired_test():
    """With nothing to pick from there is nothing to correct."""
    baseline = scores(80, 1)
    for seed in range(2, 6):
        mine = scores(80, seed, 0.75)
        p = max_t_p([mine], baseline, 0, seed=0, n=10_000)
        assert p == pytest.approx(exact_paired_p(mine, baseline, alternative="greater"), abs=0.015) or p == 1.0


def test_more_candidates_make_the_same_gain_less_surprising():
    """The p of the best grows with the number of those it was picked from."""
    baseline, winner = scores(80, 1, 0.5), scores(80, 2, 0.62)
    ps = [
        max_t_p([winner, *(scores(80, 10 + k, 0.5) for k in range(more))], baseline, 0, seed=0) for more in (0, 5, 30)
    ]
    assert ps[0] < ps[1] < ps[2]


def test_a_candidate_that_was_stopped_early_still_counts():
    """Leaving the race does not make the winner's luck smaller; leaving the list would."""
    baseline, winner = scores(80, 1, 0.5), scores(80, 2, 0.62)
    others = [scores(80, 10 + k, 0.4) for k in range(20)]
    alone = max_t_p([winner], baseline, 0, seed=0)
    stopped = max_t_p([winner, *(each[:8] for each in others)], baseline, 0, seed=0)
    padded = max_t_p([winner, *([*each[:8], *[None] * 72] for each in others)], baseline, 0, seed=0)
    whole = max_t_p([winner, *others], baseline, 0, seed=0)
    assert stopped == padded
    assert alone < 0.6 * stopped
    assert stopped == pytest.approx(whole, rel=0.6)


def test_copies_of_the_winner_cost_nothing():
    """What candidates have in common is counted once."""
    baseline, winner = scores(80, 1, 0.5), scores(80, 2, 0.75)
    assert max_t_p([winner] * 20, baseline, 3, seed=0) == max_t_p([winner], baseline, 0, seed=0)


@given(some.integers(0, 10_000), some.integers(1, 12), some.integers(2, 40))
def test_p_is_a_probability_and_never_zero(seed: int, count: int, rows: int):
    """Also for fractions, ties and candidates that saw little; the same seed gives the same p."""
    rng = np.random.default_rng(seed)
    baseline = rng.integers(0, 5, rows) / 4
    table = [
        (rng.integers(0, 5, rows) / 4)[: rows if at == 0 else int(rng.integers(0, rows + 1))] for at in range(count)
    ]
    p = max_t_p(table, baseline, 0, seed=seed, n=200)
    assert 1 / 201 <= p <= 1
    assert p == max_t_p(table, baseline, 0, seed=seed, n=200)
    if table[0].sum() <= baseline.sum():
        assert p == 1


@pytest.mark.parametrize(
    ("candidates", "baseline", "chosen"),
    [
        ([[1.0]], [1.0, 0.0], 0),
        ([[1.0, 0.0]], [1.0, 0.0], 1),
        ([[1.0] * 3], [1.0, 0.0], 0),
        ([[1.0]], [None], 0),
        ([], [1.0], 0),
    ],
)
def test_what_does_not_fit_is_refused(candidates: list, baseline: list, chosen: int):
    """A winner without all its rows, no such candidate, too many rows, a baseline with holes."""
    with pytest.raises(BadConfig):
        max_t_p(candidates, baseline, chosen, seed=0)


def test_nothing_is_announced_where_nothing_is(worlds: ModuleType):
    """20 equal candidates raced with early stopping: at most 5% announced, where the plain test announces three times that."""
    said = worlds.rates(400, rows=80, count=20, seed=1, flips=200)
    assert said["max-T"] <= 0.05
    assert said["fresh third"] <= 0.05
    assert said["uncorrected"] > 0.15


def test_fresh_rows_make_up_for_inherited_luck(worlds: ModuleType):
    """Candidates made from the best so far: with a few fresh rows the rate holds again."""
    said = worlds.rates(150, rows=80, count=40, bred="climb", seed=2, flips=200)
    assert said["max-T with fresh rows"] <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5
    assert said["uncorrected"] > 0.3


def test_a_true_gain_is_found_more_often_than_on_a_held_out_third(worlds: ModuleType):
    """All rows for the search and a correction beat fewer rows for each."""
    said = worlds.rates(200, rows=80, gain=0.2, seed=3, flips=200)
    assert said["max-T"] > said["fresh third"] + 0.05
    assert said["max-T"] > 0.4
