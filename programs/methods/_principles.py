"""Principles as a set: which are drawn, which overlap, which differ in length, which every group of people agrees to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from stillroom.errors import BadData
from stillroom.values import digest

__all__ = ["Principle", "consensus", "drawn", "length_ratio", "read"]


@dataclass(frozen=True)
class Principle:
    """What a response is held to, and what it would be held to if it were the other way round."""

    id: str
    text: str
    opposite: str


def read(rows: Sequence[Mapping[str, object]]) -> list[Principle]:
    """Principles from rows with `principle`, and `id` and `opposite` where they are known.

    Raises:
        BadData: If two have one id.
    """
    found = []
    for row in rows:
        text = str(row["principle"])
        opposite = str(row.get("opposite") or f"Do the opposite of this: {text}")
        found.append(Principle(str(row.get("id") or digest(text, 8)), text, opposite))
    twice = sorted({each.id for each in found if sum(other.id == each.id for other in found) > 1})
    if twice:
        raise BadData(f"principles must have ids of their own, got {twice[0]!r} twice")
    return found


def drawn(principles: Sequence[Principle], count: int, rng: Random) -> list[Principle]:
    """One at random for each of `count` times, each time out of all."""
    return [rng.choice(principles) for _ in range(count)]


def length_ratio(text: str, texts: Sequence[str]) -> float:
    """How many times as many words as the median of `texts` a text has."""
    return len(text.split()) / median(len(each.split()) for each in texts)


def consensus(votes: Mapping[str, Sequence[int]]) -> float:
    """How much the least convinced group agrees, 0..1: agreements plus one over votes plus two (Small et al. 2021).

    Args:
        votes: For each opinion group how many agree and how many voted at all.

    Raises:
        BadData: If there is no group, or more agree than voted.
    """
    shares = []
    for group, counts in votes.items():
        agree, total = counts
        if not 0 <= agree <= total:
            raise BadData(f"votes of a group must be 0 <= agree <= total, got {agree} of {total} in {group!r}")
        shares.append((agree + 1) / (total + 2))
    if not shares:
        raise BadData("a statement needs the votes of a group at least, got none")
    return min(shares)
