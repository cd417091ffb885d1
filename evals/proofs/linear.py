"""Linear equations, decided by ranks of matrices over the rationals (SymPy): no elimination step by step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["Linear"]

_TERM = re.compile(r"([+-]?)(\d{0,9})([a-z])")
_EQUATION = re.compile(r"(-?\d{0,9}[a-z](?: [+-] \d{0,9}[a-z])*) = (-?\d{1,9})")
_ASKED = re.compile(r"What is ([a-z])\? Answer with a number\.")


class Linear:
    """Claims are equations with whole coefficients (`2x - 3y = 7`)."""

    constructs = False

    def follows(self, premises: Sequence[str], claim: str) -> bool:
        """Whether `claim` is a combination of `premises`: adding it to them raises no rank."""
        rows = [_read(text) for text in (*premises, claim)]
        if not premises:
            return False
        names = sorted(set().union(*(row[0] for row in rows)))
        wide = [[row[0].get(name, 0) for name in names] + [row[1]] for row in rows]
        rank = _rank(wide[:-1])
        if _rank([row[:-1] for row in wide[:-1]]) < rank:
            raise ValueError("the equations contradict each other")
        return _rank(wide) == rank

    def names(self, claim: str) -> frozenset[str]:
        """The unknowns."""
        return frozenset(re.findall("[a-z]", claim))

    def answers(self, asked: str, premises: Sequence[str], solution: str) -> str:
        """Whether the equations leave the unknown no other value."""
        found = _ASKED.fullmatch(asked)
        if found is None:
            return "the question is not 'What is x? Answer with a number.'"
        if not re.fullmatch(r"-?\d{1,9}", solution):
            return f"the answer is not a whole number: {solution!r}"
        return "" if self.follows(premises, f"{found[1]} = {solution}") else f"{found[1]} need not be {solution}"


def _read(text: str) -> tuple[dict[str, int], int]:
    found = _EQUATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no linear equation")
    terms: dict[str, int] = {}
    for sign, count, name in _TERM.findall(found[1].replace(" ", "")):
        terms[name] = terms.get(name, 0) + int(f"{sign}{count or 1}")
    if not any(terms.values()):
        raise ValueError(f"{text!r} has no unknown")
    return terms, int(found[2])


def _rank(rows: Sequence[Sequence[int]]) -> int:
    from sympy import QQ
    from sympy.polys.matrices import DomainMatrix

    made: list[list[Any]] = [[QQ(cell) for cell in row] for row in rows]
    return int(DomainMatrix(made, (len(made), len(made[0])), QQ).rank())
