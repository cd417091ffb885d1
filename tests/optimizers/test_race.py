"""The race: hopeless candidates see few rows, survivors go on where they stopped, nothing is asked twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.optimizers.race import Race, opening_cost
from stillroom.optimizers.subject import Candidate, Choice
from stillroom.programs import Outcome
from stillroom.signatures import Example

ROWS = [Example(f"row{number}", {"n": number}, {}) for number in range(60)]


class Table:
    """A subject with known answers: candidate `name` scores `scores[name]` on each row."""

    def __init__(self, scores: dict[str, list[float]]) -> None:
        self.scores = scores
        self.asked: list[tuple[str, str]] = []
        self.rested: list[str] = []

    def run(self, candidate: Candidate, examples: list[Example]) -> list[Outcome]:
        self.asked += [(candidate.digest, example.id) for example in examples]
        return [
            Outcome(example.id, "scored", self.scores[candidate.digest][example.inputs["n"]], "", {})
            for example in examples
        ]

    def race(self) -> Race:
        return Race(ROWS, self.run, lambda trial, race: self.rested.append(trial.candidate.digest))


def candidate(name: str, length: int = 10) -> Candidate:
    return Candidate({"": Choice("x" * length)}, name, None)


def share(part: float, shift: int = 0) -> list[float]:
    """Right on a fixed `part` of the rows, spread evenly."""
    return [float(((number + shift) * 7) % 10 < 10 * part) for number in range(60)]


def test_the_best_opening_becomes_the_incumbent_and_the_others_see_fewer_rows():
    """Halving: all see the first rows, the best sees all."""
    table = Table({"good": share(0.9), "fair": share(0.5), "poor": share(0.1), "bad": share(0.0)})
    race = table.race()
    trials = [race.enter(candidate(name), {}, "opening") for name in table.scores]
    race.open_with(trials)
    assert race.incumbent.candidate.digest == "good"
    seen = {trial.candidate.digest: len(trial.outcomes) for trial in trials}
    assert seen["good"] == 60
    assert seen["bad"] == 5
    assert sum(seen.values()) == opening_cost(4, 60) == 4 * 5 + 3 * 10 + 45


def test_a_worse_candidate_is_dropped_early_and_a_better_one_wins():
    """Against an incumbent that is right on half of the rows."""
    table = Table({"half": share(0.5), "poor": share(0.0), "best": share(0.9)})
    race = table.race()
    race.finish(race.enter(candidate("half"), {}, "declared"))
    poor = race.enter(candidate("poor"), {}, "demos")
    race.run(poor)
    assert poor.state == "dropped"
    assert len(poor.outcomes) < 30
    assert race.incumbent.candidate.digest == "half"
    best = race.enter(candidate("best"), {}, "demos")
    race.run(best)
    assert best.state == "complete"
    assert race.incumbent is best


def test_survivors_go_on_without_asking_a_row_twice():
    """An opening that was left behind and taken up again asks only what it lacks."""
    table = Table({"one": share(0.7), "two": share(0.7, 1), "three": share(0.7, 2)})
    race = table.race()
    trials = [race.enter(candidate(name), {}, "opening") for name in table.scores]
    race.open_with(trials)
    for trial in trials:
        if trial.state == "open":
            race.run(trial)
    assert len(table.asked) == len(set(table.asked))
    assert all(trial.state in ("complete", "dropped") for trial in trials)


def test_equal_candidates_enter_once_and_ties_go_to_the_shorter_prompt():
    """A digest is one candidate; with equal means the cheaper program leads."""
    table = Table({"long": share(0.6), "short": share(0.6)})
    race = table.race()
    race.finish(race.enter(candidate("long", 500), {}, "demos"))
    assert race.enter(candidate("long", 500), {}, "demos") is None
    race.finish(race.enter(candidate("short", 20), {}, "demos"))
    assert race.incumbent.candidate.digest == "short"


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=60, max_size=60), min_size=2, max_size=6))
def test_whatever_the_scores_the_incumbent_is_the_best_complete_trial(tables: list[list[float]]):
    """The incumbent's mean is never below that of a complete trial, and every complete trial saw every row."""
    table = Table({str(number): scores for number, scores in enumerate(tables)})
    race = table.race()
    trials = [race.enter(candidate(name), {}, "x") for name in table.scores]
    race.finish(trials[0])
    for trial in trials[1:]:
        race.run(trial)
    assert all(len(trial.outcomes) == 60 for trial in race.complete)
    assert race.incumbent.mean == pytest.approx(max(trial.mean for trial in race.complete))
    assert len(table.asked) == len(set(table.asked))
