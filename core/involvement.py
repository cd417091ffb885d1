"""How much people had to do with rows: computed from the verdicts in their passports, never typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .errors import BadConfig
from .rows import EmittedRow, Passport

__all__ = ["Evidence", "Involvement", "evidence", "involvement", "level"]

Writer: TypeAlias = Literal["person", "polished", "machine"]
_LEVELS = {
    1: "written by people",
    2: "written by people, polished by a machine, verified by people",
    3: "written by a machine, every row verified by people",
    4: "written and rated by machines, the model evaluated on human labels",
    5: "written, rated and evaluated by machines",
    6: "written by a machine, rated by nobody",
}


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
    `decoding["role"] == "polish"` says that a model polished a person's text. Each verdict
    says who decided (`stillroom.rows.By`): a verifier or a judge rates what the row says,
    form does not, nor does a verdict that says nothing of it. A judge with a certificate was
    evaluated on human labels.

    Args:
        passport: Of the row.
        evaluated: Whether the model that wrote was evaluated on human labels, which no passport knows.
    """
    writer: Writer = "machine"
    if passport.decoding.get("role") == "polish":
        writer = "polished"
    elif passport.model.split("/")[0].split("@")[0] in ("", "human", "person"):
        writer = "person"
    people = [each for each in passport.verdicts if each.get("by") == "person"]
    machines = [each for each in passport.verdicts if each.get("by") in ("judge", "verifier")]
    # one person who failed it outweighs another who passed it
    verified = bool(people) and all(each.get("passed") is True for each in people)
    certified = any(each.get("certificate") for each in machines)
    return Evidence(writer, verified, bool(machines), evaluated or certified)


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


def involvement(papers: Passport | Iterable[Passport | EmittedRow], *, evaluated: bool | None = False) -> Involvement:
    """Level of one passport, or of a set: the least human row decides.

    Args:
        papers: Passports, or rows with theirs.
        evaluated: Whether the model that wrote was evaluated on human labels; None where nobody says who
            labelled, which counts as no.

    Raises:
        BadConfig: If there are no papers.
    """
    several: Iterable[Passport | EmittedRow] = [papers] if isinstance(papers, Passport) else papers
    levels = Counter(
        level(evidence(each.passport if isinstance(each, EmittedRow) else each, evaluated=bool(evaluated)))
        for each in several
    )
    if not levels:
        raise BadConfig("human involvement is computed from passports, got none")
    least = max(levels)
    statement = f"Level {least} of 6: {_LEVELS[least]}."
    if len(levels) > 1:
        shares = ", ".join(f"{levels[each]} at level {each}" for each in sorted(levels))
        statement += f" Of {levels.total()} rows, {shares}."
    if least >= 5:
        which = "these rows" if len(levels) == 1 else "the latter"
        told = ", nor, as far as is declared," if evaluated is None else " or"
        judged = "" if evaluated else f"{told} to evaluate what wrote and rated them"
        statement += f" No human label was used to verify {which}{judged}."
    return Involvement(least, statement)
