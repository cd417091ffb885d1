"""Similar word lists in less than quadratic time: an inverted index over the rare words of each.

The question is which earlier lists share more than so many words with a new one. A
word list is taken as a multiset: its k-th "the" is an element of its own. The
longest common subsequence of two lists is never longer than their common multiset,
so whatever ROUGE-L calls similar, this index finds, with others that are then compared
in full.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from stillroom.errors import BadConfig

__all__ = ["Bags", "Limit", "OverlapIndex", "Vocabulary"]

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_SHIFT = 20  # bits of a posting's key that hold the length of its list
_LONGEST = (1 << _SHIFT) - 1
_HITS = 1 << 21  # postings looked at together; bounds the memory of one question


@dataclass(frozen=True)
class Limit:
    """How alike is too alike: an F1 of 2 common / (m + n) above `share`, or from it on.

    Counted in whole numbers, so that a pair at exactly the limit never falls to one
    side by rounding: 0.7 is seven tenths here, and 7 words of 10 and 10 stand at it.

    Attributes:
        share: In (0, 1].
        above: Whether a pair at exactly `share` is not yet too alike. Never at share 1.

    Raises:
        BadConfig: If `share` is outside (0, 1].
    """

    share: float
    above: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise BadConfig(f"a limit must be in (0, 1], got {self.share!r}")

    def longest(self, common: Ints) -> Ints:
        """Give the largest m + n for which `common` words in common are too alike."""
        part = Fraction(str(float(self.share)))
        whole = 2 * part.denominator * np.asarray(common, dtype=np.int64)
        if self.above and self.share < 1.0:  # 2 c / (m + n) > p / q  <=>  m + n < 2 q c / p
            return (whole - 1) // part.numerator
        return whole // part.numerator

    def passed(self, left: Ints, right: Ints, common: Ints) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Say of lists with `left` and `right` words whether `common` ones make them too alike."""
        return (left + right <= self.longest(common)) & (common > 0)

    def shortest(self, size: Ints) -> Ints:
        """Give the fewest words with which a list can be too like one of `size` words."""
        part = Fraction(str(float(self.share)))
        other = 2 * part.denominator - part.numerator
        if self.above and self.share < 1.0:  # all m words in common: 2 q m > p (m + n)
            return np.asarray(part.numerator * size // other + 1)
        return np.asarray(-(-part.numerator * size // other))


@dataclass(frozen=True)
class Bags:
    """Word lists as numbers, one behind the other.

    Attributes:
        words: Number of each word, in the order of the text.
        elements: Number of each word and how often it stood before; distinct within a list.
        sizes: How many words each list has.
        marks: 256 bits a list, shape (n, 4), in which every element sets one.
    """

    words: Ints
    elements: Ints
    sizes: Ints
    marks: np.ndarray[Any, np.dtype[np.uint64]]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def owners(self) -> Ints:
        """The list that each word stands in."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def take(self, which: Ints) -> Bags:
        """Give some of the lists."""
        at = spans((np.cumsum(self.sizes) - self.sizes)[which], self.sizes[which])
        return Bags(self.words[at], self.elements[at], self.sizes[which], self.marks[which])


class Vocabulary:
    """Numbers for words, given out as they come."""

    def __init__(self) -> None:
        self._numbers: defaultdict[Any, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__  # the next number

    def __len__(self) -> int:
        return len(self._numbers)

    def bags(self, lists: Sequence[Sequence[str]], *, learn: bool = True) -> Bags:
        """Number the words of `lists`. New words get new numbers, which are forgotten unless `learn`."""
        known = len(self._numbers)
        try:
            return self._bags(lists)
        finally:
            while not learn and len(self._numbers) > known:
                self._numbers.popitem()  # the last one in is the first one out

    def _bags(self, lists: Sequence[Sequence[str]]) -> Bags:
        numbers = self._numbers
        flat: list[int] = []
        elements: list[int] = []
        for each in lists:
            coded = [numbers[word] for word in each]
            flat += coded
            elements += coded if len(set(coded)) == len(coded) else self._counted(coded)
        sizes = np.fromiter((len(each) for each in lists), dtype=np.int64, count=len(lists))
        if len(sizes) and sizes.max() > _LONGEST:
            raise BadConfig(f"a text may have {_LONGEST:,} words, got one with {sizes.max():,}")
        numbered = np.array(elements, dtype=np.int64)
        return Bags(np.array(flat, dtype=np.int64), numbered, sizes, _marks(numbered, sizes))

    def _counted(self, coded: list[int]) -> list[int]:
        seen: dict[int, int] = {}
        out = []
        for number in coded:
            before = seen.get(number, 0)
            seen[number] = before + 1
            out.append(self._numbers[(number, before)] if before else number)
        return out


@dataclass(frozen=True)
class _Segment:
    """The postings of some lists, by element and length.

    Attributes:
        keys: Element and length of the list in one number, rising.
        rows: The list of each posting.
        reach: The longest asking list that this posting may answer.
    """

    size: int
    keys: Ints
    rows: np.ndarray[Any, np.dtype[np.int32]]
    reach: np.ndarray[Any, np.dtype[np.int32]]


class OverlapIndex:
    """Lists of words, asked which of them can be too like a new one.

    Exact: no pair over the limit is missed. Two lists with `c` common elements, both
    sorted in one order, have their first common element among the first m - c + 1 and
    n - c + 1 (prefix filter; Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant
    2007), at places i and j with c <= min(m - i, n - j) (positional filter; Xiao, Wang,
    Lin and Yu 2008). So only early elements are posted and asked for, a posting at j
    answers lists up to a length, and an element at i asks for lists up to one. Rare
    elements are sorted first, which makes postings short; which order is used changes
    the work and never the answer. What is left passes a bound from 256-bit marks:
    common <= (m + n - differing bits) / 2 (Sandes, Teodoro and Melo 2020).

    Postings lie in segments that are merged when they are of like size, and the order
    of elements is learnt anew when the number of lists has doubled.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._bags = _Grown()
        self._segments: list[_Segment] = []
        self._often = np.zeros(0, dtype=np.int64)
        self._learnt = 0

    def __len__(self) -> int:
        return len(self._bags)

    def add(self, bags: Bags) -> None:
        """Append lists; their numbers follow on."""
        if not len(bags):
            return
        start = len(self._bags)
        self._bags.extend(bags)
        if len(self._bags) >= 2 * self._learnt + 1024:
            self._learn()
            self._segments = [self._segment(0, len(self._bags))]
            return
        self._segments.append(self._segment(start, len(self._bags)))
        while len(self._segments) > 1 and self._segments[-2].size <= 3 * self._segments[-1].size:
            last, before = self._segments.pop(), self._segments.pop()
            self._segments.append(_merged(before, last))

    def ask(self, bags: Bags) -> tuple[Ints, Ints]:
        """Give pairs (number in `bags`, number here) that hold every pair over the limit, sorted."""
        found = [pairs for segment in self._segments for pairs in self._ask(bags, segment)]
        return _unique(found)

    def words(self, rows: Ints) -> tuple[Ints, Ints]:
        """Give the words of some lists, one behind the other, and the lists' sizes."""
        return self._bags.words_of(rows)

    def sizes(self, rows: Ints) -> Ints:
        """Give how many words some lists have."""
        return self._bags.sizes[rows]

    def _learn(self) -> None:
        self._often = np.bincount(self._bags.elements)
        self._learnt = len(self._bags)

    def _order(self, bags: Bags) -> tuple[Ints, Ints, Ints]:
        """Sort each list's elements, rare ones first: elements, their owners and places."""
        known = np.minimum(bags.elements, max(len(self._often) - 1, 0))
        often = np.where(bags.elements < len(self._often), self._often[known], 0) if len(self._often) else known * 0
        owners = bags.owners
        by = np.lexsort((bags.elements, often, owners))
        starts = np.cumsum(bags.sizes) - bags.sizes
        return bags.elements[by], owners, np.arange(len(owners)) - starts[owners]

    def _prefixes(self, bags: Bags) -> tuple[Ints, Ints, Ints]:
        """Give element, owner and reach of what can be the first common element."""
        elements, owners, places = self._order(bags)
        sizes = bags.sizes[owners]
        # the longest other list for which all elements from this place on would be enough
        reach = np.minimum(self.limit.longest(sizes - places) - sizes, _LONGEST)
        early = reach >= self.limit.shortest(sizes)
        return elements[early], owners[early], reach[early]

    def _segment(self, start: int, end: int) -> _Segment:
        bags = self._bags.slice(start, end)
        elements, owners, reach = self._prefixes(bags)
        keys = (elements << _SHIFT) | bags.sizes[owners]
        by = np.argsort(keys, kind="stable")
        rows = (owners[by] + start).astype(np.int32)
        return _Segment(end - start, keys[by], rows, reach[by].astype(np.int32))

    def _ask(self, bags: Bags, segment: _Segment) -> list[Ints]:
        elements, owners, reach = self._prefixes(bags)
        sizes = bags.sizes[owners]
        low = np.searchsorted(segment.keys, (elements << _SHIFT) | self.limit.shortest(sizes))
        high = np.searchsorted(segment.keys, (elements << _SHIFT) | reach, side="right")
        hits = np.maximum(high - low, 0)
        some = hits > 0
        low, hits, owners = low[some], hits[some], owners[some]
        found = []
        ends = np.cumsum(hits)
        at = 0
        while at < len(hits):
            stop = max(int(np.searchsorted(ends, (ends[at - 1] if at else 0) + _HITS, side="right")), at + 1)
            found.append(self._passing(bags, segment, owners[at:stop], low[at:stop], hits[at:stop]))
            at = stop
        return found

    def _passing(self, bags: Bags, segment: _Segment, owners: Ints, low: Ints, hits: Ints) -> Ints:
        postings = spans(low, hits)
        asking = np.repeat(owners, hits)
        reached = segment.reach[postings] >= bags.sizes[asking]
        asking, rows = asking[reached], segment.rows[postings[reached]]
        differ = np.bitwise_count(bags.marks[asking] ^ self._bags.marks[rows]).sum(axis=1, dtype=np.int64)
        left, right = bags.sizes[asking], self._bags.sizes[rows]
        likely = self.limit.passed(left, right, (left + right - differ) // 2)
        return (asking[likely] << 32) | rows[likely]


class _Grown:
    """Bags that can be appended to; arrays double, so that appending is cheap."""

    def __init__(self) -> None:
        self._words = np.zeros(1024, dtype=np.int32)
        self._elements = np.zeros(1024, dtype=np.int32)
        self._ends = np.zeros(1025, dtype=np.int64)  # one more than lists
        self._marks = np.zeros((1024, 4), dtype=np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def elements(self) -> Any:
        return self._elements[: self._ends[self._count]]

    @property
    def sizes(self) -> Ints:
        return np.diff(self._ends[: self._count + 1])

    @property
    def marks(self) -> np.ndarray[Any, np.dtype[np.uint64]]:
        return self._marks[: self._count]

    def extend(self, bags: Bags) -> None:
        start, end = int(self._ends[self._count]), self._count + len(bags)
        total = start + len(bags.words)
        self._words = _room(self._words, total)
        self._elements = _room(self._elements, total)
        self._ends, self._marks = _room(self._ends, end + 1), _room(self._marks, end)
        self._words[start:total] = bags.words
        self._elements[start:total] = bags.elements
        self._ends[self._count + 1 : end + 1] = start + np.cumsum(bags.sizes)
        self._marks[self._count : end] = bags.marks
        self._count = end

    def slice(self, start: int, end: int) -> Bags:
        inside = slice(int(self._ends[start]), int(self._ends[end]))
        sizes = np.diff(self._ends[start : end + 1])
        return Bags(
            self._words[inside].astype(np.int64),
            self._elements[inside].astype(np.int64),
            sizes,
            self._marks[start:end],
        )

    def words_of(self, rows: Ints) -> tuple[Ints, Ints]:
        starts, sizes = self._ends[rows], self._ends[rows + 1] - self._ends[rows]
        return self._words[spans(starts, sizes)].astype(np.int64), sizes


def spans(starts: Ints, sizes: Ints) -> Ints:
    """Give the numbers start, start + 1, ... of each span, one span behind the other."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - sizes), sizes)


def _marks(elements: Ints, sizes: Ints) -> np.ndarray[Any, np.dtype[np.uint64]]:
    bits = np.zeros((len(sizes), 256), dtype=bool)
    # Fibonacci hashing: numbers that follow each other go to bits far apart
    hashed = (elements.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(56)
    bits[np.repeat(np.arange(len(sizes)), sizes), hashed.astype(np.int64)] = True
    return np.packbits(bits, axis=1).view(np.uint64)


def _merged(left: _Segment, right: _Segment) -> _Segment:
    keys = np.concatenate([left.keys, right.keys])
    by = np.argsort(keys, kind="stable")
    rows, reach = np.concatenate([left.rows, right.rows])[by], np.concatenate([left.reach, right.reach])[by]
    return _Segment(left.size + right.size, keys[by], rows, reach)


def _unique(found: list[Ints]) -> tuple[Ints, Ints]:
    pairs = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    return pairs >> 32, pairs & 0xFFFFFFFF


def _room(array: Any, size: int) -> Any:
    if size <= len(array):
        return array
    grown = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), dtype=array.dtype)
    grown[: len(array)] = array
    return grown
