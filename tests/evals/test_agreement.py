"""Agreement with people: reference values, intervals that cover, biases that are found where they were put."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from stillroom.errors import BadConfig
from stillroom.evals.agreement import (
    OPEN,
    Judged,
    agreement,
    bootstrap,
    calibration,
    family,
    kappa,
    kendall,
    length_bias,
    positions,
    self_preference,
    spearman,
)

POINTS = ("1", "2", "3", "4", "5")


def pair(at: int, people: bool, p: float, **more) -> Judged:
    """A pair that people gave to the first or not, and the judge with probability p."""
    label = {True: "first", False: "second"}
    return Judged(f"prompt {at}", label[people], label[p > 0.5], float(people), p, p=p, right=people, **more)


def noisy(count: int, right: float, seed: int = 0) -> list[Judged]:
    """Pairs of which the judge gets a share right."""
    rng = random.Random(seed)
    people = [rng.random() < 0.5 for _ in range(count)]
    return [pair(at, each, 0.8 if each == (rng.random() < right) else 0.2) for at, each in enumerate(people)]


@given(st.lists(st.tuples(st.sampled_from(POINTS), st.sampled_from(POINTS)), min_size=2, max_size=40))
def test_kappa_is_that_of_scikit_learn(rows):
    """Plain and with quadratic weights, wherever it is defined."""
    people, judge = zip(*rows, strict=True)
    if len({*people, *judge}) < 2:
        assert math.isnan(kappa(people, judge))
        return
    assert kappa(people, judge) == pytest.approx(cohen_kappa_score(people, judge))
    weighted = cohen_kappa_score(people, judge, labels=list(POINTS), weights="quadratic")
    assert kappa(people, judge, POINTS) == pytest.approx(weighted)


def test_a_row_left_open_is_the_worst_answer():
    """An order does not help it."""
    people = ["1", "2", "3", "4", "5", "3"]
    assert kappa(people, [*people[:5], OPEN], POINTS) < kappa(people, [*people[:5], "1"], POINTS) < 1


def test_rank_correlations_have_their_reference_values():
    """Of a hand-made list; undefined where nothing varies."""
    assert spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert kendall([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(2 / 3)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """In eighty draws of a known share."""
    held = 0
    for seed in range(80):
        values = (np.random.default_rng(seed).random(60) < 0.7).astype(float)
        found = bootstrap(lambda column: float(column.mean()), values, n=200, seed=seed)
        held += found.low <= 0.7 <= found.high
    assert held >= 68


def test_rows_of_one_prompt_are_drawn_together():
    """Ten copies of each row say no more than one: the interval does not shrink."""
    values = [float(at % 2) for at in range(20)]
    many, groups = values * 10, [str(at) for at in range(20)] * 10
    alone = bootstrap(np.mean, values, seed=1)
    together = bootstrap(np.mean, many, groups=groups, seed=1)
    fooled = bootstrap(np.mean, many, seed=1)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert fooled.high - fooled.low < 0.5 * (alone.high - alone.low)


def test_columns_of_unequal_length_are_refused():
    """They are not the same rows."""
    with pytest.raises(BadConfig, match="lengths"):
        bootstrap(np.mean, [1.0, 2.0], groups=["a"])


def test_agreement_tells_all_of_it():
    """Accuracy, kappa, both correlations, and what can be seen."""
    found = agreement(noisy(200, 0.9))
    assert 0.84 < found["accuracy"]["mean"] < 0.96
    assert found["kappa"]["low"] > 0.6
    assert found["spearman"]["low"] > 0.5
    assert found["kendall"]["mean"] == pytest.approx(found["spearman"]["mean"])  # two values on each side
    assert (found["n"], found["prompts"], found["open"]) == (200, 200, 0)
    assert 0.03 < found["detectable_difference"] < 0.15


def test_a_judge_that_guesses_has_a_kappa_around_zero():
    """And nobody would take it for strong."""
    found = agreement(noisy(200, 0.5))
    assert found["kappa"]["low"] < 0 < found["kappa"]["high"]


def test_five_right_answers_prove_little():
    """A bootstrap without spread has no width; the interval has."""
    found = agreement([pair(at, at % 2 == 0, float(at % 2 == 0)) for at in range(5)])
    assert found["kappa"]["mean"] == 1.0
    assert found["kappa"]["low"] < 0.4
    assert found["accuracy"]["low"] < 0.6


def test_no_rows_are_refused():
    """There is nothing to tell."""
    with pytest.raises(BadConfig, match="none"):
        agreement([])


def test_a_favourite_place_is_found():
    """Always the first: never consistent, P(first) is 1."""
    found = positions([pair(at, True, 0.5, readings=(0.9, 0.9)) for at in range(20)])
    assert found["swap_consistency"]["mean"] == 0
    assert found["p_first"]["mean"] == 1
    assert found["p_first_mean_probability"]["mean"] == pytest.approx(0.9)


def test_a_judge_of_content_has_no_favourite_place():
    """Both orders name the same answer."""
    found = positions([pair(at, True, 0.8, readings=(0.8, 0.2)) for at in range(20)])
    assert found["swap_consistency"]["mean"] == 1
    assert found["p_first"]["mean"] == 0.5
    assert positions([pair(0, True, 0.8)]) is None


def test_length_bias_is_told_beside_people():
    """A judge of length alone is found; one that agrees with people who like length is not blamed."""
    rng = random.Random(1)
    rows, fair = [], []
    for at in range(120):
        lengths = rng.randint(5, 50), rng.randint(51, 99)
        lengths = lengths if rng.random() < 0.5 else lengths[::-1]
        people = rng.random() < 0.5
        rows.append(pair(at, people, 0.9 if lengths[0] > lengths[1] else 0.1, lengths=lengths))
        fair.append(pair(at, people, 0.9 if people else 0.1, lengths=lengths))
    biased, right = length_bias(rows), length_bias(fair)
    assert biased["judge"]["mean"] == 1
    assert biased["difference"]["low"] > 0.3
    assert biased["odds_for_twice_the_words"]["low"] > 2
    assert right["difference"]["mean"] == 0
    assert right["odds_for_twice_the_words"]["low"] < 1.5
    assert length_bias(rows[:3]) is None


def test_length_bias_of_points_is_a_correlation():
    """Beside people's own."""
    rng = random.Random(2)
    rows = [
        Judged(str(at), "3", "3", rng.randint(1, 5), words / 20, lengths=(words,))
        for at, words in enumerate(rng.sample(range(5, 100), 60))
    ]
    found = length_bias(rows)
    assert found["judge"]["mean"] == pytest.approx(1)
    assert found["difference"]["low"] > 0.4


def test_self_preference_needs_a_pair_with_one_answer_of_the_family():
    """And is told beside people, who cannot know."""
    mine = [pair(at, at % 2 == 0, 0.9, systems=("qwen-7b", "bloom-7b")) for at in range(20)]
    other = [pair(99, True, 0.9, systems=("qwen-7b", "qwen2-1b")), pair(98, True, 0.9, systems=("opt", ""))]
    found = self_preference(mine + other, "local/qwen2.5-coder-1.5b@abc")
    assert (found["family"], found["pairs"]) == ("qwen", 20)
    assert found["judge"]["mean"] == 1
    assert found["difference"]["low"] > 0.2
    assert self_preference(mine, "local/smollm2-135m@abc") is None
    assert family("") == ""


def test_calibration_of_an_honest_judge_has_no_error():
    """Where eight of ten 0.8s are right, ECE is zero; where none is, it is 0.8."""
    honest = [pair(at, at < 8, 0.8) for at in range(10)]
    found = calibration(honest)
    assert found["ece"] == pytest.approx(0, abs=1e-9)
    assert found["bins"] == [{"from": 0.8, "to": 0.9, "rows": 10, "probability": 0.8, "share": 0.8}]
    assert calibration([pair(at, False, 0.8) for at in range(10)])["ece"] == pytest.approx(0.8)
    assert calibration([Judged("a", "3", "3", 3, 3)]) is None
    with pytest.raises(BadConfig):
        calibration(honest, bins=0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30))
def test_calibration_counts_every_row_once(rows):
    """Probabilities of 0 and 1 have a bin too."""
    found = calibration([pair(at, people, p) for at, (people, p) in enumerate(rows)])
    assert sum(each["rows"] for each in found["bins"]) == len(rows)
    assert 0 <= found["ece"] <= 1
