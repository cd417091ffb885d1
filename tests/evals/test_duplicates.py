"""Duplicates: the definition of ROUGE-L holds, and a pool misses nothing a full comparison finds."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.copies.closest import ClosestWords, WordIndex
from stillroom.evals.copies.duplicates import Exact, NearDuplicates, folded, plain, rouge_l, words

few_words = some.lists(some.sampled_from(["my", "card", "was", "lost", "in", "the", "old", "town"]), max_size=12)


def longest_common(left: list[str], right: list[str]) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def by_definition(left: list[str], right: list[str]) -> float:
    common = longest_common(left, right)
    if not common:
        return 0.0
    precision, recall = common / len(left), common / len(right)
    return 2 * precision * recall / (precision + recall)


@given(few_words, few_words)
def test_rouge_l_is_its_definition(left, right):
    """The F1 of precision and recall of the longest common subsequence of words."""
    assert rouge_l(left, right) == pytest.approx(by_definition(left, right))


@given(some.lists(few_words, min_size=1, max_size=30), few_words, some.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]))
def test_the_index_finds_what_comparing_with_all_finds(pool, text, least):
    """Skipping by length loses nothing, and the first of the most similar answers."""
    index = WordIndex()
    for each in pool:
        index.add(each)
    similarities = [by_definition(each, text) for each in pool]
    top = max(similarities)
    found = index.best(text, least)
    if top >= least + 1e-9:
        assert found == (similarities.index(top), pytest.approx(top)) or similarities[found[0]] == pytest.approx(top)
    elif top < least - 1e-9:
        assert found is None


@given(
    some.lists(few_words, max_size=30),
    some.lists(few_words, min_size=1, max_size=6),
    some.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]),
    some.integers(1, 40),
)
def test_what_is_kept_in_an_index_is_found_as_if_each_were_looked_at(pool, texts, least, latest):
    """The same list, by position, with the same F1 to the last bit, wherever the latest end and the index begins."""
    each, indexed = WordIndex(), ClosestWords(least, latest=latest)
    for text in pool:
        each.add(text)
        indexed.add(text)
    wanted = [each.best(text, least) for text in texts]
    assert indexed.best(texts) == wanted
    assert [indexed.best([text])[0] for text in texts] == wanted


def test_many_at_once_are_found_as_one_by_one():
    """Each with the same match, by the same rule, in a pool that is mostly in its index."""
    rng = random.Random(2)
    vocabulary = [f"understanding{i}" for i in range(60)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 14))) for _ in range(1500)]
    pool = NearDuplicates(0.5)
    for i, text in enumerate(texts):
        pool.add(str(i), text)
    asked = [
        *texts[:20],
        *(f"{text}s" for text in texts[:400]),
        *(" ".join(rng.choices(vocabulary, k=12)) for _ in range(50)),
    ]
    found = pool.find_many(asked)
    assert found == [pool.find(text) for text in asked]
    assert {match.rule for match in found if match} == {"exact", "rouge_l", "shingles"}
    assert None in found


@given(some.text())
def test_folding_twice_changes_nothing(text):
    """Folded and plain text is a fixed point, so that order of use does not matter."""
    assert folded(folded(text)) == folded(text)
    assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    "text", ["I lost my card", "  i lost MY\tcard ", "Ｉ lost my card", "I lo\u200bst my card", "I\u00a0lost my card"]
)
def test_exact_means_equal_after_folding(text):
    """Case, white space, width and invisible characters make no new text."""
    for pool in (Exact(), NearDuplicates()):
        pool.add("r1", "I lost my card")
        pool.add("r2", "Something else entirely")
        found = pool.find(text)
        assert (found.other_id, found.similarity, found.rule) == ("r1", 1.0, "exact")
        assert len(pool) == 2


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("I lost my new card in town yesterday", "rouge_l"),
        ("My crads were lostt in town", None),
        ("cards lost", "shingles"),
        ("Where is the nearest cash machine", None),
        ("?!", None),
        ("", None),
    ],
)
def test_near_duplicates_name_their_rule(text, rule):
    """Word order first, then letters for short texts; what is different passes."""
    pool = NearDuplicates(shingle=0.5)
    pool.add("r1", "I lost my card in town yesterday")
    pool.add("r2", "card lost")
    found = pool.find(text)
    assert (found.rule if found else None) == rule


def test_rouge_must_be_above_its_threshold():
    """A text at exactly 0.7 is kept, as Self-Instruct does; a copy at threshold 1 is not."""
    pool = NearDuplicates(0.7, shingle=None)
    pool.add("r", "a b c d e f g x y z")
    assert rouge_l(words("a b c d e f g p q r"), words("a b c d e f g x y z")) == pytest.approx(0.7)
    assert pool.find("a b c d e f g p q r") is None
    assert pool.find("a b c d e f g x p q").rule == "rouge_l"
    strict = NearDuplicates(1.0, shingle=None)
    strict.add("r", "a b c")
    assert strict.find("a, b, c.").rule == "rouge_l"


@given(some.lists(some.text("abc ", min_size=1, max_size=14), max_size=25), some.text("abc ", max_size=14))
def test_shingles_find_what_comparing_with_all_finds(pool, text):
    """Prefix filtering loses no pair over the threshold."""

    def grams(value: str) -> set[str]:
        padded = f" {folded(value)} "
        return {padded[i : i + 3] for i in range(len(padded) - 2)}

    asked = NearDuplicates(rouge=None, shingle=0.6, short_words=99)
    for i, each in enumerate(pool):
        asked.add(str(i), each)
    a = grams(text)
    similar = [len(a & grams(each)) / len(a | grams(each)) if a | grams(each) else 0.0 for each in pool]
    found = asked.find(text)
    if found is not None and found.rule == "exact":
        assert folded(pool[int(found.other_id)]) == folded(text)
    elif max(similar, default=0) >= 0.6:
        assert found.similarity == pytest.approx(max(similar))
        assert similar[int(found.other_id)] == max(similar)
    else:
        assert found is None


class Letters:
    """Embeds by counting letters."""

    def embed(self, texts):
        counts = np.array([[text.count(c) + 0.01 for c in "abcdefghijklmnop"] for text in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_cosine_is_asked_last_and_only_with_an_embedder():
    """Anagrams have other words and other shingles, and the same letter counts."""
    for embedder, rule in ((None, None), (Letters(), "cosine")):
        pool = NearDuplicates(embedder=embedder)
        for i in range(300):
            pool.add(f"n{i}", f"filler {i} {'klm'[i % 3] * (i % 7 + 3)}")
        pool.add("r", "abcdef ghij")
        found = pool.find("ghij fedcba")
        assert (found.rule if found else None) == rule


def test_same_order_same_kept():
    """What a pool keeps depends on the texts and their order alone."""
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(40)]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(2, 12))) for _ in range(300)]
    texts += [" ".join(reversed(text.split())) for text in texts[:50]] + texts[:50]

    def kept() -> list[tuple[str, str | None]]:
        pool, out = NearDuplicates(), []
        for i, text in enumerate(texts):
            found = pool.find(text)
            out.append((str(i), found.other_id if found else None))
            if found is None:
                pool.add(str(i), text)
        return out

    first = kept()
    assert first == kept()
    assert all(other is not None for _, other in first[-50:])


@pytest.mark.parametrize(
    "settings", [{"rouge": 0}, {"rouge": 1.1}, {"shingle": -1}, {"cosine": 2}, {"short_words": -1}]
)
def test_bad_settings_are_refused(settings):
    """Thresholds are shares above zero."""
    with pytest.raises(BadConfig):
        NearDuplicates(**settings)


def test_the_name_states_every_setting():
    """Two pools that could disagree have different names."""
    made = [NearDuplicates(), NearDuplicates(0.8), NearDuplicates(shingle=0.9), NearDuplicates(short_words=3), NearDuplicates(embedder=Letters())]  # fmt: skip
    assert len({pool.name for pool in made}) == len(made)
