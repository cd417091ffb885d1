"""The rules of the race keep their promises on any scores."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.optimizers.rules import (
    balanced_order,
    chance_ahead,
    drop,
    looks,
    opening,
)

SCORES = some.lists(some.tuples(some.sampled_from([0.0, 0.25, 1.0]), some.sampled_from([0.0, 0.5, 1.0])), min_size=1)


@given(SCORES, some.integers(0, 200))
def test_a_chance_is_a_chance(pairs: list[tuple[float, float]], unseen: int):
    """Between 0 and 1, and what one side gains the other loses."""
    mine, theirs = zip(*pairs, strict=True)
    chance = chance_ahead(mine, theirs, unseen)
    assert 0 <= chance <= 1
    assert chance + chance_ahead(theirs, mine, unseen) == pytest.approx(1)
    assert drop(mine, theirs, unseen) == (chance < 0.25)


@given(SCORES)
def test_with_all_rows_seen_the_chance_is_what_happened(pairs: list[tuple[float, float]]):
    """Ahead is 1, behind is 0, a tie is half."""
    mine, theirs = zip(*pairs, strict=True)
    gap = sum(mine) - sum(theirs)
    assert chance_ahead(mine, theirs, 0) == (0.5 if gap == 0 else float(gap > 0))


@given(SCORES, some.integers(1, 200), some.integers(0, 10_000))
def test_a_better_row_never_lowers_the_chance_of_staying(pairs: list[tuple[float, float]], unseen: int, at: int):
    """From behind to even on a row."""
    mine, theirs = map(list, zip(*pairs, strict=True))
    at %= len(mine)
    mine[at], theirs[at] = 0.0, 1.0
    before = chance_ahead(mine, theirs, unseen)
    mine[at] = 1.0
    if before <= 0.5:
        assert chance_ahead(mine, theirs, unseen) >= before


def test_few_of_those_dropped_would_have_won():
    """Over candidates whose gains spread as the rule supposes, the chances are true within a few points."""
    rng, dropped, lost = np.random.default_rng(0), 0, 0
    for _ in range(2_000):
        gap = float(np.clip(rng.normal(0, 0.12), -0.3, 0.3))
        theirs = (rng.random(80) < 0.6).astype(float)
        alone = np.where(theirs == 1, rng.random(80) < 0.25 - gap / 2, rng.random(80) < 0.25 + gap)
        mine = np.abs(theirs - alone)
        if drop(mine[:11].tolist(), theirs[:11].tolist(), 69):
            dropped, lost = dropped + 1, lost + int(mine.sum() > theirs.sum())
    assert dropped > 300
    assert lost / dropped < 0.25


@given(some.integers(1, 3_000))
def test_looks_and_stages_grow_up_to_all_rows(rows: int):
    """Every schedule ends with all rows and never asks twice after the same number."""
    for schedule in (looks(rows), [seen for seen, _ in opening(rows)]):
        assert schedule[-1] == rows
        assert schedule == sorted(set(schedule))
        assert schedule[0] >= min(rows, 5)
    assert opening(rows)[-1][1] == 1


@given(some.lists(some.sampled_from("abc"), min_size=1, max_size=60), some.integers(0, 99))
def test_every_beginning_of_a_balanced_order_holds_each_label_in_its_share(labels: list[str], seed: int):
    """Within the rounding of one row a label."""
    order = balanced_order(labels, random.Random(seed))
    assert sorted(order) == list(range(len(labels)))
    for label in set(labels):
        share = labels.count(label) / len(labels)
        for end in range(1, len(order) + 1):
            have = sum(labels[row] == label for row in order[:end])
            assert abs(have - share * end) <= 1 + share * len(set(labels))


def test_orders_are_random_but_for_what_they_promise():
    """Another seed gives another order; the same seed the same."""
    labels = ["a", "b"] * 20
    first, again, other = (balanced_order(labels, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert {balanced_order(labels, random.Random(seed))[0] % 2 for seed in range(20)} == {0, 1}
