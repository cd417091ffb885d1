"""Policies read from papers: how much people had to do with a row, and what made it.

Both are computed from passports and pinned versions, and never typed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from .errors import BadConfig, FingerprintChanged
from .rows import EmittedRow, Passport
from .values import digest

__all__ = [
    "Change",
    "Evidence",
    "Involvement",
    "Lock",
    "drift",
    "evidence",
    "involvement",
    "level",
    "lock",
    "refuse_drift",
    "segments",
]

# --- human involvement -----------------------------------------------------------

Writer: TypeAlias = Literal["person", "polished", "machine"]
_LEVELS = {
    1: "written by people",
    2: "written by people, polished by a machine, verified by people",
    3: "written by a machine, every row verified by people",
    4: "written and rated by machines, the model evaluated on human labels",
    5: "written, rated and evaluated by machines",
    6: "written by a machine, rated by nobody",
}
# gates that look at form and copies, not at whether a row is right
_FORM = frozenset({"schema", "whole", "exact", "near", "leakage", "decontaminated"})


@dataclass(frozen=True)
class Evidence:
    """What is known of how a row came about.

    Attributes:
        writer: Who wrote it: a person, a machine, or a person whose text a machine polished.
        verified: Whether a person looked at the row and passed it.
        rated: Whether a judge, verifier or model rated what it says, form aside.
        evaluated: Whether the model that wrote or rated was evaluated on human labels.
    """

    writer: Writer
    verified: bool
    rated: bool
    evaluated: bool


@dataclass(frozen=True)
class Involvement:
    """How much people had to do with rows: `level` 1 (all) to 6 (nothing), and the sentence for the card."""

    level: int
    statement: str


def evidence(passport: Passport, *, evaluated: bool = False) -> Evidence:
    """Read the evidence off a passport.

    A row without a model, or whose model is "human" or "person", was written by a person;
    `decoding["role"] == "polish"` says that a model polished a person's text. A verdict is
    a person's if its `by` says "person" or "human" (or its gate is named so), and rates
    what the row says unless `by` is "form" or its gate is one of the gates of form.

    Args:
        passport: Of the row.
        evaluated: Whether the model was evaluated on human labels, which no passport knows.
    """
    writer: Writer = "machine"
    if passport.decoding.get("role") == "polish":
        writer = "polished"
    elif passport.model.split("/")[0].split("@")[0] in ("", "human", "person"):
        writer = "person"
    people = [each for each in passport.verdicts if _by_person(each)]
    machines = [each for each in passport.verdicts if not _by_person(each) and not _of_form(each)]
    # one person who failed it outweighs another who passed it
    verified = bool(people) and all(each.get("passed") is True for each in people)
    return Evidence(writer, verified, bool(machines), evaluated)


def level(found: Evidence) -> int:
    """Level of human involvement, 1 manual to 6 autonomous, as a truth table over the evidence.

    A polished text nobody verified counts as a machine's: what the machine changed went unseen.
    """
    if found.writer == "person":
        return 1
    if found.verified:
        return 2 if found.writer == "polished" else 3
    if not found.rated:
        return 6
    return 4 if found.evaluated else 5


def involvement(papers: Passport | Sequence[Passport | EmittedRow], *, evaluated: bool = False) -> Involvement:
    """Level of one passport, or of a set: the least human row decides.

    Raises:
        BadConfig: If there are no papers.
    """
    several: Sequence[Passport | EmittedRow] = [papers] if isinstance(papers, Passport) else papers
    if not several:
        raise BadConfig("human involvement is computed from passports, got none")
    passports = [each.passport if isinstance(each, EmittedRow) else each for each in several]
    levels = [level(evidence(each, evaluated=evaluated)) for each in passports]
    least = max(levels)
    statement = f"Level {least} of 6: {_LEVELS[least]}."
    if len(set(levels)) > 1:
        shares = ", ".join(f"{levels.count(each)} at level {each}" for each in sorted(set(levels)))
        statement += f" Of {len(levels)} rows, {shares}."
    if least >= 5:
        statement += " No human label was used to verify these rows or to evaluate what wrote and rated them."
    return Involvement(least, statement)


def _by_person(verdict: Mapping[str, Any]) -> bool:
    return str(verdict.get("by", "")) in ("person", "human") or _gate(verdict) in ("person", "human")


def _of_form(verdict: Mapping[str, Any]) -> bool:
    return verdict.get("by") == "form" or (not verdict.get("by") and _gate(verdict) in _FORM)


def _gate(verdict: Mapping[str, Any]) -> str:
    return str(verdict.get("gate", "")).split("(")[0].split("@")[0]


# --- version locking -------------------------------------------------------------


@dataclass(frozen=True)
class Lock:
    """Everything that decides what a run writes, by name: change one and the rows change.

    Attributes:
        models: Role to `provider/name@digest`, or an endpoint's dated model id or fingerprint.
        prompts: Name of a plan or template to its digest.
        gates: Names of the gates in order; a name states every setting.
        data: Name of a set or split to its digest.
        decoding: Role to temperature, top-p and the like.
        code: Version of what ran it.
    """

    models: Mapping[str, str]
    prompts: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    decoding: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: str = ""

    @property
    def digest(self) -> str:
        """Hash of all of it, 16 hex digits."""
        return digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The lock as a plain JSON value."""
        return {**asdict(self), "gates": list(self.gates)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lock:
        """Read back what `as_json` wrote."""
        return cls(**{**value, "gates": tuple(value["gates"])})


@dataclass(frozen=True)
class Change:
    """One thing that differs between two locks; "" stands for not there."""

    part: str
    name: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.part} {self.name}: {self.was or 'nothing'} -> {self.now or 'nothing'}"


def lock(
    models: Mapping[str, str],
    *,
    prompts: Mapping[str, str] | None = None,
    gates: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    decoding: Mapping[str, Mapping[str, Any]] | None = None,
    code: str = "",
) -> Lock:
    """Pin versions.

    Raises:
        BadConfig: If there is no model, or a version is empty: a lock on "latest" locks nothing.
    """
    pinned = {"model": models, "prompt": prompts or {}, "data": data or {}}
    loose = [f"{part} {name!r} at {at!r}" for part, each in pinned.items() for name, at in each.items() if _loose(at)]
    if not models or loose:
        raise BadConfig(
            f"a lock needs models, each pinned to a version; got {', '.join(loose) or 'no models'}",
            mend="Name a digest or a dated version instead.",
        )
    return Lock(
        dict(models),
        dict(prompts or {}),
        tuple(gates),
        dict(data or {}),
        {role: dict(each) for role, each in (decoding or {}).items()},
        code,
    )


def drift(old: Lock, new: Lock) -> list[Change]:
    """List what changed from `old` to `new`, in a fixed order; empty when they are the same."""
    changes = []
    before, after = _entries(old), _entries(new)
    for part, name in dict.fromkeys([*before, *after]):
        was, now = before.get((part, name), ""), after.get((part, name), "")
        if was != now:
            changes.append(Change(part, name, was, now))
    return changes


def refuse_drift(old: Lock, new: Lock) -> None:
    """Refuse to go on with something else than what began.

    Raises:
        FingerprintChanged: If anything differs; the message says what.
    """
    changes = drift(old, new)
    if changes:
        raise FingerprintChanged(
            f"a run goes on with what it began with, got {'; '.join(map(str, changes))}",
            mend="Start a new run, or bring the old versions back.",
        )


def segments(fingerprints: Sequence[str]) -> list[tuple[str, int, int]]:
    """Split a run where an endpoint changed under it: (fingerprint, start, end) of each stretch, end exclusive.

    An endpoint that goes back to an earlier version begins a new stretch. An answer
    without a fingerprint belongs to the stretch it stands in.

    >>> segments(["v1", "v1", "", "v2"])
    [('v1', 0, 3), ('v2', 3, 4)]
    """
    found: list[tuple[str, int, int]] = []
    for at, mark in enumerate(fingerprints):
        if found and mark in ("", found[-1][0]):
            found[-1] = (found[-1][0], found[-1][1], at + 1)
        elif found and not found[-1][0]:
            found[-1] = (mark, found[-1][1], at + 1)
        else:
            found.append((mark, at, at + 1))
    return found


def _loose(version: str) -> bool:
    return not version.strip() or version.rsplit("@", 1)[-1].casefold() in ("latest", "unknown", "main", "none", "")


def _entries(one: Lock) -> dict[tuple[str, str], str]:
    entries = {("model", name): version for name, version in sorted(one.models.items())}
    entries |= {("prompt", name): version for name, version in sorted(one.prompts.items())}
    entries |= {("data", name): version for name, version in sorted(one.data.items())}
    for role, settings in sorted(one.decoding.items()):
        entries |= {("decoding", f"{role}.{key}"): repr(value) for key, value in sorted(settings.items())}
    # order matters among gates: the first that fails a row names the reason
    entries |= {("gate", str(place)): name for place, name in enumerate(one.gates, start=1)}
    return entries | ({("code", "version"): one.code} if one.code else {})
