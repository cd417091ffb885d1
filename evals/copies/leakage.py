"""Leakage: whether a text copies a row that is held out.

Asked of every emitted row against all splits of the task, so it errs towards
finding: a false alarm costs one synthetic row, a miss costs the proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from stillroom.errors import BadConfig

from .duplicates import Match, check_threshold, folded, words
from .overlap import Limit, OverlapIndex, Vocabulary

__all__ = ["Leakage"]

# Shorter texts are too common to be somebody's row when found inside another text,
# and one word of so few is most of what they say.
_LEAST_CONTAINED = 6
_LEAST_ONE_APART = 5
_ONE_APART = 0.8  # of five words with one changed four are in common: 2 * 4 / (5 + 5)
_SLICE = 1024


class Leakage:
    """The held-out texts, asked whether a text copies one of them.

    Rules, from certain to fuzzy; the first that applies answers:

    - `exact`: the same characters.
    - `normalised`: the same letters and digits after NFKC and case folding; spacing
      and punctuation do not count.
    - `ngram`: a run of `ngram` words in common (13, Brown et al. 2020, appendix C).
    - `contained`: a held-out text of 6 words to `ngram` - 1 stands whole inside it.
    - `one_word`: at most one word added, dropped or changed, from 5 words up.
    - `words`: F1 of the words in common, whatever their order, so that reordered sentences count.

    Sees wording, not meaning: a free paraphrase passes, and an arithmetic problem with
    other numbers counts as a copy of its template. `stillroom.evals.copies.decontaminate` reports
    paraphrases, and tells such siblings apart where answers are known.

    The last wording rules are asked of an index by rare words, so the work does not
    grow with held-out texts times texts.

    Args:
        held_out: Texts by row id.
        ngram: Words in a common run.
        word_overlap: Least F1 of common words, in (0, 1]; None switches it off.
        boilerplate: A run that stands in more held-out texts than this is no evidence (Brown et al. 2020
            leave out runs seen more than 10 times), and its words do not count for the last wording rules; None
            takes every run for evidence.

    Raises:
        BadConfig: If a setting is out of range.
    """

    def __init__(
        self,
        held_out: Mapping[str, str],
        *,
        ngram: int = 13,
        word_overlap: float | None = 0.85,
        boilerplate: int | None = None,
    ) -> None:
        if ngram < 2:
            raise BadConfig(f"ngram must be >= 2, got {ngram}")
        if boilerplate is not None and boilerplate < 1:
            raise BadConfig(f"boilerplate must be >= 1 or None, got {boilerplate}")
        check_threshold("word_overlap", word_overlap)
        self._ngram, self._word_overlap = ngram, word_overlap
        self._ids = list(held_out)
        self._exact: dict[str, int] = {}
        self._normalised: dict[str, list[int]] = {}
        self._runs: dict[str, list[int]] = {}
        self._whole: dict[int, dict[str, list[int]]] = {}  # by number of words
        self._boilerplate = boilerplate
        self._splits = [words(text) for text in held_out.values()]
        for at, text in enumerate(held_out.values()):
            self._index(at, text)
        self._stock = self._take_stock(boilerplate)
        self._splits = [self._own(split) for split in self._splits]
        self._vocabulary = Vocabulary()
        self._overlap = OverlapIndex(Limit(min(word_overlap or 1.0, _ONE_APART), above=False))
        self._overlap.add(self._vocabulary.bags(self._splits))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def name(self) -> str:
        """Every setting in one string, for fingerprints and reports."""
        runs = self._ngram if self._boilerplate is None else f"{self._ngram}<={self._boilerplate}"
        return f"leakage(ngram={runs}, word_overlap={self._word_overlap})"

    def find(self, text: str) -> Match | None:
        """Find the held-out row that `text` copies, or None."""
        return self.find_many([text])[0]

    def find_many(self, texts: Sequence[str], *, spare: Callable[[int, str], bool] | None = None) -> list[Match | None]:
        """Find what each of `texts` copies.

        Args:
            spare: Asked of a wording short of the same characters, with the position in `texts` and the held-out
                row's id: whether that row does not count for that text. The search goes on with other rows.
        """
        found: list[Match | None] = []
        for start in range(0, len(texts), _SLICE):
            found += self._by_wording(texts[start : start + _SLICE], _Spared(self._ids, spare, start))
        return found

    def _index(self, at: int, text: str) -> None:
        split = self._splits[at]
        self._exact.setdefault(text, at)
        key = _squeezed(text)
        if key:
            _hold(self._normalised, key, at)
        for run in _runs(split, self._ngram):
            _hold(self._runs, run, at)
        if _LEAST_CONTAINED <= len(split) < self._ngram:
            _hold(self._whole.setdefault(len(split), {}), " ".join(split), at)

    def _take_stock(self, most: int | None) -> set[str]:
        """Take the runs that stand in too many texts out of the index, and give them."""
        stock = {run for run, rows in self._runs.items() if most is not None and len(rows) > most}
        for run in stock:
            del self._runs[run]
        return stock

    def _own(self, split: list[str]) -> list[str]:
        """Give the words outside stock runs."""
        if not self._stock:
            return split
        inside: set[int] = set()
        for at, run in enumerate(_runs(split, self._ngram)):
            if run in self._stock:
                inside.update(range(at, at + self._ngram))
        return [word for at, word in enumerate(split) if at not in inside]

    def _by_wording(self, texts: Sequence[str], spared: _Spared) -> list[Match | None]:
        splits = [words(text) for text in texts]
        found = [
            self._by_run(i, text, split, spared) for i, (text, split) in enumerate(zip(texts, splits, strict=True))
        ]
        left = [i for i, match in enumerate(found) if match is None]
        own = [self._own(splits[i]) for i in left]
        for i, split, rows in zip(left, own, self._close(own), strict=True):
            found[i] = self._among(split, [at for at in rows if not spared(i, at)])
        return found

    def _by_run(self, i: int, text: str, split: list[str], spared: _Spared) -> Match | None:
        if text in self._exact:
            return Match(self._ids[self._exact[text]], 1.0, "exact")
        for rule, rows in self._holders(text, split):
            for at in rows:
                if not spared(i, at):
                    return Match(self._ids[at], 1.0, rule)
        return None

    def _holders(self, text: str, split: list[str]) -> Iterator[tuple[str, Sequence[int]]]:
        yield "normalised", self._normalised.get(_squeezed(text), ())
        for run in _runs(split, self._ngram):
            yield "ngram", self._runs.get(run, ())
        for length, whole in self._whole.items():
            for run in _runs(split, length):
                yield "contained", whole.get(run, ())

    def _close(self, splits: Sequence[list[str]]) -> list[list[int]]:
        """Give for each word list the held-out rows that the last wording rules can find, in order."""
        close: list[list[int]] = [[] for _ in splits]
        for asking, at in zip(*self._overlap.ask(self._vocabulary.bags(splits, learn=False)), strict=True):
            close[asking].append(int(at))
        return close

    def _among(self, split: list[str], rows: Sequence[int]) -> Match | None:
        if len(split) >= _LEAST_ONE_APART:
            for at in rows:
                if Levenshtein.distance(split, self._splits[at], score_cutoff=1) <= 1:
                    return Match(self._ids[at], 1.0 - 1.0 / len(split), "one_word")
        if self._word_overlap is None or not rows:
            return None
        shares = [_shared(split, self._splits[at]) for at in rows]
        top = max(shares)
        return Match(self._ids[rows[shares.index(top)]], top, "words") if top >= self._word_overlap else None


class _Spared:
    """Whether a held-out row does not count, with positions counted from the start of a slice."""

    def __init__(self, ids: Sequence[str], spare: Callable[[int, str], bool] | None, start: int) -> None:
        self._ids, self._spare, self._start = ids, spare, start

    def __call__(self, i: int, at: int) -> bool:
        return self._spare is not None and self._spare(self._start + i, self._ids[at])


def _hold(holders: dict[str, list[int]], key: str, at: int) -> None:
    rows = holders.setdefault(key, [])
    if not rows or rows[-1] != at:
        rows.append(at)


def _squeezed(text: str) -> str:
    """Letters and digits alone; other signs only where there is nothing else."""
    key = folded(text)
    return "".join(c for c in key if c.isalnum()) or key


def _runs(split: Sequence[str], length: int) -> list[str]:
    return [" ".join(split[i : i + length]) for i in range(len(split) - length + 1)]


def _shared(left: Sequence[str], right: Sequence[str]) -> float:
    return 2 * (Counter(left) & Counter(right)).total() / (len(left) + len(right))
