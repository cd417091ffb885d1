"""Figures: points constructed one after the other, and the geometry of `geometry.py` as a domain."""

from __future__ import annotations

import cmath
import random
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from .deduce import Fact, Rule
from .domain import Question
from .geometry import RULES, collinear, equal, links, midpoint, parallel, perpendicular, segment

__all__ = ["Geometry"]

_NEAR = 0.05
"""Points of a drawing that are nearer than this are taken for one. The free ones lie in a square of side 2."""

Made = tuple[list[Fact | None], complex]
"""What holds of a new point, and where it lies in one drawing."""
Construct = Callable[[str, Sequence[str], Sequence[complex], random.Random], Made]


def _midpoint(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    return [midpoint(p, to[0], to[1])], (at[0] + at[1]) / 2


def _foot(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    line, side = at[1] - at[0], at[2] - at[0]
    foot = at[0] + line * (side * line.conjugate()).real / abs(line) ** 2
    return [collinear(p, to[0], to[1]), perpendicular(segment(p, to[2]), segment(to[0], to[1]))], foot


def _parallel(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    return [parallel(segment(p, to[2]), segment(to[0], to[1]))], at[2] + (at[1] - at[0]) * _far(rng)


def _perpendicular(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    return [perpendicular(segment(p, to[2]), segment(to[0], to[1]))], at[2] + 1j * (at[1] - at[0]) * _far(rng)


def _perpendicular_at(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    return [perpendicular(segment(p, to[0]), segment(to[0], to[1]))], at[0] + 1j * (at[1] - at[0]) * _far(rng)


def _equidistant(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    on_bisector = (at[0] + at[1]) / 2 + 1j * (at[1] - at[0]) * _far(rng)
    return [equal(segment(p, to[0]), segment(p, to[1]))], on_bisector


def _circumcentre(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    b, c = at[1] - at[0], at[2] - at[0]
    centre = at[0] + 1j * (abs(c) ** 2 * b - abs(b) ** 2 * c) / (2 * (b.conjugate() * c).imag)
    return [equal(segment(p, to[0]), segment(p, to[1])), equal(segment(p, to[0]), segment(p, to[2]))], centre


def _on_circle(p: str, to: Sequence[str], at: Sequence[complex], rng: random.Random) -> Made:
    return [equal(segment(p, to[0]), segment(to[0], to[1]))], at[0] + cmath.rect(abs(at[1] - at[0]), rng.uniform(0, 6))


def _far(rng: random.Random) -> float:
    return rng.uniform(0.4, 1.4) * rng.choice((-1, 1))


_CONSTRUCTIONS: tuple[Construct, ...] = (
    *(_midpoint,) * 4,
    _foot,
    *(_parallel,) * 2,
    _perpendicular,
    _perpendicular_at,
    _equidistant,
    _circumcentre,
    _on_circle,
)


class Geometry:
    """Facts are ("para" | "perp" | "cong", segment, segment), ("coll", points) and ("midp", m, segment).

    Args:
        rules: What is deduced with; others than the ten only to see that checkers catch them.
    """

    title = "Plane geometry, named points distinct"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        self.rules = tuple(rules)

    def sample(self, rng: random.Random, depth: int) -> list[Fact]:
        """Draw three or four free points, then construct further ones from those before.

        One drawing is kept beside (as AlphaGeometry does): a point that falls on another in it is not constructed,
        or premises would be at odds.
        """
        at = {
            f"p{number:02}": complex(rng.uniform(-1, 1), rng.uniform(-1, 1)) for number in range(rng.choice((3, 3, 4)))
        }
        made: list[Fact] = []
        for number in range(len(at), len(at) + rng.randint(3, 4 + depth // 2)):
            new, to = f"p{number:02}", rng.sample(sorted(at), 3)
            try:
                facts, place = rng.choice(_CONSTRUCTIONS)(new, to, [at[name] for name in to], rng)
            except ZeroDivisionError:  # three points on a line have no circumcentre
                continue
            if abs(place) < 10 and all(abs(place - other) > _NEAR for other in at.values()):
                made += [fact for fact in facts if fact is not None]
                at[new] = place
        return made

    def links(self, fact: Fact) -> Iterable[tuple[Hashable, Any]]:
        """As the rules look for them."""
        return links(fact)

    def worth(self, fact: Fact) -> bool:
        """Whatever follows."""
        return True

    def names(self, fact: Fact) -> tuple[str, ...]:
        """Its points."""
        if fact[0] == "midp":
            return (fact[1], *fact[2])
        return tuple(fact[1]) if fact[0] == "coll" else (*fact[1], *fact[2])

    def renamed(self, fact: Fact, names: Mapping[str, str]) -> Fact:
        """The same about other points."""
        at = [names[name] for name in self.names(fact)]
        if fact[0] == "midp":
            return midpoint(at[0], at[1], at[2])
        if fact[0] == "coll":
            return collinear(at[0], at[1], at[2])
        return (fact[0], *sorted((segment(at[0], at[1]), segment(at[2], at[3]))))

    def form(self, fact: Fact) -> Any:
        """Neither the order of a segment's ends says anything, nor that of segments, nor that of points on a line."""
        if fact[0] == "midp":
            return ("midp", fact[1], frozenset(fact[2]))
        return (fact[0], frozenset(fact[1] if fact[0] == "coll" else map(frozenset, fact[1:])))

    def auxiliary(self, premises: Sequence[Fact], goal: Fact) -> list[Fact]:
        """Premises that construct points on which no point of the goal depends.

        A premise belongs to the newest of its points. What the goal's points are constructed from belongs to the
        statement (AlphaGeometry's "dependency difference").
        """
        stated = set(self.names(goal))
        for fact in sorted(premises, key=lambda each: max(self.names(each)), reverse=True):
            if max(self.names(fact)) in stated:
                stated.update(self.names(fact))
        return [fact for fact in premises if max(self.names(fact)) not in stated]

    def write(self, fact: Fact) -> str:
        """As English."""
        if fact[0] == "midp":
            return f"{fact[1]} is the midpoint of {''.join(fact[2])}"
        if fact[0] == "coll":
            return "{}, {} and {} are collinear".format(*fact[1])
        words = {"para": "is parallel to", "perp": "is perpendicular to", "cong": "="}
        return f"{''.join(fact[1])} {words[fact[0]]} {''.join(fact[2])}"

    def spoiled(self, fact: Fact, rng: random.Random, names: Sequence[str]) -> Fact | None:
        """The same about other points."""
        mine = self.names(fact)
        if len(set(names)) <= 3:
            return None
        return self.renamed(fact, dict(zip(dict.fromkeys(mine), rng.sample(list(names), len(set(mine))), strict=True)))

    def question(self, goal: Fact) -> Question:
        """Whether it follows."""
        return f"Does it follow that {self.write(goal)}? Answer yes or no.", "yes"
