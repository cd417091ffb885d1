"""Canonical forms: one text for all statements that differ in nothing but their names and the order of things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["canonical"]


def canonical(value: Any, names: Iterable[str]) -> str:
    """Write nested tuples (ordered) and frozensets (unordered) so that equal texts mean equal up to renaming.

    Names are told apart by where they stand, again and again with what is known of their neighbours (colour
    refinement). Where that leaves some alike, each of those in turn is singled out, and the least text wins.

    >>> canonical(frozenset({("r", "x", "y")}), "xy") == canonical(frozenset({("r", "b", "a")}), "ab")
    True
    """
    return _least(value, dict.fromkeys(sorted(set(names)), 0))


def _least(value: Any, colours: Mapping[str, int]) -> str:
    colours = _refined(value, colours)
    classes: defaultdict[int, list[str]] = defaultdict(list)
    for name, colour in colours.items():
        classes[colour].append(name)
    alike = [found for _, found in sorted(classes.items()) if len(found) > 1]
    if not alike:
        return _written(value, {name: str(colour) for name, colour in colours.items()})
    # the first of the smallest classes: which one it is must not depend on the names
    chosen = min(alike, key=len)
    return min(_least(value, {**colours, name: -1}) for name in chosen)


def _refined(value: Any, colours: Mapping[str, int]) -> dict[str, int]:
    while True:
        shown = {name: str(colour) for name, colour in colours.items()}
        seen = {name: (colours[name], _written(value, {**shown, name: "*"})) for name in colours}
        ranks = {each: rank for rank, each in enumerate(sorted(set(seen.values())))}
        refined = {name: ranks[seen[name]] for name in colours}
        if len(ranks) == len(set(colours.values())):
            return refined
        colours = refined


def _written(value: Any, shown: Mapping[str, str]) -> str:
    if isinstance(value, tuple):
        return f"({' '.join(_written(each, shown) for each in value)})"
    if isinstance(value, frozenset):
        return f"{{{' '.join(sorted(_written(each, shown) for each in value))}}}"
    # a name is told from a word or number of the form itself by its sign
    return f"#{shown[value]}" if value in shown else str(value)
