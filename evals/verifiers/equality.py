"""Equality with the gold value: unchanged, after folding, or the share of fields that agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stillroom.evals.copies.duplicates import plain
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, differs

__all__ = ["exact", "fields", "normalised"]


def exact(*names: str) -> Verifier:
    """Check that every named output equals its gold value, unchanged and of the same kind.

    >>> exact("intent")({"intent": "card_lost"}, {"intent": "Card lost"})
    Verdict(score=0.0, why="intent is 'Card lost', not 'card_lost'")
    """
    return _every("exact", names, _same)


def normalised(*names: str) -> Verifier:
    """Check that every named output equals its gold value after folding.

    NFKC, case, white space and punctuation do not count, and 3 equals "3"; lists and
    mappings are compared part by part. An amount keeps its point and sign.
    """
    return _every("normalised", names, _alike)


def fields(*names: str, strict: bool = False) -> Verifier:
    """Score the share of named outputs that equal their gold values, for extraction.

    Compared as `normalised` does, or as `exact` with `strict`. None, "" and a missing
    output all mean "nothing there" unless `strict`; inventing a value where gold has
    none is as wrong as missing one.
    """
    check_names("fields", names)
    same = _same if strict else _alike_or_empty

    def check(expected: Row, outputs: Row) -> Verdict:
        missing = [name for name in names if name not in expected]
        if missing:
            return Verdict.unverified(f"the row has no gold {', '.join(missing)}")
        wrong = [name for name in names if not same(expected[name], outputs.get(name))]
        why = "; ".join(differs(name, expected, outputs) for name in wrong)
        return Verdict((len(names) - len(wrong)) / len(names), why)

    return Verifier(f"fields({', '.join(names)}{', strict' if strict else ''})", check)


def _every(kind: str, names: tuple[str, ...], same: Callable[[Any, Any], bool]) -> Verifier:
    check_names(kind, names)

    def check(expected: Row, outputs: Row) -> Verdict:
        missing = [name for name in names if name not in expected]
        if missing:
            return Verdict.unverified(f"the row has no gold {', '.join(missing)}")
        wrong = [name for name in names if name not in outputs or not same(expected[name], outputs[name])]
        if not wrong:
            return Verdict.ok()
        return Verdict.fail("; ".join(differs(name, expected, outputs) for name in wrong))

    return Verifier(f"{kind}({', '.join(names)})", check)


def _same(gold: Any, got: Any) -> bool:
    # True == 1 in Python; as answers they differ
    return isinstance(gold, bool) == isinstance(got, bool) and bool(gold == got)


def _alike(gold: Any, got: Any) -> bool:
    if isinstance(gold, list | tuple) and isinstance(got, list | tuple):
        return len(gold) == len(got) and all(_alike(a, b) for a, b in zip(gold, got, strict=True))
    if isinstance(gold, Mapping) and isinstance(got, Mapping):
        return gold.keys() == got.keys() and all(_alike(gold[key], got[key]) for key in gold)
    if isinstance(gold, str) or isinstance(got, str):
        return _scalar(gold) and _scalar(got) and plain(str(gold)) == plain(str(got))
    return _same(gold, got)


def _alike_or_empty(gold: Any, got: Any) -> bool:
    empty = (None, "")
    gold, got = (None if isinstance(v, str) and not v.strip() else v for v in (gold, got))
    return (gold in empty and got in empty) or _alike(gold, got)


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)
