"""The acceptance checks of the evolve method: which children are eliminated, and what becomes of their parents."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from recipe_world import World, handed_over, stopped, values

from stillroom.errors import BadConfig
from stillroom.programs.methods.evolve import TABLES, empty, equal, leaks, refused
from stillroom.programs.published import presets

MINE = sorted(name for name, each in presets().items() if each.method == "evolve")


def world(**said) -> World:
    number = itertools.count()
    return World(
        {
            "evolve": lambda inputs: {"evolved": f"{inputs['instruction']} step{next(number)}"},
            "same": lambda inputs: {"verdict": "no"},
            "difficulty": lambda inputs: {"feedback": "hard", "score": 4},
            "answer": lambda inputs: f"A good answer to: {inputs['instruction']}",
            **said,
        }
    )


@pytest.mark.acceptance("2.3 D1")
@pytest.mark.parametrize(
    ("rule", "row", "out"),
    [
        (equal, {"instruction": "Count to ten twice", "parent": "Count to ten", "verdict": "yes"}, True),
        (equal, {"instruction": "Count to ten twice", "parent": "Count to ten", "verdict": "no"}, False),
        (refused, {"response": "Sorry, " + "word " * 78}, True),
        (refused, {"response": "Sorry, " + "word " * 79}, False),
        (empty, {"response": "And so it is, but... (of the)!"}, True),
        (empty, {"response": "And so it is: Paris."}, False),
        (leaks, {"instruction": "Rewrite the #Given Prompt# as a poem"}, True),
        (leaks, {"instruction": "Rewrite the given poem as a prompt"}, False),
    ],
)
def test_each_rule_eliminates_on_its_side(rule, row, out):
    """Seventy-nine words with a sorry are a refusal, eighty are an answer that is polite."""
    assert bool(rule(row)) is out


def test_words_of_other_scripts_say_something():
    assert empty({"response": "Это Париж."}) == ""
    assert empty({"response": "42"}) == ""


@pytest.mark.acceptance("2.3 D1")
def test_eliminated_children_are_rejects_of_a_named_gate(tmp_path):
    turn = itertools.cycle(["ok", "leak", "same", "sorry", "nothing"])
    said = {
        "evolve": lambda inputs: {"evolved": _child(inputs, next(turn))},
        "same": lambda inputs: {"verdict": "yes" if "same" in inputs["text"].split("Second: ")[1] else "no"},
        "answer": lambda inputs: {"sorry": "I am sorry.", "nothing": "..."}.get(inputs["instruction"].split()[-1], "Fine answer"),
    }  # fmt: skip
    emitted = world(**said).run("wizardlm", tmp_path, rows=4)
    found = stopped(emitted)
    assert {"leaked phrase", "something gained", "sorry in 80 words", "response says something"} <= set(found)
    by = {each["gate"]: each["by"] for row in emitted.rejects for each in row.passport.verdicts if not each["passed"]}
    assert by["something gained"] == "judge"
    assert by["leaked phrase"] == "form"


def _child(inputs, kind) -> str:
    return f"{inputs['instruction']} {'rewritten prompt' if kind == 'leak' else kind}"


@pytest.mark.acceptance("2.3 D2")
def test_no_lineage_is_deeper_than_the_rounds_and_each_child_has_its_parent_in_it(tmp_path):
    emitted = world().run("wizardlm", tmp_path, rows=30, given={"instructions": _three()}, params={"rounds": 2})
    assert len(emitted.rows) == 30
    depths = Counter(values(emitted.rows, "depth"))
    assert max(depths) == 2
    assert all(len(row.values["lineage"]) == row.values["depth"] for row in emitted.rows)
    names = {each.name for each in TABLES["general"]}
    assert {name for row in emitted.rows for name in row.values["lineage"]} <= names
    ids = {row.id: row for row in emitted.rows}
    deep = [row for row in emitted.rows if row.values["depth"] == 2]
    assert all(ids[row.passport.parents[0]].values["instruction"] == row.values["parent"] for row in deep)


@pytest.mark.acceptance("2.3 D2")
def test_a_failed_child_leaves_its_parent_eligible(tmp_path):
    """The first child of every lineage's second round fails, whatever is tried; the same parent is evolved again."""
    failed: Counter[str] = Counter()

    def same(inputs):
        parent = inputs["text"].split("\n\nSecond: ")[0]
        if "step" in parent and failed[parent] < 2:
            failed[parent] += 1
            return {"verdict": "yes"}
        return {"verdict": "no"}

    here = world(same=same)
    emitted = here.run("wizardlm", tmp_path, rows=9, given={"instructions": _three()}, params={"rounds": 3})
    assert failed
    again = [row for row in emitted.rows if f"First: {row.values['parent']}" in failed]
    assert again
    parents = {row.values["instruction"] for row in emitted.rows}
    assert all(row.values["parent"] in parents for row in again)
    # a child that was eliminated is never a parent
    gone = {row.values.get("instruction") for row in emitted.rejects if row.status == "rejected"}
    assert not gone & {row.values["parent"] for row in emitted.rows}


def test_operations_are_drawn_evenly():
    job = World({}).job("wizardlm")
    drawn = Counter(job.rng("operation", slot).choice(TABLES["general"]).name for slot in range(3000))
    assert set(drawn) == {each.name for each in TABLES["general"]}
    assert all(420 <= count <= 580 for count in drawn.values())


def test_only_what_is_hard_enough_is_kept(tmp_path):
    score = itertools.cycle([2, 3])
    emitted = world(difficulty=lambda inputs: {"feedback": "", "score": next(score)}).run(
        "afm-math-evolution", tmp_path, rows=4
    )
    assert stopped(emitted)["difficulty >= 3"] >= 4


def test_an_unknown_table_is_refused():
    job = World({}).job("wizardlm", params={"table": "poetry"})
    with pytest.raises(BadConfig, match="a table out of general"):
        job.method.flow(job)


@pytest.mark.parametrize("name", MINE)
def test_every_preset_gives_rows_and_records_with_their_papers(name, tmp_path):
    emitted = world().run(name, tmp_path, rows=4)
    assert len(emitted.rows) == 4
    for made in handed_over(name, emitted).values():
        assert len(made) == 4
        assert all(each.meta.rows[0]["passport"]["target"]["lineage"] for each in made)


def _three() -> list[dict[str, str]]:
    return [{"instruction": f"Describe a {what} in two sentences"} for what in ("bridge", "kettle", "glacier")]
