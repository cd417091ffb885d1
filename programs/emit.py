"""Emit rows: fill every quota with texts that passed every gate, keep every reject.

Wanted rows are written in waves and judged in a fixed order, so the emitted set
is a function of task, plan, recipe, gates and engine digest: a run that was
killed repeats from its recorded calls and ends with the same bytes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from stillroom.engines import Session
from stillroom.errors import EngineError
from stillroom.evals.gates import Candidate, Gate, bound, entry
from stillroom.licences import inherited
from stillroom.rows import EmittedRow, Passport
from stillroom.signatures import Task, Unparsed
from stillroom.values import digest

from .plan import Plan
from .recipes import Recipe, Target
from .write import emitted_values, with_demos, writer, writing_inputs

if TYPE_CHECKING:
    import pandas as pd

    from .provenance import Provenance

__all__ = ["Emitted", "emit_rows"]

WAVE = 64


@dataclass(frozen=True)
class Emitted:
    """What a recipe run gave.

    Attributes:
        rows: Accepted rows, in the order of the wanted rows.
        rejects: Rejected and audited rows with gate and reason.
        funnel: (gate, how many reached it, how many it stopped), in gate order.
        shortfall: Wanted rows that could not be filled, by quota cell; empty when all quotas are met.
        provenance: Where the rows come from and who checked them; `None` until somebody looked.
    """

    rows: tuple[EmittedRow, ...]
    rejects: tuple[EmittedRow, ...]
    funnel: tuple[tuple[str, int, int], ...]
    shortfall: Mapping[str, int]
    provenance: Provenance | None = None

    @property
    def written(self) -> int:
        """Rows that entered the funnel: accepted plus every kind of reject."""
        return len(self.rows) + len(self.rejects)

    def frame(self) -> pd.DataFrame:
        """Accepted rows as a table: the task's fields, then `id` and the passport as `meta`."""
        import pandas as pd

        return pd.DataFrame([{**row.values, "id": row.id, "meta": row.as_json()["passport"]} for row in self.rows])


@dataclass
class _Slot:
    """A wanted row and how often it was tried."""

    number: int
    target: Target
    attempt: int = 0
    done: bool = False


@dataclass(frozen=True)
class _Draft:
    """One attempt at a wanted row."""

    slot: _Slot
    candidate: Candidate
    passport: Passport
    verdicts: list[dict[str, Any]] = field(default_factory=list)


def emit_rows(
    task: Task,
    program: Plan,
    recipe: Recipe,
    gates: Sequence[Gate],
    session: Session,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Emitted:
    """Run a recipe to its quotas, or until every wanted row has used its attempts.

    Args:
        task: Whose rows are wanted.
        program: The compiled program; its instruction guides the writing.
        recipe: What is wanted.
        gates: In their order; their judges' calls go through the session.
        session: Store, ledger and engine.
        on_progress: Called with (accepted, wanted) after each wave.

    Raises:
        BudgetExceeded: When the budget ends first; what was emitted stays and a resume goes on.
        EngineError: When the engine failed for good; likewise.
    """
    targets = recipe.targets(task, random.Random(recipe.seed))
    slots = [_Slot(number, target) for number, target in enumerate(targets)]
    plan = writer(task, program, recipe)
    gates = [bound(gate, session) for gate in gates]
    accepted: dict[int, EmittedRow] = {}
    rejects: list[EmittedRow] = []
    funnel: dict[str, Counter[str]] = {gate.name: Counter() for gate in gates}
    while open_ := [slot for slot in slots if not slot.done and slot.attempt < recipe.attempts]:
        # fresh slots before retries, so that every cell gets its first try early
        wave = sorted(open_, key=lambda slot: (slot.attempt, slot.number))[:WAVE]
        drafts = _write(task, plan, recipe, wave, session)
        kept, dropped = _judge(drafts, gates, funnel, session)
        for draft, row in kept:
            draft.slot.done = True
            accepted[draft.slot.number] = row
        rejects += dropped
        session.store.put_rows(recipe.digest, [row for _, row in kept] + dropped)
        if on_progress is not None:
            on_progress(len(accepted), len(slots))
    shortfall = Counter(slot.target.cell for slot in slots if not slot.done)
    emitted = Emitted(
        tuple(accepted[number] for number in sorted(accepted)),
        tuple(rejects),
        tuple((gate.name, funnel[gate.name]["in"], funnel[gate.name]["out"]) for gate in gates),
        dict(shortfall),
    )
    session.store.put_note(
        "funnel",
        recipe.digest,
        {"gates": emitted.funnel, "accepted": len(accepted), "written": emitted.written, "shortfall": dict(shortfall)},
    )
    return emitted


def _write(task: Task, plan: Plan, recipe: Recipe, wave: Sequence[_Slot], session: Session) -> list[_Draft]:
    """Write a text for each slot of the wave; slots that share demos stand together."""
    asked = []
    for slot in sorted(wave, key=lambda slot: (slot.target.cell, slot.attempt, slot.number)):
        shown, parents = with_demos(
            plan, task, slot.target, recipe, slot.number // recipe.together + 1000 * slot.attempt
        )
        seed = int(digest([recipe.seed, slot.number, slot.attempt], 7), 16)
        asked.append((slot, shown, parents, seed))
    responses = session.engine.complete_many(
        [shown.render(writing_inputs(slot.target), seed=seed) for slot, shown, _, seed in asked]
    )
    failure = next((response for response in responses if isinstance(response, EngineError)), None)
    if failure is not None:
        raise failure
    licence = inherited(plan.model, session.engine.licence, [task.licence])
    drafts = []
    for (slot, shown, parents, seed), response in zip(asked, responses, strict=True):
        candidate = _candidate(task, shown, slot, response)
        usage = response.usage  # type: ignore[union-attr]
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        sampling = {"temperature": shown.decoding.temperature, "top_p": shown.decoding.top_p, "seed": seed}
        decoding = {**sampling, **_served(response)}
        target = {"outputs": dict(slot.target.outputs), "style": dict(slot.target.style)}
        passport = Passport(recipe.digest, shown.digest, plan.model, licence, parents, decoding, target, 1, tokens)
        drafts.append(_Draft(slot, candidate, passport))
        slot.attempt += 1
    return sorted(drafts, key=lambda draft: draft.slot.number)


def _served(response: Any) -> dict[str, str]:
    """The version that an endpoint says it answered with, for the row's passport; nothing where it says nothing."""
    told = response.provider_data or {}
    said = " ".join(str(told[name]) for name in ("model", "system_fingerprint") if told.get(name))
    return {"served": said} if said else {}


def _candidate(task: Task, plan: Plan, slot: _Slot, response: Any) -> Candidate:
    place = f"{slot.target.cell}/{slot.number}/{slot.attempt}"
    try:
        values = emitted_values(task, slot.target, plan.read(response))
    except Unparsed as error:
        return Candidate(
            place, {}, response.message.text or "", slot.target.outputs, response.finish_reason, str(error)
        )
    return Candidate(place, values, task.example(values).text, slot.target.outputs, response.finish_reason)


def _judge(
    drafts: Sequence[_Draft], gates: Sequence[Gate], funnel: Mapping[str, Counter[str]], session: Session
) -> tuple[list[tuple[_Draft, EmittedRow]], list[EmittedRow]]:
    """Send drafts through the gates; give those that passed with their rows, and the rejects."""
    alive, rejects = list(drafts), []
    for gate in gates:
        verdicts = gate.check([draft.candidate for draft in alive]) if alive else []
        funnel[gate.name]["in"] += len(alive)
        passed = []
        for draft, verdict in zip(alive, verdicts, strict=True):
            draft.verdicts.append(entry(gate, verdict))
            if verdict.passed:
                passed.append(draft)
            else:
                funnel[gate.name]["out"] += 1
                rejects.append(_row(draft, gate.on_fail, gate.name, verdict.why))
        alive = passed
    for gate in gates:
        gate.keep([draft.candidate for draft in alive])
    return [(draft, _row(draft, "accepted", "", "")) for draft in alive], rejects


def _row(draft: _Draft, status: Any, gate: str, why: str) -> EmittedRow:
    values = dict(draft.candidate.values) or {"text": draft.candidate.text}
    passport = replace(draft.passport, verdicts=tuple(draft.verdicts))
    return EmittedRow(
        digest([values, dict(draft.candidate.target)]), draft.candidate.place, status, values, passport, gate, why
    )
