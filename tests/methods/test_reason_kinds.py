"""What the reason method can do besides: code, consensus, self-verification, variants."""

from __future__ import annotations

import itertools

import pytest
from recipe_world import World, stopped, values
from sandbox_world import SANDBOXED

from stillroom.errors import BadConfig
from stillroom.programs.methods._reason_checks import consensus, mixed


def blocks(said: str, printed: str = "print(6 * 7)") -> list[dict[str, str]]:
    return [{"kind": "text", "body": "Multiply."}, {"kind": "code", "body": printed}, {"kind": "text", "body": said}]


@SANDBOXED
@pytest.mark.parametrize(
    ("said", "code", "holds"),
    [
        ("So it is 42.", "print(6 * 7)", True),
        ("So it is 41.", "print(6 * 7)", False),
        ("That settles it.", "print(6 * 7)", True),
        ("So it is 3.33.", "print(10 / 3)", True),
        ("So it is 42.", "print(6 * ", False),
        ("So it is 42.", "raise ValueError", False),
    ],
)
def test_what_code_prints_is_held_against_the_text(said, code, holds):
    found = mixed(blocks(said, code), "42")
    assert (found["contradiction"] == "") is holds, found


@SANDBOXED
def test_code_blocks_share_their_names_and_the_row_shows_what_they_print(tmp_path):
    two = [
        {"kind": "code", "body": "n = 40"},
        {"kind": "text", "body": "Then add."},
        {"kind": "code", "body": "```python\nprint(n + 2)\n```"},
    ]
    here = World({"solve in code": lambda inputs: {"blocks": two, "answer": "42"}})
    given = {"problems": [{"problem": "40 and 2?", "answer": "42"}]}
    emitted = here.run("llama3-interleaved", tmp_path, given=given, rows=1)
    assert emitted.rows[0].values["trace"] == (
        "```python\nn = 40\n```\nThen add.\n```python\nprint(n + 2)\n```\n```output\n42\n```\nThe answer is 42."
    )
    here = World({"solve in code": lambda inputs: {"blocks": blocks("So 41."), "answer": "42"}})
    emitted = here.run("llama3-interleaved", tmp_path / "other", given=given, rows=1)
    assert not emitted.rows
    assert stopped(emitted)["code and text agree"]


def test_consensus_counts_equal_answers_as_one():
    found = consensus(["1/2", "0.5", r"\frac12", "2", "3"], 8)
    assert found is not None
    assert (found.answer, found.share) == ("1/2", 3 / 8)
    assert consensus([], 8) is None


@pytest.mark.parametrize(("agreeing", "kept"), [(4, True), (3, False)])
def test_where_no_answer_is_known_half_must_agree(tmp_path, agreeing, kept):
    answers = iter((["6"] * agreeing + ["1", "2", "3", "4", "5"])[:8] * 4)
    here = World({"solve": lambda inputs: {"steps": ["Look."], "answer": next(answers)}})
    emitted = here.run(
        "hunyuan-consistency", tmp_path, given={"problems": [{"problem": "How many?", "answer": "1"}]}, rows=1
    )
    assert values(emitted.rows, "truth", "answer") == (["6"] if kept else [])
    assert bool(stopped(emitted).get("answers agree >= 0.5 of 8")) is not kept


def test_self_verification_needs_most_of_three_votes(tmp_path):
    votes = {"book": itertools.cycle(["yes", "yes", "no"]), "pen": itertools.cycle(["no", "no", "yes"])}
    said = {
        "solve": lambda inputs: {"steps": ["1 + 1 = 2"], "answer": "2"},
        "check": lambda inputs: {"verdict": next(votes["book" if "book" in inputs["text"] else "pen"])},
    }
    problems = [{"problem": f"One {each} and one {each}?", "answer": "2"} for each in ("book", "pen")]
    emitted = World(said).run("llama3-math", tmp_path, given={"problems": problems}, rows=2)
    assert values(emitted.rows, "problem") == ["One book and one book?"]
    judged = [each for each in emitted.rejects if each.gate.startswith("self-verification")]
    assert {each.values["problem"] for each in judged} == {"One pen and one pen?"}
    assert {each.passport.verdicts[-1]["by"] for each in judged} == {"judge"}


def test_every_variant_has_the_truth_that_belongs_to_it(tmp_path):
    said = {
        "solve": lambda inputs: {"steps": ["So."], "answer": "23" if "X" not in inputs["problem"] else "3"},
        "rephrase": lambda inputs: {"paraphrase": f"In other words: {inputs['instruction']}"},
        "evolve": lambda inputs: {"evolved": f"{inputs['op'][:24]}: {inputs['instruction']}"},
        "judge": lambda inputs: {"feedback": "Fine.", "score": 4 if "harder" in inputs["instruction"] else 3},
    }
    here = World(said)
    problems = [{"problem": "A shelf holds 3 books and gets some more. How many are there?", "answer": "23"}]
    emitted = here.run("afm-math", tmp_path, given={"problems": problems}, rows=10)
    found = {row.values["op"]: (row.values["truth"], row.values["source"]) for row in emitted.rows}
    assert found == {
        "given": ("23", "given"),
        "rephrase": ("23", "given"),
        "reverse": ("3", "given"),
        "depth": ("", "judge"),
    }
    assert stopped(emitted)["judge >= 4 of 5"]
    assert {call for call, _ in here.asked} == {"solve", "rephrase", "evolve", "judge"}


@pytest.mark.parametrize("wrong", [{"variants": ["upside down"]}, {"samples": 0}, {"share": 0.0}, {"turns": -1}])
def test_parameters_that_cannot_work_are_told_at_once(wrong):
    with pytest.raises(BadConfig):
        World({}).job("rest-em-math", params=wrong)
