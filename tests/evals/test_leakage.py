"""Leakage: planted copies are found by the rule that should find them; fresh texts pass."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stillroom.errors import BadConfig
from stillroom.evals.copies.leakage import Leakage

HELD_OUT = {
    "short": "Thank you.",
    "card": "I lost my card on the way to the station",
    "seven": "Why was my last top up declined",
    "long": (
        "Max bought stamps at the post office. Some of the stamps had a snowflake design, some had a truck "
        "design, and some had a rose design. How many stamps did Max buy in all?"
    ),
    "code": "x+=1",
}


@pytest.mark.parametrize(
    ("text", "other", "rule"),
    [
        ("Thank you.", "short", "exact"),
        ("  THANK\u00a0you", "short", "normalised"),
        ("ilostmycard on the way -- to the station!", "card", "normalised"),
        ("I lost my card on the road to the station", "card", "one_word"),
        ("I lost my card on the way to the train station", "card", "one_word"),
        ("to the station on the way I lost a card", "card", "words"),
        ("Hello there! Why was my last top-up declined? Please help.", "seven", "contained"),
        ("Once, some of the stamps had a snowflake design, some had a truck design, and others none.", "long", "ngram"),
        ("How many stamps did Max buy? Some had a rose design.", None, None),
        ("Why was my card declined", None, None),
        ("thank her", None, None),
        ("x -= 1", "code", "normalised"),
        ("", None, None),
    ],
)
def test_each_rule_finds_its_kind_of_copy(text, other, rule):
    """From the certain rules to the fuzzy ones, and nothing where the wording is new."""
    found = Leakage(HELD_OUT).find(text)
    assert (found and found.other_id, found and found.rule) == (other, rule)


def test_batches_and_single_questions_agree():
    """Asking together changes nothing."""
    leakage = Leakage(HELD_OUT)
    texts = [*HELD_OUT.values(), "a plastic thing", "nothing here", ""]
    assert leakage.find_many(texts) == [leakage.find(text) for text in texts]
    assert leakage.find_many([]) == []
    assert Leakage({}).find_many(["a", ""]) == [None, None]


@pytest.mark.parametrize("settings", [{"ngram": 1}, {"word_overlap": 0}, {"word_overlap": 2}])
def test_bad_settings_are_refused(settings):
    """Thresholds are shares above zero, runs have at least two words."""
    with pytest.raises(BadConfig):
        Leakage(HELD_OUT, **settings)


def overlaps() -> list[dict[str, str]]:
    here = Path(__file__).parents[2]
    folder = Path(os.environ.get("STILLROOM_DATA", here.parent / "shared" / "data"))
    path = folder / "overlaps" / "data.jsonl"
    if not path.is_file():
        pytest.skip(f"NOT MEASURED: no overlaps set at {path}; set STILLROOM_DATA to the folder that holds it")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_precision_and_recall_on_labelled_pairs():
    """Of pairs a person calls leaks most are found by wording alone, of clean ones none."""
    found: dict[tuple[str, str], list[bool]] = {}
    for row in overlaps():
        hit = Leakage({"a": row["a"]}).find(row["b"]) is not None
        found.setdefault((row["level"], row["relation"]), []).append(hit)
    share = {relation: sum(hits) / len(hits) for (_, relation), hits in found.items()}
    assert not any(any(hits) for (level, _), hits in found.items() if level == "clean")
    for relation in (
        "exact",
        "case_or_space",
        "case_punct_space",
        "unicode_variant",
        "embedded",
        "sentences_reordered",
    ):
        assert share[relation] == 1.0, relation
    assert share["words_dropped"] >= 0.85
    assert share["near_duplicate"] >= 0.7
    leaks = [hit for (level, _), hits in found.items() if level == "leak" for hit in hits]
    assert sum(leaks) / len(leaks) >= 0.8


def test_clean_texts_pass_against_everything_at_once():
    """Held against every benchmark text of the set together, no clean text is taken for a copy."""
    rows = overlaps()
    clean = [row for row in rows if row["level"] == "clean"]
    # what is held out is a benchmark item; a clean text may still be one of those, word for word
    held_out = {row["id"]: row["a"] for row in rows}
    texts = [row["b"] for row in clean if row["b"] not in held_out.values()]
    found = [match for match in Leakage(held_out).find_many(texts) if match is not None]
    assert len(found) <= 1, found
