"""Where the rows of an emission come from and who checked them: licences, people, copies, doubts and policies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.evals import Embeds, Verdict
from stillroom.evals.gates import Gate, doubt_of
from stillroom.evals.policies import accounted, diverse, one_version, verified
from stillroom.involvement import Involvement, involvement
from stillroom.licences import OWN_DATA, inherited, licence, of_teacher
from stillroom.release import Entry, Override, ledger
from stillroom.rows import EmittedRow
from stillroom.signatures import Task

from .agreed import Agreed
from .emit import Emitted

__all__ = ["Copies", "Doubt", "Provenance", "Source", "provenance"]

LOOKED_AT = 500
"""Texts of each set that diversity is measured on: more say little more and take seconds."""


@dataclass(frozen=True)
class Source:
    """One parent of the rows: what it is, its name, its licence, and whether somebody declared that."""

    what: str
    name: str
    licence: str
    declared: bool


@dataclass(frozen=True)
class Copies:
    """How many rows were found to be like guarded texts of one source by one rule; `removed` or only reported."""

    source: str
    rule: str
    rows: int
    removed: bool


@dataclass(frozen=True)
class Doubt:
    """A gate that should not decide alone: why, and how many of its rows wait for a person."""

    gate: str
    why: str
    waiting: int


@dataclass(frozen=True)
class Provenance:
    """What a reader of the rows must know of how they were made.

    Attributes:
        licence: Of the rows: the strictest of their parents'.
        sources: The parents, with the licence of each.
        ledger: Accepted rows by teacher and licence.
        overrides: Who answered for a licence that would forbid the use.
        involvement: How much people had to do with the accepted rows; `None` without rows.
        copies: What decontamination removed, and what it reports of rows that stay.
        doubtful: Gates that should not decide alone.
        policies: Name of each rule over the whole set to its verdict.
        diversity: The table behind the policy `diverse`, as plain JSON.
        agreed: What judges were found to be worth beside people, in this run, by their gates.
        notes: What somebody could declare and nobody did.
    """

    licence: str
    sources: tuple[Source, ...]
    ledger: tuple[Entry, ...]
    overrides: tuple[Override, ...]
    involvement: Involvement | None
    copies: tuple[Copies, ...]
    doubtful: tuple[Doubt, ...]
    policies: Mapping[str, Verdict]
    diversity: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = field(default=())
    agreed: tuple[Agreed, ...] = field(default=())

    @property
    def warnings(self) -> list[str]:
        """What a user must not overlook, a line each: broken policies, doubtful gates, overrides."""
        broken = [f"policy {name}: {each.why}" for name, each in self.policies.items() if each.score == 0.0]
        doubts = [f"gate {each.gate}: {each.why}; {each.waiting} rows wait for a person" for each in self.doubtful]
        return [
            *broken,
            *doubts,
            *(f"licence {each.licence} is used on the word of {each.by}" for each in self.overrides),
        ]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain JSON."""
        # a list: the store sorts the keys of a mapping
        policies = [{"name": name, "state": _state(each), "why": each.why} for name, each in self.policies.items()]
        parts = ("sources", "ledger", "overrides", "copies", "doubtful")
        return {
            "licence": self.licence,
            **{name: [asdict(each) for each in getattr(self, name)] for name in parts},
            "involvement": None if self.involvement is None else asdict(self.involvement),
            "policies": policies,
            "diversity": self.diversity,
            "agreed": [each.as_json() for each in self.agreed],
            "notes": list(self.notes),
            "warnings": self.warnings,
        }


def provenance(
    task: Task,
    engine: Engine,
    gates: Sequence[Gate],
    emitted: Emitted,
    *,
    embedder: Embeds | None = None,
    overrides: Sequence[Override] = (),
    agreed: Sequence[Agreed] = (),
) -> Provenance:
    """Look at an emission when it has ended. A broken policy is a verdict here, and never an error.

    Args:
        task: Whose rows they are.
        engine: The teacher.
        gates: As the rows passed them.
        emitted: Rows and rejects.
        embedder: For diversity; without one it stays unverified.
        overrides: Who answers for which licence.
        agreed: What judges of the gates were found to be worth beside people.
    """
    rows = emitted.rows
    diversity, spread = _diversity(task, rows, embedder)
    people = {"people": True, "machine": False}.get(task.labelled_by)
    return Provenance(
        licence=inherited(engine.model, engine.licence, [task.licence]),
        sources=_sources(task, engine),
        ledger=tuple(ledger(rows)),
        overrides=tuple(overrides),
        involvement=involvement(rows, evaluated=people) if rows else None,
        copies=_copies(chain(rows, emitted.rejects)),
        doubtful=tuple(_doubts(gates, emitted.rejects, {each.gate: each.doubt for each in agreed})),
        policies={
            "accounted": accounted(_entered(emitted), chain(rows, emitted.rejects)),
            "verified": verified(rows, [gate.name for gate in gates]),
            "diverse": diversity,
            "one version": one_version(rows),
        },
        diversity=spread,
        notes=tuple(_undeclared(task, engine, next(iter(rows), None))),
        agreed=tuple(agreed),
    )


def _sources(task: Task, engine: Engine) -> tuple[Source, ...]:
    teacher = of_teacher(engine.model, engine.licence)
    return (
        Source("teacher", engine.model, licence(teacher).name, teacher != "unknown"),
        Source("labelled rows", task.name, licence(task.licence or OWN_DATA).name, bool(task.licence)),
    )


def _undeclared(task: Task, engine: Engine, first: EmittedRow | None) -> list[str]:
    notes = []
    if first is not None and engine.model.endswith("@live") and not first.passport.decoding.get("served"):
        notes.append("The endpoint does not say which version of its model answered: a change would go unseen.")
    if not task.licence:
        notes.append("No licence is declared for the labelled rows: they are taken for your own (Task licence=).")
    if not task.labelled_by:
        notes.append("Nobody says who labelled the rows: no human label is claimed (Task labelled_by=).")
    return notes


def _entered(emitted: Emitted) -> int:
    """How many drafts the first gate saw: counted beside the rows, so that a lost row shows."""
    return emitted.funnel[0][1] if emitted.funnel else len(emitted.rows)


def _copies(rows: Iterable[EmittedRow]) -> tuple[Copies, ...]:
    found = (verdict.get("found", {}) for row in rows for verdict in row.passport.verdicts)
    counts = Counter((each["removes"], each["source"], each["rule"]) for each in found if "rule" in each)
    ordered = sorted(counts.items(), key=lambda item: (not item[0][0], item[0]))
    return tuple(Copies(source, rule, count, removed) for (removed, source, rule), count in ordered)


def _doubts(gates: Sequence[Gate], rejects: Iterable[EmittedRow], measured: Mapping[str, str]) -> list[Doubt]:
    waiting = Counter(row.gate for row in rejects if row.status == "audit")
    found = [(gate.name, doubt_of(gate) and measured.get(gate.name, doubt_of(gate))) for gate in gates]
    return [Doubt(name, why, waiting[name]) for name, why in found if why]


def _diversity(
    task: Task, rows: Sequence[EmittedRow], embedder: Embeds | None
) -> tuple[Verdict, Mapping[str, Any] | None]:
    """Beside the labelled rows that are no test rows."""
    if not rows or embedder is None:
        return Verdict.unverified("diversity is judged beside a reference set, with an embedder"), None
    from stillroom.evals.diversity import describe

    texts = [task.example(row.values).text for row in rows]
    reference = [example.text for example in task.demos + task.search]
    try:
        found = describe(texts, reference, embedder=embedder, at_most=LOOKED_AT)
    except BadConfig as error:
        return Verdict.unverified(f"diversity could not be measured: {error}"), None
    return diverse(found), found.as_json()


def _state(verdict: Verdict) -> str:
    return {None: "unverified", 0.0: "broken"}.get(verdict.score, "kept")
