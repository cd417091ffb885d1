"""Linear equations: whole coefficients, and the elimination of one unknown from two equations."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from math import gcd
from typing import Any

from .deduce import Dag, Fact, Rule
from .domain import Question

__all__ = ["Linear", "eliminate", "equation"]

_LARGEST = 60  # coefficient that is worth writing down
_BOUND = 500  # of the other side


def equation(terms: Mapping[str, int], value: int) -> Fact | None:
    """An equation in its one form: unknowns in order, no common divisor, the first coefficient positive.

    None where nothing is left of it, or only what is too large to be worth writing down.

    >>> equation({"y": -4, "x": 2}, 6)
    ('eq', (('x', 1), ('y', -2)), 3)
    """
    kept = sorted((name, count) for name, count in terms.items() if count)
    if not kept:
        return None
    common = gcd(value, *(count for _, count in kept)) * (1 if kept[0][1] > 0 else -1)
    made = tuple((name, count // common) for name, count in kept)
    if max(abs(count) for _, count in made) > _LARGEST or abs(value // common) > _BOUND:
        return None
    return ("eq", made, value // common)


def eliminate(dag: Dag, fact: Fact) -> Iterator[tuple[Fact | None, tuple[Fact, ...]]]:
    """From two equations that share an unknown, the combination without it, of two unknowns at most."""
    mine = dict(fact[1])
    for name, count in fact[1]:
        for other, parent in dag.near(("with", name)):
            if parent == fact:
                continue
            theirs = dict(parent[1])
            terms = {
                each: mine.get(each, 0) * other - theirs.get(each, 0) * count
                for each in dict.fromkeys((*mine, *theirs))
            }
            made = equation(terms, fact[2] * other - parent[2] * count)
            if made is not None and len(made[1]) <= 2:
                yield made, (fact, parent)


class Linear:
    """Facts are ("eq", ((x, 2), (y, -3)), 7) for 2x - 3y = 7."""

    title = "Linear equations"
    rules: Sequence[Rule] = (eliminate,)
    letters = "xyzuvwabcdefghijklmnopqrst"

    def sample(self, rng: random.Random, depth: int) -> list[Fact]:
        """Draw whole values, and equations of one to three unknowns that they solve."""
        values = {f"x{number}": rng.randint(-9, 9) for number in range(depth + 1)}
        made: list[Fact] = []
        for _ in range(depth + 1):
            names = rng.sample(sorted(values), min(rng.choice((2, 2, 2, 3)), len(values)))
            terms = {name: rng.choice((-5, -4, -3, -2, -1, 1, 1, 2, 3, 4, 5)) for name in names}
            fact = equation(terms, sum(count * values[name] for name, count in terms.items()))
            made += [fact] if fact is not None and fact not in made else []
        return made

    def links(self, fact: Fact) -> Iterable[tuple[Hashable, Any]]:
        """By the unknowns."""
        return [(("with", name), count) for name, count in fact[1]]

    def worth(self, fact: Fact) -> bool:
        """The value of an unknown."""
        return len(fact[1]) == 1 and fact[1][0][1] == 1

    def names(self, fact: Fact) -> tuple[str, ...]:
        """Its unknowns."""
        return tuple(name for name, _ in fact[1])

    def renamed(self, fact: Fact, names: Mapping[str, str]) -> Fact:
        """The same about other unknowns."""
        made = equation({names[name]: count for name, count in fact[1]}, fact[2])
        assert made is not None
        return made

    def form(self, fact: Fact) -> Any:
        """Neither the order of terms says anything, nor the sign of the whole."""
        return (
            "eq",
            frozenset((frozenset((name, sign * n) for name, n in fact[1]), sign * fact[2]) for sign in (1, -1)),
        )

    def auxiliary(self, premises: Sequence[Fact], goal: Fact) -> list[Fact]:
        """Nothing is constructed."""
        return []

    def write(self, fact: Fact) -> str:
        """As 2x - 3y = 7."""
        first, *rest = (f"{'-' if n < 0 else '+'} {'' if abs(n) == 1 else abs(n)}{name}" for name, n in fact[1])
        return f"{' '.join([first.replace('+ ', '').replace('- ', '-'), *rest])} = {fact[2]}"

    def spoiled(self, fact: Fact, rng: random.Random, names: Sequence[str]) -> Fact | None:
        """The same with another value on the right."""
        return equation(dict(fact[1]), fact[2] + rng.choice((-3, -2, -1, 1, 2, 3)))

    def question(self, goal: Fact) -> Question:
        """What the unknown is."""
        return f"What is {goal[1][0][0]}? Answer with a number.", str(goal[2])
