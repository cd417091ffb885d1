"""Whole numbers of rows in proportion to shares."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

__all__ = ["spread"]


def spread(rows: int, cells: Mapping[str, float]) -> dict[str, int]:
    """Whole rows for each cell in proportion, `rows` in all: the largest remainders are rounded up.

    So each cell is less than one row from its exact share; of equal remainders the first are rounded up. Shares count
    as they are written: a tenth is a tenth. Cells without a row are left out.

    >>> spread(5, {"horn/3": 60, "linear/1": 80, "geometry/2": 60})
    {'horn/3': 2, 'linear/1': 2, 'geometry/2': 1}
    """
    shares = {cell: Fraction(str(share)) for cell, share in cells.items()}
    total = sum(shares.values()) or 1
    exact = {cell: rows * share / total for cell, share in shares.items()}
    counts = {cell: int(share) for cell, share in exact.items()}
    for cell in sorted(cells, key=lambda cell: counts[cell] - exact[cell])[: rows - sum(counts.values())]:
        counts[cell] += 1
    return {cell: count for cell, count in counts.items() if count}
