"""Plane geometry, decided by figures: random coordinates in which the premises hold, found numerically.

No rule of deduction is known here. Every predicate is one or two polynomials of degree
two in the coordinates. From a random start, Gauss-Newton steps of least norm lead to a
figure in which all premises hold, near that start; a claim that holds in several such figures
to 1e-9 holds in general, up to the chance of an accident. What fails in one figure does not follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from .questions import yes_or_no

__all__ = ["TOLERANCE", "Geometry", "figures"]

TOLERANCE = 1e-9
FIGURES = 5
_APART = 0.02  # of the figure's size: two points that are nearer than that are taken for one
_STARTS, _STEPS = 40, 30
_POINT = "([A-Z])"
_FORMS = {
    "para": re.compile(f"{_POINT * 2} is parallel to {_POINT * 2}"),
    "perp": re.compile(f"{_POINT * 2} is perpendicular to {_POINT * 2}"),
    "cong": re.compile(f"{_POINT * 2} = {_POINT * 2}"),
    "coll": re.compile(f"{_POINT}, {_POINT} and {_POINT} are collinear"),
    "midp": re.compile(f"{_POINT} is the midpoint of {_POINT * 2}"),
}
Claim = tuple[str, tuple[str, ...]]


class Geometry:
    """Claims about named points, all of them distinct.

    Args:
        figures: In how many of them a claim must hold.
    """

    constructs = True

    def __init__(self, figures: int = FIGURES) -> None:
        self._figures = figures

    def follows(self, premises: Sequence[str], claim: str) -> bool:
        """Whether `claim` holds in figures of `premises`."""
        given, said = tuple(sorted(_read(text) for text in premises)), _read(claim)
        names = tuple(sorted({name for _, points in (*given, said) for name in points}))
        found = figures(given, names, self._figures)
        return bool((_gaps(said, names, found) < TOLERANCE).all())

    def names(self, claim: str) -> frozenset[str]:
        """The points."""
        return frozenset(_read(claim)[1])

    def answers(self, asked: str, premises: Sequence[str], solution: str) -> str:
        """Whether yes or no is right."""
        return yes_or_no(self.follows, asked, premises, solution)


@lru_cache(maxsize=256)
def figures(premises: tuple[Claim, ...], names: tuple[str, ...], count: int) -> np.ndarray:
    """Find `count` figures in which `premises` hold: coordinates (count, points, 2), the same for the same premises.

    Raises:
        ValueError: If none were found, as when premises can only hold where points fall together.
    """
    # a seed of its own for these premises: what one row drew must not change what the next one draws
    rng = np.random.default_rng([ord(letter) for letter in repr((premises, names))])
    kept: list[np.ndarray] = []
    for _ in range(_STARTS):
        at = _settled(premises, names, rng.standard_normal((count, 2 * len(names))))
        good = [figure for figure in at.reshape(count, -1, 2) if _sound(premises, names, figure)]
        kept += good
        if len(kept) >= count:
            return np.array(kept[:count])
    raise ValueError(f"no figure of distinct points was found in which these hold: {list(premises)}")


def _settled(premises: Sequence[Claim], names: Sequence[str], at: np.ndarray) -> np.ndarray:
    if not premises:
        return at
    linear, square = _polynomials(premises, names)
    for _ in range(_STEPS):
        bent = np.einsum("kij,bj->bki", square, at)
        values = np.einsum("bki,bi->bk", bent, at) + at @ linear.T
        if np.abs(values).max() < 1e-13:
            break
        slopes = 2 * bent + linear
        # premises may depend on each other: the pseudo-inverse takes the shortest way that serves them all
        step = np.einsum("bik,bk->bi", np.linalg.pinv(slopes, rcond=1e-9), values)
        at = at - np.clip(step, -2, 2)
    return at


def _sound(premises: Sequence[Claim], names: Sequence[str], figure: np.ndarray) -> bool:
    if not np.isfinite(figure).all():
        return False
    between = np.linalg.norm(figure[:, None] - figure[None], axis=-1) + np.eye(len(names)) * 1e9
    size = np.ptp(figure, axis=0).max()
    if not 1e-2 < size < 1e2 or between.min() < _APART * size:
        return False
    return all(_gaps(claim, names, figure[None])[0] < TOLERANCE / 100 for claim in premises)


def _polynomials(premises: Sequence[Claim], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The premises as x'Qx + Lx = 0 over coordinates x1, y1, x2, y2 and so on: L (k, n) and symmetric Q (k, n, n)."""
    size, linear, square = 2 * len(names), [], []
    place = {name: at for at, name in enumerate(names)}

    def vector(start: str, end: str) -> np.ndarray:
        found = np.zeros((2, size))
        for axis in (0, 1):
            found[axis, 2 * place[end] + axis] += 1
            found[axis, 2 * place[start] + axis] -= 1
        return found

    for kind, points in premises:
        if kind == "midp":
            middle, a, b = points
            for row in vector(a, middle) + vector(b, middle):
                linear.append(row)
                square.append(np.zeros((size, size)))
            continue
        a, b, c, d = points if len(points) == 4 else (points[0], points[1], points[0], points[2])
        u, v = vector(a, b), vector(c, d)
        form = {
            "perp": np.outer(u[0], v[0]) + np.outer(u[1], v[1]),
            "cong": np.outer(u[0], u[0]) + np.outer(u[1], u[1]) - np.outer(v[0], v[0]) - np.outer(v[1], v[1]),
        }.get(kind, np.outer(u[0], v[1]) - np.outer(u[1], v[0]))
        linear.append(np.zeros(size))
        square.append((form + form.T) / 2)
    return np.array(linear), np.array(square)


def _gaps(claim: Claim, names: Sequence[str], found: np.ndarray) -> np.ndarray:
    """How far each figure is from the claim: sine or cosine of the angle, or a share of the lengths."""
    kind, points = claim
    at: list[Any] = [found[:, names.index(name)] for name in points]
    if kind == "midp":
        middle, a, b = at
        return np.linalg.norm(2 * middle - a - b, axis=-1) / np.linalg.norm(b - a, axis=-1)
    if kind == "coll":
        at = [at[0], at[1], at[0], at[2]]
    u, v = at[1] - at[0], at[3] - at[2]
    long, other = np.linalg.norm(u, axis=-1), np.linalg.norm(v, axis=-1)
    if kind == "cong":
        return np.abs(long - other) / (long + other)
    if kind == "perp":
        return np.abs((u * v).sum(-1)) / (long * other)
    return np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / (long * other)


def _read(text: str) -> Claim:
    for kind, form in _FORMS.items():
        found = form.fullmatch(text)
        if found is None:
            continue
        points = found.groups()
        pairs = [points[:2], points[2:]] if len(points) == 4 else []
        if len(set(points)) < 2 + (len(points) == 3) or any(len(set(pair)) < 2 for pair in pairs):
            break
        if pairs and set(pairs[0]) == set(pairs[1]):
            break
        return kind, points
    raise ValueError(f"{text!r} is no claim about distinct points")
