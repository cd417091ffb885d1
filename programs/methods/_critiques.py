"""What may be kept of critiques: the score read from a text, lengths that do not tell it, an order that people share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean

__all__ = ["ERRORS", "agrees", "even", "result"]

ERRORS = (
    "arithmetic", "coherence and deduction", "consistency with context", "veracity", "redundancy", "commonsense",
)  # fmt: skip
"""Kinds of errors that a critique may name (Shepherd, arXiv:2308.04592, section 3)."""

_RESULT = re.compile(r"\[RESULT\][\s:]*(\S*)")
_INTEGER = re.compile(r"\(?([+-]?\d+)(?:/\d+)?[).,;]*")


def result(text: str, lowest: int = 1, highest: int = 5) -> tuple[str, int] | None:
    """The feedback and the score of an assessment: the whole number right after the last `[RESULT]`.

    None where there is no such mark, no whole number behind it, one out of range, or no feedback before it.

    >>> result("Clear, but late. [RESULT] 3"), result("Good. [RESULT] 6"), result("[RESULT] 2 of 5 is too hard. [RESULT]: 4")
    (('Clear, but late.', 3), None, ('[RESULT] 2 of 5 is too hard.', 4))
    """
    marks = list(_RESULT.finditer(text))
    found = _INTEGER.fullmatch(marks[-1][1]) if marks else None
    if found is None or not lowest <= int(found[1]) <= highest:
        return None
    feedback = text[: marks[-1].start()].strip()
    return (feedback, int(found[1])) if feedback else None


def even(texts: Sequence[str], within: float) -> str:
    """Why the lengths of texts (in words) tell them apart, or "": each must be within a share of their mean.

    So the mean length of any group of them, such as all answers of one score, is within that share too.
    """
    lengths = [len(text.split()) for text in texts]
    mean = fmean(lengths) if lengths else 0.0
    far = [length for length in lengths if abs(length - mean) > within * mean + 1e-9]
    return f"lengths must be within {within:.0%} of their mean {mean:.0f}, got {far[0]} words" if far else ""


def agrees(scores: Sequence[float]) -> bool:
    """Whether scores say what people said, given for answers in people's order, best first.

    No worse answer may have more points than a better one, and the best must have more than the worst. Equal points
    are allowed between: people rank finer than whole points can say.
    """
    ordered = all(better >= worse for better, worse in combinations(scores, 2))
    return len(scores) > 1 and ordered and scores[0] > scores[-1]
