"""Judges as programs: compiled like any other, known again by their fields, scored by distance."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from judging_world import ROW, pairs, scorer, scoring

import stillroom as st
from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.programs import judging
from stillroom.programs.judging.shapes import kind_of
from stillroom.signatures import DataWarning


def test_a_judge_compiles_like_any_other_program(tmp_path: Path):
    """The compiled plan is a judge again; no prompt stands in two splits; pairs come in both orders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = judging.judge_task("pairwise", pairs(80), seed=1)
    prompts = [{row.inputs["instruction"] for row in rows} for rows in task.splits.values()]
    assert not prompts[0] & prompts[1] | prompts[1] & prompts[2] | prompts[0] & prompts[2]
    labels = [row.outputs["better"] for row in task.search]
    assert labels.count("first") == labels.count("second")
    lm = ScriptedEngine(lambda request: '{"better": "first"}', name="judge", score=scorer(pull=0.1))
    program = st.compile(task, lm=lm, run=tmp_path, settings=st.Settings(trials=6, proposals=0))
    assert program.facts["established"], program.verdict
    judge = judging.judge_of(program.plan, lm)
    assert judge.kind == "pairwise"
    assert judge.judge([ROW])[0].choice == "first"


@pytest.mark.parametrize("kind", sorted(judging.KINDS))
def test_every_kind_has_a_signature_that_comes_back_as_its_shape(kind):
    """So that a saved plan is known as its judge."""
    from stillroom.signatures.shape import shape_of

    shape = judging.KINDS[kind].shape
    assert shape_of(shape.to_signature()).as_json() == shape.as_json()
    assert kind_of(shape).name == kind


def test_the_metrics_of_judges_give_credit_by_distance():
    """One point off is better than four; a swapped neighbour better than a reversed order."""
    near, order = judging.KINDS["rubric"].metric, judging.KINDS["ranking"].metric
    assert [near({"score": "1"}, {"score": said}).score for said in ("1", "2", "5", None)] == [1, 0.75, 0, 0]
    row = {"answers": ["a", "b", "c"], "order": [1, 2, 3]}
    found = [order(row, {"order": said}).score for said in ([1, 2, 3], [2, 1, 3], [3, 2, 1], "?")]
    assert found == pytest.approx([1, 2 / 3, 0, 0])


def test_what_is_no_judge_is_refused():
    """With the fields it has."""
    plan = judging.pairwise(scoring()).plan
    with pytest.raises(BadConfig, match="no setting"):
        judging.judge_of(plan, scoring(), samples=3)
    with pytest.raises(BadConfig, match="fields must be"):
        kind_of(replace(plan.shape, outputs=()))
    with pytest.raises(BadConfig, match="must be one of"):
        judging.judge_task("oracle", [])
