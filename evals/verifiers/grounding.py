"""Grounding: is what the answer quotes really in the input?"""

from __future__ import annotations

import re
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import folded
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["grounded"]

_QUOTED = re.compile(r"[“„«\"]([^“”„«»\"\n]+)[”“»\"]")
_CUT = re.compile(r"\s*(?:\[\s*(?:\.\.\.|…)\s*\]|\(\s*(?:\.\.\.|…)\s*\)|\.\.\.|…)\s*")


def grounded(name: str, *sources: str, quotes: bool = False) -> Verifier:
    """Score the share of quotations in output `name` that stand word for word in the row's `sources`.

    Case, white space and the shape of quotation marks do not count, word ends do; parts
    around an ellipsis must stand in that order. Substrings only: a paraphrase is not found.

    Args:
        name: The output field, one quotation or a list of them.
        sources: Input fields, each a text or a list of texts.
        quotes: Take what stands in double quotation marks (two words or more) in a free
            text; an answer that quotes nothing is unverified.

    Raises:
        BadConfig: If no source is named.

    >>> row = {"page": "The card arrives within five working days."}
    >>> grounded("evidence", "page")(row, {"evidence": ["five working days", "two days"]})
    Verdict(score=0.5, why="'two days' is not in page")
    """
    check_names("grounded", (name, *sources))
    if not sources:
        raise BadConfig("grounded needs the name of an input field, got none")

    def check(expected: Row, outputs: Row) -> Verdict:
        texts = [text for source in sources for text in _texts(expected.get(source)) or []]
        if not any(text.strip() for text in texts):
            return Verdict.unverified(f"the row has no text in {', '.join(sources)}")
        said = _texts(outputs.get(name))
        if said is None:
            return Verdict.fail(f"{name} is no text: {shown(outputs.get(name))}")
        if quotes:
            said = [part for text in said for part in _QUOTED.findall(text) if len(part.split()) > 1]
            if not said and any(text.strip() for text in _texts(outputs.get(name)) or []):
                return Verdict.unverified(f"{name} quotes nothing")
        if not any(text.strip() for text in said):
            return Verdict.fail(f"{name} is empty")
        known = [_fold(text) for text in texts]
        missing = [quote for quote in said if not any(_within(quote, text) for text in known)]
        why = "; ".join(f"{shown(quote)} is not in {', '.join(sources)}" for quote in missing[:5])
        return Verdict((len(said) - len(missing)) / len(said), why)

    return Verifier(f"grounded({name}, {', '.join(sources)}{', quotes' if quotes else ''})", check)


def _within(quote: str, text: str) -> bool:
    at = 0
    parts = [_fold(part).strip(" .,;:!?\"'") for part in _CUT.split(quote)]
    if not any(parts):
        return False
    for part in filter(None, parts):
        found = re.search(rf"(?<!\w){re.escape(part)}(?!\w)", text[at:])
        if found is None:
            return False
        at += found.end()
    return True


def _fold(text: str) -> str:
    return folded(re.sub("[\u2018\u2019\u201a\u201b]", "'", re.sub("[\u201c\u201d\u201e\u00ab\u00bb]", '"', text)))


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value) else None
