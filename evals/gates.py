"""Gates: named checks in a fixed order that a row must pass to be emitted.

A gate looks at a batch and gives one verdict per candidate. Candidates that
fail go no further; the row keeps the name of the gate, its reason and who
decided. Gates that remember rows (duplicates) learn the rows that passed them,
whatever later gates say: so they never wait for those, and what they say depends on
the order of the rows alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from stillroom.errors import EngineError
from stillroom.ledger import Spent
from stillroom.rows import By, Status
from stillroom.signatures import Shape, Task

from .copies.decontaminate import Decontamination, Finding, Parts
from .copies.duplicates import Embeds, Exact, NearDuplicates, folded
from .copies.guarded import guarded_demos, guarded_task, known_answers, texts_in
from .verdict import Verdict

if TYPE_CHECKING:
    from stillroom.engines import Session

__all__ = [
    "Agreement",
    "Candidate",
    "Clean",
    "Gate",
    "Novelty",
    "Schema",
    "Whole",
    "bound",
    "default",
    "doubt_of",
    "entry",
    "pins",
    "tried_before",
]

STOPPED = {"length": "answer was cut off", "content_filter": "the endpoint's filter stopped the answer"}
NO_CERTIFICATE = "its judge has no certificate"


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
        spent: What the row's calls have cost so far; a gate that asks models adds what it spends on the row.
    """

    place: str
    values: Mapping[str, Any]
    text: str
    target: Mapping[str, Any]
    finish: str = "stop"
    fault: str = ""
    spent: list[Spent] = field(default_factory=list, compare=False, repr=False)


def tried_before(place: str, other: str) -> bool:
    """Whether `other` is the place of an earlier try of the same slot: no copy of it is in the set, or there were no later try.

    >>> tried_before("v1/7/1.0", "v1/7/0"), tried_before("v1/7/1.1", "v1/7/1.0"), tried_before("v1/8/1", "v1/7/0")
    (True, False, False)
    """
    (slot, _, attempt), (same, _, earlier) = place.rpartition("/"), other.rpartition("/")
    return slot == same and attempt.partition(".")[0] != earlier.partition(".")[0]


class Gate(Protocol):
    """A named check of a batch.

    A gate may say more of itself, in attributes that are read where they are there: `pin`, what a
    resumed run must find unchanged (its name otherwise); `doubt`, why it may not decide alone;
    `certificate`, the digest of its judge's certificate; `within(session)`, the same gate
    under a run's store and budget; and, of a gate that remembers, `fresh()`, the same without memory.

    Rows pass gates in their order. Not so a gate that asks models, which must remember nothing: it
    has `acheck(batch)`, as `check` but to be awaited, with the engine's error in place of a verdict
    where a call failed for good; or it says `asks`, and is checked on a thread.
    """

    @property
    def name(self) -> str:
        """As funnels and passports name it."""

    @property
    def by(self) -> By:
        """Who decides. Of a gate that does not say, form alone: nothing is claimed for it."""

    @property
    def on_fail(self) -> Status:
        """What a row becomes that fails: `rejected`, or `audit`."""

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Learn the rows that passed this gate, after each `check` and, when a run goes on, of those before."""


@dataclass(frozen=True)
class Schema:
    """Every field is there and has its type."""

    shape: Shape
    name: str = "schema"
    on_fail: Status = "rejected"
    by: ClassVar[By] = "form"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail answers that did not parse, and values that break their types."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        problems = self.shape.problems(candidate.values)
        return Verdict.fail("; ".join(f"{name}: {rule}" for name, rule in problems)) if problems else Verdict.ok()

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Whole:
    """The text is neither empty, cut off, filtered by the endpoint, nor a refusal.

    Attributes:
        empty: Whether a text without a letter or digit will do, such as an empty list.
    """

    name: str = "whole"
    on_fail: Status = "rejected"
    empty: bool = False
    by: ClassVar[By] = "form"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail texts that are not what was asked for, whatever that was."""
        return [self._one(candidate) for candidate in batch]

    def _one(self, candidate: Candidate) -> Verdict:
        from .filters.boilerplate import refuses  # its gates are made of this module

        if candidate.finish in STOPPED:
            return Verdict.fail(STOPPED[candidate.finish])
        if not self.empty and not any(character.isalnum() for character in candidate.text):
            return Verdict.fail("text is empty")
        return refuses(candidate.text)

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


class Novelty:
    """The text is new: among all rows that passed this gate before, and the earlier ones of its batch.

    Where a slot is tried again, its text may be that of its earlier try, of which nothing was accepted.
    """

    on_fail: Status = "rejected"
    by: By = "form"

    def __init__(self, name: str, make: Callable[[], Exact | NearDuplicates]) -> None:
        """Compare within pools that `make` gives: one for all rows, one for each batch."""
        self.name, self._make = name, make
        self._pool = make()

    def fresh(self) -> Novelty:
        """The same with nothing in its pool."""
        return Novelty(self.name, self._make)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail texts that match a row that passed before, or a row before them in the batch."""
        verdicts: list[Verdict] = []
        here = self._make()
        for candidate, known in zip(batch, self._pool.find_many([each.text for each in batch]), strict=True):
            if known and known.rule == "exact" and tried_before(candidate.place, known.other_id):
                known = None
            match = known or here.find(candidate.text)
            if match is None:
                here.add(candidate.place, candidate.text)
            verdicts.append(
                Verdict.ok()
                if match is None
                else Verdict.fail(f"{match.rule} {match.similarity:.2f} with {match.other_id}")
            )
        return verdicts

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Add the texts that passed to the pool."""
        for candidate in passed:
            self._pool.add(candidate.place, candidate.text)


@dataclass(frozen=True)
class Clean:
    """The row copies no guarded text, in its inputs or outputs. What is only reported passes, with the finding.

    Attributes:
        guard: What must not be copied.
        known: Answers that are nobody's, folded: they are not asked about.
    """

    guard: Decontamination
    known: frozenset[str] = frozenset()
    name: str = "decontaminated"
    on_fail: Status = "rejected"
    by: ClassVar[By] = "form"

    @property
    def pin(self) -> str:
        """Every setting, and a digest of what is guarded."""
        return self.guard.name

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Fail rows whose inputs, or outputs of six words or more, copy a guarded text."""
        return [_clean(found) for found in self.guard.examine([self._parts(candidate) for candidate in batch])]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def _parts(self, candidate: Candidate) -> Parts:
        wished, values = candidate.target, candidate.values
        inputs = [text for name, value in values.items() if name not in wished for text in texts_in(value)]
        outputs = [values[name] for name in wished if name in values]
        said = [text for text in texts_in(outputs) if folded(text) not in self.known]
        prompts = tuple(dict.fromkeys([candidate.text, *inputs]))
        return Parts(prompts, tuple(said), " ".join(map(str, outputs)), tuple(texts_in(dict(wished))))


def _clean(found: Finding | None) -> Verdict:
    if found is None:
        return Verdict.ok()
    return Verdict(0.0 if found.removes else 1.0, str(found), found.as_json())


@dataclass(frozen=True)
class Agreement:
    """Somebody who did not see the wanted outputs gives the same ones; else a person should look.

    Attributes:
        judge: One verdict per candidate. With `ajudge`, it can be awaited.
    """

    judge: Callable[[Sequence[Candidate]], list[Verdict]]
    name: str = "agreement"
    on_fail: Status = "audit"
    by: By = "judge"
    certificate: str = ""

    @property
    def doubt(self) -> str:
        """A judge that nobody certified may not decide alone."""
        return NO_CERTIFICATE if self.by == "judge" and not self.certificate else ""

    @property
    def pin(self) -> str:
        """The gate and its judge."""
        return f"{self.name}({getattr(self.judge, 'name', getattr(self.judge, '__qualname__', 'judge'))})"

    def within(self, session: Session) -> Agreement:
        """The gate with its judge's calls on the session's store and budget."""
        return replace(self, judge=bound(self.judge, session))

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """Ask the judge about the whole batch at once."""
        return self.judge(batch)

    async def acheck(self, batch: Sequence[Candidate]) -> Sequence[Verdict | EngineError]:
        """Ask the judge without blocking; on a thread, if it cannot be asked otherwise."""
        asked = getattr(self.judge, "ajudge", None)
        if asked is None:
            return await asyncio.to_thread(self.judge, batch)
        found: Sequence[Verdict | EngineError] = await asked(batch)
        return found

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


def default(
    task: Task,
    judge: Callable[[Sequence[Candidate]], list[Verdict]] | None,
    *,
    embedder: Embeds | None = None,
    demos: Iterable[Mapping[str, Any]] = (),
) -> list[Gate]:
    """Make the gates in their order: schema, whole, exact, near, decontaminated, agreement.

    Args:
        task: Whose rows, in all three splits, and whose benchmarks must not be copied.
        judge: Decides agreement; `None` leaves that gate out.
        embedder: Finds paraphrases of guarded texts, which are reported and pass; without one none is looked for.
        demos: Worked examples that a prompt shows, guarded as well.

    Raises:
        BadConfig, BadData: If a benchmark of the task cannot be read.
    """
    known = known_answers(task)
    shown = [each for each in guarded_demos(demos) if folded(each.text) not in known]
    guard = Decontamination([*guarded_task(task), *shown], embedder=embedder)
    gates: list[Gate] = [
        Schema(task.shape),
        Whole(),
        Novelty("exact", Exact),
        Novelty("near", NearDuplicates),
        Clean(guard, known),
    ]
    return gates if judge is None else [*gates, Agreement(judge)]


# -- what a run asks of its gates -------------------------------------------------------


def bound(part: Any, session: Session) -> Any:
    """Give a gate or a judge under the session's store and budget; as it is where it calls no model."""
    return part.within(session) if hasattr(part, "within") else part


def pins(gates: Sequence[Gate]) -> dict[str, str]:
    """What a run that is resumed must find unchanged: each gate at its place, with its settings and models."""
    return {f"gate {place}": getattr(gate, "pin", gate.name) for place, gate in enumerate(gates, start=1)}


def doubt_of(gate: Gate) -> str:
    """Say why `gate` should not decide alone, whether it widens to review for it or not; "" where it may."""
    said = str(getattr(gate, "doubt", ""))
    alone = getattr(gate, "by", "form") == "judge" and getattr(gate, "certificate", None) == ""
    return said or (f"{NO_CERTIFICATE}, and it decides alone all the same" if alone else "")


def entry(gate: Gate, verdict: Verdict) -> dict[str, Any]:
    """What a passport keeps of a verdict: who decided, what, why, and on which certificate."""
    more = {"found": dict(verdict.found), "certificate": getattr(gate, "certificate", "")}
    return {
        "gate": gate.name,
        "by": getattr(gate, "by", "form"),
        "passed": verdict.passed,
        "why": verdict.why,
        **{name: value for name, value in more.items() if value},
    }
