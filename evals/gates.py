"""Gates: named checks in a fixed order that a row must pass to be emitted.

A gate looks at a batch and gives one verdict per candidate. Candidates that
fail go no further; the row keeps the name of the gate and its reason. Gates
that remember rows (duplicates) learn only the rows that were accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from stillroom.rows import Status
from stillroom.signatures import Shape, Task

from .duplicates import Embeds, Exact, NearDuplicates
from .leakage import Leakage
from .verdict import Verdict

__all__ = ["Agreement", "Candidate", "Gate", "Leak", "Novelty", "Schema", "Whole", "default"]


@dataclass(frozen=True)
class Candidate:
    """A row on its way through the gates.

    Attributes:
        place: Where in the recipe run it stands.
        values: All fields of the task; empty when the model's answer did not parse.
        text: The inputs as one text.
        target: The outputs that were asked for.
        finish: Why the model stopped: `stop`, `length`, ...
        fault: Why the answer did not parse, or "".
    """

    place: str
    values: Mapping[str, Any]
    text: str
    target: Mapping[str, Any]
    finish: str = "stop"
    fault: str = ""


class Gate(Protocol):
    """A named check of a batch."""

    @property
    def name(self) -> str:
        """As funnels and passports name it."""

    @property
    def on_fail(self) -> Status:
        """What a row becomes that fails: `rejected`, or `audit`."""

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Learn the rows that passed every gate."""


@dataclass(frozen=True)
class Schema:
    """Every field is there and has its type."""

    shape: Shape
    name: str = "schema"
    on_fail: Status = "rejected"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail answers that did not parse, and values that break their types."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        problems = self.shape.problems(candidate.values)
        return Verdict.fail("; ".join(f"{name}: {rule}" for name, rule in problems)) if problems else Verdict.ok()

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Whole:
    """The text is neither empty nor cut off."""

    name: str = "whole"
    on_fail: Status = "rejected"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail empty and truncated texts."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        if candidate.finish == "length":
            return Verdict.fail("answer was cut off")
        return (
            Verdict.ok() if any(character.isalnum() for character in candidate.text) else Verdict.fail("text is empty")
        )

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Nothing to learn."""


class Novelty:
    """The text is new: among the rows accepted so far and the earlier ones of its batch."""

    on_fail: Status = "rejected"

    def __init__(self, name: str, make: Callable[[], Exact | NearDuplicates]) -> None:
        """Compare within pools that `make` gives: one for accepted rows, one for each batch."""
        self.name, self._make = name, make
        self._pool = make()

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail texts that match an accepted row, or a row before them in the batch."""
        verdicts: list[Verdict] = []
        here = self._make()
        for candidate in batch:
            match = self._pool.find(candidate.text) or here.find(candidate.text)
            if match is None:
                here.add(candidate.place, candidate.text)
            verdicts.append(
                Verdict.ok()
                if match is None
                else Verdict.fail(f"{match.rule} {match.similarity:.2f} with {match.other_id}")
            )
        return verdicts

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Add accepted texts to the pool."""
        for candidate in accepted:
            self._pool.add(candidate.place, candidate.text)


@dataclass(frozen=True)
class Agreement:
    """Somebody who did not see the wanted outputs gives the same ones; else a person should look."""

    judge: Callable[[Sequence[Candidate]], list[Verdict]]
    name: str = "agreement"
    on_fail: Status = "audit"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Ask the judge about the whole batch at once."""
        return self.judge(batch)

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Leak:
    """The text is no copy, near copy or paraphrase of a labelled row in any split."""

    leakage: Leakage
    name: str = "leakage"
    on_fail: Status = "rejected"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail copies of held-out rows."""
        matches = self.leakage.find_many([candidate.text for candidate in batch])
        return [
            Verdict.ok()
            if match is None
            else Verdict.fail(f"{match.rule} {match.similarity:.2f} with row {match.other_id}")
            for match in matches
        ]

    def keep(self, accepted: Sequence[Candidate]) -> None:
        """Nothing to learn."""


def default(
    task: Task, judge: Callable[[Sequence[Candidate]], list[Verdict]] | None, *, embedder: Embeds | None = None
) -> list[Gate]:
    """Make the gates in their order: schema, whole, exact, near, agreement, leakage.

    Args:
        task: Whose rows must not leak; all three splits are guarded.
        judge: Decides agreement; `None` leaves that gate out.
        embedder: Finds paraphrases of labelled rows; without one only wordings are compared.
    """
    texts = {example.id: example.text for split in task.splits.values() for example in split}
    gates: list[Gate] = [
        Schema(task.shape),
        Whole(),
        Novelty("exact", Exact),
        Novelty("near", NearDuplicates),
    ]
    if judge is not None:
        gates.append(Agreement(judge))
    return [*gates, Leak(Leakage(texts, embedder=embedder))]
