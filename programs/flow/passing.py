"""Let rows pass gates: in their order through gates that remember, at once through gates that ask.

A gate that remembers (duplicates) compares a row with every earlier row that
passed it, whether or not that row was accepted in the end: so it never waits
for what later gates say, and what it says depends on the order alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from stillroom.errors import EngineError, Interrupted, StillroomError
from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate, Gate, entry
from stillroom.rows import EmittedRow, Status

from .draft import Draft, Papers, unsplit
from .steps import At, Split
from .working import Bench, Stopped

__all__ = ["Asking", "AsksAsync", "Splitting", "Turn", "asks"]

Answered: TypeAlias = "Sequence[Verdict | EngineError]"


@runtime_checkable
class AsksAsync(Protocol):
    """A gate that asks models without blocking: rows of later blocks go on meanwhile."""

    async def acheck(self, batch: Sequence[Candidate]) -> Answered:
        """One verdict per candidate, in order; the engine's error in its place where a call failed for good."""


def asks(gate: Gate) -> bool:
    """Whether a gate asks models: natively, or on a thread if it says `asks`. It must remember nothing."""
    return isinstance(gate, AsksAsync) or bool(getattr(gate, "asks", False))


class _Placed:
    """A gate, and the fields it looks at."""

    def __init__(self, part: Gate | At) -> None:
        gate, self.fields = (part.gate, part.fields) if isinstance(part, At) else (part, ())
        # what it remembers of another run must not count in this one
        self.gate: Gate = gate.fresh() if hasattr(gate, "fresh") else gate

    def judge(self, drafts: Sequence[Draft], answered: Answered, papers: Papers) -> list[Draft]:
        """Write down what the gate said of each; give those it let pass."""
        gate, passed = self.gate, []
        for draft, verdict in zip(drafts, answered, strict=True):
            if isinstance(verdict, EngineError):
                draft.quarantine(gate.name, verdict)
                continue
            draft.verdicts.append(entry(gate, verdict))
            if verdict.passed:
                passed.append(draft)
                continue
            status: Status = "quarantined" if papers.malformed(draft) else gate.on_fail
            draft.stop(status, gate.name, verdict.why)
        return passed


class Turn:
    """Gates that rows pass in their order, block after block: what they say may depend on what came before.

    Args:
        gates: In their order.
        papers: Shows rows to gates.
        splits: How often rows were split before they come here.
    """

    def __init__(self, gates: Sequence[Gate | At], papers: Papers, splits: int = 0) -> None:
        self._gates = [_Placed(gate) for gate in gates]
        self._papers, self._splits = papers, splits

    def check(self, drafts: Sequence[Draft]) -> None:
        """Send `drafts` through all of the gates; those that fail one are stopped there."""
        alive = list(drafts)
        seen: list[Candidate] = [self._papers.candidate(draft) for draft in alive]
        for placed in self._gates:
            if not alive:
                return
            batch = [self._papers.candidate(draft, placed.fields) for draft in alive] if placed.fields else seen
            passed = placed.judge(alive, placed.gate.check(batch), self._papers)
            kept = {id(draft) for draft in passed}
            placed.gate.keep([each for draft, each in zip(alive, batch, strict=True) if id(draft) in kept])
            if placed.fields:
                for draft in passed:
                    draft.seen.update({name: draft.state.get(name) for name in placed.fields})
            if len(passed) < len(alive):
                seen = [each for draft, each in zip(alive, seen, strict=True) if id(draft) in kept]
            alive = passed

    def recall(self, rows: Sequence[EmittedRow]) -> None:
        """Let the gates remember rows of an earlier session, as they were here."""
        here: dict[str, EmittedRow] = {}
        for row in rows:
            here.setdefault(unsplit(row.place, self._splits), row)
        for placed in self._gates:
            name = placed.gate.name
            placed.gate.keep(
                [
                    self._papers.recalled(row, place, placed.fields)
                    for place, row in here.items()
                    if any(each["gate"] == name and each["passed"] for each in row.passport.verdicts)
                ]
            )


class Asking:
    """A gate that asks models: a block waits for its own answers only."""

    def __init__(self, gate: Gate | At, papers: Papers) -> None:
        self._placed = _Placed(gate)
        self._papers = papers

    async def check(self, drafts: Sequence[Draft], bench: Bench) -> None:
        """Ask about `drafts`; a row whose asking failed is quarantined.

        Raises:
            Stopped: If the run has stopped.
        """
        if bench.stopped is not None:
            raise Stopped
        batch = [self._papers.candidate(draft, self._placed.fields) for draft in drafts]
        try:
            answered = await self._answers(batch)
        except (
            StillroomError,
            KeyboardInterrupt,
        ) as error:  # the latter from a thread, where nothing else is under way
            bench.stop(error)
            raise Stopped from error
        for each in answered:
            if isinstance(each, Interrupted):
                bench.stop(each)
                raise Stopped
        self._placed.judge(drafts, answered, self._papers)

    async def _answers(self, batch: Sequence[Candidate]) -> Answered:
        try:
            return await self._asked(batch)
        except Interrupted:
            raise
        except EngineError:  # one by one: what was answered is on record, and one failure must not cost the others
            return [await self._one(each) for each in batch]

    async def _one(self, candidate: Candidate) -> Verdict | EngineError:
        try:
            return (await self._asked([candidate]))[0]
        except EngineError as error:
            return error

    async def _asked(self, batch: Sequence[Candidate]) -> Answered:
        gate: Any = self._placed.gate
        return await gate.acheck(batch) if isinstance(gate, AsksAsync) else await asyncio.to_thread(gate.check, batch)


class Splitting:
    """Several rows out of one."""

    def __init__(self, part: Split, papers: Papers) -> None:
        self._part, self._papers = part, papers

    def split(self, drafts: Sequence[Draft]) -> list[Draft]:
        """The rows that `drafts` become, in order; one that is stopped stays as it is."""
        return [made for draft in drafts for made in self._rows(draft)]

    def _rows(self, draft: Draft) -> list[Draft]:
        self._papers.refuse(draft)
        if draft.status:
            return [draft]
        name, field = self._part.name, self._part.field
        items = draft.state.get(field)
        if not items:
            draft.refuse("rejected", name, f"{field} is empty")
            return [draft]
        return [
            draft.child(number, item if isinstance(item, dict) else {field: item}, field)
            for number, item in enumerate(items[: self._part.most])
        ]
