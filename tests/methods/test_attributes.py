"""The acceptance checks of the method of attributes: answers with what they were found to be."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from recipe_world import World, handed_over

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BadData
from stillroom.programs.methods.attributes import NAMES, Params, best_seen, read_attributes
from stillroom.programs.published import preset, records, run_preset
from stillroom.signatures.records import as_trl, attribute_text

FOUND = dict(zip(NAMES, (3, 1, 4, 1, 5, 2, 6), strict=True))


def world(found: Any = None) -> World:
    return World(
        {
            "answer": lambda inputs: {"response": f"An answer to {inputs['instruction'][:20]}"},
            "rate": lambda inputs: {"attributes": FOUND if found is None else found},
        }
    )


@pytest.mark.acceptance("2.15 D1")
def test_attributes_come_back_as_they_were_written():
    """Every value of every attribute of both scales, in any order, with and without the word before them."""
    for names, highest in ((NAMES, 9), (("quality", "not appropriate", "verbosity"), 4)):
        params = Params(names=names, highest=highest)
        for name, value in itertools.product(names, range(highest + 1)):
            attributes = {**dict.fromkeys(names, 0), name: value}
            assert read_attributes(attribute_text(attributes), params) == attributes
    rng = random.Random(0)
    for _ in range(300):
        attributes = {name: rng.randint(0, 9) for name in NAMES}
        assert read_attributes(attribute_text(attributes), Params()) == attributes
        shuffled = rng.sample(NAMES, len(NAMES))
        assert read_attributes(",".join(f"{name}:{attributes[name]}" for name in shuffled), Params()) == attributes


@pytest.mark.acceptance("2.15 D1")
@pytest.mark.parametrize(
    "text",
    [
        "quality:4,wit:3",
        "quality:4",
        "quality:4,humor:10",
        "quality:4,humor:-1",
        "quality:4,humor:2,humor:2",
        "quality:4,humor:2,wit:0",
        "quality:4,humor:",
        "quality:4;humor:2",
        "quality,humor",
        "quality:4,humor:2.5",
        "",
    ],
)
def test_unknown_missing_or_strange_attributes_fail(text):
    """An attribute that is not declared, is missing, named twice or off the scale is an error that shows the text."""
    with pytest.raises(BadData):
        read_attributes(text, Params(names=("quality", "humor")))


@pytest.mark.acceptance("2.15 D2")
def test_what_was_found_is_kept_and_not_what_was_asked_for(tmp_path):
    """Step 4: asked for the best quality, found to have 3: the record says 3, and so does the text it is trained on."""
    here = world()
    made = here.run("steerlm", tmp_path, rows=8)
    assert len(made.rows) == 8
    found = list(records(preset("steerlm").load().emits["attr"], "attr", made.rows, seed=0))
    assert all(dict(each.attributes) == FOUND for each in found)
    assert all(row.values["requested"]["quality"] == 9 for row in made.rows)
    assert all("quality:3" in each.prompt[-1].content for each in as_trl(found))
    asked = [inputs["instruction"] for call, inputs in here.asked if call == "answer"]
    assert all("quality:9" in each for each in asked)
    rated = [inputs for call, inputs in here.asked if call == "rate"]
    assert not any("Attributes:" in inputs["prompt"] for inputs in rated)  # the judge does not see what was asked for


def test_only_combinations_that_were_seen_with_the_best_quality_are_asked_for():
    """Each once; a row that breaks the scale, or none with the best quality, is an error."""
    rows = [{"attributes": {"quality": q, "humor": h}} for q, h in ((9, 1), (9, 5), (9, 1), (8, 9))] + [{"prompt": "p"}]
    params = Params(names=("quality", "humor"))
    assert best_seen(rows, params) == [{"quality": 9, "humor": 1}, {"quality": 9, "humor": 5}]
    with pytest.raises(BadData, match=r"row 1 of 'rated'.*unknown: \['wit'\]"):
        best_seen([{"attributes": {"quality": 9, "wit": 1}}], params)
    with pytest.raises(BadData, match="quality at 9"):
        best_seen([{"attributes": {"quality": 8, "humor": 1}}], params)


def test_annotation_keeps_all_rows_and_what_people_said(tmp_path):
    """Good and bad rows are kept; those that people rated are not asked about."""
    here = world()
    made = here.run("steerlm-annotate", tmp_path, rows=12)
    assert len(made.rows) == 12
    assert len(here.asked) == 4
    assert sum(row.values["attributes"] == FOUND for row in made.rows) == 4
    assert {row.values["attributes"]["quality"] for row in made.rows} == {1, 2, 3, 4, 8, 9}


@pytest.mark.parametrize(
    "found", [{**FOUND, "wit": 1}, {"quality": 3}, {**FOUND, "humor": 12}, {**FOUND, "humor": -1}, {}]
)
def test_ratings_off_the_scale_are_refused(found, tmp_path):
    """What does not name each attribute with a number on the scale is no answer: asked for once more, then put aside."""

    def answer(request: Any) -> str:
        rating = any("names: " in (each.text or "") for each in request.messages)
        return json.dumps({"attributes": found} if rating else {"response": "An answer."})

    made = run_preset("steerlm", tmp_path, lm=ScriptedEngine(answer), samples=True, rows=2)
    assert len(made.rows) == 0
    assert {(row.status, row.gate) for row in made.rejects} == {("quarantined", "attributes on the scale")}
    assert made.counts["reasked"] == len(made.rejects)


@pytest.mark.parametrize("name", ["steerlm", "steerlm-annotate"])
def test_presets_run_and_their_records_build(name, tmp_path):
    """Each preset gives the rows asked for on its sample, and its records carry their papers."""
    made = world().run(name, tmp_path, rows=3)
    assert len(handed_over(name, made)["attr"]) == 3


def test_what_cannot_work_is_said_first():
    """A best attribute that is not among the names; no rated rows."""
    job = world().job("steerlm", params={"best": "wit"})
    with pytest.raises(BadConfig, match="best must be one of"):
        job.method.flow(job)
