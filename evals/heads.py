"""Fitted classifiers of two classes as plain arrays: a logistic regression and a random forest.

They score without scikit-learn, can be written and read without pickle, and check
themselves, so that a damaged file is refused and never walked in circles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Forest", "Linear", "as_arrays"]


@dataclass(frozen=True)
class Linear:
    """A logistic regression: `weights` of shape (dimensions,) and an `offset` of shape (1,)."""

    weights: np.ndarray
    offset: np.ndarray

    def log_odds(self, vectors: np.ndarray) -> np.ndarray:
        """Score vectors of shape (n, dimensions); shape (n,)."""
        return np.asarray(vectors.astype(np.float64) @ self.weights + self.offset[0])

    def check(self, dimensions: int) -> None:
        """Raise ValueError where the arrays make no regression over `dimensions`."""
        if self.weights.shape != (dimensions,) or self.offset.shape != (1,):
            raise ValueError(f"weights of shape {self.weights.shape} do not fit {dimensions} dimensions")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.offset).all()):
            raise ValueError("weights are not finite")


@dataclass(frozen=True)
class Forest:
    """A random forest as arrays: the nodes of all trees in one row, each tree's root named.

    Attributes:
        roots: First node of each tree.
        left: Where to go with a value up to the threshold; -1 at a leaf.
        right: Where to go above it.
        feature: The dimension that is asked.
        threshold: The value it is compared with.
        share: Share of good texts at the node, 0..1.
    """

    roots: np.ndarray
    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    share: np.ndarray

    def log_odds(self, vectors: np.ndarray) -> np.ndarray:
        """Score vectors of shape (n, dimensions): the log-odds of the mean share over trees; shape (n,)."""
        asked = vectors.astype(np.float32)  # what the trees were grown on
        at = np.repeat(self.roots[:, None], len(asked), axis=1)
        rows = np.broadcast_to(np.arange(len(asked)), at.shape)
        while (inner := self.left[at] >= 0).any():
            goes_left = asked[rows, np.maximum(self.feature[at], 0)] <= self.threshold[at]
            at = np.where(inner, np.where(goes_left, self.left[at], self.right[at]), at)
        # a forest of t trees cannot be surer than one tree in 2 t
        shares = np.clip(self.share[at].mean(axis=0), *(lambda edge: (edge, 1 - edge))(0.5 / len(self.roots)))
        return np.asarray(np.log(shares) - np.log1p(-shares))

    def check(self, dimensions: int) -> None:
        """Raise ValueError where the arrays make no forest over `dimensions`."""
        nodes = np.arange(len(self.left))
        inner = self.left >= 0
        if {len(each) for each in (self.right, self.feature, self.threshold, self.share)} != {len(nodes)}:
            raise ValueError("the arrays of the forest differ in length")
        if not len(self.roots) or self.roots.min() < 0 or self.roots.max() >= len(nodes):
            raise ValueError("a root is no node")
        below = np.r_[self.left[inner], self.right[inner]]
        # children come after their parent, so no walk goes in circles
        if (below <= np.r_[nodes[inner], nodes[inner]]).any() or (below >= len(nodes)).any():
            raise ValueError("a branch leads nowhere, or back")
        if (self.feature[inner] < 0).any() or (self.feature[inner] >= dimensions).any():
            raise ValueError(f"a node asks for a dimension outside 0..{dimensions - 1}")
        if not ((self.share >= 0) & (self.share <= 1)).all() or not np.isfinite(self.threshold).all():
            raise ValueError("a share is outside 0..1, or a threshold not finite")


def as_arrays(trees: Sequence[Any]) -> Forest:
    """Put the trees of a fitted scikit-learn forest with classes 0 and 1 into arrays."""
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("left", "right", "feature", "threshold", "share")}
    for start, tree in zip(starts[:-1], trees, strict=True):
        inner = tree.children_left >= 0
        parts["left"].append(np.where(inner, tree.children_left + start, -1))
        parts["right"].append(np.where(inner, tree.children_right + start, -1))
        parts["feature"].append(np.where(inner, tree.feature, -1))
        parts["threshold"].append(np.where(inner, tree.threshold, 0.0))
        counts = tree.value[:, 0, :]
        parts["share"].append(counts[:, 1] / counts.sum(axis=1))
    return Forest(starts[:-1], **{name: np.concatenate(each) for name, each in parts.items()})
