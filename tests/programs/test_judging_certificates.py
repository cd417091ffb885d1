"""Certificates of judges: what they tell, whom they find out, and the canary asked again later."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from judging_world import ROW, engine, pairs, rank, scoring, writing

from stillroom.errors import BadConfig, BadData
from stillroom.programs import judging


def test_a_certificate_tells_place_length_and_probabilities(tmp_path: Path):
    """And comes back from its file as it was; an edited one is refused."""
    judge = judging.pairwise(scoring(pull=0.2))
    labelled = judging.read_labels(judge, pairs(60))
    found = judging.certify(judge, labelled, source="pairs")
    assert found.agreement["accuracy"]["mean"] > 0.9
    assert found.agreement["prompts"] == 30
    assert found.positions["swap_consistency"]["mean"] > 0.9
    assert found.calibration["rows"] == 60
    assert found.cost["calls"] == 120
    assert len(found.canary) == 20
    assert found.weakness() == ""
    path = found.save(tmp_path / "certificate.json")
    assert judging.Certificate.load(path) == found
    path.write_text(path.read_text().replace('"source": "pairs"', '"source": "better pairs"'))
    with pytest.raises(BadConfig, match="edited"):
        judging.Certificate.load(path)


def test_a_place_bound_judge_is_found_out():
    """QR-10: weak, with the reasons a reader must see."""
    judge = judging.pairwise(writing(pull=9))
    found = judging.certify(judge, judging.read_labels(judge, pairs(40)))
    assert "kappa" in found.weakness()
    assert any("swap consistency" in line for line in found.warnings)
    assert any("favours a place" in line for line in found.warnings)
    assert found.agreement["open"] == 0  # a tie is a value between, and still no agreement
    assert found.agreement["accuracy"]["mean"] == 0


def test_points_and_orders_are_certified_too():
    """Points by weighted kappa, orders by their pairs."""
    rng = random.Random(3)
    words = {1: "bad bad", 2: "bad", 3: "plain", 4: "good", 5: "good good"}
    rows = [
        {"instruction": f"t{at}", "response": f"{words[n]} {at}", "label": n}
        for at in range(60)
        for n in [rng.randint(1, 5)]
    ]
    plan = replace(judging.rubric(scoring(), feedback=False).plan, scored=dict.fromkeys("12345", 0.0))
    judge = judging.judge_of(plan, scoring())
    assert judging.certify(judge, judging.read_labels(judge, rows)).agreement["kappa"]["low"] > 0.8
    ranker = judging.ranking(engine(rank))
    orders = [{"instruction": f"t{at}", "answers": ["plain", "good", "bad"], "label": "2>1>3"} for at in range(12)]
    found = judging.certify(ranker, judging.read_labels(ranker, orders))
    assert (found.agreement["n"], found.agreement["prompts"]) == (36, 12)
    assert found.agreement["accuracy"]["mean"] == 1


def test_bad_labels_are_all_told_at_once():
    """Row by row."""
    judge = judging.pairwise(scoring())
    rows = [{**ROW, "label": "3"}, {"instruction": "x", "label": "first"}, {**ROW, "label": "A"}]
    with pytest.raises(BadData) as caught:
        judging.read_labels(judge, rows)
    assert len(caught.value.problems) == 2
    with pytest.raises(BadData, match="none"):
        judging.read_labels(judge, [])


def test_a_canary_that_sings_as_before_is_steady():
    """QR-2: twenty rows, the same answers."""
    judge = judging.pairwise(scoring())
    found = judging.certify(judge, judging.read_labels(judge, pairs(40)))
    assert judging.recheck(judge, found).verdict.passed
    turned = judging.pairwise(scoring(skill=-1.0))
    drift = judging.recheck(turned, found)
    assert drift.verdict.score == 0.0
    assert drift.changed
    with pytest.raises(BadConfig, match="own plan"):
        judging.recheck(judging.pairwise(scoring(), criteria="x"), found)
