"""Whether a long answer agrees with a short one that is known: what it says is read, or it is left open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.evals.verifiers import numeric
from stillroom.evals.verifiers.choices import find_choice
from stillroom.evals.verifiers.figures import parse_number

__all__ = ["contradicts", "read_answer"]

_SAID = re.compile(r"(?:final\s+answer|answer|label|verdict|result)(?:\s+is|\s+would\s+be|\s*[:=])\s*", re.IGNORECASE)
_FIRST = 0xE000  # characters that no text has stand for labels, so that a letter in the text is no option


def read_answer(response: str, labels: Sequence[str], gold: str = "") -> str | None:
    """The label, or the number, that a response comes to; None where none can be read, or two.

    Read is what follows the last "answer is", then the last line, then the whole response.

    >>> read_answer("It could be spam. But she knows him, so the answer is not spam.", ["spam", "not spam"])
    'not spam'
    """
    pieces = _SAID.split(response)
    lines = [line for line in response.splitlines() if line.strip()]
    parts = [*([_sentence(pieces[-1])] if len(pieces) > 1 else []), *lines[-1:], response]
    if labels:
        named = {chr(_FIRST + place): label for place, label in enumerate(labels)}
        found = (set(find_choice(part, named)) for part in parts)
        return next((named[one] for each in found if len(each) == 1 for one in each), None)
    if parse_number(gold) is None:
        return None
    return next((part for part in parts if parse_number(part) is not None), None)


def contradicts(row: Mapping[str, Any]) -> str:
    """The reason against a response whose answer is not the gold one, or ""."""
    got, gold = row["answer"], row["gold"]
    if got is None or gold is None:
        return ""
    same = got == gold if row["labels"] else numeric("answer")({"answer": gold}, {"answer": got}).passed
    return "" if same else f"the response comes to {got[:80]!r}, the gold answer is {gold!r}"


def _sentence(text: str) -> str:
    """Up to the end of the line, or of the sentence; a point in a number is none."""
    return re.split(r"\n|(?<=[.!?])\s", text, maxsplit=1)[0]
