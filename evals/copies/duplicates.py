"""Duplicates: what counts as the same text, and a pool that can be asked.

Texts are compared after folding (NFKC, case, white space); near duplicates by
word-level ROUGE-L, by character shingles where a text is too short for words to
say much, and by embedding cosine where an embedder is given. A pool is asked and
fed one text at a time, so what it keeps depends on the order alone.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from rapidfuzz.distance import Indel

from stillroom.errors import BadConfig

from .closest import ClosestWords

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Embeds", "Exact", "Match", "NearDuplicates", "folded", "plain", "rouge_l", "words"]

_WORD = re.compile(r"[^\W_]+")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[.,:/-](?=\d)|(?<!\w)[-.](?=\d)")
_MEANT = frozenset("#%&@*/\\")  # punctuation by Unicode's class, but part of names and amounts


def folded(text: str) -> str:
    r"""Fold what does not change a text: NFKC, case, invisible characters, runs of white space.

    >>> folded("  Ｃard\u200b   LOST ")
    'card lost'
    """
    if text.isascii():  # nothing to normalise, and a tenth of the time
        return " ".join(text.lower().split())
    kept = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf")
    # case folding can undo NFKC for a few characters (Unicode 3.13, D147)
    return " ".join(unicodedata.normalize("NFKC", kept.casefold()).split())


def plain(text: str) -> str:
    """Fold `text` and take its punctuation away, save where it is part of a number or a name.

    >>> plain("It's card_lost -- $3.50!"), plain("C#"), plain("?!")
    ('its card lost $3.50', 'c#', '?!')
    """
    text = folded(text)
    kept = {match.start() for match in _BETWEEN_DIGITS.finditer(text)}
    letters = []
    for at, letter in enumerate(text):
        if letter in "'\u2019":
            continue  # don't -> dont
        drop = unicodedata.category(letter).startswith("P") and letter not in _MEANT and at not in kept
        letters.append(" " if drop else letter)
    return " ".join("".join(letters).split()) or text


def words(text: str) -> list[str]:
    """Split into words, the runs of letters and digits of the folded text."""
    return _WORD.findall(folded(text))


def rouge_l(left: Sequence[str], right: Sequence[str]) -> float:
    """ROUGE-L F1 of two word lists: 2 LCS / (m + n), 0..1 (Lin 2004, equation 4 with beta 1).

    >>> rouge_l("i lost my card".split(), "i lost my new card".split())
    0.888...
    """
    if not left or not right:
        return 0.0
    return float(Indel.normalized_similarity(left, right))


class Embeds(Protocol):
    """Whatever turns texts into vectors; `stillroom.evals.embedding.Embedder` does."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One row a text, float32, of length 1."""


@dataclass(frozen=True)
class Match:
    """That a text is taken for a copy of `other_id`, how alike (0..1), and by which rule."""

    other_id: str
    similarity: float
    rule: str


def check_threshold(rule: str, least: float | None) -> None:
    """Refuse a threshold outside (0, 1]."""
    if least is not None and not 0.0 < least <= 1.0:
        raise BadConfig(f"{rule} must be in (0, 1] or None, got {least!r}")


class ShingleIndex:
    """Character-shingle sets, asked for the first one over a Jaccard threshold.

    Two sets with Jaccard >= t share a shingle among the first n - ceil(t n) + 1 of
    each in any fixed order (prefix filtering, Chaudhuri et al. 2006), so only those
    are indexed and the rest is compared for the few candidates left.
    """

    def __init__(self, least: float, width: int = 3) -> None:
        self._least, self._width = least, width
        self._sets: dict[int, frozenset[str]] = {}
        self._holders: dict[str, list[int]] = {}

    def add(self, at: int, text: str) -> None:
        """Index the folded `text` as number `at`; numbers must rise."""
        shingles = self._shingles(text)
        self._sets[at] = shingles
        for shingle in self._prefix(shingles):
            self._holders.setdefault(shingle, []).append(at)

    def best(self, text: str) -> tuple[int, float] | None:
        """Find number and Jaccard of the most similar text; the first of equals."""
        shingles = self._shingles(text)
        candidates = {at for shingle in self._prefix(shingles) for at in self._holders.get(shingle, ())}
        found: tuple[float, int] = (0.0, 0)
        for at in candidates:
            shared = len(shingles & self._sets[at])
            found = min(found, (-shared / (len(shingles) + len(self._sets[at]) - shared), at))
        return (found[1], -found[0]) if -found[0] >= self._least else None

    def _shingles(self, text: str) -> frozenset[str]:
        padded = f" {text} "
        return frozenset(padded[i : i + self._width] for i in range(len(padded) - self._width + 1))

    def _prefix(self, shingles: frozenset[str]) -> list[str]:
        # any fixed order is right; a checksum's is quick, since it mixes rare shingles into every prefix
        ordered = sorted(shingles, key=lambda shingle: (crc32(shingle.encode("utf-8", "surrogatepass")), shingle))
        return ordered[: len(ordered) - math.ceil(self._least * len(ordered) - 1e-9) + 1]


class Exact:
    """The texts kept so far, asked for one that is the same after folding."""

    name = "exact"

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, text: str) -> Match | None:
        """Find the kept text that `text` copies, or None."""
        other = self._kept.get(folded(text))
        return None if other is None else Match(other, 1.0, "exact")

    def find_many(self, texts: Sequence[str]) -> list[Match | None]:
        """Find for each of `texts` the kept text that it copies, or None."""
        return [self.find(text) for text in texts]

    def add(self, id: str, text: str) -> None:
        """Keep `text` under `id`; the first of equal texts stays."""
        self._kept.setdefault(folded(text), id)


class NearDuplicates:
    """The texts kept so far: `find` asks whether a text is a near copy of one, `add` keeps it.

    Deterministic: the same texts in the same order give the same matches. Rules are
    asked from certain to fuzzy (`exact`, `rouge_l`, `shingles`, `cosine`), and the
    first that applies answers with its closest text. Embedding one text at a time is
    slow: embed all at once before, and the embedder's memo answers.

    Args:
        rouge: Word-level ROUGE-L F1 must be above it; 0.7 is Self-Instruct's (Wang et al. 2023).
        shingle: Least Jaccard overlap of character 3-grams, asked of short texts only.
        short_words: Up to how many words a text is short.
        cosine: Least cosine, asked where there is an embedder.
        embedder: Makes the vectors for `cosine`.

    A threshold of None switches its rule off.

    Raises:
        BadConfig: If a threshold is outside (0, 1] or `short_words` is negative.
    """

    def __init__(
        self,
        rouge: float | None = 0.7,
        *,
        shingle: float | None = 0.8,
        short_words: int = 8,
        cosine: float | None = 0.95,
        embedder: Embeds | None = None,
    ) -> None:
        for rule, least in (("rouge", rouge), ("shingle", shingle), ("cosine", cosine)):
            check_threshold(rule, least)
        if short_words < 0:
            raise BadConfig(f"short_words must be >= 0, got {short_words}")
        self._rouge, self._short_words, self._cosine = rouge, short_words, cosine
        self._embedder = embedder if cosine is not None else None
        self.name = f"near(rouge={rouge}, shingle={shingle}@{short_words}, cosine={cosine if self._embedder else None})"
        self._ids: list[str] = []
        self._exact: dict[str, int] = {}
        self._words = None if rouge is None else ClosestWords(rouge)
        self._short = ShingleIndex(shingle) if shingle is not None else None
        self._vectors: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, text: str) -> Match | None:
        """Find the kept text that `text` nearly copies, or None."""
        return self.find_many([text])[0]

    def find_many(self, texts: Sequence[str]) -> list[Match | None]:
        """Find for each of `texts` the kept text that it nearly copies, or None; in less time than one by one."""
        keys = [folded(text) for text in texts]
        splits = [_WORD.findall(key) for key in keys]
        closest = [None] * len(texts) if self._words is None else self._words.best(splits)
        return [self._match(*each) for each in zip(texts, keys, splits, closest, strict=True)]

    def add(self, id: str, text: str) -> None:
        """Keep `text` under `id`. Does not ask whether it is a copy."""
        key, at = folded(text), len(self._ids)
        split = _WORD.findall(key)
        self._ids.append(id)
        self._exact.setdefault(key, at)
        if self._words is not None:
            self._words.add(split)
        if self._short is not None and len(split) <= self._short_words:
            self._short.add(at, key)
        if self._embedder is not None:
            self._keep_vector(at, self._embedder.embed([text])[0])

    def _match(self, text: str, key: str, split: list[str], closest: tuple[int, float] | None) -> Match | None:
        if key in self._exact:
            return Match(self._ids[self._exact[key]], 1.0, "exact")
        for rule, hit in self._near(text, key, split, closest):
            if hit is not None:
                return Match(self._ids[hit[0]], hit[1], rule)
        return None

    def _near(
        self, text: str, key: str, split: list[str], closest: tuple[int, float] | None
    ) -> Iterator[tuple[str, tuple[int, float] | None]]:
        if self._rouge is not None and closest is not None:
            # above, not at: Self-Instruct keeps a text at exactly 0.7
            yield "rouge_l", closest if closest[1] > self._rouge + 1e-9 or closest[1] == 1.0 else None
        if self._short is not None and len(split) <= self._short_words:
            yield "shingles", self._short.best(key)
        if self._embedder is not None and self._cosine is not None and self._vectors is not None:
            cosines = self._vectors[: len(self._ids)] @ self._embedder.embed([text])[0]
            at = int(cosines.argmax())
            yield "cosine", (at, min(float(cosines[at]), 1.0)) if cosines[at] >= self._cosine else None

    def _keep_vector(self, at: int, vector: np.ndarray) -> None:
        import numpy as np

        if self._vectors is None:
            self._vectors = np.zeros((256, len(vector)), dtype=np.float32)
        if at >= len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[at] = vector
