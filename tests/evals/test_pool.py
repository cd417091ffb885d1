"""Pools of texts: near copies are found whatever the order of rows, and nothing is made up."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig, BadData, FingerprintChanged
from stillroom.evals.copies.minhash import Bands, jaccard, shingles
from stillroom.evals.copies.nearest import closest, without_paraphrases
from stillroom.evals.copies.pool import Added, Pool, without_copies

WORDS = [
    "card",
    "lost",
    "bank",
    "money",
    "transfer",
    "pin",
    "top",
    "up",
    "cash",
    "limit",
    "fee",
    "rate",
    "exchange",
    "abroad",
    "blocked",
    "app",
    "phone",
    "code",
]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(6, 12))) + f" {rng.randrange(10**6)}" for _ in range(count)]


def planted() -> tuple[list[str], list[str]]:
    """Sentences, and near copies of the first hundred."""
    texts = sentences(400)
    return texts, [text.upper() if i % 3 == 0 else text.replace("a", "e", 1) for i, text in enumerate(texts[:100])]


def test_near_copies_are_dropped_and_the_kept_are_far_apart():
    """Every planted copy goes, and what goes is near a text that stays."""
    texts, copies = planted()
    everything = texts + copies
    found = without_copies(everything)
    least = Bands().least
    for i, copy in enumerate(copies):
        assert found[i] is not None or found[400 + i] is not None, copy
    for text, match in zip(everything, found, strict=True):
        if match is not None:
            other = int(match.other_id)
            assert found[other] is None
            assert jaccard(shingles(text), shingles(everything[other])) == pytest.approx(match.similarity)
            assert match.similarity >= least
    kept = [shingles(text) for text, match in zip(everything, found, strict=True) if match is None]
    assert not any(jaccard(a, b) >= 0.85 for i, a in enumerate(kept) for b in kept[:i])


def test_the_order_of_rows_changes_nothing():
    """Shuffled rows with the same ids give the same kept ids and the same matches."""
    texts, copies = planted()
    rows = [(f"r{i}", text) for i, text in enumerate(texts + copies + texts[:20])]
    results = []
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        with Pool() as pool:
            pool.add(iter(rows))
            results.append((sorted(pool.kept()), sorted(pool.dropped(), key=lambda pair: pair[0])))
    assert results[0] == results[1] == results[2]
    assert {match.rule for _, match in results[0][1]} == {"exact", "minhash"}


def test_the_seed_chooses_which_copy_stays():
    """Another seed may keep another text of a pair, never both or none."""
    texts, copies = planted()
    picks = set()
    for seed in range(4):
        found = without_copies(texts + copies, bands=Bands(seed=seed))
        picks.add(tuple(match is None for match in found))
    assert len(picks) > 1


def test_a_pool_is_fed_in_parts_and_found_again_on_disk(tmp_path):
    """What an earlier part kept stays; a row that is there already is not added twice."""
    texts, copies = planted()
    with Pool(tmp_path) as pool:
        first = pool.add((f"a{i}", text) for i, text in enumerate(texts))
        before = list(pool.kept())
    with Pool(tmp_path) as pool:
        second = pool.add([*((f"b{i}", text) for i, text in enumerate(copies)), ("a0", texts[0])])
        assert (len(pool), second.known) == (500, 1)
        assert list(pool.kept())[: len(before)] == before
        assert second.kept + second.exact + second.near == 100
        assert second.kept <= 2
        assert first.kept == len(before)
        assert pool.add([]) == Added(0, 0, 0, 0, 0)
        copies_of = dict(pool.dropped())
        assert all(not match.other_id.startswith("b") for id, match in copies_of.items() if id.startswith("b"))


def test_an_interrupted_add_leaves_the_pool_as_it_was(tmp_path):
    """All or nothing, and the next part lines up with its signatures."""
    texts = sentences(50)

    def broken():
        yield from ((f"x{i}", text) for i, text in enumerate(texts))
        raise RuntimeError("power cut")

    with Pool(tmp_path) as pool:
        pool.add([("first", "the very first text of all of them")])
        with pytest.raises(RuntimeError):
            pool.add(broken())
        assert len(pool) == 1
        pool.add([("second", "The very first text of all of them."), ("third", texts[0])])
        assert {id: match.other_id for id, match in pool.dropped()} == {"second": "first"}


def test_other_settings_are_refused(tmp_path):
    """A pool keeps its settings, and an id its text."""
    Pool(tmp_path).close()
    with pytest.raises(FingerprintChanged):
        Pool(tmp_path, bands=Bands(least=0.8))
    with Pool(tmp_path) as pool, pytest.raises(BadData, match="two for 'a'"):
        pool.add([("a", "one text"), ("a", "another text")])


def test_copies_of_a_dropped_text_point_to_the_kept_one(tmp_path):
    """Chains end at a row that is there."""
    with Pool(tmp_path) as pool:
        pool.add([("k", "I lost my card on the way to the old station")])
        pool.add([("near", "I lost my card on the way to the old stations")])
        pool.add([("same", "i lost my card on the way to the OLD stations")])
        found = dict(pool.dropped())
    assert {id: match.other_id for id, match in found.items()} == {"near": "k", "same": "k"}


@settings(deadline=None, max_examples=40)
@given(some.lists(some.text(max_size=12), max_size=8))
def test_any_text_can_be_signed_and_equal_ones_meet(texts):
    """Empty, odd and long characters too; the signature hangs on the folded text alone."""
    bands = Bands(permutations=16)
    keys, marks = bands.sign(texts)
    again, _ = bands.sign([f"  {text}\t" for text in texts])
    assert keys.shape == (len(texts), bands.count)
    assert marks.shape == (len(texts), 16)
    assert (keys == again).all()
    found = without_copies(texts, bands=bands)
    assert sum(match is None for match in found) <= len(texts)


def test_recall_is_as_stated():
    """Pairs at a known Jaccard meet about as often as the formula says."""
    bands, rng = Bands(), random.Random(1)
    letters = [chr(0x4E00 + i) for i in range(4000)]
    met, meant = [], []
    for _ in range(300):
        mine = rng.sample(letters, 60)
        other = [*mine[: rng.randint(35, 58)]]
        other += rng.sample(letters, 60 - len(other))
        left, right = "".join(mine), "".join(other)
        keys, marks = bands.sign([left, right])
        similarity = jaccard(shingles(left), shingles(right))
        met.append(bool((keys[0] == keys[1]).any()))
        meant.append(bands.recall(similarity))
        if similarity >= bands.least:
            assert int((marks[0] == marks[1]).sum()) >= bands.floor()
    assert np.mean(met) == pytest.approx(np.mean(meant), abs=0.05)
    assert bands.recall(bands.least) >= 0.98


@pytest.mark.parametrize(
    "setting", [{"least": 0}, {"least": 1.2}, {"width": 0}, {"permutations": 1}, {"seed": -1}, {"permutations": 10**6}]
)
def test_bad_settings_are_refused(setting):
    """Shares above zero, at least one character, at least two functions."""
    with pytest.raises(BadConfig):
        Bands(**setting)


class Directions:
    """Embeds a number as a direction."""

    def embed(self, texts):
        angles = np.array([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@given(some.lists(some.integers(0, 600), max_size=40), some.randoms())
def test_paraphrases_are_decided_as_by_comparing_with_all(numbers, rng):
    """What goes is near a kept text, no two kept ones are near, and the order of rows does not matter."""
    texts = [str(number / 100) for number in numbers]
    found = without_paraphrases(texts, Directions(), least=0.99)
    angles = [float(text) for text in texts]
    kept = [at for at, match in enumerate(found) if match is None]
    assert all(np.cos(angles[a] - angles[b]) < 0.99 + 1e-5 for i, a in enumerate(kept) for b in kept[:i])
    for at, match in enumerate(found):
        if match is not None:
            assert int(match.other_id) in kept
            assert np.cos(angles[at] - angles[int(match.other_id)]) >= 0.99 - 1e-5
    shuffled = list(texts)
    rng.shuffle(shuffled)
    again = without_paraphrases(shuffled, Directions(), least=0.99)
    assert sorted(t for t, m in zip(texts, found, strict=True) if m is None) == sorted(
        t for t, m in zip(shuffled, again, strict=True) if m is None
    )


def test_closest_works_block_by_block():
    """More rows than a block, against a plain product."""
    rng = np.random.default_rng(0)
    asked, known = rng.normal(size=(1500, 8)), rng.normal(size=(40, 8))
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    places, cosines = closest(asked, known)
    assert places == (asked @ known.T).argmax(axis=1).tolist()
    assert cosines == pytest.approx((asked @ known.T).max(axis=1).tolist())
