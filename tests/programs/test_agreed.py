"""What a run knows of its own judge of agreement: measured beside people's labels, by answers that are on record."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine, open_session
from stillroom.evals import gates
from stillroom.optimizers.program import Program
from stillroom.optimizers.task_subject import baseline_plan
from stillroom.programs import Evaluator, blind, either
from stillroom.programs.agreed import Agreed, agreed
from stillroom.programs.judges import Head
from stillroom.programs.plan import Plan
from stillroom.programs.provenance import Provenance
from stillroom.signatures import DataWarning
from stillroom.store import Store

EMBEDDER = world.WordEmbedder()


def task(**settings) -> st.Task:
    """The world's task, labelled by people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        settings = {"labelled_by": "people", **settings}
        return st.Task(world.Topic, world.rows(), st.exact("topic"), name="world", seed=3, **settings)


TASK = task()
ENGINE = world.engine()
PLAN = baseline_plan(TASK, ENGINE.model)


def answered(folder: Path, plan: Plan, *splits: str, engine: ScriptedEngine = ENGINE) -> None:
    """Put the program's answers to some splits on record."""
    with open_session(engine, folder, "prove", {}) as session:
        for split in splits:
            Evaluator(session.engine, session.store, TASK.metric, TASK.metric_name).run(plan, TASK.splits[split])


def measured(folder: Path, of: st.Task = TASK, judge=None, *, chosen: bool = False) -> Agreed | None:
    """Look at what is on record."""
    served = ENGINE.served
    with Store(folder) as store:
        found = agreed(of, gates.Agreement(judge or blind(PLAN, ENGINE, TASK.metric)), store, chosen=chosen)
    assert ENGINE.served == served, "it asks nobody"
    return found


def by_head() -> Head:
    """A head that has learnt from all rows but those of the test split."""
    return Head(EMBEDDER, TASK.demos + TASK.search, "topic")


def test_what_was_never_measured_is_not_told(tmp_path: Path):
    """Nothing on record; too little; labels that nobody says people gave; another gate."""
    assert measured(tmp_path) is None
    answered(tmp_path, PLAN, "demos")
    assert measured(tmp_path) is None
    answered(tmp_path, PLAN, "test", "search")
    assert measured(tmp_path, task(labelled_by="machine")) is None
    assert measured(tmp_path, task(labelled_by="")) is None
    with Store(tmp_path) as store:
        assert agreed(TASK, gates.Whole(), store, chosen=False) is None
        assert agreed(TASK, gates.Agreement(lambda batch: []), store, chosen=False) is None


def test_rows_that_chose_a_program_say_nothing_of_it(tmp_path: Path):
    """The search split counts for the task as declared alone; the test split, once proved, for every program."""
    answered(tmp_path, PLAN, "search")
    found = measured(tmp_path)
    assert (found.split, found.rows) == ("search", len(TASK.search))
    assert measured(tmp_path, chosen=True) is None
    answered(tmp_path, PLAN, "test")
    found = measured(tmp_path, chosen=True)
    assert (found.split, found.rows) == ("test", len(TASK.held_out))
    assert found == measured(tmp_path)


def test_the_figures_are_those_of_the_answers(tmp_path: Path):
    """Right on its own row where the program names people's label, and wrong on another's where it names that one."""
    answered(tmp_path, PLAN, "test")
    with Store(tmp_path) as store:
        known = Evaluator(ENGINE, store, TASK.metric, TASK.metric_name).known(PLAN, TASK.held_out)
    right = sum(outcome.score for outcome in known) / len(known)
    found = measured(tmp_path)
    assert (
        right < found.accuracy["mean"] < right + (1 - right) / 2 + 1e-9
    )  # a wrong label is not always the other row's
    assert found.kappa["mean"] == pytest.approx(2 * found.accuracy["mean"] - 1)
    assert found.kappa["low"] < found.kappa["mean"] < found.kappa["high"]


def test_a_head_is_asked_about_rows_that_it_has_not_learnt(tmp_path: Path):
    """On search rows it is trained anew without them: one that has learnt nothing but noise by heart does not look good."""
    answered(tmp_path, PLAN, "search", "test")
    alone, both = measured(tmp_path), measured(tmp_path, judge=either(by_head(), blind(PLAN, ENGINE, TASK.metric)))
    assert both.accuracy["mean"] > alone.accuracy["mean"]
    assert both.split == "test"
    answered(tmp_path / "search", PLAN, "search")
    learnt = measured(tmp_path / "search", judge=either(by_head(), blind(PLAN, ENGINE, TASK.metric)))
    assert learnt.split == "search"
    assert learnt.accuracy["mean"] > 0.8


def sure(request) -> str:
    """A model that names every topic, where the world's is wrong four times in ten."""
    last = request.messages[-1].text
    topic = next((topic for topic, words in world.WORDS.items() if any(word in last for word in words)), "account")
    return world.answer(request) if "You write realistic" in str(request.system) else json.dumps({"topic": topic})


def emitted(folder: Path, engine: ScriptedEngine) -> Provenance:
    """Where the rows of an emission come from, with agreement by the program."""
    program = Program(TASK, PLAN, PLAN, engine, folder)
    usual = gates.default(TASK, blind(PLAN, engine, TASK.metric), embedder=EMBEDDER)
    found = program.emit(st.recipes.labelled(per_label=4), gates=usual, embedder=EMBEDDER).provenance
    assert found is not None
    return found


def test_a_judge_that_is_measured_and_good_enough_raises_no_doubt(tmp_path: Path):
    """Before it is measured the emission warns; afterwards the same rows are vouched for, with the figures beside them."""
    engine = ScriptedEngine(sure, name="world")
    before = emitted(tmp_path, engine)
    (doubt,) = before.doubtful
    assert (doubt.why, before.agreed) == ("its judge has no certificate", ())
    assert any("no certificate" in warning for warning in before.warnings)
    answered(tmp_path, PLAN, "test", engine=engine)
    after = emitted(tmp_path, engine)
    assert after.doubtful == ()
    assert not any("agreement" in warning for warning in after.warnings)
    (found,) = after.as_json()["agreed"]
    assert (found["gate"], found["split"], found["rows"]) == ("agreement", "test", len(TASK.held_out))
    assert found["kappa"]["low"] >= 0.4


def test_a_judge_that_is_measured_and_weak_is_doubted_for_that(tmp_path: Path):
    """The world's own model, by its figure."""
    answered(tmp_path, PLAN, "test")
    (doubt,) = emitted(tmp_path, ENGINE).doubtful
    assert doubt.why.startswith("its kappa with people may be as low as 0.3")


def test_a_judge_that_is_measured_and_weak_is_told_with_its_figure():
    """The doubt is then no want of a certificate."""
    weak = Agreed("agreement", 40, "test", {"mean": 0.3, "low": 0.1, "high": 0.5})
    assert weak.doubt == "its kappa with people may be as low as 0.10, under 0.4, on 40 test rows"
    assert replace(weak, kappa={"mean": 0.6, "low": 0.45, "high": 0.8}).doubt == ""
    assert "undefined" in replace(weak, kappa=None).doubt
