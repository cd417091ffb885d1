"""The acceptance checks of the method of critiques: data that teaches judging."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import Any

import pytest
from recipe_world import WORDS, World, handed_over, stopped

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.programs.methods._critiques import ERRORS, agrees, even, result
from stillroom.programs.published import prepare


def world(**said: Any) -> World:
    """Rubrics of four words that differ, answers of 20 words give or take, feedback that ends as it should."""
    made = iter(range(10_000))

    def rubrics(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        numbers = [next(made) for _ in range(inputs["n"])]
        return {
            "tasks": [" ".join(WORDS[(at * step + step) % 13] for step in (1, 3, 5, 7)) + f" {at}" for at in numbers]
        }

    return World(
        {
            "rubrics": rubrics,
            "instructions": lambda inputs: {"problem": f"Task {next(made)} for {inputs['seed'][:30]}"},
            "respond": lambda inputs: {"response": " ".join(["word"] * (19 + inputs["score"] % 3))},
            "assess": lambda inputs: {"assessment": f"It is so. [RESULT] {inputs['score']}"},
            "criticise": lambda inputs: {"critique": "The sum is wrong: 2 and 2 are 4."},
            "classify": lambda inputs: {"label": "no error" if "hank" in inputs["text"] else ERRORS[0]},
            "judge": lambda inputs: {"feedback": f"Said of: {inputs['response']}", "score": min(5, len(inputs["response"]) // 20)},
            "answer": lambda inputs: {"response": "An answer."},
            "revise": lambda inputs: {"revised": "A better answer."},
            "compare": lambda inputs: {"better": "A" if "better" in inputs["a"] else "B"},
            **said,
        }
    )  # fmt: skip


@pytest.mark.acceptance("2.14 D1")
def test_scores_are_uniform_for_each_rubric_and_lengths_do_not_tell_them(tmp_path):
    """Of 118 rows each rubric has as many of each score, give or take one; mean lengths are within 20% of each other's."""
    here = world(
        respond=lambda inputs: {
            "response": " ".join(["w"] * (24 if inputs["score"] == 5 else 19 + inputs["score"] % 3))
        }
    )
    made = here.run("prometheus", tmp_path, rows=118, params={"rubrics": 3, "instructions": 4})
    assert len(made.rows) == 118
    scores: dict[str, Counter[int]] = defaultdict(Counter)
    lengths: dict[int, list[int]] = defaultdict(list)
    for row in made.rows:
        scores[row.values["rubric"]][row.values["score"]] += 1
        lengths[row.values["score"]].append(len(row.values["response"].split()))
    assert len(scores) > 5
    for each in scores.values():
        counts = [each[score] for score in range(1, 6)]
        assert max(counts) - min(counts) <= 1
    mean = fmean(length for some in lengths.values() for length in some)
    assert sorted(lengths) == [1, 2, 3, 4, 5]
    assert all(abs(fmean(some) - mean) <= 0.2 * mean for some in lengths.values())
    assert all(row.values["reference"] for row in made.rows)


@pytest.mark.acceptance("2.14 D1")
def test_a_set_with_one_answer_too_long_or_one_score_missing_is_dropped_whole(tmp_path):
    """Planted: every other instruction gets a long answer for score 5, or feedback for 2 without its mark."""

    def long(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        odd = int(inputs["instruction"].split()[1]) % 2 and inputs["score"] == 5 and inputs["reference"]
        return {"response": " ".join(["word"] * (40 if odd else 20))}

    made = world(respond=long).run("prometheus", tmp_path / "long", rows=40, params={"rubrics": 3, "instructions": 4})
    assert set(stopped(made)) - {"quota", "ROUGE-L <= 0.7"} == {"lengths within 0.2"}
    assert len(made.rows) % 5 == 0
    assert all(int(row.values["instruction"].split()[1]) % 2 == 0 for row in made.rows)
    unmarked = world(
        assess=lambda inputs: {"assessment": "fine" if inputs["score"] == 2 else f"fine [RESULT] {inputs['score']}"}
    ).run("prometheus", tmp_path / "unmarked", rows=5, params={"rubrics": 0, "instructions": 2})
    assert (len(unmarked.rows), unmarked.rejects[0].gate) == (0, "a judgement for each score")
    exact = ["w " * 80, "w " * 100, "w " * 120]
    assert even(exact, 0.2) == ""
    assert even([*exact, "w " * 79], 0.2)


@pytest.mark.acceptance("2.14 D2")
@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Right but long. [RESULT] 4", 4),
        ("It says [RESULT] 2 in its own text. [RESULT] 5", 5),
        ("Good. [RESULT] (3)", 3),
        ("Good. [RESULT]: 1.", 1),
        ("Good.\n[RESULT]\n2", 2),
        ("Good. [RESULT] 4/5", 4),
        ("Good. [RESULT] 0", None),
        ("Good. [RESULT] 6", None),
        ("Good. [RESULT] -3", None),
        ("Good. [RESULT] 3.5", None),
        ("Good. [RESULT] 15", None),
        ("Good. [RESULT] four", None),
        ("Good. [RESULT] 3 [RESULT]", None),
        ("Good. [RESULT] 3 [RESULT] 9", None),
        ("Good. 4", None),
        ("[RESULT] 4", None),
        ("", None),
    ],
)
def test_the_score_is_the_whole_number_after_the_last_mark(text, score):
    """Whatever stands before it, and nothing out of range."""
    found = result(text)
    assert (found[1] if found else None) == score
    assert found is None or found[0] == text[: text.rindex("[RESULT]")].strip()


@pytest.mark.acceptance("2.14 D2")
def test_a_score_out_of_range_rejects_its_row(tmp_path):
    """A judge that ends in [RESULT] 7, or in another score than the answer was written for, gives no row, by form."""
    for at, said in enumerate(("[RESULT] 7", "[RESULT] 3")):
        here = world(assess=lambda inputs, said=said: {"assessment": f"Fine. {said}"})
        made = here.run("prometheus", tmp_path / str(at), rows=5, params={"rubrics": 0, "instructions": 2})
        assert (len(made.rows), made.rejects[0].gate) == (0, "a judgement for each score")
        assert "must end in [RESULT]" in made.rejects[0].why


@pytest.mark.acceptance("2.14 D3")
@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([5, 3, 1], True),
        ([5, 4, 4, 1], True),
        ([4, 4, 3], True),
        ([3, 4, 1], False),
        ([5, 1, 3], False),
        ([1, 3, 5], False),
        ([4, 4, 4], False),
        ([2], False),
        ([], False),
        ([0, 0, 0, 1], False),
        ([1, 0], True),
    ],
)
def test_points_must_keep_the_order_of_people(scores, kept):
    """Points of answers in people's order, best first."""
    assert agrees(scores) is kept


@pytest.mark.acceptance("2.14 D3")
def test_judgements_that_part_from_people_are_kept_out(tmp_path):
    """On a fixture of people's ranks the judge errs on the second question alone: none of its judgements is kept."""
    ranked = [
        {"instruction": f"Q{at}", "responses": [f"best of {at}", f"middle of {at}", f"worst of {at}"]}
        for at in range(3)
    ]
    points = {"best of 0": 5, "middle of 0": 4, "worst of 0": 1, "best of 1": 2, "middle of 1": 3, "worst of 1": 1,
              "best of 2": 3, "middle of 2": 3, "worst of 2": 0}  # fmt: skip
    here = world(judge=lambda inputs: {"feedback": "Because.", "score": points[inputs["response"]]})
    made = here.run("self-rewarding-eft", tmp_path, rows=6, given={"rankings": ranked})
    assert {row.values["instruction"] for row in made.rows} == {"Q0", "Q2"}
    assert sorted(row.values["score"] for row in made.rows) == [0, 1, 3, 3, 4, 5]
    refused = [row for row in made.rejects if row.gate == "people's order"]
    assert {v["by"] for row in refused for v in row.passport.verdicts if not v["passed"]} == {"verifier"}
    assert refused[0].why == "people rank best first, the points are [2, 3, 1]"


def test_fours_are_at_most_half(tmp_path):
    """A judge that gives 4 wherever it can: fours are held to half of what is kept, the others wait for a person."""
    here = world(
        judge=lambda inputs: {"feedback": "Fine.", "score": 1 if inputs["response"].startswith("worst") else 4}
    )
    ranked = [{"instruction": f"Q{at}", "responses": ["best", "good", "fair", f"worst {at}"]} for at in range(12)]
    made = here.run("self-rewarding-eft", tmp_path, rows=20, given={"rankings": ranked})
    counts = Counter(row.values["score"] for row in made.rows)
    assert counts[4] <= len(made.rows) / 2
    assert counts[1] >= 10
    assert "audit" in {row.status for row in made.rejects}


def test_critiques_that_name_no_error_are_kept_out(tmp_path):
    """Thanks are no critique; a comment stays as people wrote it; where there is none a model criticises."""
    here = world()
    threads = [
        {"instruction": "2 + 2?", "response": "5", "comment": "No, it is 4."},
        {"instruction": "Sky?", "response": "Blue.", "comment": "Thanks!"},
        {"instruction": "3 + 3?", "response": "7"},
    ]
    made = here.run("shepherd", tmp_path, rows=2, given={"threads": threads})
    assert [row.values["feedback"] for row in made.rows] == ["No, it is 4.", "The sum is wrong: 2 and 2 are 4."]
    assert [row.values["error"] for row in made.rows] == [ERRORS[0]] * 2
    assert Counter(call for call, _ in here.asked)["criticise"] == 1
    strange = world(classify=lambda inputs: {"label": "bad"}).run(
        "shepherd", tmp_path / "b", rows=1, given={"threads": threads}
    )
    assert set(stopped(strange)) == {"a known kind"}


def test_a_critique_is_kept_only_if_its_revision_wins_in_both_orders(tmp_path):
    """A judge that always names the first shown, or prefers the answer itself, leaves no row."""
    assert len(world().run("self-critique", tmp_path / "a", rows=3).rows) == 3
    for name, said in (("first", {"better": "A"}), ("second", {"better": "B"})):
        biased = world(compare=lambda inputs, said=said: said).run("self-critique", tmp_path / name, rows=2)
        assert (len(biased.rows), set(stopped(biased))) == (0, {"the revision is better in both orders"})
    worse = world(compare=lambda inputs: {"better": "B" if "better" in inputs["a"] else "A"})
    assert len(worse.run("self-critique", tmp_path / "worse", rows=2).rows) == 0


@pytest.mark.parametrize("name", ["prometheus", "shepherd", "self-critique", "self-rewarding-eft"])
def test_presets_run_and_their_records_build(name, tmp_path):
    """Each preset gives the rows asked for on its sample, and its critiques carry their papers."""
    params = {"rubrics": 1, "instructions": 2} if name == "prometheus" else {}
    made = world().run(name, tmp_path, rows=4, params=params)
    assert len(made.rows) == 4
    found = handed_over(name, made)["critique"]
    assert len(found) == 4
    assert all(each.feedback for each in found)
    assert all((each.revision is not None) == (name == "self-critique") for each in found)
    assert all((each.reference is not None) == (name == "prometheus") for each in found)


def test_a_critique_that_breaks_off_is_refused(tmp_path):
    """What was cut off at its tokens, or declines, is no critique."""
    endless = world(criticise=lambda inputs: {"critique": "wrong " * 500})
    threads = {"threads": [{"instruction": "2 + 2?", "response": "5"}]}
    for name, given in (("self-critique", {}), ("shepherd", threads)):
        assert len(endless.run(name, tmp_path / name, rows=1, given=given).rows) == 0
    declining = world(criticise=lambda inputs: {"critique": "I'm sorry, but I can't help with that."})
    made = declining.run("self-critique", tmp_path / "declining", rows=1)
    assert (len(made.rows), set(stopped(made))) == (0, {"whole"})


def test_each_kind_says_which_rows_it_lacks():
    """Before anything is asked."""
    job = prepare("prometheus", {"teacher": ScriptedEngine({})})
    with pytest.raises(BadConfig, match="needs rows called 'rubrics'"):
        job.method.flow(job)


def test_a_rubric_that_is_tried_again_is_no_copy_of_its_earlier_try(tmp_path):
    """All feedback of its first try lacks its mark; the second try gets past the gate that compares rubrics."""
    said = iter(range(10_000))
    rubric = "Is it kind? 1: no. 2: hardly. 3: in part. 4: mostly. 5: yes, throughout."
    here = world(
        assess=lambda inputs: {"assessment": "fine" if next(said) < 10 else f"fine [RESULT] {inputs['score']}"}
    )
    settings = {"rows": 5, "given": {"rubrics": [{"rubric": rubric}]}, "params": {"rubrics": 0, "instructions": 2}}
    made = here.run("prometheus", tmp_path, **settings)
    assert {name: count for name, count in stopped(made).items() if name.startswith("ROUGE")} == {}
    assert len(made.rows) == 5
    assert {row.place.split("/")[2][0] for row in made.rows} == {"1"}
    asked = len(here.asked)
    assert len(here.run("prometheus", tmp_path, **settings).rows) == 5  # gone over, it decides the same
    assert len(here.asked) == asked
