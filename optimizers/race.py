"""Race candidates on the same examples: few rows for the hopeless, all rows for what may win.

Every trial keeps its outcome per row, so that a survivor goes on where it stopped
and any two trials are compared on the rows both saw. The order of everything is
fixed by seeds and recorded scores; a race that is run again takes the same course.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from stillroom.programs import Cost, Outcome, mean_cost
from stillroom.signatures import Example

from .rules import drop, looks, opening
from .space import Params
from .subject import Candidate

__all__ = ["Race", "Run", "Trial", "opening_cost"]

Run: TypeAlias = Callable[[Candidate, Sequence[Example]], list[Outcome]]

FIRST, GROWTH = 8, 1.6  # rows before the first look, and how they grow: fewer rows at a time leave an engine idle


@dataclass
class Trial:
    """One candidate and how far it came.

    Attributes:
        number: In the order of entry; the baseline is 0.
        candidate: What is tried.
        params: Its place in the space.
        origin: Which move made it: `declared`, `opening`, `sampler`, `demos`, ...
        outcomes: By place in the search split.
        state: `open` while it may go on, `complete` with all rows, `dropped` when it left.
    """

    number: int
    candidate: Candidate
    params: Params
    origin: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    state: Literal["open", "complete", "dropped"] = "open"

    @property
    def mean(self) -> float:
        """Mean score over the rows it saw, 0..1."""
        return sum(each.score for each in self.outcomes.values()) / len(self.outcomes) if self.outcomes else 0.0

    @property
    def scores(self) -> list[float]:
        """Scores in the order of the split, of the rows it saw."""
        return [self.outcomes[place].score for place in sorted(self.outcomes)]

    @property
    def unparsed(self) -> int:
        """Answers that did not parse."""
        return sum(each.kind == "unparsed" for each in self.outcomes.values())

    @property
    def cost(self) -> Cost:
        """Mean cost of a row."""
        return mean_cost(list(self.outcomes.values()))


class Race:
    """All trials of one search, and the incumbent: the best of those with all rows.

    Args:
        rows: The search split, in the shared order.
        run: Scores a candidate on some of them.
        on_trial: Called with each trial that comes to rest, and the race.
        order: Places of the rows in the order in which every candidate meets them; as they stand by default.
    """

    def __init__(
        self,
        rows: Sequence[Example],
        run: Run,
        on_trial: Callable[[Trial, Race], None],
        order: Sequence[int] | None = None,
    ) -> None:
        self.rows = rows
        self._run = run
        self._order = list(range(len(rows))) if order is None else list(order)
        self.trials: list[Trial] = []
        self.incumbent: Trial | None = None
        self._on_trial = on_trial
        self._digests: dict[str, Trial] = {}

    def enter(self, candidate: Candidate, params: Params, origin: str) -> Trial | None:
        """Add a candidate; `None` if it is one that was entered before."""
        if candidate.digest in self._digests:
            return None
        trial = Trial(len(self.trials), candidate, params, origin)
        self._digests[candidate.digest] = trial
        self.trials.append(trial)
        return trial

    def known(self, candidate: Candidate) -> Trial | None:
        """The trial of an equal candidate."""
        return self._digests.get(candidate.digest)

    @property
    def complete(self) -> list[Trial]:
        """Trials with all rows, in the order of entry."""
        return [trial for trial in self.trials if trial.state == "complete"]

    def open_with(self, trials: Sequence[Trial]) -> None:
        """Find a first incumbent by a bracket of successive halving; see `rules.opening`.

        Among equals those named first go on. Who does not go on stays open; `take_up` races it later.
        """
        field_ = list(trials)
        for until, go_on in opening(len(self.rows)):
            for trial in field_:
                self._score(trial, until)
            field_ = sorted(field_, key=lambda trial: -trial.mean)[:go_on]
        self._rest(field_[0], "complete")

    def take_up(self, trials: Sequence[Trial]) -> None:
        """Race those of `trials` that are still open against the incumbent, the best start first."""
        for trial in sorted((trial for trial in trials if trial.state == "open"), key=lambda each: -each.mean):
            self.run(trial)

    def finish(self, trial: Trial) -> None:
        """Score the rows that `trial` lacks, whatever its chances."""
        self._score(trial, len(self.rows))
        self._rest(trial, "complete")

    def run(self, trial: Trial) -> None:
        """Race `trial` against the incumbent until it is complete or dropped."""
        assert self.incumbent is not None
        for until in looks(len(self.rows), first=FIRST, growth=GROWTH):
            self._score(trial, until)
            if len(trial.outcomes) < len(self.rows) and self._beaten(trial):
                return self._rest(trial, "dropped")
        return self._rest(trial, "complete")

    def _score(self, trial: Trial, until: int) -> None:
        """Let `trial` see the rows up to `until` that it lacks."""
        missing = [place for place in self._order[:until] if place not in trial.outcomes]
        if missing:
            outcomes = self._run(trial.candidate, [self.rows[place] for place in missing])
            trial.outcomes |= dict(zip(missing, outcomes, strict=True))

    def _beaten(self, trial: Trial) -> bool:
        assert self.incumbent is not None
        seen = sorted(trial.outcomes)
        mine = [trial.outcomes[place].score for place in seen]
        theirs = [self.incumbent.outcomes[place].score for place in seen]
        return drop(mine, theirs, len(self.rows) - len(seen))

    def _rest(self, trial: Trial, state: Literal["complete", "dropped"]) -> None:
        trial.state = state
        if state == "complete" and (self.incumbent is None or _rank(trial) < _rank(self.incumbent)):
            self.incumbent = trial
        self._on_trial(trial, self)


def opening_cost(count: int, rows: int) -> int:
    """Rows that `Race.open_with` scores with `count` candidates."""
    cost, seen = 0, 0
    for until, go_on in opening(rows):
        cost += count * (until - seen)
        count, seen = min(count, go_on), until
    return cost


def _rank(trial: Trial) -> tuple[float, int, int]:
    """Higher mean first; at equal means the shorter prompt, then the earlier."""
    return (-round(trial.mean, 12), trial.candidate.length, trial.number)
