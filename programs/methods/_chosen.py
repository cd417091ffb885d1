"""Choosing among texts so that no two that are kept lie close to each other: the better one stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stillroom.values import digest

if TYPE_CHECKING:
    import numpy as np

__all__ = ["kept_apart", "ranked"]


def ranked(texts: Sequence[str], scores: Sequence[float]) -> list[int]:
    """Places from the highest score down; equal scores by a hash of the text, so that the order given does not matter."""
    return sorted(range(len(texts)), key=lambda at: (-scores[at], digest(texts[at]), texts[at]))


def kept_apart(vectors: np.ndarray[Any, Any], order: Sequence[int], most: float) -> list[int | None]:
    """Go through texts in `order` and keep each whose cosine with every kept one is at most `most`.

    Args:
        vectors: Unit vectors, shape (n, d).
        order: All places, the best first.
        most: Largest cosine of two kept texts.

    Returns:
        None for a kept text, else the place of the closest kept one.
    """
    import numpy as np

    found: list[int | None] = [None] * len(order)
    kept: list[int] = []
    for at in order:
        if kept:
            cosines = vectors[kept] @ vectors[at]
            near = int(np.argmax(cosines))
            # a vector's product with itself may be a hair off 1
            if float(cosines[near]) > most + 1e-6:
                found[at] = kept[near]
                continue
        kept.append(at)
    return found
