"""Leakage: whether a text copies a row that is held out.

Asked of every emitted row against all splits of the task, so it errs towards
finding: a false alarm costs one synthetic row, a miss costs the proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .duplicates import Embeds, Match, WordIndex, check_threshold, folded, words

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Leakage"]

# Shorter texts are too common to be somebody's row when found inside another text,
# and one word of so few is most of what they say.
_LEAST_CONTAINED = 6
_LEAST_ONE_APART = 5


class Leakage:
    """The held-out texts, asked whether a text copies one of them.

    Rules, from certain to fuzzy; the first that applies answers:

    - `exact`: the same characters.
    - `normalised`: the same letters and digits after NFKC and case folding; spacing
      and punctuation do not count.
    - `ngram`: a run of `ngram` words in common (13, Brown et al. 2020, appendix C).
    - `contained`: a held-out text of 6 words to `ngram` - 1 stands whole inside it.
    - `one_word`: at most one word added, dropped or changed, from 5 words up.
    - `words`: ROUGE-L F1 of the *sorted* words, so that reordered sentences count.
    - `cosine`: embedding cosine, where an embedder is given.

    Sees wording, not meaning: a free paraphrase passes unless the embedding tells,
    and an arithmetic problem with other numbers counts as a copy of its template.

    Args:
        held_out: Texts by row id.
        ngram: Words in a common run.
        word_overlap: Least similarity of sorted words, in (0, 1]; None switches it off.
        cosine: Least cosine, in (0, 1].
        embedder: Makes the vectors; None switches the cosine rule off.

    Raises:
        BadConfig: If a setting is out of range.
    """

    def __init__(
        self,
        held_out: Mapping[str, str],
        *,
        ngram: int = 13,
        word_overlap: float | None = 0.85,
        cosine: float = 0.95,
        embedder: Embeds | None = None,
    ) -> None:
        if ngram < 2:
            raise BadConfig(f"ngram must be >= 2, got {ngram}")
        check_threshold("word_overlap", word_overlap)
        check_threshold("cosine", cosine)
        self._ngram, self._word_overlap, self._cosine, self._embedder = ngram, word_overlap, cosine, embedder
        self._ids = list(held_out)
        self._texts = list(held_out.values())
        self._exact: dict[str, int] = {}
        self._normalised: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._whole: dict[int, dict[str, int]] = {}  # by number of words
        self._ordered, self._sorted = WordIndex(), WordIndex()
        self._vectors: np.ndarray | None = None
        for at, text in enumerate(self._texts):
            self._index(at, text)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def name(self) -> str:
        """Every setting in one string, for fingerprints and reports."""
        cosine = self._cosine if self._embedder is not None else None
        return f"leakage(ngram={self._ngram}, word_overlap={self._word_overlap}, cosine={cosine})"

    def find(self, text: str) -> Match | None:
        """Find the held-out row that `text` copies, or None."""
        return self.find_many([text])[0]

    def find_many(self, texts: Sequence[str]) -> list[Match | None]:
        """Find what each of `texts` copies; texts are embedded together, those left over only."""
        found = [self._by_wording(text) for text in texts]
        left = [i for i, match in enumerate(found) if match is None]
        if self._embedder is None or not left or not self._ids:
            return found
        if self._vectors is None:
            self._vectors = self._embedder.embed(self._texts)
        asked = self._embedder.embed([texts[i] for i in left])
        for start in range(0, len(left), 1024):  # bounds the similarity matrix
            cosines = asked[start : start + 1024] @ self._vectors.T
            for i, row in zip(left[start : start + 1024], cosines, strict=True):
                at = int(row.argmax())
                if row[at] >= self._cosine:
                    found[i] = Match(self._ids[at], min(float(row[at]), 1.0), "cosine")
        return found

    def _index(self, at: int, text: str) -> None:
        split = words(text)
        self._exact.setdefault(text, at)
        key = _squeezed(text)
        if key:
            self._normalised.setdefault(key, at)
        for run in _runs(split, self._ngram):
            self._runs.setdefault(run, at)
        if _LEAST_CONTAINED <= len(split) < self._ngram:
            self._whole.setdefault(len(split), {}).setdefault(" ".join(split), at)
        self._ordered.add(split)
        self._sorted.add(sorted(split))

    def _by_wording(self, text: str) -> Match | None:
        if text in self._exact:
            return Match(self._ids[self._exact[text]], 1.0, "exact")
        key = _squeezed(text)
        if key in self._normalised:
            return Match(self._ids[self._normalised[key]], 1.0, "normalised")
        split = words(text)
        for run in _runs(split, self._ngram):
            if run in self._runs:
                return Match(self._ids[self._runs[run]], 1.0, "ngram")
        for length, whole in self._whole.items():
            for run in _runs(split, length):
                if run in whole:
                    return Match(self._ids[whole[run]], 1.0, "contained")
        return self._by_overlap(split)

    def _by_overlap(self, split: list[str]) -> Match | None:
        if len(split) >= _LEAST_ONE_APART:
            near = self._ordered.one_apart(split)
            if near is not None:
                return Match(self._ids[near], 1.0 - 1.0 / len(split), "one_word")
        if self._word_overlap is not None:
            hit = self._sorted.best(sorted(split), self._word_overlap)
            if hit is not None:
                return Match(self._ids[hit[0]], hit[1], "words")
        return None


def _squeezed(text: str) -> str:
    """Letters and digits alone; other signs only where there is nothing else."""
    key = folded(text)
    return "".join(c for c in key if c.isalnum()) or key


def _runs(split: Sequence[str], length: int) -> list[str]:
    return [" ".join(split[i : i + length]) for i in range(len(split) - length + 1)]
