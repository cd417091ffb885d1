"""Students: trained on what may be trained on, saved without pickle, usable in the teacher's place."""

from __future__ import annotations

import json
from pathlib import Path

import dspy
import numpy as np
import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines.files import find
from stillroom.errors import BadConfig, BadData, ModelMissing
from stillroom.rows import EmittedRow, Passport
from stillroom.signatures import DataWarning

TASK = world.task()


@pytest.fixture
def minilm():
    try:
        find("minilm")
    except ModelMissing as error:
        pytest.skip(f"no embedder: {error}")


def emitted(values: dict) -> EmittedRow:
    return EmittedRow("id", "x/0/0", "accepted", values, Passport("r", "p", "m", "Apache-2.0", (), {}, {}, 1, 1))


def test_a_student_of_no_known_kind_is_refused(tmp_path: Path):
    """The rule names the kinds."""
    with pytest.raises(BadConfig, match=r"must be one of minilm\+logreg, smollm2-135m\+lora, got 'gpt'"):
        st.distil(TASK, to="gpt", folder=tmp_path)


def test_a_test_row_never_trains_a_student(tmp_path: Path):
    """Whether it comes as a labelled row or as an emitted one, with other spacing too."""
    row = TASK.held_out[0]
    with pytest.raises(BadData, match="no row to train on may be a test row, got 1"):
        st.distil(TASK, labelled=[*TASK.demos, row], folder=tmp_path)
    copied = emitted({**row.values, "message": f"  {row.inputs['message'].upper()}"})
    with pytest.raises(BadData, match="may be a test row"):
        st.distil(TASK, [copied], folder=tmp_path)


@pytest.mark.model
def test_a_head_answers_in_the_teachers_place(tmp_path: Path, minilm):
    """Trained, saved, opened again, asked as a DSPy module; no file is a pickle."""
    student = st.distil(TASK, folder=tmp_path)
    module = st.load_student(tmp_path).module()
    assert isinstance(module, dspy.Module)
    right = sum(module(**row.inputs).topic == row.outputs["topic"] for row in TASK.held_out[:30])
    assert right >= 20
    assert student.trained_on == {"labelled": len(TASK.demos) + len(TASK.search), "emitted": 0}
    assert json.loads((tmp_path / "card.json").read_text())["kind"] == "minilm+logreg"
    with np.load(tmp_path / "weights.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"coef", "intercept"}


@pytest.mark.model
def test_students_stand_in_the_proof(tmp_path: Path, minilm):
    """Beside teacher and baseline, on the same test rows."""
    program = st.compile(TASK, lm=world.engine(), run=tmp_path / "run", settings=st.Settings(trials=3, proposals=1))
    rows = program.emit(st.recipes.labelled(per_label=4))
    students = {
        "seed": st.distil(TASK, folder=tmp_path / "seed"),
        "seed + synthetic": st.distil(TASK, rows.rows, folder=tmp_path / "synthetic"),
    }
    proof = st.prove(TASK, program=program, students=students)
    assert [result.name for result in proof.results][-2:] == ["seed", "seed + synthetic"]
    assert all(result.calls == 0 and result.rows_per_second > 0 for result in proof.results[-2:])
    assert any("seed + synthetic" in line for line in proof.words)


def test_a_head_needs_a_categorical_output(tmp_path: Path):
    """A free text has no classes."""

    class Summary(dspy.Signature):
        """Say it in short."""

        text: str = dspy.InputField()
        short: str = dspy.OutputField()

    with pytest.warns(DataWarning, match="only differences above about"):
        task = st.Task(
            Summary,
            data=[{"text": f"text {number}", "short": str(number)} for number in range(60)],
            metric=st.exact("short"),
        )
    with pytest.raises(BadConfig, match="needs one categorical output"):
        st.distil(task, folder=tmp_path)


def test_a_folder_without_a_student_is_refused(tmp_path: Path):
    """No traceback for an empty folder or a broken card."""
    with pytest.raises(BadConfig, match="holds no saved student"):
        st.load_student(tmp_path)
    (tmp_path / "card.json").write_text('{"kind": "minilm+logreg"}')
    with pytest.raises(BadConfig, match="holds no saved student"):
        st.load_student(tmp_path)


def test_rows_that_cannot_be_verified_count_for_nobody(tmp_path: Path):
    """A metric that does not know is not a zero: the row is left out for every system, and the proof says so."""
    unsure = {example.id for example in TASK.held_out[:7]}
    exact = st.exact("topic")

    def metric(expected, outputs):
        known = TASK.example(expected).id not in unsure
        return exact(expected, outputs) if known else st.Verdict.unverified("nobody knows")

    task = st.Task(world.Topic, data=world.rows(), metric=metric, name="world", seed=3)
    program = st.compile(task, lm=world.engine(), run=tmp_path, settings=st.Settings(trials=2, proposals=1))
    proof = st.prove(task, program=program)
    assert (proof.rows, proof.unverified) == (len(TASK.held_out) - 7, 7)
    assert "7 test rows could not be verified" in " ".join(proof.words)
