"""A row under way: its fields so far, what it has cost, and what was said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.errors import EngineError
from stillroom.evals.gates import Candidate
from stillroom.ledger import Spent
from stillroom.rows import EmittedRow, Passport, Status
from stillroom.signatures import inputs_text
from stillroom.values import digest

from .wanted import Wanted

__all__ = ["UNANSWERED", "Draft", "Papers", "Trace", "unsplit"]

UNANSWERED = "unanswered"
"""What a row that was lost because an engine failed says in its `extra`."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a step that asked has left behind.

    Attributes:
        plan: Digest of the plan that was asked.
        model: Of that plan.
        parents: Ids of the demos shown.
        decoding: Temperature, top-p and seed.
        finish: Why the model stopped.
        fault: Why the answer gave no outputs, or "".
        malformed: Whether that fault is one of form.
        said: The text of the answer at fault.
    """

    plan: str
    model: str
    parents: tuple[str, ...]
    decoding: Mapping[str, Any]
    finish: str = "stop"
    fault: str = ""
    malformed: bool = False
    said: str = ""


class Draft:
    """One row on its way through a flow. Only the tasks that work on it change it.

    Attributes:
        wanted: What it was begun for.
        sub: Which of the rows it is that `wanted` was split into: "", or ".0" and so on.
        state: Its fields so far.
        traces: By step, of those that asked.
        spent: What each of its calls has cost.
        verdicts: What gates have said.
        notes: Counts of what happened on the way: answers repaired, asked for again.
        status: What it has become, or "" while it is under way.
        gate: Which gate or step ended it.
        why: For which reason.
        error: What broke, where that is the reason.
        task: Does its first steps.
        seen: Fields that a gate which remembers has looked at before the last step, as they were then.
    """

    __slots__ = (
        "error", "gate", "notes", "seen", "spent", "state", "status", "sub", "task", "traces", "verdicts", "wanted",
        "why",
    )  # fmt: skip

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.sub = ""
        self.state: dict[str, Any] = dict(wanted.fields)
        self.traces: dict[str, Trace] = {}
        self.spent: list[Spent] = []
        self.verdicts: list[dict[str, Any]] = []
        self.notes: dict[str, int] = {}
        self.status: Status | str = ""
        self.gate = self.why = ""
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None
        self.seen: dict[str, Any] = {}

    @property
    def place(self) -> str:
        """Where in the run it stands: cell/slot/attempt, and a number behind a dot if it was split off."""
        return self.wanted.place + self.sub

    def child(self, number: int, fields: Mapping[str, Any], without: str) -> Draft:
        """One of the rows that this one is split into; the first one takes over what was spent."""
        made = Draft(self.wanted)
        made.sub = f"{self.sub}.{number}"
        made.state = {**{name: value for name, value in self.state.items() if name != without}, **fields}
        made.traces, made.verdicts, made.seen = dict(self.traces), list(self.verdicts), dict(self.seen)
        if number == 0:
            made.spent, made.notes = self.spent, self.notes
        return made

    def stop(self, status: Status, gate: str, why: str) -> None:
        """Bring it to its end at a gate or step that did not let it pass."""
        self.status, self.gate, self.why = status, gate, why

    def quarantine(self, name: str, error: Exception) -> None:
        """Put it aside: the step or gate `name` broke on it, which says nothing about the row."""
        self.error = error
        self.refuse("quarantined", name, f"{type(error).__name__}: {error}")

    def refuse(self, status: Status, name: str, why: str) -> None:
        """Stop it at `name`, and write that down as a verdict."""
        self.verdicts.append({"gate": name, "by": "form", "passed": False, "why": why})
        self.stop(status, name, why)

    def note(self, what: str, times: int = 1) -> None:
        """Count something that happened on the way."""
        if times:
            self.notes[what] = self.notes.get(what, 0) + times


class Papers:
    """What the rows of one run have in common: shows drafts to gates, and makes rows of them.

    Args:
        recipe: Its digest.
        model: Of the run's engine.
        licence: Of the rows.
        steps: The names of all steps, in their order.
        emits: The fields of a row; all where none are named.
        text: The fields that make its text; all that are emitted where none are named.
    """

    def __init__(
        self, recipe: str, model: str, licence: str, steps: Sequence[str], emits: Sequence[str], text: Sequence[str]
    ) -> None:
        self._recipe, self._model, self._licence = recipe, model, licence
        self._steps, self._emits, self._text = steps, emits, text

    def candidate(self, draft: Draft, fields: Sequence[str] = ()) -> Candidate:
        """The row as gates see it; of `fields` only, where some are named."""
        wanted = draft.wanted
        finish = "stop"
        for _, trace in self._traces(draft):
            if trace.fault:
                said, fault = trace.said, trace.fault
                return Candidate(draft.place, {}, said, wanted.target, trace.finish, fault, draft.spent)
            if finish == "stop":
                finish = trace.finish
        values = _some(draft.state, fields or self._emits)
        text = self._as_text(values, fields or self._text)
        return Candidate(draft.place, values, text, wanted.target, finish, "", draft.spent)

    def malformed(self, draft: Draft) -> bool:
        """Whether it is at fault in its form only, so that another try may do better."""
        return any(trace.malformed for trace in draft.traces.values())

    def refuse(self, draft: Draft) -> None:
        """Stop a row whose answer is at fault, where no gate did."""
        for name, trace in self._traces(draft):
            if trace.fault and not draft.status:
                draft.refuse("quarantined" if trace.malformed else "rejected", name, trace.fault)

    def row(self, draft: Draft) -> EmittedRow:
        """The row that a draft has become."""
        wanted, traces, spent = draft.wanted, self._traces(draft), draft.spent
        said = next((trace.said for _, trace in traces if trace.fault), None)
        values = _some(draft.state, self._emits) if said is None else {"text": said}
        parents = (*wanted.parents, *(parent for _, trace in traces for parent in trace.parents))
        passport = Passport(
            self._recipe,
            _plan(traces),
            self._model,
            self._licence,
            tuple(dict.fromkeys(parents)),
            _decoding(traces),
            wanted.asked,
            sum(each.calls for each in spent),
            sum(each.tokens for each in spent),
            tuple(draft.verdicts),
        )
        status: Any = draft.status
        row_id = digest([values, dict(wanted.target)])
        extra: dict[str, Any] = dict(draft.notes)
        if isinstance(draft.error, EngineError):
            extra[UNANSWERED] = True
        if draft.seen:
            extra["seen"] = {name: value for name, value in draft.seen.items() if values.get(name) != value}
        return EmittedRow(row_id, draft.place, status, values, passport, draft.gate, draft.why, extra)

    def recalled(self, row: EmittedRow, place: str, fields: Sequence[str] = ()) -> Candidate:
        """An emitted row as gates saw it when it stood at `place`, for those that remember."""
        values = _some({**row.values, **row.extra.get("seen", {})}, fields) if fields else dict(row.values)
        text = self._as_text(values, fields or self._text)
        return Candidate(place, values, text, row.passport.target.get("outputs", {}))

    def _as_text(self, values: Mapping[str, Any], names: Sequence[str]) -> str:
        # by name where no order is declared: a row that is read back has its fields in that order
        return inputs_text({name: values[name] for name in names or sorted(values) if name in values})

    def _traces(self, draft: Draft) -> list[tuple[str, Trace]]:
        """By step, in the order of the steps: those that ran at the same time may have ended in any."""
        traces = draft.traces
        return [(name, traces[name]) for name in self._steps if name in traces]


def _plan(traces: Sequence[tuple[str, Trace]]) -> str:
    """The digest of the plan that wrote a row; of all of them where there were several."""
    if len(traces) == 1:
        return traces[0][1].plan
    plans = list(dict.fromkeys(trace.plan for _, trace in traces))
    return digest(plans) if plans else ""


def _decoding(traces: Sequence[tuple[str, Trace]]) -> Mapping[str, Any]:
    """How a row was decoded; by step where several asked."""
    if len(traces) == 1:
        return traces[0][1].decoding
    return {name: {"plan": each.plan, "model": each.model, **each.decoding} for name, each in traces}


def unsplit(place: str, splits: int) -> str:
    """The place of a row when it had been split so many times.

    >>> unsplit("v1.5/7/0.2.1", 1), unsplit("v1.5/7/0.2.1", 0)
    ('v1.5/7/0.2', 'v1.5/7/0')
    """
    slot, _, attempt = place.rpartition("/")
    return f"{slot}/{'.'.join(attempt.split('.')[: splits + 1])}"


def _some(state: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: state[name] for name in names if name in state} if names else dict(state)
