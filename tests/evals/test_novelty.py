"""Novelty: the index decides as comparing with all decides, to the last pair."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.copies import novelty
from stillroom.evals.copies.duplicates import words
from stillroom.evals.copies.novelty import RougeFilter, content_order, novel, rouge_words
from stillroom.evals.copies.overlap import Limit, OverlapIndex, Vocabulary

few_words = some.lists(some.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=12).map(" ".join)
limits = some.sampled_from([0.2, 0.35, 0.5, 0.7, 0.8, 0.95, 1.0])


def longest_common(left: list[str], right: list[str]) -> int:
    row = [0] * (len(right) + 1)
    for a in left:
        before = 0
        for j, b in enumerate(right):
            before, row[j + 1] = row[j + 1], before + 1 if a == b else max(row[j + 1], row[j])
    return row[-1]


def naive(texts: list[str], tenths: tuple[int, int], keep_at_limit: bool) -> list[str | None]:
    """The quadratic definition in whole numbers, with the closest kept text, the first of equals."""
    out, kept = [], []
    for at, text in enumerate(texts):
        mine, best = rouge_words(text), (0, 1, -1)
        for other, theirs in kept:
            common, total = 2 * longest_common(mine, theirs), max(len(mine) + len(theirs), 1)
            if common * best[1] > best[0] * total:
                best = (common, total, other)
        over, limit = best[0] * tenths[1], tenths[0] * best[1]
        stop = best[0] > 0 and (over > limit or (over == limit and (not keep_at_limit or tenths[0] == tenths[1])))
        out.append(str(best[2]) if stop else None)
        if not stop:
            kept.append((at, mine))
    return out


@settings(deadline=None)
@given(some.lists(few_words, max_size=40), limits, some.booleans(), some.integers(1, 9))
def test_decisions_are_those_of_the_quadratic_definition(texts, limit, keep_at_limit, slice_size):
    """Which texts are kept, and the kept text that a stopped one is closest to, at any slice size."""
    before = novelty._SLICE
    novelty._SLICE = slice_size
    try:
        found = novel(texts, limit, keep_at_limit=keep_at_limit)
    finally:
        novelty._SLICE = before
    share = (round(limit * 100), 100)
    assert [match and match.other_id for match in found] == naive(texts, share, keep_at_limit)


def test_decisions_hold_over_many_segments_and_real_word_frequencies():
    """With words as frequent as in language, in an index that was merged and learnt anew."""
    rng = random.Random(3)
    vocabulary = [f"w{i}" for i in range(400)]
    weights = [1 / (i + 1) for i in range(400)]
    texts = []
    for _ in range(2500):
        if texts and rng.random() < 0.4:
            mine = rng.choice(texts).split()
            for _ in range(rng.randint(1, 4)):
                mine[rng.randrange(len(mine))] = rng.choices(vocabulary, weights)[0]
            rng.random() < 0.3 and mine.pop()
        else:
            mine = rng.choices(vocabulary, weights, k=rng.randint(3, 14))
        texts.append(" ".join(mine) or "w0")
    # an index of its own limit against every pair, over the part that fits
    limit, index, vocab = Limit(0.7), OverlapIndex(Limit(0.7)), Vocabulary()
    for start in range(0, 2500, 37):
        index.add(vocab.bags([text.split() for text in texts[start : start + 37]]))
    asked = texts[::100]
    asking, rows = index.ask(vocab.bags([text.split() for text in asked], learn=False))
    pairs = set(zip(asking.tolist(), rows.tolist(), strict=True))
    for i, text in enumerate(asked):
        for j, other in enumerate(texts):
            left, right = text.split(), other.split()
            if len(left) + len(right) <= limit.longest(np.array(longest_common(left, right))):
                assert (i, j) in pairs
    assert len(pairs) < len(asked) * len(texts) / 10


@given(some.integers(1, 60), some.integers(1, 60), some.integers(0, 60), limits, some.booleans())
def test_the_limit_counts_in_whole_numbers(m, n, common, limit, above):
    """2 common / (m + n) against hundredths, without rounding."""
    common = min(common, m, n)
    said = bool(Limit(limit, above).passed(np.array(m), np.array(n), np.array(common)))
    over, at = 200 * common, round(100 * limit) * (m + n)
    assert said == (common > 0 and (over > at or (over == at and (not above or limit == 1.0))))
    shortest = int(Limit(limit, above).shortest(np.array(m)))
    assert Limit(limit, above).passed(np.array(m), np.array(shortest), np.array(min(m, shortest))) or shortest > m
    assert not Limit(limit, above).passed(np.array(m), np.array(shortest - 1), np.array(shortest - 1))


def test_exactly_at_the_limit_is_kept_or_not_as_said():
    """The published code keeps a text at 0.7, the paper says less than 0.7."""
    texts = ["a b c d e f g x y z", "a b c d e f g p q r", "a b c d e f g h x y"]
    assert [match is None for match in novel(texts)] == [True, True, False]
    assert [match is None for match in novel(texts, keep_at_limit=False)] == [True, False, False]


@given(some.lists(few_words, max_size=25), some.randoms())
def test_content_order_makes_the_kept_texts_independent_of_the_rows_order(texts, rng):
    """Shuffled rows keep the same texts."""
    shuffled = list(texts)
    rng.shuffle(shuffled)

    def kept(rows):
        found = novel(rows, 0.5, order=content_order(rows, seed=5))
        return sorted(text for text, match in zip(rows, found, strict=True) if match is None)

    assert kept(texts) == kept(shuffled)
    assert sorted(content_order(texts)) == list(range(len(texts)))


@given(some.lists(few_words, max_size=12), some.lists(few_words, max_size=12))
def test_asking_keeps_nothing(texts, asked):
    """What is asked neither stops nor changes what comes after."""
    first, second = RougeFilter(0.5), RougeFilter(0.5)
    decided = first.admit((str(i), text) for i, text in enumerate(texts))
    found = first.find_many(asked)
    assert first.find_many(asked) == found
    assert len(first) == sum(match is None for match in decided)
    for i, text in enumerate(texts):  # one by one is the same as together
        assert second.admit([(str(i), text)]) == [decided[i]]


@given(some.lists(some.text(max_size=30), max_size=12))
def test_any_text_is_decided(texts):
    """Whatever is written: other scripts have no words for rouge-score, and so are novel."""
    found = novel(texts)
    assert all(match is None for text, match in zip(texts, found, strict=True) if not rouge_words(text))
    assert len(novel(texts, split=words)) == len(texts)


def test_other_scripts_are_compared_when_split_by_unicode():
    """A Russian copy passes rouge-score's words and not the house's."""
    texts = ["я потерял свою карту вчера", "Я потерял свою карту вчера!"]
    assert novel(texts)[1] is None
    assert novel(texts, split=words)[1].similarity == 1.0


@pytest.mark.parametrize("limit", [0, -1, 1.5, float("nan")])
def test_bad_limits_are_refused(limit):
    """A limit is a share above zero."""
    with pytest.raises(BadConfig):
        RougeFilter(limit)


def test_the_name_states_every_setting():
    """Two filters that could disagree have different names."""
    made = [RougeFilter(), RougeFilter(0.8), RougeFilter(keep_at_limit=False), RougeFilter(split=words)]
    assert len({each.name for each in made}) == len(made)
