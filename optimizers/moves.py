"""Moves: ways to make the next candidate from what was measured so far.

Each move gives parameters that were not tried, or nothing. Which one is made next
is a bandit's choice (Thompson 1933): moves that made incumbents are made more often.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from stillroom.programs import Outcome
from stillroom.signatures import Example

from .course import Course
from .demos import bootstrapped_set, demo_effects, effect_set, varied_set
from .propose import Proposer
from .race import Race, Trial
from .space import DemoSet, Params, Space, key
from .study import Sampler
from .subject import Part, Subject

__all__ = ["Moves", "bootstrap"]

ASKED = 8  # suggestions of the sampler that may repeat what was tried
GUIDED = 12  # labels up to which a definition of each is asked for: it costs a call a label
MOVES = ("demos", "structure", "instruction", "cross", "sampler")
STRUCTURE = ("format", "reasoning", "scored", "constrained", "temperature")


@dataclass
class Moves:
    """What can be tried next.

    Args:
        course: The search that they are moves of.
        space: Grows as moves add to it.
        race: Where candidates were measured.
        sampler: Suggests by what was measured.
        proposer: Asks for instructions.
        rng: Decides everything that is drawn.
    """

    course: Course
    space: Space
    race: Race
    sampler: Sampler
    proposer: Proposer
    rng: random.Random
    wins: dict[str, list[int]] = field(default_factory=dict)
    _asked: int = 0
    _guided: set[str] = field(default_factory=set)

    def next(self) -> tuple[str, Params] | None:
        """The move and the parameters to try next; `None` when no move has any left."""
        for name in self._preferred():
            for params in getattr(self, f"_{name}")():
                candidate = self.course.build(self.space.choose(params))
                if self.race.known(candidate) is None:
                    return name, params
        return None

    def learn(self, name: str, won: bool) -> None:
        """Remember whether a move's candidate became the incumbent."""
        self.wins.setdefault(name, [0, 0])[not won] += 1

    def _preferred(self) -> list[str]:
        """All moves: those not made yet in their order, then by a draw from what is known of each."""
        drawn = {name: self.rng.betavariate(*(1 + count for count in self.wins.get(name, (0, 0)))) for name in MOVES}
        return sorted(MOVES, key=lambda name: (name in self.wins, -drawn[name] if name in self.wins else 0.0))

    @property
    def _best(self) -> Trial:
        assert self.race.incumbent is not None
        return self.race.incumbent

    # -- the moves -------------------------------------------------------------------

    def _structure(self) -> Iterator[Params]:
        """The incumbent with one of format, reasoning, scoring, constraint and temperature changed."""
        changes = [
            {key(name, what): value}
            for name, options in self.space.options.items()
            for what in STRUCTURE
            for value in options.fixed[what]
            if value != self._best.params[key(name, what)]
        ]
        self.rng.shuffle(changes)
        for change in changes:
            yield {**self._best.params, **change}

    def _cross(self) -> Iterator[Params]:
        """Each parameter from the incumbent or from another good trial."""
        others = sorted((t for t in self.race.complete if t is not self._best), key=lambda t: -t.mean)[:4]
        for _ in range(ASKED if others else 0):
            other = self.rng.choice(others)
            yield {
                name: other.params[name] if self.rng.random() < 0.5 else value
                for name, value in self._best.params.items()
            }

    def _sampler(self) -> Iterator[Params]:
        """What TPE suggests from all trials."""
        at_rest = [trial for trial in self.race.trials if trial.state != "open"]
        for _ in range(ASKED if self.space.choices else 0):
            yield self.space.complete(self.sampler.suggest(self.space.choices, at_rest))

    def _demos(self) -> Iterator[Params]:
        """The incumbent with other demos in one part: by measured effect, varied, or one of the sets there are."""
        for part in self._parts():
            options = self.space.options[part.name]
            current = options.set_named(self._best.params[key(part.name, "demos")])
            waiting = [known.name for known in options.demos if known is not current]
            self.rng.shuffle(waiting)
            made = (
                [self._by_effect(part), varied_set(current, part, self.course.subject, self.rng)]
                if current.demos
                else []
            )
            self.rng.shuffle(made)
            for wanted in made:
                name = options.add_demos(wanted) if wanted is not None and wanted.demos else None
                if name is not None:
                    yield {**self._best.params, key(part.name, "demos"): name}
            for name in waiting:
                yield {**self._best.params, key(part.name, "demos"): name}

    def _by_effect(self, part: Part) -> DemoSet | None:
        trials = [trial for trial in self.race.trials if trial.outcomes]
        effects = demo_effects(trials, part)
        size = len(self._best.candidate.choices[part.name].demos)
        return effect_set(effects, trials, part, size, self.rng) if effects else None

    def _instruction(self) -> Iterator[Params]:
        """The incumbent with a proposed instruction in one part: known but untried with it, or asked for now."""
        for part in self._parts():
            options, name = self.space.options[part.name], key(part.name, "instruction")
            while self._asked < self.course.settings.proposals:
                self._asked += 1
                text = self._propose(part)
                place = options.add_instruction(text) if text else None
                if place is not None:
                    yield {**self._best.params, name: place}
            for place in range(len(options.instructions)):
                yield {**self._best.params, name: place}

    def _propose(self, part: Part) -> str | None:
        """One proposal: of the kinds in turn, those that have nothing to work on left out."""
        number, tried = self._asked, self.course.tries(self._best.candidate)
        if 0 < len(part.labels) <= GUIDED and part.name not in self._guided:
            self._guided.add(part.name)
            return self.proposer.guide(part, tried)
        options = self.space.options[part.name]
        instruction = self._best.candidate.choices[part.name].instruction
        history = self._history(part)
        kinds: list[Callable[[], str | None]] = [
            lambda: self.proposer.reflected(part, instruction, tried, number),
            lambda: self.proposer.grounded(part, history, number),
        ]
        if len(options.instructions) > 2 and len(history) > 1:
            kinds.append(lambda: self.proposer.crossed(part, history[0], history[1], number))
        for turn in range(len(kinds)):
            text = kinds[(number + turn) % len(kinds)]()
            if text:
                return text
        return None

    def _history(self, part: Part) -> list[tuple[str, float]]:
        """Each instruction that was measured with its best mean, best first."""
        best: dict[str, float] = {}
        for trial in self.race.complete:
            text = trial.candidate.choices[part.name].instruction
            best[text] = max(best.get(text, 0.0), trial.mean)
        return sorted(best.items(), key=lambda each: -each[1])

    def _parts(self) -> list[Part]:
        parts = list(self.course.subject.parts)
        self.rng.shuffle(parts)
        return parts


def bootstrap(
    subject: Subject, space: Space, tried: Sequence[tuple[Example, Outcome]], rng: random.Random, sizes: Sequence[int]
) -> None:
    """Add demo sets of right answers to every part that has some."""
    for part in subject.parts:
        for size in sizes:
            wanted = bootstrapped_set(subject, part, tried, size, rng)
            if wanted is not None:
                space.options[part.name].add_demos(wanted)
