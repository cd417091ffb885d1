"""Novelty by ROUGE-L as Self-Instruct defines it, text after text, without comparing each with all.

A text is kept unless its ROUGE-L F1 with a text kept before is above the limit (0.7;
Wang et al. 2023, section 2.2, and the code published with it). The definition depends on the
order: of two near copies the first one stays. `content_order` is an order that does not
depend on how the rows lie.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import LCSseq

from .duplicates import Match
from .overlap import Bags, Ints, Limit, OverlapIndex, Vocabulary

__all__ = ["RougeFilter", "content_order", "novel", "rouge_words"]

_NO_WORD = re.compile(r"[^a-z0-9]+")
_SLICE = 1024  # texts that are decided together


def rouge_words(text: str) -> list[str]:
    """Split as rouge-score does without stemming: lower case, runs of a-z and 0-9.

    Other scripts have no words by this rule, so all their texts are novel: give
    `stillroom.evals.copies.duplicates.words` to the filter for them.

    >>> rouge_words("Don't write a poem, please!")
    ['don', 't', 'write', 'a', 'poem', 'please']
    """
    return _NO_WORD.sub(" ", text.lower()).split()


class RougeFilter:
    """The texts kept so far; `admit` decides on more of them.

    The decisions are those of comparing each text with every kept one, to the last pair:

    1. F1 is 2 LCS / (m + n), in whole numbers (`Limit`); a list without words has F1 0.
    2. LCS <= words in common as multisets, so `OverlapIndex`, which misses no pair over the
       limit, gives every pair that can count, and more.
    3. Each of those is compared in full by a bit-parallel LCS (Hyyro 2004, in rapidfuzz).
    4. Texts are decided in slices: pairs with texts kept before the slice and pairs within it are
       found together, then decided one after the other, so that a text stopped in the slice stops no other.

    Args:
        limit: Largest F1 with a kept text.
        keep_at_limit: Whether a text at exactly the limit is kept, as the published code does; the paper
            says "less than".
        split: Makes words of a text.
        kin: Whether texts of two ids (a newer and a kept one) are never copies of each other.

    Raises:
        BadConfig: If `limit` is outside (0, 1].
    """

    def __init__(
        self,
        limit: float = 0.7,
        *,
        keep_at_limit: bool = True,
        split: Callable[[str], Sequence[str]] = rouge_words,
        kin: Callable[[str, str], bool] = lambda newer, kept: False,
    ) -> None:
        self._limit = Limit(limit, above=keep_at_limit)
        made = getattr(split, "__qualname__", type(split).__qualname__)
        self.name = f"rouge_l({'<=' if keep_at_limit else '<'}{limit}, {made})"
        self._split, self._kin = split, kin
        self._vocabulary = Vocabulary()
        self._index = OverlapIndex(self._limit)
        self._ids: list[str] = []

    def __len__(self) -> int:
        return len(self._ids)

    def admit(self, rows: Iterable[tuple[str, str]]) -> list[Match | None]:
        """Decide on (id, text) in order: None for a kept text, else its closest kept one (the first of equals)."""
        out: list[Match | None] = []
        batch: list[tuple[str, str]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == _SLICE:
                out += self._admit(batch)
                batch = []
        return out + (self._admit(batch) if batch else [])

    def find_many(self, texts: Sequence[str]) -> list[Match | None]:
        """Give for each text the closest kept one that is over the limit, or None. Keeps nothing."""
        out: list[Match | None] = []
        for start in range(0, len(texts), _SLICE):
            splits = [self._split(text) for text in texts[start : start + _SLICE]]
            bags = self._vocabulary.bags(splits, learn=False)
            best: list[Match | None] = [None] * len(bags)
            for asking, kept, f1 in zip(*self._similar(bags, self._index), strict=True):
                best[asking] = _closer(best[asking], Match(self._ids[kept], f1, "rouge_l"))
            out += best
        return out

    def _admit(self, batch: Sequence[tuple[str, str]]) -> list[Match | None]:
        bags = self._vocabulary.bags([self._split(text) for _, text in batch])
        best: list[Match | None] = [None] * len(bags)
        for asking, kept, f1 in zip(*self._similar(bags, self._index), strict=True):
            if not self._kin(batch[asking][0], self._ids[kept]):
                best[asking] = _closer(best[asking], Match(self._ids[kept], f1, "rouge_l"))
        here = OverlapIndex(self._limit)
        here.add(bags)
        for asking, other, f1 in zip(*self._similar(bags, here, earlier=True), strict=True):
            if best[other] is None:  # pairs come sorted: whatever stands before is decided
                best[asking] = _closer(best[asking], Match(batch[other][0], f1, "rouge_l"))
        kept_here = [at for at, match in enumerate(best) if match is None]
        self._index.add(bags.take(np.array(kept_here, dtype=np.int64)))
        self._ids += [batch[at][0] for at in kept_here]
        return best

    def _similar(
        self, bags: Bags, index: OverlapIndex, *, earlier: bool = False
    ) -> tuple[list[int], list[int], list[float]]:
        """Give the pairs over the limit and their F1, sorted."""
        asking, rows = index.ask(bags)
        if earlier:
            before = rows < asking
            asking, rows = asking[before], rows[before]
        left, right = bags.sizes[asking], index.sizes(rows)
        common = _common(bags, asking, index, rows)
        over = self._limit.passed(left, right, common)
        f1 = 2 * common[over] / (left + right)[over]
        return asking[over].tolist(), rows[over].tolist(), f1.tolist()


def novel(
    texts: Sequence[str],
    limit: float = 0.7,
    *,
    keep_at_limit: bool = True,
    split: Callable[[str], Sequence[str]] = rouge_words,
    order: Sequence[int] | None = None,
) -> list[Match | None]:
    """Filter `texts` as `RougeFilter` does: None where kept, else the closest kept text, its position as id.

    Args:
        order: Positions in the order of deciding, for example `content_order(texts)`; as given otherwise.
    """
    places = range(len(texts)) if order is None else order
    decided = RougeFilter(limit, keep_at_limit=keep_at_limit, split=split).admit((str(at), texts[at]) for at in places)
    out: list[Match | None] = [None] * len(texts)
    for at, match in zip(places, decided, strict=True):
        out[at] = match
    return out


def content_order(texts: Sequence[str], seed: int = 0) -> list[int]:
    """Sort positions by a hash of seed and text, so that the same texts in any order are decided alike.

    Equal texts come in the order given.
    """
    key = seed.to_bytes(8, "big", signed=True)
    return sorted(range(len(texts)), key=lambda at: _content_hash(texts[at], key))


def _content_hash(text: str, key: bytes) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()


def _closer(known: Match | None, other: Match) -> Match:
    return other if known is None or other.similarity > known.similarity else known


def _common(bags: Bags, asking: Ints, index: OverlapIndex, rows: Ints) -> Any:
    """Lengths of the longest common subsequences of the pairs."""
    if not len(asking):
        return np.zeros(0, dtype=np.int64)
    askers, left = np.unique(asking, return_inverse=True)
    others, right = np.unique(rows, return_inverse=True)
    mine = bags.take(askers)
    words, sizes = index.words(others)
    # numbered anew among the few words at hand, since a word becomes one character
    _, letters = np.unique(np.concatenate([mine.words, words]), return_inverse=True)
    first = _strings(letters[: len(mine.words)], mine.sizes)
    second = _strings(letters[len(mine.words) :], sizes)
    return process.cpdist(
        [first[at] for at in left], [second[at] for at in right], scorer=LCSseq.similarity, dtype=np.int64
    )


def _strings(letters: Ints, sizes: Ints) -> list[str]:
    codes = (letters + (letters >= 0xD800) * 0x800).astype("<u4")  # step over the surrogates
    text = codes.tobytes().decode("utf-32-le")
    ends = np.cumsum(sizes).tolist()
    return [text[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]
