"""The most similar word list among those kept: ROUGE-L F1, exact, without comparing with each of them.

The latest are looked at one after the other, which is quick for some hundreds. All others are found
through the words they share (`overlap`), which takes about as long however many they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rapidfuzz import process
from rapidfuzz.distance import Indel

from .overlap import Limit, OverlapIndex, Vocabulary

__all__ = ["ClosestWords", "WordIndex"]

_UNKNOWN = "\x01"  # stands for every word that no list has
_LATEST = 512  # lists looked at one after the other, before they go into the index


class Letters:
    """A character for each word, so that rapidfuzz compares word lists at the speed of strings."""

    def __init__(self) -> None:
        self._letters: dict[str, str] = {}

    def learn(self, text: Sequence[str]) -> str:
        """Spell a word list; words that are new get characters."""
        for word in text:
            if word not in self._letters:
                code = len(self._letters) + 2
                self._letters[word] = chr(code if code < 0xD800 else code + 0x800)  # step over the surrogates
        return self.spell(text)

    def spell(self, text: Sequence[str]) -> str:
        """Spell a word list; all words that are new get the same character."""
        return "".join(self._letters.get(word, _UNKNOWN) for word in text)


class WordIndex:
    """Word lists by length, asked for the most similar one.

    Each is looked at, but for those whose length alone rules them out.
    """

    def __init__(self, letters: Letters | None = None) -> None:
        """Spell words as `letters` do, which others may use too."""
        self._letters = letters or Letters()
        self._by_length: dict[int, tuple[list[int], list[str]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, text: Sequence[str]) -> None:
        """Append a word list; its position is the number of those before it."""
        positions, lists = self._by_length.setdefault(len(text), ([], []))
        positions.append(self._size)
        lists.append(self._letters.learn(text))
        self._size += 1

    def best(self, text: Sequence[str], least: float) -> tuple[int, float] | None:
        """Find position and ROUGE-L F1 of the most similar list, at least `least`; the first of equals."""
        if not text:
            return None
        found: tuple[int, float] | None = None
        query = self._letters.spell(text)
        # 2 min(m, n) / (m + n) >= least bounds the lengths worth comparing
        low, high = (
            math.ceil(len(text) * least / (2 - least) - 1e-9),
            math.floor(len(text) * (2 - least) / least + 1e-9),
        )
        for positions, lists in self._lengths(max(low, 1), high):
            hit = process.extractOne(
                query, lists, scorer=Indel.normalized_similarity, score_cutoff=least, processor=None
            )
            if hit is None:
                continue
            at, similarity = positions[hit[2]], float(hit[1])
            if found is None or (-similarity, at) < (-found[1], found[0]):
                found = (at, similarity)
        return found

    def _lengths(self, low: int, high: int) -> Iterator[tuple[list[int], list[str]]]:
        return (self._by_length[n] for n in sorted(self._by_length) if low <= n <= high)


class ClosestWords:
    """Word lists that are kept, asked for the most similar one. What it finds is what comparing with each would find.

    Args:
        least: The F1 from which a list is similar, in (0, 1].
        latest: How many lists are looked at one after the other.
    """

    def __init__(self, least: float, *, latest: int = _LATEST) -> None:
        self._least, self._most = least, latest
        self._letters, self._vocabulary = Letters(), Vocabulary()
        self._index = OverlapIndex(Limit(least, above=False))
        self._spelled: list[str] = []  # of the lists in the index
        self._latest, self._waiting = WordIndex(self._letters), list[Sequence[str]]()

    def add(self, text: Sequence[str]) -> None:
        """Keep a word list; its position is the number of those before it."""
        self._latest.add(text)
        self._waiting.append(text)
        if len(self._waiting) >= self._most:
            self._index.add(self._vocabulary.bags(self._waiting))
            self._spelled += map(self._letters.spell, self._waiting)
            self._latest, self._waiting = WordIndex(self._letters), []

    def best(self, texts: Sequence[Sequence[str]]) -> list[tuple[int, float] | None]:
        """Find for each of `texts` position and F1 of the most similar list, at least `least`; the first of equals.

        Many at once take less time than one by one.
        """
        found = [self._of_latest(text) for text in texts]
        if self._spelled:
            asking, rows = self._index.ask(self._vocabulary.bags(texts, learn=False))
            spelled = [self._letters.spell(text) for text in texts]
            for asked, at in zip(asking.tolist(), rows.tolist(), strict=True):
                similarity = Indel.normalized_similarity(spelled[asked], self._spelled[at], score_cutoff=self._least)
                known = found[asked]
                if similarity and (known is None or (-similarity, at) < (-known[1], known[0])):
                    found[asked] = (at, similarity)
        return found

    def _of_latest(self, text: Sequence[str]) -> tuple[int, float] | None:
        hit = self._latest.best(text, self._least)
        return None if hit is None else (len(self._spelled) + hit[0], hit[1])
