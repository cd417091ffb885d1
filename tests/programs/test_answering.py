"""Answers for the user's own rows: a file in, a file out, each row once, by plans that write or score."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import Score, ScriptedEngine
from stillroom.errors import BadData, BudgetExceeded, EngineRefused, FingerprintChanged
from stillroom.programs.answering import Answering, foresee_answers
from stillroom.programs.export import read_emitted
from stillroom.programs.plan import Plan

ROWS = world.rows(60)


def written(path: Path, rows: list) -> Path:
    path.write_text("".join(json.dumps({"message": row["message"], "id": n}) + "\n" for n, row in enumerate(rows)))
    return path


def test_a_file_of_rows_becomes_a_file_of_answers(tmp_path: Path):
    """In order, with every column, by a signature as declared; JSONL, CSV and mappings give the same."""
    path = written(tmp_path / "in.jsonl", ROWS)
    table = tmp_path / "in.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "id"), *((row["message"], n) for n, row in enumerate(ROWS))])
    mappings = [{"message": row["message"], "id": n} for n, row in enumerate(ROWS)]
    engine = world.engine()
    found = {
        "jsonl": st.answer(world.Topic, path, lm=engine, run=tmp_path / "1"),
        "csv": st.answer(world.Topic, table, lm=engine, run=tmp_path / "2", columns={"message": "text"}),
        "mappings": st.answer(world.Topic, mappings, lm=engine, run=tmp_path / "3"),
    }
    for name, emitted in found.items():
        assert len(emitted.rows) == len(ROWS), name
        assert [(row.values["message"], row.values["topic"]) for row in emitted.rows] == [
            (row.values["message"], row.values["topic"]) for row in found["jsonl"].rows
        ]
        assert [str(row.values["id"]) for row in emitted.rows] == [str(n) for n in range(len(ROWS))]
    assert read_emitted(tmp_path / "1" / "rows.jsonl") == list(found["jsonl"].rows)
    assert (tmp_path / "1" / "rows.parquet").is_file()
    row = found["jsonl"].rows[0]
    assert (row.passport.calls, row.passport.model, row.passport.licence) == (1, engine.model, engine.licence)


def test_it_goes_on_where_it_stopped(tmp_path: Path):
    """A full budget keeps what was answered; more rows cost their own calls; other rows are refused."""
    path = written(tmp_path / "in.jsonl", ROWS[:40])
    engine = world.engine()
    with pytest.raises(BudgetExceeded):
        st.answer(world.Topic, path, lm=engine, run=tmp_path / "run", budget=st.Budget(calls=25))
    assert engine.served == 25
    st.answer(world.Topic, path, lm=engine, run=tmp_path / "run")
    written(path, ROWS)
    emitted = st.answer(world.Topic, path, lm=engine, run=tmp_path / "run")
    assert engine.served == len(ROWS)
    assert [row.values["id"] for row in emitted.rows] == list(range(len(ROWS)))
    written(path, ROWS[1:])
    with pytest.raises(FingerprintChanged, match="was made from another input"):
        st.answer(world.Topic, path, lm=engine, run=tmp_path / "run")
    with pytest.raises(FingerprintChanged, match="seed was 0, is 1"):
        st.answer(world.Topic, path, lm=engine, run=tmp_path / "run", seed=1)


def test_rows_that_fail_are_told_and_tried_again_on_request(tmp_path: Path):
    """One is refused by the endpoint, one is never answered in the form; the others are not held up."""
    mended = False

    def reply(request):
        text = request.messages[0].text
        if text == ROWS[3]["message"] and not mended:
            raise EngineRefused("the prompt is too long")
        if text == ROWS[5]["message"] and not (mended and request.config.seed is not None):
            return "I would rather not say."
        return world.answer(request)

    path = written(tmp_path / "in.jsonl", ROWS[:10])
    engine = ScriptedEngine(reply, name="world")
    first = st.answer(world.Topic, path, lm=engine, run=tmp_path / "run")
    assert first.shortfall == {"rows": 2}
    assert [(row.status, row.gate) for row in first.rejects] == [("quarantined", "answer"), ("quarantined", "schema")]
    mended = True
    again = st.answer(world.Topic, path, lm=engine, run=tmp_path / "run", retry=True)
    assert again.shortfall == {}
    assert sorted(row.values["id"] for row in again.rows) == list(range(10))


def test_plans_that_score_their_labels_answer_too(tmp_path: Path):
    """What is asked at once is scored together, and recorded like any call."""
    batches = []

    def score(request, continuations):
        return [Score(text, -float(len(text)), 1) for text in continuations]

    class Counting(ScriptedEngine):
        def score_many(self, requests, continuations):
            batches.append(len(requests))
            return super().score_many(requests, continuations)

    engine = Counting(world.answer, name="world", score=score)
    task = world.task()
    plan = Plan(task.shape, engine.model, "Name it.", scored=dict.fromkeys(task.shape.label_field.labels, 0.0))
    path = written(tmp_path / "in.jsonl", ROWS)
    emitted = st.answer(plan, path, lm=engine, run=tmp_path / "run")
    assert {row.values["topic"] for row in emitted.rows} == {"billing"}
    assert sum(batches) == len({row["message"] for row in ROWS})
    assert max(batches) > 4
    assert {row.passport.calls for row in emitted.rows} == {1}


def test_an_input_that_cannot_be_used_costs_nothing(tmp_path: Path):
    """Told before the first call."""
    engine = world.engine()
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "hello"}\n')
    with pytest.raises(BadData, match="row 1, field 'message': column 'message' is missing"):
        st.answer(world.Topic, path, lm=engine, run=tmp_path / "run")
    assert engine.served == 0


def test_a_compiled_program_answers_in_a_folder_beside_its_own(tmp_path: Path):
    """`answers` in the run folder, unless another is named."""
    engine = world.engine()
    task = world.task()
    program = st.compile(task, lm=engine, run=tmp_path, settings=st.Settings(trials=2, proposals=0))
    emitted = program.answer(written(tmp_path / "in.jsonl", ROWS[:5]))
    assert len(emitted.rows) == 5
    assert (tmp_path / "answers" / "rows.jsonl").is_file()
    assert emitted.rows[0].passport.plan == program.plan.digest


def test_one_value_says_what_is_answered_to_the_run_and_to_its_forecast(tmp_path: Path):
    """Said once, with what differs said beside it; a setting that there is none of is refused before anything is asked."""
    engine = world.engine()
    what = Answering(world.Topic, [{"text": row["message"]} for row in ROWS[:9]], columns={"message": "text"})
    told = foresee_answers(what, lm=engine, run=tmp_path / "run")
    assert (told.wanted, engine.served) == (9, 0)
    emitted = st.answer(what, lm=engine, run=tmp_path / "run")
    assert len(emitted.rows) == 9
    assert told.calls.low <= engine.served <= told.calls.high
    with pytest.raises(FingerprintChanged, match="attempts was 1, is 2"):
        st.answer(what, lm=engine, run=tmp_path / "run", attempts=2)
    assert len(st.answer(what, ROWS[:4], lm=engine, run=tmp_path / "other", columns=None).rows) == 4
    with pytest.raises(TypeError, match="atempts"):
        st.answer(world.Topic, ROWS, lm=engine, run=tmp_path / "bad", atempts=2)
    assert not (tmp_path / "bad").exists()
