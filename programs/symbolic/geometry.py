"""Geometry with ten rules: parallel, perpendicular, equal length, collinear, midpoint.

All points are distinct, and every rule holds whenever they are. Rules marked * stand in AlphaGeometry's
release (google-deepmind/alphageometry, rules.txt, 43 rules); its graph has the others built in.

     1  AB || CD, CD || EF     =>  AB || EF        6  M midpoint of AB             =>  MA = MB
     2* AB _|_ CD, CD _|_ EF   =>  AB || EF        7* M mid AB, N mid AC           =>  MN || BC
     3  AB _|_ CD, CD || EF    =>  AB _|_ EF       8* M mid AB, OM _|_ AB          =>  OA = OB
     4  AB = CD, CD = EF       =>  AB = EF         9* AP = BP, AQ = BQ             =>  AB _|_ PQ
     5  M midpoint of AB       =>  A, B, M coll.  10* AB _|_ BC, M mid AC          =>  AM = BM

AB || AC is one fact with "A, B and C are collinear" and written so: the release has that as a rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

from .deduce import Dag, Fact, Rule

__all__ = ["RULES", "Pair", "collinear", "equal", "links", "midpoint", "parallel", "perpendicular", "segment"]

Pair = tuple[str, str]
Found = Iterator[tuple[Fact | None, tuple[Fact, ...]]]


def segment(a: str, b: str) -> Pair:
    """A segment: its ends in order."""
    return (a, b) if a < b else (b, a)


def _relation(kind: str, one: Pair, two: Pair) -> Fact | None:
    if one == two or one[0] == one[1] or two[0] == two[1]:
        return None  # it says nothing, or premises at odds have made two points one
    return (kind, *sorted((one, two)))


def parallel(one: Pair, two: Pair) -> Fact | None:
    """Two directions are one; three points on a line where the segments share an end."""
    points = {*one, *two}
    made = _relation("para", one, two)
    return collinear(*points) if made is not None and len(points) == 3 else made


def collinear(a: str, b: str, c: str) -> Fact:
    """Three points on a line."""
    return ("coll", tuple(sorted((a, b, c))))


def perpendicular(one: Pair, two: Pair) -> Fact | None:
    """Two directions at right angles."""
    return _relation("perp", one, two)


def equal(one: Pair, two: Pair) -> Fact | None:
    """Two segments of one length."""
    return _relation("cong", one, two)


def midpoint(m: str, a: str, b: str) -> Fact:
    """The middle of a segment."""
    return ("midp", m, segment(a, b))


def pairs(fact: Fact) -> list[tuple[str, Pair, Pair]]:
    """The two segments that a fact relates and how; of three points on a line, each two of their segments."""
    if fact[0] == "coll":
        a, b, c = fact[1]
        return [("para", (a, b), (a, c)), ("para", (a, b), (b, c)), ("para", (a, c), (b, c))]
    return [] if fact[0] == "midp" else [fact]  # type: ignore[list-item]  # (kind, segment, segment)


def links(fact: Fact) -> Iterable[tuple[Hashable, Any]]:
    """Relations by either segment, midpoints by segment and by end, and corners of two segments by their far ends."""
    if fact[0] == "midp":
        _, m, (a, b) = fact
        yield ("mid", (a, b)), m
        yield ("end", a), (m, b)
        yield ("end", b), (m, a)
    for kind, one, two in pairs(fact):
        yield (kind, one), two
        yield (kind, two), one
        for corner, far in _corner(one, two):
            yield (f"{kind} corner", far), corner


def _corner(one: Pair, two: Pair) -> list[tuple[str, Pair]]:
    """The point that two segments share, and the segment between their other ends."""
    shared = set(one) & set(two)
    if len(shared) != 1:
        return []
    (corner,) = shared
    a, b = ({*one, *two}) - shared
    return [(corner, segment(a, b))]


def _chain(first: str, second: str, make: Any) -> Rule:
    """The rule that AB first CD and CD second EF make AB, EF."""

    def rule(dag: Dag, fact: Fact) -> Found:
        for kind, one, two in pairs(fact):
            for mine, other in ((first, second), (second, first)) if first != second else ((first, second),):
                if kind == mine:
                    for near, far in ((one, two), (two, one)):
                        for end, parent in dag.near((other, near)):
                            yield make(far, end), (fact, parent)

    return rule


def on_line(dag: Dag, fact: Fact) -> Found:
    """Rule 5."""
    if fact[0] == "midp":
        yield collinear(fact[1], *fact[2]), (fact,)


def halves(dag: Dag, fact: Fact) -> Found:
    """Rule 6."""
    if fact[0] == "midp":
        _, m, (a, b) = fact
        yield equal(segment(m, a), segment(m, b)), (fact,)


def midsegment(dag: Dag, fact: Fact) -> Found:
    """Rule 7."""
    if fact[0] == "midp":
        _, m, (a, b) = fact
        for apex, foot in ((a, b), (b, a)):
            for (n, other), parent in dag.near(("end", apex)):
                if n != m and other != foot:
                    yield parallel(segment(m, n), segment(foot, other)), (fact, parent)


def bisector(dag: Dag, fact: Fact) -> Found:
    """Rule 8."""
    if fact[0] == "midp":
        _, m, ab = fact
        for through, parent in dag.near(("perp", ab)):
            yield from _apart(m, ab, through, (fact, parent))
    if fact[0] == "perp":
        for ab, through in (fact[1:], fact[:0:-1]):
            for m, parent in dag.near(("mid", ab)):
                yield from _apart(m, ab, through, (parent, fact))


def _apart(m: str, ab: Pair, through: Pair, parents: tuple[Fact, Fact]) -> Found:
    if m in through:
        (o,) = set(through) - {m}
        yield equal(segment(o, ab[0]), segment(o, ab[1])), parents


def kite(dag: Dag, fact: Fact) -> Found:
    """Rule 9."""
    if fact[0] == "cong":
        for p, ab in _corner(*fact[1:]):
            for q, parent in dag.near(("cong corner", ab)):
                if q != p:
                    yield perpendicular(ab, segment(p, q)), (fact, parent)


def right_angle(dag: Dag, fact: Fact) -> Found:
    """Rule 10."""
    if fact[0] == "perp":
        for b, ac in _corner(*fact[1:]):
            for m, parent in dag.near(("mid", ac)):
                yield equal(segment(m, ac[0]), segment(m, b)), (fact, parent)
    if fact[0] == "midp":
        _, m, ac = fact
        for b, parent in dag.near(("perp corner", ac)):
            yield equal(segment(m, ac[0]), segment(m, b)), (parent, fact)


RULES: tuple[Rule, ...] = (
    _chain("para", "para", parallel),
    _chain("perp", "perp", parallel),
    _chain("perp", "para", perpendicular),
    _chain("cong", "cong", equal),
    on_line,
    halves,
    midsegment,
    bisector,
    kite,
    right_angle,
)
