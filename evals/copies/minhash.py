"""MinHash: short signatures of texts whose agreement tells how many character shingles they share.

Texts that share more than a share `least` of their shingles meet in a band with a known
chance (`Bands.recall`); what meets is compared in full by `jaccard`, so that a near
duplicate may be missed with that chance and none is made up. Characters rather than
words, since words say little in short texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from stillroom.errors import BadConfig

from .duplicates import folded

__all__ = ["Bands", "jaccard", "shingles"]

Keys: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 1 << 21  # characters hashed together


@dataclass(frozen=True)
class Bands:
    """Signatures cut in bands; texts that agree in a whole band are looked at (Indyk and Motwani 1998).

    Attributes:
        least: Jaccard from which texts should be found.
        width: Characters in a shingle. With 5, unrelated English sentences share about 3% of them; with 3 about
            10%, and a million texts then meet too often by chance.
        permutations: Hash functions, shared out among the bands.
        seed: Chooses them.

    Raises:
        BadConfig: If a setting is out of range.
    """

    least: float = 0.7
    width: int = 5
    permutations: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.least <= 1.0:
            raise BadConfig(f"least must be in (0, 1], got {self.least!r}")
        if self.width < 1 or not 2 <= self.permutations <= 4096:
            raise BadConfig(
                f"width must be >= 1 and permutations 2..4096, got width {self.width}, permutations {self.permutations}"
            )
        if not 0 <= self.seed < 2**63:
            raise BadConfig(f"seed must be in 0..2**63-1, got {self.seed}")

    @property
    def rows(self) -> int:
        """Values in a band: the most with which 98% of the pairs at `least` are still found."""
        fit = [r for r in range(1, self.permutations + 1) if self._recall(self.least, r) >= 0.98]
        return max(fit, default=1)

    @property
    def count(self) -> int:
        """How many bands."""
        return self.permutations // self.rows

    @property
    def name(self) -> str:
        """Every setting in one string."""
        return f"minhash(jaccard>={self.least}, width={self.width}, {self.count}x{self.rows}, seed={self.seed})"

    def recall(self, jaccard: float) -> float:
        """Give the chance that two texts of this Jaccard are compared: 1 - (1 - j**rows)**count."""
        return self._recall(jaccard, self.rows)

    def floor(self) -> int:
        """Give the fewest equal bytes of two signatures with which their texts are worth comparing.

        Four standard deviations under what a pair at `least` has: 3 in 100,000 such pairs fall below.
        """
        expected = self.permutations * self.least
        return math.floor(expected - 4 * math.sqrt(expected * (1 - self.least)))

    def sign(self, texts: Sequence[str]) -> tuple[Keys, Bytes]:
        """Sign texts.

        Returns:
            One number a band, shape (n, count), equal where two signatures agree in the whole band;
            and one byte a hash function, shape (n, permutations), of which two texts with Jaccard j
            share about j (b-bit MinHash; Li and Koenig 2010).
        """
        from rensa import RMinHash  # type: ignore[import-not-found, import-untyped, unused-ignore]

        keys = [np.zeros((0, self.count), dtype=np.uint64)]
        bytes_ = [np.zeros((0, self.permutations), dtype=np.uint8)]
        for start, end in _chunks(texts):
            hashes, ends = _hashed([folded(text) for text in texts[start:end]], self.width)
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, ends, self.permutations, self.seed)
            signatures = np.array(matrix.to_rows(), dtype=np.uint64)
            keys.append(self._keys(signatures))
            bytes_.append((signatures & np.uint64(255)).astype(np.uint8))
        return np.concatenate(keys), np.concatenate(bytes_)

    def _keys(self, signatures: Keys) -> Keys:
        bands = signatures[:, : self.count * self.rows].reshape(len(signatures), self.count, self.rows)
        key = np.zeros(bands.shape[:2], dtype=np.uint64)
        for at in range(self.rows):
            key = _mixed(key ^ bands[:, :, at])
        return key

    def _recall(self, jaccard: float, rows: int) -> float:
        return float(1.0 - (1.0 - jaccard**rows) ** (self.permutations // rows))


def shingles(text: str, width: int = 5) -> frozenset[str]:
    """Cut the folded text, with a space before and after, in runs of `width` characters.

    >>> sorted(shingles("a cat", 5))
    [' a ca', ' cat ', 'a cat']
    """
    padded = _padded(folded(text), width)
    return frozenset(padded[i : i + width] for i in range(len(padded) - width + 1))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Shared part of two sets, 0..1; 1 for two empty ones."""
    shared = len(left & right)
    whole = len(left) + len(right) - shared
    return shared / whole if whole else 1.0


def _padded(text: str, width: int) -> str:
    return f" {text} ".ljust(width)


def _chunks(texts: Sequence[str]) -> list[tuple[int, int]]:
    out, start, size = [], 0, 0
    for at, text in enumerate(texts):
        size += len(text) + 2
        if size >= _CHUNK or at - start >= 16384:
            out.append((start, at + 1))
            start, size = at + 1, 0
    return [*out, (start, len(texts))] if start < len(texts) else out


def _hashed(texts: Sequence[str], width: int) -> tuple[Keys, Keys]:
    """Hash every shingle of every text: the hashes one behind the other, and where each text's begin and end."""
    padded = [_padded(text, width) for text in texts]
    joined = "".join(padded).encode("utf-32-le", "surrogatepass")
    letters = np.frombuffer(joined, dtype="<u4").astype(np.uint64)
    rolled = np.zeros(max(len(letters) - width + 1, 0), dtype=np.uint64)
    for at in range(width):
        rolled = rolled * _MULTIPLIER + letters[at : at + len(rolled)]
    sizes = np.fromiter((len(text) for text in padded), dtype=np.int64, count=len(padded))
    # the last width - 1 places of a text would run into the next one
    inside = np.ones(len(letters), dtype=bool)
    ends = np.cumsum(sizes)
    for back in range(1, width):
        inside[ends - back] = False
    counts = np.concatenate([[0], np.cumsum(sizes - width + 1)])
    return _mixed(rolled[inside[: len(rolled)]]), counts.astype(np.uint64)


def _mixed(keys: Keys) -> Keys:
    """Spread every bit over all others (the finish of splitmix64, Steele, Lea and Flood 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(keys ^ (keys >> np.uint64(31)))
