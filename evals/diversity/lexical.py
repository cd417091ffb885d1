"""Wording: how much a set of texts repeats itself, counted in words.

All of these depend on how many texts there are: compare sets of one size only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import words

__all__ = ["distinct", "rouge_maxima", "self_bleu"]

_BLOCK = 256  # texts compared with all the others at once


def distinct(texts: Sequence[str], n: int = 2) -> float:
    """Share of different word n-grams among all: distinct-n, 0..1 (Li et al. 2016). NaN without n-grams.

    Raises:
        BadConfig: If `n` is under 1.

    >>> distinct(["lost my card", "lost my phone"], 2)
    0.75
    """
    if n < 1:
        raise BadConfig(f"n-grams need n >= 1, got {n}")
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        counts.update(_grams(words(text), n))
    total = counts.total()
    return len(counts) / total if total else math.nan


def self_bleu(texts: Sequence[str], n: int = 4) -> np.ndarray:
    """BLEU of every text against all the others, 0..1, lower is more diverse (Zhu et al. 2018, Texygen).

    BLEU is that of Papineni et al. 2002 over word 1- to n-grams with the brevity penalty
    of the closest length, exponentially smoothed where an order has no match (sacrebleu's
    "exp"), over the orders that the text has (effective order). Clipping asks for an
    n-gram's largest count among the *others*: the two largest counts of each n-gram answer
    that for every text, so the work grows with the number of words, not with its square.

    Raises:
        BadConfig: If `n` is under 1.
    """
    if n < 1:
        raise BadConfig(f"BLEU needs n >= 1, got {n}")
    split = [words(text) for text in texts]
    tops = [_two_largest(split, order) for order in range(1, n + 1)]
    lengths = Counter(len(each) for each in split)
    return np.asarray([_bleu(at, each, tops, _closest(len(each), lengths)) for at, each in enumerate(split)])


def rouge_maxima(texts: Sequence[str], others: Sequence[str] | None = None) -> np.ndarray:
    """ROUGE-L F1 of every text with the most similar other, 0..1 (the overlap of Self-Instruct, Wang et al. 2023).

    Compared with the rest of `texts`, or with `others` where given. 0 where there is
    nothing to compare with, or a text has no words.
    """
    pool = texts if others is None else others
    if not texts or not pool:
        return np.zeros(len(texts))
    letters: dict[str, str] = {}
    left, right = [_coded(text, letters) for text in texts], [_coded(text, letters) for text in pool]
    best = np.zeros(len(texts))
    for start in range(0, len(left), _BLOCK):
        block = left[start : start + _BLOCK]
        alike = process.cdist(block, right, scorer=Indel.normalized_similarity, processor=None)
        if others is None:  # a text is not its own neighbour
            alike[np.arange(len(block)), np.arange(start, start + len(block))] = 0.0
        best[start : start + len(block)] = alike.max(axis=1)
    best[[not each for each in left]] = 0.0  # two empty texts are no match
    return best


def _grams(split: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(split[i:] for i in range(n)), strict=False)


def _two_largest(split: Sequence[Sequence[str]], n: int) -> dict[tuple[str, ...], tuple[int, int, int]]:
    """For each n-gram: its largest count, in which text, and its largest count elsewhere."""
    tops: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for at, each in enumerate(split):
        for gram, count in Counter(_grams(each, n)).items():
            most, holder, second = tops.get(gram, (0, -1, 0))
            tops[gram] = (count, at, most) if count > most else (most, holder, max(second, count))
    return tops


def _bleu(
    at: int, split: Sequence[str], tops: Sequence[dict[tuple[str, ...], tuple[int, int, int]]], other_length: int
) -> float:
    logs, halvings = [], 1.0
    for order, top in enumerate(tops, start=1):
        if len(split) < order:
            break
        matched = 0
        for gram, count in Counter(_grams(split, order)).items():
            most, holder, second = top[gram]
            matched += min(count, second if holder == at else most)
        total = len(split) - order + 1
        if matched == 0:
            if order == 1:
                return 0.0  # not one word in common
            halvings *= 2
        logs.append(math.log((matched or 1 / halvings) / total))
    if not logs or other_length < 0:
        return 0.0
    penalty = min(0.0, 1 - other_length / len(split))
    return math.exp(penalty + sum(logs) / len(logs))


def _closest(length: int, lengths: Counter[int]) -> int:
    """The length among the other texts that is closest, the shorter of equals; -1 without others."""
    others = [each for each, count in lengths.items() if count > (each == length)]
    return min(others, key=lambda each: (abs(each - length), each), default=-1)


def _coded(text: str, letters: dict[str, str]) -> str:
    """A text with one character a word, so that words are compared at the speed of characters."""
    for word in (split := words(text)):
        if word not in letters:
            code = len(letters) + 1
            letters[word] = chr(code if code < 0xD800 else code + 0x800)  # step over the surrogates
    return "".join(letters[word] for word in split)
