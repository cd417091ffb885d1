"""Coverage: how much of what was declared a set of rows fills, and how evenly."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.errors import BadConfig

__all__ = ["Coverage", "coverage"]

_MOST_CELLS = 1_000_000


@dataclass(frozen=True)
class Coverage:
    """How rows fall into the declared cells.

    Attributes:
        counts: Rows in each declared cell, in declared order; a cell is one value of every attribute.
        quotas: Rows wanted in each cell.
        strays: Rows whose values were not declared, by cell; they fill nothing.
    """

    counts: Mapping[tuple[Any, ...], int]
    quotas: Mapping[tuple[Any, ...], float]
    strays: Mapping[tuple[Any, ...], int]

    @property
    def filled(self) -> float:
        """Share of declared cells that hold a row, 0..1."""
        return sum(count > 0 for count in self.counts.values()) / len(self.counts)

    @property
    def entropy(self) -> float:
        """Entropy of the cells over its largest value: 1 where all hold equally many. NaN without rows."""
        total = sum(self.counts.values())
        if not total:
            return math.nan
        if len(self.counts) == 1:
            return 1.0
        shares = [count / total for count in self.counts.values() if count]
        return abs(sum(share * math.log(share) for share in shares)) / math.log(len(self.counts))

    @property
    def gap(self) -> tuple[tuple[Any, ...], float]:
        """The cell that is furthest below its quota, and by how many rows; the first of equals."""
        cell = max(self.counts, key=lambda cell: self.quotas[cell] - self.counts[cell])
        return cell, max(self.quotas[cell] - self.counts[cell], 0.0)

    @property
    def balanced(self) -> bool:
        """Whether every cell is within one row of its quota and there are no strays."""
        off = any(abs(self.counts[cell] - self.quotas[cell]) > 1 for cell in self.counts)
        return not off and not self.strays

    def figures(self) -> dict[str, float]:
        """`filled`, `entropy`, the size of the largest gap, and the number of strays."""
        return {
            "cells filled": self.filled,
            "cell entropy": self.entropy,
            "largest gap": self.gap[1],
            "strays": float(sum(self.strays.values())),
        }


def coverage(
    rows: Sequence[Mapping[str, Any]],
    declared: Mapping[str, Sequence[Hashable]],
    quotas: Mapping[tuple[Any, ...], float] | None = None,
) -> Coverage:
    """Count rows in the cells of the cross product of `declared` attributes.

    Args:
        rows: With one value for each attribute; a missing or unhashable one makes the row a stray.
        declared: Attribute to its values, such as {"tone": ["angry", "calm"], "length": ["short", "long"]}.
        quotas: Rows wanted for each cell; an equal share of the rows where not given.

    Raises:
        BadConfig: If nothing is declared, a value twice, more than a million cells, or a quota for no cell.

    >>> rows = [{"tone": "calm"}, {"tone": "calm"}, {"tone": "angry"}]
    >>> found = coverage(rows, {"tone": ["calm", "angry", "sad"]})
    >>> found.filled, found.gap
    (0.666..., (('sad',), 1.0))
    """
    if not declared or not all(declared.values()):
        raise BadConfig(f"coverage needs attributes with values, got {dict(declared)!r}")
    twice = [name for name, values in declared.items() if len(set(values)) < len(values)]
    if twice:
        raise BadConfig(f"the values of an attribute must differ, got the same twice in {', '.join(twice)}")
    if (size := math.prod(len(values) for values in declared.values())) > _MOST_CELLS:
        raise BadConfig(f"at most {_MOST_CELLS} cells can be counted, got {size}")
    cells = list(itertools.product(*declared.values()))
    if quotas is not None and (unknown := set(quotas) - set(cells)):
        raise BadConfig(f"a quota must be for a declared cell, got {sorted(map(str, unknown))[0]}")
    counts, strays = Counter(dict.fromkeys(cells, 0)), Counter[tuple[Any, ...]]()
    for row in rows:
        cell = tuple(_hashable(row.get(name)) for name in declared)
        (counts if cell in counts else strays)[cell] += 1
    even = (len(rows) - strays.total()) / len(cells)
    wanted = {cell: even if quotas is None else float(quotas.get(cell, 0)) for cell in cells}
    return Coverage(dict(counts), wanted, dict(strays))


def _hashable(value: Any) -> Any:
    return value if isinstance(value, Hashable) else repr(value)
