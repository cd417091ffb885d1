"""The end of a search: the front, the rule that picks, and what is needed to announce a winner."""

from __future__ import annotations

import random

import pytest

from stillroom.errors import BadConfig
from stillroom.optimizers.confirm import Evidence, corrected_p, fresh_rows, keep_fresh, verdict
from stillroom.optimizers.front import front, pick
from stillroom.optimizers.race import Trial
from stillroom.optimizers.settings import Preference, Settings, read_preference
from stillroom.optimizers.subject import Candidate, Choice, Part
from stillroom.programs import Cost, Demo, Outcome
from stillroom.signatures import Example


def trial(number: int, scores: list[float], tokens: int = 10) -> Trial:
    outcomes = {
        place: Outcome(f"r{place}", "scored", score, "", {}, Cost(tokens, 0)) for place, score in enumerate(scores)
    }
    return Trial(number, Candidate({"": Choice("x")}, str(number), None), {}, "test", outcomes, "complete")


def spread(part: float, rows: int = 40) -> list[float]:
    return [float(place < part * rows) for place in range(rows)]


def test_the_front_holds_what_no_other_beats_in_score_and_cost():
    """A trial that costs more and scores no more is not on it."""
    cheap, dear, waste, best = (
        trial(0, spread(0.5), 10),
        trial(1, spread(0.7), 50),
        trial(2, spread(0.6), 60),
        trial(3, spread(0.9), 90),
    )
    assert front([cheap, dear, waste, best], "tokens") == [best, dear, cheap]


@pytest.mark.parametrize(
    ("rule", "picked"),
    [("score", 3), ("within:0.2", 1), ("within:0.5", 0), ("under:60", 1), ("under:5", 0), ("within:0", 3)],
)
def test_the_users_rule_picks(rule: str, picked: int):
    """Best score, the cheapest within some points of it, or the best under a limit."""
    trials = [
        trial(0, spread(0.5), 10),
        trial(1, spread(0.7), 50),
        trial(2, spread(0.6), 60),
        trial(3, spread(0.9), 90),
    ]
    assert pick(trials, trials[3], read_preference(rule)).number == picked


@pytest.mark.parametrize(
    "text", ["", "best", "within", "within:x", "under:-1", "within:0.1:cows", "score:1", "under:inf"]
)
def test_a_rule_that_cannot_be_read_is_refused(text: str):
    """With the rule and the value, before anything is paid for."""
    with pytest.raises(BadConfig, match="prefer must be"):
        Settings(prefer=text)


def test_a_rule_names_its_cost():
    """Tokens unless it says otherwise."""
    assert read_preference("within:0.02:usd") == Preference("within", "usd", 0.02)
    assert read_preference("under:400") == Preference("under", "tokens", 400)


def test_one_clear_winner_is_established_and_the_luckiest_of_many_equals_is_not():
    """The corrected p counts how many tried: noise that looks like +0.12 is not announced among 30."""
    rng = random.Random(4)
    baseline = trial(0, [float(rng.random() < 0.5) for _ in range(60)])
    clear = trial(1, [1.0 if rng.random() < 0.9 else 0.0 for _ in range(60)])
    assert corrected_p([baseline, clear], baseline, clear, 0) < 0.01
    equals = [trial(number, [float(rng.random() < 0.5) for _ in range(60)]) for number in range(1, 31)]
    luckiest = max(equals, key=lambda each: each.mean)
    assert luckiest.mean > baseline.mean
    assert corrected_p([baseline, *equals], baseline, luckiest, 0) > 0.05


def test_fresh_rows_count_together_with_the_search_rows_and_without_them_the_bar_is_higher():
    """Fisher's combination with fresh rows; twice the corrected p without."""
    assert Evidence(0.02, 0.05, 40).established
    assert not Evidence(0.04, 0.05, 40).established
    assert Evidence(0.06, 0.05, 100, 40, 0.8, 0.6, 0.02).established
    assert not Evidence(0.02, 0.05, 100, 40, 0.7, 0.7, 0.9).established
    assert Evidence(0.1, 0.05, 100, 40, 0.7, 0.7, 0.1).judged == pytest.approx(0.0561, abs=1e-4)


def test_enough_fresh_rows_decide_alone():
    """Half as many as search rows: what the search rows say for their own pick counts no more."""
    assert Evidence(0.9, 0.05, 80, 40, 0.8, 0.6, 0.03).established
    assert not Evidence(0.001, 0.05, 80, 40, 0.7, 0.65, 0.2).established


def test_the_verdict_says_with_what_figures():
    """Confirmed or not, the scores, rows and p-values stand in it."""
    baseline, best = trial(0, spread(0.5)), trial(1, spread(0.9))
    words = verdict(best, baseline, 7, Evidence(0.001, 0.05, 40), 0)
    assert words.startswith("winner confirmed: 0.900 against 0.500 on 40 search rows")
    assert "corrected for the best of 7 candidates" in words
    assert "the baseline is kept" in verdict(best, baseline, 7, Evidence(0.3, 0.05, 40, 10, 0.5, 0.5, 1.0), 0)
    assert "no candidate scored above" in verdict(baseline, baseline, 7, None, 0)


class Rows:
    """A subject with fresh rows only."""

    def __init__(self, count: int) -> None:
        self.fresh = [Example(f"d{number}", {"n": number}, {}) for number in range(count)]


def test_a_row_that_one_of_the_compared_shows_is_not_fresh():
    """A module's own demos may be any rows; too few fresh rows are none."""
    shown = Candidate({"": Choice("x", (Demo("its own", {"n": 0}, {}), Demo("d1", {"n": 1}, {})))}, "c", None)
    assert [row.id for row in fresh_rows(Rows(20), [shown], 100)] == [f"d{number}" for number in range(2, 20)]
    assert len(fresh_rows(Rows(40), [shown], 15)) == 15
    assert fresh_rows(Rows(13), [shown], 100) == []
    assert fresh_rows(Rows(40), [shown], 0) == []


PART = Part("", "Sort it.", ("n",), ("label",), ("a", "b", "c", "d"))


def labelled(count: int) -> list[Example]:
    return [Example(f"d{number}", {"n": number}, {"label": "abcd"[number % 4]}) for number in range(count)]


@pytest.mark.parametrize(
    ("rows", "most", "kept"),
    [(30, 80, 0), (43, 80, 0), (44, 80, 12), (60, 80, 28), (100, 80, 50), (400, 80, 80), (400, 0, 0), (400, 11, 0)],
)
def test_some_rows_are_kept_from_the_search_where_enough_are_left_to_learn_from(rows: int, most: int, kept: int):
    """At most half, at most as many as wanted, and at least 32 stay to learn from; both sides have every label."""
    given = labelled(rows)
    learnt, fresh = keep_fresh(given, [PART], most, 0)
    assert (len(learnt), len(fresh)) == (rows - kept, kept)
    assert {row.id for row in learnt} | {row.id for row in fresh} == {row.id for row in given}
    assert learnt == [row for row in given if row not in fresh]
    for side in (learnt, fresh):
        counts = [sum(row.outputs["label"] == label for row in side) for label in PART.labels]
        assert max(counts) - min(counts) <= 2
    assert keep_fresh(given, [PART], most, 0) == (learnt, fresh)


def test_every_beginning_of_the_fresh_rows_is_balanced():
    """A budget may leave room for the first of them only."""
    _, fresh = keep_fresh(labelled(400), [PART], 80, 3)
    for count in (12, 20, 40):
        found = [row.outputs["label"] for row in fresh[:count]]
        assert all(abs(found.count(label) - count / 4) <= 2 for label in PART.labels)
    assert keep_fresh(labelled(400), [PART], 80, 3)[1] != keep_fresh(labelled(400), [PART], 80, 4)[1]
