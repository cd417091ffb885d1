"""A core-set: the few texts that leave no other far away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

if TYPE_CHECKING:
    import numpy as np

__all__ = ["k_centres"]


def k_centres(vectors: np.ndarray, k: int, first: int = 0) -> list[int]:
    """Choose `k` rows, each the one farthest from all chosen before: greedy k-centre.

    The largest distance of any row to its nearest centre is at most twice the least possible (Gonzalez 1985);
    core-sets for learning after Sener & Savarese 2018, arXiv:1708.00489.

    Args:
        vectors: One row a text, shape (n, dimensions). Distances are Euclidean.
        k: How many, 1..n.
        first: The row begun with.

    Returns:
        The rows chosen, in their order; of equally far ones the first.

    Raises:
        BadConfig: If `k` or `first` does not fit the rows.

    >>> import numpy
    >>> k_centres(numpy.array([[0.0], [0.1], [5.0], [9.0], [9.2]]), 3)
    [0, 4, 2]
    """
    import numpy as np

    if not (1 <= k <= len(vectors) and 0 <= first < len(vectors)):
        raise BadConfig(f"k-centre needs 1 <= k <= n and 0 <= first < n, got k={k}, first={first}, n={len(vectors)}")
    chosen = [first]
    nearest = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < k:
        nearest[chosen] = -1.0  # copies of a centre are at distance 0, and still to be told from it
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return chosen
