"""Licences of teachers and sources: what rows made with them may be used for.

Every teacher and source has terms; a row inherits those of all its parents, and
where parents differ the stricter holds. The join is taken condition by condition,
so a mixture of CC BY-NC and CC BY-SA is bound by both and named by both.

The table is a reading of published texts, each with the date of the text that was
read; it is no legal advice, and terms of services change without notice. A name
that is not in it is `unknown`, and unknown terms stop an export like forbidden
ones do, unless somebody answers for it with an `Override`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal, TypeAlias

from .errors import BadConfig
from .rows import EmittedRow

__all__ = [
    "LICENCES",
    "Block",
    "Entry",
    "Licence",
    "Override",
    "Purpose",
    "Terms",
    "export_allowed",
    "ledger",
    "licence",
    "of_teacher",
    "strictest",
]

Terms: TypeAlias = Literal["train-allowed", "same-family-only", "unknown", "forbidden"]
_ORDER: tuple[Terms, ...] = ("train-allowed", "same-family-only", "unknown", "forbidden")


@dataclass(frozen=True)
class Licence:
    """What a licence, or the sum of several, asks of rows and of models trained on them.

    Attributes:
        names: SPDX names, or `LicenseRef-...` for texts SPDX does not list.
        terms: Whether a model may be trained on the output or the data.
        families: The families a student may be of; None for any, empty for none.
        commercial: Whether commercial use is allowed.
        share: Whether rows may be passed on at all.
        attribution: Whether the source must be named.
        alike: Names under which derived data must be shared.
        notes: What else must be done, such as a name that models must carry.
        read: Date of the text that was read, "" where there is none to read.
    """

    names: frozenset[str]
    terms: Terms = "train-allowed"
    families: frozenset[str] | None = None
    commercial: bool = True
    share: bool = True
    attribution: bool = False
    alike: frozenset[str] = frozenset()
    notes: frozenset[str] = field(default=frozenset())
    read: str = ""

    @property
    def name(self) -> str:
        """The names as one SPDX expression, sorted, joined by AND."""
        return " AND ".join(sorted(self.names))

    def joined(self, other: Licence) -> Licence:
        """Bind by both: of every condition the stricter."""
        terms = max(self.terms, other.terms, key=_ORDER.index)
        bound = [each.families for each in (self, other) if each.families is not None]
        families = frozenset.intersection(*bound) if bound else None
        return Licence(
            self.names | other.names,
            terms,
            families,
            self.commercial and other.commercial,
            self.share and other.share,
            self.attribution or other.attribution,
            self.alike | other.alike,
            self.notes | other.notes,
            min(filter(None, (self.read, other.read)), default=""),
        )

    def covers(self, other: Licence) -> bool:
        """Whether whoever obeys this one obeys `other` too, names aside; nobody can say so of unknown terms."""
        if any(_one(name).terms == "unknown" for name in other.names - self.names):
            return False
        both = self.joined(other)
        return (both.terms, both.families, both.commercial, both.share, both.attribution, both.alike, both.notes) == (
            self.terms, self.families, self.commercial, self.share, self.attribution, self.alike, self.notes
        )  # fmt: skip


def _free(*names: str, read: str = "", attribution: bool = False) -> list[Licence]:
    return [Licence(frozenset({name}), attribution=attribution, read=read) for name in names]


def _family(name: str, family: str, read: str) -> Licence:
    return Licence(frozenset({name}), "same-family-only", frozenset({family}), attribution=True, read=read)


def _llama_named(name: str, read: str) -> Licence:
    # section 1.b.i: such a model's name must begin with "Llama", and the product say "Built with Llama"
    note = 'name models trained on it "Llama...", show "Built with Llama"'
    return Licence(frozenset({name}), attribution=True, notes=frozenset({note}), read=read)


def _service(name: str) -> Licence:
    # "use output to develop models that compete with" the service; known from quotations, so without a date
    return Licence(frozenset({name}), "forbidden", notes=frozenset({"read the service's current terms"}))


def _alike(name: str, read: str, *, commercial: bool = True) -> Licence:
    return Licence(frozenset({name}), commercial=commercial, attribution=True, alike=frozenset({name}), read=read)


_TABLE = (
    *_free("CC0-1.0", "Unlicense", "LicenseRef-public-domain", "LicenseRef-own-data"),
    *_free("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", attribution=True),
    *_free("CC-BY-3.0", "CC-BY-4.0", "ODC-By-1.0", attribution=True),
    _alike("CC-BY-SA-3.0", "2007-02-23"),
    _alike("CC-BY-SA-4.0", "2013-11-25"),
    _alike("ODbL-1.0", "2009-06-29"),
    _alike("CC-BY-NC-SA-4.0", "2013-11-25", commercial=False),
    Licence(frozenset({"CC-BY-NC-4.0"}), commercial=False, attribution=True, read="2013-11-25"),
    # rows made from a work under ND are an adaptation, which may be made but not shared
    Licence(frozenset({"CC-BY-ND-4.0"}), share=False, attribution=True, read="2013-11-25"),
    Licence(frozenset({"CC-BY-NC-ND-4.0"}), commercial=False, share=False, attribution=True, read="2013-11-25"),
    # section 1.b.v: no use of outputs to improve any other large language model
    _family("LicenseRef-llama2", "llama", "2023-07-18"),
    _family("LicenseRef-llama3", "llama", "2024-04-18"),
    _llama_named("LicenseRef-llama3.1", "2024-07-23"),
    _llama_named("LicenseRef-llama3.2", "2024-09-25"),
    _llama_named("LicenseRef-llama3.3", "2024-12-06"),
    # a model trained on the output is a "Model Derivative": the terms of use go with it
    Licence(
        frozenset({"LicenseRef-gemma"}), notes=frozenset({"pass the Gemma terms of use on with models"}), read="2024-04-01"
    ),
    _service("LicenseRef-openai-terms"),
    _service("LicenseRef-anthropic-terms"),
    _service("LicenseRef-gemini-api-terms"),
)  # fmt: skip
LICENCES: dict[str, Licence] = {one.name: one for one in _TABLE}
_SPELLED = {name.casefold().removeprefix("licenseref-"): name for name in LICENCES}
_SERVICES = {
    "openai": "LicenseRef-openai-terms",
    "azure": "LicenseRef-openai-terms",
    "anthropic": "LicenseRef-anthropic-terms",
    "gemini": "LicenseRef-gemini-api-terms",
}


def licence(name: str) -> Licence:
    """Look a name or an AND expression up; what the table does not have is `unknown` under its own name.

    Spelling is forgiven as far as case, spaces and the `LicenseRef-` prefix go. OR is not
    read: which side is chosen is the user's to say.

    >>> licence("apache-2.0").terms, licence("Sleepycat").terms
    ('train-allowed', 'unknown')
    """
    parts = [part.strip() for part in re.split(r"\s+AND\s+|\s*[;,]\s*", name) if part.strip()]
    return strictest(_one(part) for part in parts or ["unknown"])


def _one(name: str) -> Licence:
    spelled = _SPELLED.get(re.sub(r"\s+", "-", name.casefold()).removeprefix("licenseref-"))
    return LICENCES[spelled] if spelled else Licence(frozenset({name}), "unknown")


def strictest(licences: Iterable[Licence]) -> Licence:
    """Join the licences of all parents: of every condition the stricter. Order does not matter.

    Named by those parents alone that bind: Apache-2.0 with CC-BY-SA-4.0 is CC-BY-SA-4.0.

    Raises:
        BadConfig: If there are none; rows without a parent have a licence too, the user's.

    >>> strictest([licence("Apache-2.0"), licence("CC-BY-NC-4.0"), licence("CC-BY-SA-4.0")]).name
    'CC-BY-NC-4.0 AND CC-BY-SA-4.0'
    """
    parents = list(dict.fromkeys(atom for each in licences for atom in _atoms(each)))
    if not parents:
        raise BadConfig("the strictest of no licences is not defined, got none")
    whole = reduce(Licence.joined, parents)
    binding = [
        one
        for one in parents
        # an equal of another is named too, so that the order cannot decide
        if not any(other.covers(one) and not one.covers(other) for other in parents)
    ]
    names = frozenset().union(*(one.names for one in binding))
    return Licence(**{**vars(whole), "names": names})


def _atoms(one: Licence) -> list[Licence]:
    """The single licences a joined one is made of, so that how parents were grouped cannot show."""
    if len(one.names) < 2:
        return [one]
    atoms = [_one(name) for name in sorted(one.names)]
    return atoms if reduce(Licence.joined, atoms) == one else [one]


def of_teacher(model: str, declared: str = "unknown") -> str:
    """Name the licence of what `model` writes: the declared one, else the terms of the service it is asked through.

    >>> of_teacher("openai/gpt-5@2026-01-01"), of_teacher("local/smol@ab12", "Apache-2.0")
    ('LicenseRef-openai-terms', 'Apache-2.0')
    """
    if declared and declared != "unknown":
        return declared
    return _SERVICES.get(model.partition("/")[0].casefold(), "unknown")


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


@dataclass(frozen=True)
class Block:
    """Why some rows may not leave: the rule, the licence that says so, and the ids of the rows."""

    rule: str
    licence: str
    why: str
    rows: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One line of the licence ledger: how many rows one teacher wrote under one licence."""

    model: str
    licence: str
    terms: Terms
    rows: int
    read: str
    notes: tuple[str, ...]


def ledger(rows: Sequence[EmittedRow]) -> list[Entry]:
    """List teachers and licences with their rows, strictest terms first."""
    counts = Counter((row.passport.model, row.passport.licence or "unknown") for row in rows)
    entries = []
    for (model, name), count in counts.items():
        found = licence(name)
        entries.append(Entry(model, found.name, found.terms, count, found.read, tuple(sorted(found.notes))))
    return sorted(entries, key=lambda entry: (-_ORDER.index(entry.terms), entry.licence, entry.model))


def export_allowed(rows: Sequence[EmittedRow], purpose: Purpose, *, overrides: Sequence[Override] = ()) -> list[Block]:
    """List what stands against exporting `rows` for `purpose`; an empty list is a yes.

    A row's licence is its passport's, which is the strictest of its parents'. A licence
    somebody answers for in `overrides` (by its exact name) blocks no more; write the
    overrides to the card.
    """
    excused = {licence(each.licence).name for each in overrides}
    by_licence: dict[str, list[str]] = {}
    for row in rows:
        by_licence.setdefault(row.passport.licence or "unknown", []).append(row.id)
    blocks = []
    for name, ids in sorted(by_licence.items()):
        found = licence(name)
        if found.name not in excused:
            blocks += [Block(rule, found.name, why, tuple(ids)) for rule, why in _against(found, purpose)]
    return blocks


def _against(found: Licence, purpose: Purpose) -> list[tuple[str, str]]:
    reasons = []
    if purpose.train and found.terms == "forbidden":
        reasons.append(("train", "its terms forbid training on the output"))
    # forbidden outranks unknown in `terms`, and must not hide it: of unknown terms nothing is known to be allowed
    if unknown := sorted(name for name in found.names if _one(name).terms == "unknown"):
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
