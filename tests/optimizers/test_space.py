"""The space grows, demos are chosen with reason, and the sampler keeps up with both."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import open_session
from stillroom.errors import BadConfig
from stillroom.optimizers.demos import MOST, covering, demo_effects, effect_set, labelled_sets, varied_set, vectors
from stillroom.optimizers.race import Trial
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.space import DemoSet, Space
from stillroom.optimizers.storage import open_storage
from stillroom.optimizers.study import Sampler
from stillroom.optimizers.subject import Candidate, Choice
from stillroom.optimizers.task_subject import TaskSubject
from stillroom.programs import Demo, Outcome
from stillroom.signatures import Example

TASK = world.task()


@pytest.fixture
def subject(tmp_path: Path):
    with open_session(world.engine(), tmp_path / "run", "compile", {}) as session:
        yield TaskSubject(TASK, session.engine, session.store, Settings(confirm=0))


def test_the_declared_choice_is_the_task_as_declared(subject: TaskSubject):
    """Parameters of the baseline build the baseline's own plan."""
    space = Space.of(subject, (0.0,))
    assert subject.build(space.choose(space.declared)).digest == subject.baseline.digest


def test_what_is_added_can_be_chosen_and_equal_things_are_added_once(subject: TaskSubject):
    """A new instruction and a new demo set get places; their copies get none."""
    space = Space.of(subject, (0.0,))
    options = space.options[""]
    place = options.add_instruction("Decide by the nouns.")
    wanted = DemoSet("mine", (Demo.of(TASK.demos[0]),))
    assert options.add_instruction("Decide by the nouns.") is None
    assert options.add_demos(wanted) == "mine"
    assert options.add_demos(wanted) is None
    plan = subject.build(space.choose({**space.declared, "instruction": place, "demos": "mine"})).program
    assert plan.instruction == "Decide by the nouns."
    assert [demo.id for demo in plan.demos] == [TASK.demos[0].id]
    assert set(space.choices) >= {"instruction", "demos", "format", "constrained"}
    assert "temperature" not in space.choices


def test_demo_sets_are_balanced_and_of_the_demos_split(subject: TaskSubject):
    """As many of each label, no row of another split, none twice, and not more than there is room for."""
    (part,) = subject.parts
    sets = labelled_sets(subject, part, vectors(subject.demos, "words"), random.Random(1))
    ids = {row.id for row in TASK.demos}
    assert len(sets) >= 4
    for each in sets:
        labels = [demo.outputs["topic"] for demo in each.demos]
        assert {labels.count(label) for label in set(labels)} == {len(labels) // 3}
        assert {demo.id for demo in each.demos} <= ids
        assert len({demo.id for demo in each.demos}) == len(each.demos) <= MOST


def test_of_very_many_rows_some_are_considered(subject: TaskSubject):
    """Those with a vector: coverage compares every row with every other."""
    (part,) = subject.parts
    some = subject.demos[:15]
    sets = labelled_sets(subject, part, vectors(some, "words"), random.Random(1))
    assert sets
    assert {demo.id for each in sets for demo in each.demos} <= {row.id for row in some}


def test_covering_rows_are_spread_and_not_alike(subject: TaskSubject):
    """Of two tight groups of points, two picks take one each."""
    (part,) = subject.parts
    rows = [row for row in TASK.demos if row.outputs["topic"] == "billing"][:6]
    points = np.array([[1, 0], [1, 0.01], [1, 0.02], [0, 1], [0.01, 1], [0.02, 1]], dtype=float)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    embedded = {row.id: point for row, point in zip(rows, points, strict=True)}
    picked = covering(rows, part, 2, embedded)
    assert sorted(rows.index(row) // 3 for row in picked) == [0, 1]


def trial_with(demos: list[str], scores: list[float], number: int) -> Trial:
    shown = tuple(Demo(name, {}, {"topic": name[0]}) for name in demos)
    outcomes = {place: Outcome("", "scored", score, "", {}) for place, score in enumerate(scores)}
    return Trial(number, Candidate({"": Choice("x", shown)}, str(number), None), {}, "t", outcomes, "complete")


def test_a_demo_that_helps_is_found_by_its_effect(subject: TaskSubject):
    """Sets with it score higher; the set made by effect has it and not the one that hurts."""
    (part,) = subject.parts
    rng, trials = random.Random(3), []
    for number in range(24):
        demos = rng.sample(["a-good", "a-bad", "a-x", "b-y", "b-z"], 3)
        level = 0.5 + 0.3 * ("a-good" in demos) - 0.3 * ("a-bad" in demos)
        trials.append(trial_with(demos, [float(rng.random() < level) for _ in range(40)], number))
    effects = demo_effects(trials, part)
    assert max(effects, key=effects.get) == "a-good"
    assert min(effects, key=effects.get) == "a-bad"
    made = effect_set(effects, trials, part, 4, rng)
    assert "a-good" in {demo.id for demo in made.demos}
    assert "a-bad" not in {demo.id for demo in made.demos}


def test_a_varied_set_keeps_its_balance(subject: TaskSubject):
    """Swapped demos are of the same label, and no demo comes twice."""
    (part,) = subject.parts
    (first, *_) = labelled_sets(subject, part, vectors(subject.demos, "words"), random.Random(1))
    varied = varied_set(first, part, subject, random.Random(2))
    assert sorted(d.outputs["topic"] for d in varied.demos) == sorted(d.outputs["topic"] for d in first.demos)
    assert len({demo.id for demo in varied.demos}) == len(first.demos)
    assert varied.demos != first.demos


def test_the_sampler_learns_from_trials_and_keeps_up_with_a_growing_space(tmp_path: Path):
    """After trials in which one value is better it is suggested most; new choices are suggested too."""
    sampler = Sampler(open_storage(None, tmp_path / "study.log"), "s", 0)
    choices = {"format": ("json", "chat", "tags")}
    trials = []
    for number in range(30):
        value = choices["format"][number % 3]
        trial = trial_with([], [float(value == "chat" or place % 4 == 0) for place in range(20)], number)
        trial.params = {"format": value, "instruction": 0}
        trials.append(trial)
    found = [sampler.suggest(choices, trials)["format"] for _ in range(20)]
    assert found.count("chat") > 10
    grown = {**choices, "instruction": (0, 1, 2)}
    suggested = {sampler.suggest(grown, trials)["instruction"] for _ in range(40)}
    assert suggested >= {1, 2}


def test_the_same_seed_gives_the_same_trials(tmp_path: Path):
    """Two searches of one task are one course: parameters, origins, scores and the winner's bytes."""
    from stillroom.store import Store

    notes = []
    for name in ("one", "two"):
        settings = st.Settings(trials=12, proposals=3, seed=5)
        st.compile(TASK, lm=world.engine(), run=tmp_path / name, settings=settings)
        with Store(tmp_path / name) as store:
            notes.append(store.notes("trial"))
        for note in notes[-1].values():
            del note["cost"]["seconds"]  # what a call took is measured, and decides only where it is asked to
    assert notes[0] == notes[1]
    assert (tmp_path / "one" / "plan.json").read_bytes() == (tmp_path / "two" / "plan.json").read_bytes()


def test_a_storage_that_optuna_cannot_open_is_refused(tmp_path: Path):
    """Before any call, without the address in the message: it may hold a password."""
    engine = world.engine()
    with pytest.raises(BadConfig, match="storage must be") as refused:
        st.compile(TASK, lm=engine, run=tmp_path, settings=st.Settings(storage="nonsense://user:secret@host/x"))
    assert "secret" not in str(refused.value)
    assert engine.served == 0


def test_the_front_is_saved_and_a_cheaper_program_can_be_picked(tmp_path: Path):
    """A rule that allows half a point takes the cheapest; every plan of the front is a file."""
    best = st.compile(TASK, lm=world.engine(), run=tmp_path / "best", settings=st.Settings(trials=14))
    cheap = st.compile(
        TASK, lm=world.engine(), run=tmp_path / "cheap", settings=st.Settings(trials=14, prefer="within:0.5")
    )
    assert len(cheap.plan.demos) == 0 < len(best.plan.demos)
    saved = [st.Plan.load(path) for path in sorted((tmp_path / "best" / "front").glob("*.json"))]
    assert [len(plan.demos) for plan in saved] == [each["demos"] for each in best.facts["front"]]
    scores = [each["score"] for each in best.facts["front"]]
    assert scores == sorted(scores, reverse=True)


def test_an_example_row_is_shown_as_it_is(subject: TaskSubject):
    """Demos of a task are its labelled rows."""
    row = Example("r", {"message": "m"}, {"topic": "billing"})
    assert subject.shown(subject.parts[0], row) == Demo("r", {"message": "m"}, {"topic": "billing"})
