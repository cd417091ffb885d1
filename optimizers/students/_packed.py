"""One training step without waste: rows side by side, their common beginning computed once.

Rows of one task share a long beginning (instruction, schema, demos). A batch is
laid out as one sequence: the shared beginning, then what is left of each row. A
mask lets every row see the shared beginning and itself alone, and positions
continue from the beginning, so that loss and gradients equal those of the
padded batch; only the arithmetic is less (prefix sharing as in tree attention).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["IGNORED", "PackedCollator", "lay_out"]

IGNORED = -100
"""The label of a position without loss, as in torch's cross-entropy."""

MASKED = -30_000.0
"""Added to a score to hide it: zero after softmax, and finite in every float type."""

Feature = Mapping[str, Sequence[int]]


def shared_prefix(features: Sequence[Feature]) -> int:
    """How many leading tokens all prompts share, with at least one prompt token left to each row.

    The one that is left predicts the first token of its own completion: at a
    border between rows the next token belongs to another row and bears no loss.
    """
    first = features[0]["input_ids"]
    shared = min(_prompt_length(feature) for feature in features) - 1
    for feature in features[1:]:
        ids = feature["input_ids"]
        shared = next((place for place in range(shared) if ids[place] != first[place]), shared)
    return max(shared, 0)


def _prompt_length(feature: Feature) -> int:
    return next((place for place, label in enumerate(feature["labels"]) if label != IGNORED), len(feature["labels"]))


def _tiles(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of rows in tiles of at most `capacity` tokens (first fit, longest first)."""
    tiles: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((k for k, free in enumerate(room) if free >= lengths[index]), len(tiles))
        if place == len(tiles):
            tiles.append([])
            room.append(max(capacity, lengths[index]))
        tiles[place].append(index)
        room[place] -= lengths[index]
    return tiles


def lay_out(features: Sequence[Feature], *, pad: int, tile: int) -> dict[str, np.ndarray]:
    """Lay a batch out in tiles: the shared beginning, then rows of `tile` tokens together, or as many as are shared.

    Fewer tokens a tile cost less attention, but each tile computes the shared beginning again.

    Returns:
        `input_ids`, `labels` and `position_ids` of shape (tiles, length), and
        `visible` (tiles, length, length), true where a query may look at a key.
    """
    shared = shared_prefix(features)
    tails = [len(feature["input_ids"]) - shared for feature in features]
    tiles = _tiles(tails, max(tile, shared))
    shape = (len(tiles), shared + max(sum(tails[index] for index in indices) for indices in tiles))
    ids = np.full(shape, pad, dtype=np.int64)
    labels = np.full(shape, IGNORED, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    owner = np.full(shape, -1, dtype=np.int64)  # 0: shared beginning, 1..: one row, -1: padding
    ids[:, :shared] = features[0]["input_ids"][:shared]
    positions[:, :shared] = np.arange(shared)
    owner[:, :shared] = 0
    for place, indices in enumerate(tiles):
        start = shared
        for index in indices:
            stop = start + tails[index]
            ids[place, start:stop] = features[index]["input_ids"][shared:]
            labels[place, start:stop] = features[index]["labels"][shared:]
            positions[place, start:stop] = np.arange(shared, shared + tails[index])
            owner[place, start:stop] = index + 1
            start = stop
    allowed = (owner[:, None, :] == 0) | (owner[:, None, :] == owner[:, :, None])
    visible = allowed & np.tri(shape[1], dtype=bool)
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "visible": visible}


@dataclass(frozen=True)
class PackedCollator:
    """Collate features into one packed batch of torch tensors (`lay_out`).

    Attributes:
        dtype: Name of the model's torch dtype; the mask is added to attention scores of that type.
    """

    pad: int
    tile: int
    dtype: str = "float32"

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the tensors of one batch."""
        import torch

        arrays = lay_out(features, pad=self.pad, tile=self.tile)
        hidden = torch.from_numpy(~arrays.pop("visible"))[:, None]
        mask = torch.zeros(hidden.shape, dtype=getattr(torch, self.dtype)).masked_fill(hidden, MASKED)
        return {**{name: torch.from_numpy(array) for name, array in arrays.items()}, "attention_mask": mask}
