"""Solutions in steps: where a step ends, what its label is, and what a whole solution scores."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

from stillroom.errors import BadData

__all__ = ["RATINGS", "Rating", "product", "rated", "split_steps", "up_to_first_wrong"]

Rating: TypeAlias = Literal["positive", "neutral", "negative"]
RATINGS: tuple[Rating, ...] = ("positive", "neutral", "negative")
"""What people say of a step (Lightman et al. 2023, arXiv:2305.20050, section 2.4)."""

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_PAIRS = ((r"\[", r"\]"), (r"\(", r"\)"), (r"\{", r"\}"))


def split_steps(text: str) -> list[str]:
    r"""Split a solution at its line ends, but within neither code fences nor formulas.

    A step never holds half a fence, half of $$..$$ or \[..\], or an environment that is not closed; one that is
    never closed goes to the end of the text.

    >>> split_steps("Let x be 3.\n$$\nx + 1 = 4\n$$\nSo 4.")
    ['Let x be 3.', '$$\nx + 1 = 4\n$$', 'So 4.']
    """
    steps: list[str] = []
    open_ = False
    for line in text.splitlines():
        if open_:
            steps[-1] = f"{steps[-1]}\n{line}"
        elif line.strip():
            steps.append(line)
        open_ = bool(steps) and _open(steps[-1])
    return [each.strip() for each in steps]


def _open(text: str) -> bool:
    """Whether a fence or a formula has begun in `text` and not ended."""
    fence, rest = "", []
    for line in text.splitlines():
        found = _FENCE.match(line)
        if fence:
            fence = "" if found and found[1].startswith(fence) else fence
        elif found:
            fence = found[1]
        else:
            rest.append(line)
    if fence:
        return True
    plain = "\n".join(rest)
    if plain.count("$$") % 2:
        return True
    begun = len(re.findall(r"\\begin\{", plain)) > len(re.findall(r"\\end\{", plain))
    return begun or any(plain.count(start) > plain.count(end) for start, end in _PAIRS)


def up_to_first_wrong(steps: Sequence[str], good: Sequence[bool]) -> tuple[list[str], list[bool]]:
    """The steps with their labels, up to and with the first wrong one: what follows a mistake is not judged.

    Args:
        steps: Of one solution.
        good: Of each step, as far as they were judged.
    """
    end = next((at + 1 for at, each in enumerate(good) if not each), len(good))
    return list(steps[:end]), list(good[:end])


def rated(ratings: Sequence[str]) -> list[bool]:
    """Labels of people as right and wrong; neutral counts as right (section 2.6 there).

    Raises:
        BadData: If a rating is none.
    """
    unknown = [each for each in ratings if each not in RATINGS]
    if unknown or not ratings:
        raise BadData(f"ratings must be {', '.join(RATINGS)}, one for each step, got {list(ratings)}")
    return [each != "negative" for each in ratings]


def product(chances: Sequence[float]) -> float:
    """The score of a solution: the probability that every step is right, the product of theirs (section 2.6)."""
    return math.prod(chances)
