"""Whether rows may leave a run: what their licences say, who answers for an exception, and the ledger of both.

Asked before rows are written (`emit`), saved and trained on (`distil`), so that nothing is paid for
that may not be used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .errors import BadConfig, LicenceForbids
from .licences import ORDER, Checked, Licence, Terms, licence
from .rows import EmittedRow

__all__ = ["Block", "Entry", "Override", "Purpose", "blocks", "export_allowed", "ledger", "refuse"]


@dataclass(frozen=True)
class Purpose:
    """What rows are exported for.

    Attributes:
        train: Whether a model is to be trained on them.
        student: The family of that model, such as "llama"; "" where not known.
        commercial: Whether it is commercial.
        publish: Whether the rows themselves are passed on.
    """

    train: bool = True
    student: str = ""
    commercial: bool = False
    publish: bool = False


@dataclass(frozen=True)
class Override:
    """Somebody answers for using a licence in spite of a block. Recorded with the export.

    Raises:
        BadConfig: If it does not say which licence, who and why.
    """

    licence: str
    by: str
    why: str
    when: str = ""

    def __post_init__(self) -> None:
        if not (self.licence.strip() and self.by.strip() and self.why.strip()):
            raise BadConfig(f"an override names licence, person and reason, got {self!r}")

    @classmethod
    def parse(cls, text: str, when: str = "") -> Override:
        """Read `LICENCE: WHO: WHY`, as the command line takes it.

        >>> Override.parse("unknown: R. Shah: the maker agreed by letter")
        Override(licence='unknown', by='R. Shah', why='the maker agreed by letter', when='')
        """
        parts = [part.strip() for part in text.split(":", 2)]
        if len(parts) < 3 or not all(parts):
            raise BadConfig(
                f"an override must be 'LICENCE: WHO: WHY', got {text!r}",
                mend="For example 'unknown: R. Shah: the maker agreed by letter'.",
            )
        name, by, why = parts
        return cls(name, by, why, when)


@dataclass(frozen=True)
class Block:
    """Why some rows may not leave: the rule, the licence that says so, and the ids of the rows."""

    rule: str
    licence: str
    why: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One line of the licence ledger: how many rows one teacher wrote under one licence.

    `checked` says how far our reading of the licence was compared with its text, `read` the date of that text.
    """

    model: str
    licence: str
    terms: Terms
    rows: int
    read: str
    checked: Checked
    notes: tuple[str, ...]


def ledger(rows: Iterable[EmittedRow]) -> list[Entry]:
    """List teachers and licences with their rows, strictest terms first."""
    counts = Counter((row.passport.model, row.passport.licence or "unknown") for row in rows)
    entries = []
    for (model, name), count in counts.items():
        found = licence(name)
        notes = tuple(sorted(found.notes))
        entries.append(Entry(model, found.name, found.terms, count, found.read, found.checked, notes))
    return sorted(entries, key=lambda entry: (-ORDER.index(entry.terms), entry.licence, entry.model))


def export_allowed(rows: Iterable[EmittedRow], purpose: Purpose, *, overrides: Sequence[Override] = ()) -> list[Block]:
    """List what stands against exporting `rows` for `purpose`; an empty list is a yes.

    A row's licence is its passport's, which is the strictest of its parents'. A licence
    somebody answers for in `overrides` (by its exact name) blocks no more; write the
    overrides to the card.
    """
    by_licence: dict[str, list[str]] = {}
    for row in rows:
        by_licence.setdefault(row.passport.licence or "unknown", []).append(row.id)
    return blocks(by_licence, purpose, overrides=overrides)


def blocks(
    licences: Mapping[str, Sequence[str]], purpose: Purpose, *, overrides: Sequence[Override] = ()
) -> list[Block]:
    """List what stands against using what is under `licences` (each with the ids of its rows) for `purpose`."""
    excused = {licence(each.licence).name for each in overrides}
    found = [(licence(name), tuple(ids)) for name, ids in sorted(licences.items())]
    return [
        Block(rule, each.name, why, ids)
        for each, ids in found
        if each.name not in excused
        for rule, why in _against(each, purpose)
    ]


def refuse(found: Sequence[Block], what: str) -> None:
    """Refuse to go on if there are blocks.

    Args:
        found: From `export_allowed` or `blocks`.
        what: What is refused, such as "rows may be emitted".

    Raises:
        LicenceForbids: Naming each licence with its reasons, and how to mend it.
    """
    if not found:
        return
    reasons = "; ".join(dict.fromkeys(f"{each.licence} ({each.why})" for each in found))
    names = " or ".join(dict.fromkeys(repr(each.licence) for each in found))
    raise LicenceForbids(
        f"{what} only where every licence allows it, got {reasons}",
        mend=(
            "Declare the licence that holds (lm_licence or --lm-licence for a model, Task(licence=...) for data), "
            f"use other parents, or answer for {names} with an override: --override 'LICENCE: WHO: WHY'."
        ),
    )


def _against(found: Licence, purpose: Purpose) -> list[tuple[str, str]]:
    reasons = []
    if purpose.train and found.terms == "forbidden":
        reasons.append(("train", "its terms forbid training on the output"))
    # forbidden outranks unknown in `terms`, and must not hide it: of unknown terms nothing is known to be allowed
    if unknown := sorted(name for name in found.names if licence(name).terms == "unknown"):
        reasons.append(("unknown", f"the terms of {' and '.join(unknown)} are not known"))
    if purpose.train and found.families is not None and purpose.student.casefold() not in found.families:
        allowed = " or ".join(sorted(found.families)) or "no"
        reasons.append(("family", f"it allows {allowed} students only, got {purpose.student or 'an unnamed one'!r}"))
    if purpose.commercial and not found.commercial:
        reasons.append(("commercial", "it allows no commercial use"))
    if purpose.publish and not found.share:
        reasons.append(("publish", "it does not allow passing adapted data on"))
    if purpose.publish and len(found.alike) > 1:
        reasons.append(("alike", f"it asks for {' and '.join(sorted(found.alike))} at once"))
    return reasons
