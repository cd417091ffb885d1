"""Questions whose answer is yes or no: does a claim follow?"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["yes_or_no"]

_ASKED = re.compile(r"Does it follow that (.+)\? Answer yes or no\.")


def yes_or_no(follows: Callable[[Sequence[str], str], bool], asked: str, premises: Sequence[str], solution: str) -> str:
    """Why `solution` is not the answer to the question `asked`; "" where it is."""
    found = _ASKED.fullmatch(asked)
    if found is None:
        return "the question is not 'Does it follow that ...? Answer yes or no.'"
    right = "yes" if follows(premises, found[1]) else "no"
    return "" if solution == right else f"the answer is {right}, not {solution!r}"
