"""Emission: quotas met or said, funnels that add up, every reject kept with its reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import BadConfig
from stillroom.evals import gates
from stillroom.optimizers.task_subject import baseline_plan
from stillroom.programs import blind, emit_rows
from stillroom.programs.export import read_emitted, save_emitted
from stillroom.programs.recipes import STYLES
from stillroom.rows import EmittedRow

TASK = world.task()


def emit(folder: Path, recipe, engine=None, judge: bool = True):
    engine = engine or world.engine()
    program = baseline_plan(TASK, engine.model)
    with open_session(engine, folder, "emit", {"recipe": recipe.digest}) as session:
        judged = blind(program, session.engine, TASK.metric) if judge else None
        return emit_rows(TASK, program, recipe, gates.default(TASK, judged), session)


def test_quotas_and_rejects_add_up(tmp_path: Path):
    """Accepted plus every reject is what was written, gate by gate and in all."""
    emitted = emit(tmp_path, st.recipes.labelled(per_label={"billing": 4, "delivery": 7, "account": 0}))
    counts = Counter(row.values["topic"] for row in emitted.rows)
    assert {label: counts[label] + emitted.shortfall.get(label, 0) for label in world.WORDS} == {
        "billing": 4,
        "delivery": 7,
        "account": 0,
    }
    reached = emitted.written
    for _, entered, stopped in emitted.funnel:
        assert entered == reached
        reached -= stopped
    assert reached == len(emitted.rows)
    assert [name for name, _, _ in emitted.funnel] == [
        "schema",
        "whole",
        "exact",
        "near",
        "decontaminated",
        "agreement",
    ]


def test_every_reject_names_its_gate_and_reason(tmp_path: Path):
    """Disagreements wait for a person; nothing is thrown away without a word."""
    emitted = emit(tmp_path, st.recipes.labelled(per_label=12))
    assert emitted.rejects
    for row in emitted.rejects:
        assert row.gate
        assert row.why
        assert row.status == {"agreement": "audit", "quota": "surplus"}.get(row.gate, "rejected")
        assert [verdict["passed"] for verdict in row.passport.verdicts] == [True] * (len(row.passport.verdicts) - 1) + [
            False
        ]


def test_rows_carry_their_passports(tmp_path: Path):
    """Each row says who wrote it, from what, how, and what every gate said."""
    emitted = emit(tmp_path, st.recipes.labelled(per_label=3, demos=2))
    shown = {example.id for example in TASK.demos}
    for row in emitted.rows:
        passport = row.passport
        assert passport.model == world.engine().model
        assert len(passport.parents) == 2
        assert set(passport.parents) <= shown
        assert passport.decoding["seed"] is not None
        assert passport.target["outputs"]["topic"] == row.values["topic"]
        assert all(verdict["passed"] for verdict in passport.verdicts)
        assert EmittedRow.from_json(row.as_json()) == row


def test_a_quota_that_cannot_be_met_is_a_shortfall(tmp_path: Path):
    """A model that writes one text only fills one row; the rest is said to be missing."""
    emitted = emit(
        tmp_path,
        st.recipes.labelled(per_label=3, attempts=2),
        ScriptedEngine(lambda request: '{"message": "my invoice is odd"}'),
        judge=False,
    )
    assert len(emitted.rows) == 1
    assert sum(emitted.shortfall.values()) == 8
    assert emitted.written == 9 * 2  # the tries of a cell are shared by its rows
    assert all("exact" in line for line in emitted.why())


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("not json at all", "schema"),
        ('{"message": 5}', ""),
        ('{"message": "..."}', "whole"),
        ('{"wrong": "key"}', "schema"),
        ("", "schema"),
    ],
)
def test_bad_answers_stop_at_the_right_gate(tmp_path: Path, text: str, gate: str):
    """Malformed, empty and mistyped answers never become rows."""
    emitted = emit(
        tmp_path,
        st.recipes.labelled(per_label={"billing": 1}, attempts=1),
        ScriptedEngine(lambda request: text),
        judge=False,
    )
    if gate:
        assert [row.gate for row in emitted.rejects] == [gate]
    else:
        assert emitted.rows[0].values["message"] == "5"


def test_copies_of_any_split_never_come_out(tmp_path: Path):
    """A teacher that recites labelled rows is stopped, whichever split they are from."""
    for number, split in enumerate(("demos", "search", "test")):
        text = TASK.splits[split][0].inputs["message"]
        engine = ScriptedEngine(lambda request, text=text: f'{{"message": "  {text.upper()} "}}')
        emitted = emit(
            tmp_path / str(number), st.recipes.labelled(per_label={"billing": 1}, attempts=1), engine, judge=False
        )
        assert [row.gate for row in emitted.rejects] == ["decontaminated"]


def test_files_hold_the_rows(tmp_path: Path):
    """JSONL and Parquet agree, and JSONL reads back."""
    emitted = emit(tmp_path, st.recipes.labelled(per_label=4))
    save_emitted(emitted, tmp_path)
    assert read_emitted(tmp_path / "rows.jsonl") == list(emitted.rows)
    assert read_emitted(tmp_path / "rejects.jsonl") == list(emitted.rejects)
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    assert list(frame["message"]) == [row.values["message"] for row in emitted.rows] == list(emitted.frame()["message"])


def test_styles_come_as_often_as_declared():
    """Every attribute value stands in its share of the rows, to within one."""
    targets = st.recipes.labelled(per_label=21).targets(TASK)
    for label in world.WORDS:
        cell = [target.style for target in targets if target.cell == label]
        for name, choices in STYLES.items():
            counts = Counter(style[name] for style in cell)
            for value in set(choices):
                assert abs(counts[value] - 21 * choices.count(value) / len(choices)) < choices.count(value) + 1


def test_recipes_that_cannot_work_are_refused():
    """Before any call, with rule and value."""
    for bad in (
        lambda: st.recipes.labelled(per_label=-1),
        lambda: st.recipes.labelled(temperature=0),
        lambda: st.recipes.labelled(attempts=0),
        lambda: st.recipes.labelled(styles={"tone": ()}),
    ):
        with pytest.raises(BadConfig):
            bad()
    with pytest.raises(BadConfig, match="must name labels of world, got"):
        st.recipes.labelled(per_label={"nonsense": 1}).targets(TASK)


def test_varied_recombines_the_labelled_outputs():
    """Each wanted field value stands in some labelled row."""
    targets = st.recipes.varied(n=10).targets(TASK)
    assert len(targets) == 10
    assert {target.outputs["topic"] for target in targets} <= {example.outputs["topic"] for example in TASK.demos}
