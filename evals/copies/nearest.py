"""Nearest neighbours by embedding: exact, block by block, no index to build or to tune.

Quadratic: 50,000 vectors of 384 numbers against each other take about half a minute of
two cores. For more, look for near wordings first (`stillroom.evals.copies.pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .duplicates import Embeds, Match, check_threshold
from .novelty import content_order

if TYPE_CHECKING:
    import numpy as np

__all__ = ["closest", "without_paraphrases"]

_BLOCK = 1024


def closest(asked: np.ndarray[Any, Any], known: np.ndarray[Any, Any]) -> tuple[list[int], list[float]]:
    """Give for each row of `asked` the row of `known` with the highest dot product (the first of equals), and it.

    Args:
        asked: Unit vectors, shape (n, d).
        known: Unit vectors, shape (m, d), m > 0.
    """
    places: list[int] = []
    cosines: list[float] = []
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK] @ known.T
        at = block.argmax(axis=1)
        places += at.tolist()
        cosines += [min(float(value), 1.0) for value in block[range(len(at)), at]]
    return places, cosines


def without_paraphrases(
    texts: Sequence[str], embedder: Embeds, least: float = 0.95, *, seed: int = 0
) -> list[Match | None]:
    """Find texts that mean the same: None where kept, else the closest kept text, its position as id.

    A text is dropped where its cosine with a kept one is at least `least`. Texts are decided in the
    order of a seeded hash of their content, so the order of `texts` does not matter.

    Raises:
        BadConfig: If `least` is outside (0, 1].
    """
    import numpy as np

    check_threshold("least", least)
    order = content_order(texts, seed)
    vectors = embedder.embed([texts[at] for at in order])
    out: list[Match | None] = [None] * len(texts)
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(order), _BLOCK):
        block = vectors[start : start + _BLOCK]
        outer = closest(block, vectors[kept]) if len(kept) else ([], [])
        inner = block @ block.T
        here: list[int] = []
        for at in range(len(block)):
            best = (outer[1][at], int(kept[outer[0][at]])) if outer[0] else (-1.0, -1)
            if here:
                near = int(inner[at, here].argmax())
                best = max(best, (min(float(inner[at, here[near]]), 1.0), start + here[near]), key=lambda pair: pair[0])
            if best[0] >= least:
                out[order[start + at]] = Match(str(order[best[1]]), best[0], "cosine")
            else:
                here.append(at)
        kept = np.concatenate([kept, np.array(here, dtype=np.int64) + start])
    return out
