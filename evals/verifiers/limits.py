"""Limits on the length of a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier

from ._asked import check_names, of_text
from .sentences import count_sentences

__all__ = ["length"]

Unit = Literal["characters", "words", "sentences", "lines", "paragraphs"]

_COUNT: Mapping[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: sum(any(map(str.isalnum, word)) for word in text.split()),
    "sentences": count_sentences,
    "lines": lambda text: sum(bool(line.strip()) for line in text.splitlines()),
    "paragraphs": lambda text: sum(bool(part.strip()) for part in text.replace("\r\n", "\n").split("\n\n")),
}


def length(name: str, unit: Unit, *, least: int = 1, most: int | None = None) -> Verifier:
    """Check that output `name` has `least` to `most` of `unit`.

    Words are what white space parts and has a letter or a digit; sentences are counted
    by Punkt for English; lines and paragraphs count where they are not empty.

    Raises:
        BadConfig: If there is no such unit, or the limits cannot be met.

    >>> length("reply", "words", most=3)({}, {"reply": "We are very sorry."})
    Verdict(score=0.0, why='reply has 4 words, wanted 1 to 3')
    """
    check_names("length", (name,))
    if unit not in _COUNT:
        raise BadConfig(f"unit must be one of {', '.join(_COUNT)}, got {unit!r}")
    if least < 0 or (most is not None and most < least):
        raise BadConfig(f"limits must be 0 <= least <= most, got {least} and {most}")
    wanted = f"{least} to {most}" if most is not None else f"at least {least}"

    def check(text: str) -> Verdict:
        found = _COUNT[unit](text)
        if found >= least and (most is None or found <= most):
            return Verdict.ok()
        return Verdict.fail(f"{name} has {found} {unit}, wanted {wanted}")

    return of_text(f"length({name}, {wanted} {unit})", name, check)
