"""Sets of labels: precision, recall and F1 of one row."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sized
from typing import Any

from stillroom.evals.copies.duplicates import plain
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["multi_label"]


def multi_label(name: str, *, strict: bool = False) -> Verifier:
    """Score the set of labels in output `name` by F1 against the gold set.

    A list of texts, or one text with commas, semicolons or line breaks between labels.
    Order and repeats do not count; two empty sets agree in full. The mean over rows is
    the sample-averaged F1 of the literature, not the micro or macro average.

    Args:
        name: The output field.
        strict: Compare labels as they are; else case, spaces and punctuation do not count.

    >>> multi_label("topics")({"topics": ["art", "film"]}, {"topics": "Film, music"})
    Verdict(score=0.5, why="topics misses 'art'; topics adds 'music'")
    """
    check_names("multi_label", (name,))

    def check(expected: Row, outputs: Row) -> Verdict:
        gold = _labels(expected.get(name), strict)
        if gold is None:
            return Verdict.unverified(f"gold {name} is no list of labels: {shown(expected.get(name))}")
        got = _labels(outputs.get(name), strict)
        if got is None:
            return Verdict.fail(f"{name} is no list of labels: {shown(outputs.get(name))}")
        missing, added = sorted(gold - got), sorted(got - gold)
        why = [f"{name} misses {shown(label)}" for label in missing] + [
            f"{name} adds {shown(label)}" for label in added
        ]
        return Verdict(f1(gold & got, gold, got), "; ".join(why))

    return Verifier(f"multi_label({name}{', strict' if strict else ''})", check)


def f1(hits: Sized, gold: Sized, got: Sized) -> float:
    """F1 of `hits` among `gold` and `got`, in 0..1; 1.0 where there was nothing to find and nothing was."""
    total = len(gold) + len(got)
    return 2 * len(hits) / total if total else 1.0


def _labels(value: Any, strict: bool) -> set[str] | None:
    if isinstance(value, str):
        value = [part for part in re.split(r"[,;\n]", value) if part.strip()]
    if not isinstance(value, list | tuple | set | frozenset):
        return None
    if not all(isinstance(label, Hashable) and isinstance(label, str | int) for label in value):
        return None
    return {str(label).strip() if strict else plain(str(label)) for label in value}
