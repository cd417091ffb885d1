"""The acceptance checks of the labelled method: rows whose label was there before their text."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from recipe_world import World, stopped, values

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, ModelMissing
from stillroom.evals.copies.duplicates import words
from stillroom.programs.methods import labelled
from stillroom.programs.plan import Demo
from stillroom.programs.published import foresee_preset, preset, records, sample
from stillroom.programs.published.card import card
from stillroom.signatures import read_rows

LABELS = ["bike_broken", "lost_item", "payment_failed", "suggest_station"]


class Bags:
    """Words in common as an embedding: each word is a direction, and so is each label's own word."""

    digest = precision = "bags"

    def embed(self, texts):
        vectors = np.zeros((len(texts), 512), dtype=np.float32)
        for at, text in enumerate(texts):
            for word in words(text):
                vectors[at, zlib.crc32(word.encode()) % 512] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def _embedder(monkeypatch):
    monkeypatch.setattr(labelled, "default_embedder", Bags)


def rows(marked: bool = True):
    """The sample rows, each with a word that gives its label away."""
    found = [row for _, row in read_rows(sample("labelled_messages.jsonl"))]
    return [{**row, "text": f"{row['label']} {row['label']} {row['label']} {row['text']}"} for row in found]


def world(text=None) -> World:
    number = itertools.count()

    def written(inputs):
        made = " ".join(f"{what}{next(number)}" for what in ("wheel", "dock", "coin"))
        return {"text": (text and text(inputs, made)) or f"{inputs['label']} {made}"}

    return World({"write": written})


def run(here: World, folder, **settings):
    """The judge reads every text as a lost item."""
    judge = ScriptedEngine(lambda request: "lost_item", name="judge")
    return here.run("labelled", folder, given={"labelled": rows()}, roles={"judge": judge}, **settings)


@pytest.mark.acceptance("2.2 D1")
def test_emitted_counts_are_the_quotas(tmp_path):
    emitted = run(world(), tmp_path / "a", rows=10)
    assert Counter(values(emitted.rows, "label")) == {
        "bike_broken": 3, "lost_item": 3, "payment_failed": 2, "suggest_station": 2
    }  # fmt: skip
    assert not emitted.shortfall
    given = {"lost_item": 1, "payment_failed": 6}
    named = run(world(), tmp_path / "b", rows=7, params={"quotas": given})
    assert Counter(values(named.rows, "label")) == given


@pytest.mark.acceptance("2.2 D1")
def test_what_is_missing_is_said_cell_by_cell(tmp_path):
    """Texts for one label always say another: that label's cell stays empty, and the run says so."""

    def wrong(inputs, made):
        return f"bike_broken {made}" if inputs["label"] == "payment_failed" else None

    emitted = run(world(wrong), tmp_path, rows=8)
    assert emitted.shortfall == {"payment_failed": 2}
    assert Counter(values(emitted.rows, "label")) == dict.fromkeys(set(LABELS) - {"payment_failed"}, 2)
    assert emitted.why()[0].startswith("payment_failed lacks 2: agreement 8")


@pytest.mark.acceptance("2.2 D2")
def test_no_emitted_row_has_a_held_out_row_near_it(tmp_path):
    held_out = [row["text"] for _, row in read_rows(sample("held_out_messages.jsonl"))]
    planted = iter([f"{text} {text}" for text in held_out])  # twice the text: another wording, cosine 1

    emitted = run(world(lambda inputs, made: next(planted, None)), tmp_path, rows=12)
    texts = values(emitted.rows, "text")
    assert len(texts) == 12
    cosines = Bags().embed(texts) @ Bags().embed(held_out).T
    assert cosines.max() < 0.95
    assert stopped(emitted).get("cosine < 0.95 with 12 texts", 0) + stopped(emitted).get("decontaminated", 0) == 12


def test_a_text_just_below_the_limit_is_kept_and_one_above_is_not():
    from stillroom.evals.gates import Candidate
    from stillroom.programs.published.filters import Apart

    gate = Apart(["a b c d"], Bags(), 0.86)
    found = gate.check([Candidate(str(at), {}, text, {}) for at, text in enumerate(["a b c", "a b c d e", "a b c x"])])
    assert [each.passed for each in found] == [False, False, True]


def test_what_neither_the_classifier_nor_the_judge_reads_as_wanted_waits_for_a_person(tmp_path):
    def wrong(inputs, made):
        return f"bike_broken {made}"

    emitted = run(world(wrong), tmp_path, rows=4, params={"attempts": 1})
    fates = {row.values["label"]: row.status for row in [*emitted.rows, *emitted.rejects]}
    # the classifier agrees to the first, the judge reads the second so, nobody the others
    assert fates == {
        "bike_broken": "accepted", "lost_item": "accepted", "payment_failed": "audit", "suggest_station": "audit"
    }  # fmt: skip


def test_labels_and_styles_are_drawn_before_the_text_and_demos_are_of_the_label(tmp_path):
    here = world()
    run(here, tmp_path, rows=8)
    asked = [
        (inputs, prompt) for (call, inputs), prompt in zip(here.asked, here.prompts, strict=True) if call == "write"
    ]
    texts = {row["text"]: row["label"] for row in rows()}
    for inputs, prompt in asked:
        shown = {label for text, label in texts.items() if text in prompt}
        assert shown == {inputs["label"]}
        assert inputs["definition"]
        assert {"length", "tone", "spelling"} == {part.split(":")[0] for part in inputs["attributes"].split(", ")}


def test_quotas_must_name_labels_and_add_up():
    job = World({}).job("labelled", params={"quotas": {"lost_item": 3}}, rows=4)
    with pytest.raises(BadConfig, match="add up to 4"):
        job.method.flow(job)


def test_the_preset_gives_label_records_with_their_papers(tmp_path):
    emitted = run(world(), tmp_path, rows=4)
    made = list(records(labelled.METHOD.emits["label"], "label", emitted.rows, seed=0))
    assert sorted(each.label for each in made) == LABELS
    assert all(each.meta.rows and each.meta.licence for each in made)


class Absent:
    """An embedding model that is not on this machine."""

    precision = "none"

    @property
    def digest(self):
        raise ModelMissing("the model is not here")

    def embed(self, texts):
        raise ModelMissing("the model is not here")


def test_what_is_only_looked_at_needs_no_embedder_and_a_run_needs_it_before_it_asks(tmp_path, monkeypatch):
    """The classifier is trained when a run begins, not when its flow is put together; the job is the same."""
    settings = {"given": {"labelled": rows()}, "rows": 4}
    with_it = foresee_preset("labelled", lm=world().engine("labelled", **settings), **settings)
    monkeypatch.setattr(labelled, "default_embedder", Absent)
    here = world()
    engine = here.engine("labelled", **settings)
    assert foresee_preset("labelled", lm=engine, **settings) == with_it
    assert card(preset("labelled"))["calls"]
    with pytest.raises(ModelMissing):
        here.run("labelled", tmp_path, **settings)
    assert not here.asked


def test_the_reader_is_the_compiled_call_with_the_labels_of_the_task():
    job = world().job("labelled", given={"labelled": rows()})
    bare = job.plan("classify")
    demo = Demo("a", {"text": "My bike is broken.", "labels": list(LABELS)}, {"label": "bike_broken"})
    compiled = replace(bare, instruction="Read closely.", demos=(demo,))
    made = world().job("labelled", given={"labelled": rows()}, plans={"classify": compiled})
    read = labelled.program(made, labelled.task_of(made))
    assert (read.instruction, read.shape.label_field.labels) == ("Read closely.", tuple(sorted(LABELS)))
    assert [dict(each.inputs) for each in read.demos] == [{"text": "My bike is broken."}]
    assert labelled.program(job, labelled.task_of(job)).instruction == job.params.about
