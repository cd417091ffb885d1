"""Licences of teachers and sources: what rows made with them may be used for.

Every teacher and source has terms; a row inherits those of all its parents, and
where parents differ the stricter holds. The join is taken condition by condition,
so a mixture of CC BY-NC and CC BY-SA is bound by both and named by both.

The table is a reading of published texts, each with the date of the text and with how
far it was checked (`Licence.checked`); it is no legal advice, and terms of services
change without notice. A name that is not in it is `unknown`, and unknown terms stop a
release like forbidden ones do (`stillroom.release`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from typing import Literal, TypeAlias

from .errors import BadConfig

__all__ = [
    "LICENCES",
    "ORDER",
    "OWN_DATA",
    "Checked",
    "Licence",
    "Terms",
    "inherited",
    "licence",
    "of_teacher",
    "strictest",
]

Terms: TypeAlias = Literal["train-allowed", "same-family-only", "unknown", "forbidden"]
Checked: TypeAlias = Literal["no", "quoted", "read"]
ORDER: tuple[Terms, ...] = ("train-allowed", "same-family-only", "unknown", "forbidden")
"""Terms from free to strict."""
OWN_DATA = "LicenseRef-own-data"
"""The licence of what the user made: labelled rows whose licence nobody declared, answers of a script."""

# How far the entry was compared with the licence's own text. Not named here: not at all.
_CHECKED: dict[str, Checked] = {
    # the whole text was read beside the entry
    **dict.fromkeys(("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "CC0-1.0", "CC-BY-SA-4.0"), "read"),
    **dict.fromkeys(("LicenseRef-llama3", "LicenseRef-llama3.1", "LicenseRef-llama3.3"), "read"),
    # no text stands behind these two
    **dict.fromkeys((OWN_DATA, "LicenseRef-public-domain"), "read"),
    # the clause that decides was read where others quote it
    **dict.fromkeys(("LicenseRef-llama2", "LicenseRef-llama3.2", "LicenseRef-gemma"), "quoted"),
    "LicenseRef-openai-terms": "quoted",
}


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

    @property
    def checked(self) -> Checked:
        """How far this entry was compared with the licence's own text; of several names the least."""
        return min((_CHECKED.get(name, "no") for name in self.names), key=("no", "quoted", "read").index)

    def joined(self, other: Licence) -> Licence:
        """Bind by both: of every condition the stricter."""
        terms = max(self.terms, other.terms, key=ORDER.index)
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


def _family(name: str, family: str, read: str, *notes: str) -> Licence:
    return Licence(
        frozenset({name}), "same-family-only", frozenset({family}), attribution=True, notes=frozenset(notes), read=read
    )


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
    *_free("CC0-1.0", "Unlicense", "LicenseRef-public-domain", OWN_DATA),
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
    _family(
        "LicenseRef-llama3", "llama", "2024-04-18",
        'name models trained on it "Llama 3...", show "Built with Meta Llama 3"',
    ),
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
    "api.openai.com": "LicenseRef-openai-terms",
    "api.anthropic.com": "LicenseRef-anthropic-terms",
    "generativelanguage.googleapis.com": "LicenseRef-gemini-api-terms",
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
    provider, _, rest = model.casefold().partition("/")
    service = rest.partition("/")[0].partition(":")[0] if provider in ("http", "https") else provider
    return _SERVICES.get(service, "unknown")


def inherited(model: str, declared: str = "unknown", sources: Iterable[str] = ()) -> str:
    """Name the licence of rows that `model` writes from `sources`: the strictest of all parents'.

    Args:
        model: Who writes, `provider/name@digest`.
        declared: Its licence where the engine or the user names one.
        sources: Licences of what was shown to it; "" for the user's own.

    >>> inherited("local/smol@ab12", "Apache-2.0", ["", "CC-BY-SA-4.0"])
    'CC-BY-SA-4.0'
    """
    names = [of_teacher(model, declared), *(each or OWN_DATA for each in sources)]
    return strictest(map(licence, names)).name
