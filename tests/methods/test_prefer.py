"""The acceptance checks of the method of preferences: several answers, one order."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from statistics import fmean
from typing import Any

import pytest
from recipe_world import World, handed_over, stopped

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BadData
from stillroom.programs.flow import Ask
from stillroom.programs.methods._orders import agreed, flagged, longer_side, pairs, permutation, points, ranked
from stillroom.programs.methods.prefer import drawn
from stillroom.programs.published import prepare, preset

WORDS = ["plain", "short", "warm", "dull", "exact", "vague"]


def answers(*scores: float | None) -> list[dict[str, Any]]:
    return [{"completion": f"answer {at}", "model": "m", "score": each} for at, each in enumerate(scores)]


def world(rate=None, judge=None, overall=None, rank=None, better=None, answer=None) -> World:
    """Answers whose worth is the number they end with, and judges that see it."""
    count = iter(range(10_000))

    def answered(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        number = next(count)
        return {"response": f"{WORDS[number % 6]} reply {'x' * (9 - number % 5)} worth {number % 5 + 1}"}

    def worth(text: str) -> int:
        return int(text[-1]) if text[-1].isdigit() else 5

    return World(
        {
            "answer": answer or answered,
            "rate": rate
            or (lambda inputs: {"ratings": [{"reason": "", "points": worth(each)} for each in inputs["responses"]]}),
            "judge": judge or (lambda inputs: {"feedback": "as it says", "score": worth(inputs["response"])}),
            "critique": overall
            or (lambda inputs: {"feedback": "say more", "score": min(10, 2 * worth(inputs["response"]))}),
            "rank": rank
            or (
                lambda inputs: {
                    "comparisons": ["the first" for _ in inputs["pairs"]],
                    "order": sorted(
                        range(1, len(inputs["responses"]) + 1), key=lambda at: -worth(inputs["responses"][at - 1])
                    ),
                }
            ),
            "compare": better or (lambda inputs: {"better": "A" if worth(inputs["a"]) >= worth(inputs["b"]) else "B"}),
        }
    )


@pytest.mark.acceptance("2.13 D1")
def test_reducers_make_the_pairs_they_say_and_none_of_equals():
    """A fixture under each reducer; seven different scores give 21 pairs, and equals are never a pair."""
    rng = random.Random(0)
    fixture = answers(3, 5, 1, 3)
    assert [each["score"] for each in ranked(fixture)] == [5, 3, 3, 1]
    assert [each["completion"] for each in ranked(fixture)] == ["answer 1", "answer 0", "answer 3", "answer 2"]
    assert [(a["score"], b["score"]) for a, b in pairs(fixture, "best-worst", rng)] == [(5, 1)]
    assert Counter(b["score"] for _ in range(3000) for _, b in pairs(fixture, "best-random", rng))[1] == pytest.approx(
        1000, abs=100
    )
    assert [(a["score"], b["score"]) for a, b in pairs(fixture, "all", rng)] == [(5, 3), (5, 3), (5, 1), (3, 1), (3, 1)]
    assert pairs(fixture, "none", rng) == []
    seven = answers(*random.Random(1).sample(range(1, 8), 7))
    assert len(pairs(seven, "all", rng)) == math.comb(7, 2) == 21
    assert all(better["score"] > worse["score"] for better, worse in pairs(seven, "all", rng))
    for how in ("best-worst", "best-random", "all"):
        assert pairs(answers(4, 4, 4), how, rng) == []
        assert pairs(answers(4, None), how, rng) == []
        tied = pairs(answers(4, 4, 2), how, rng)
        assert tied
        assert all(better["score"] > worse["score"] for better, worse in tied)
    assert points([[4, 2, 3], [5]]) == 4
    assert points([[4], [None]]) is None


@pytest.mark.acceptance("2.13 D1")
def test_seven_answers_of_a_run_are_one_ranking_and_21_pairs(tmp_path):
    """Through the whole recipe: each row of Nectar has seven answers, best first, and 21 pairs, none of equals."""
    here = world(answer=numbered())
    made = here.run("nectar", tmp_path, rows=4)
    assert len(made.rows) == 4
    for row in made.rows:
        assert [each["score"] for each in row.values["responses"]] == [7, 6, 5, 4, 3, 2, 1]
        assert [int(each["completion"].split()[-1]) for each in row.values["responses"]] == [7, 6, 5, 4, 3, 2, 1]
        assert len(row.values["pairs"]) == 21
        assert all(each["score_chosen"] > each["score_rejected"] for each in row.values["pairs"])
    asked = [inputs for call, inputs in here.asked if call == "rank"]
    assert all(len(inputs["pairs"]) == 21 for inputs in asked)
    named = {frozenset(each.split(" and ")) for each in asked[0]["pairs"]}
    assert named == {frozenset(map(str, pair)) for pair in combinations(range(1, 8), 2)}
    orders = [[each.split()[-1] for each in inputs["responses"]] for inputs in asked]
    assert len({tuple(each) for each in orders}) == len(orders)  # each prompt its own order
    assert asked[0]["pairs"] != asked[1]["pairs"]


def numbered():
    """Answers to a prompt numbered from 1, as they are asked for."""
    seen: Counter[str] = Counter()

    def answered(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        key = inputs["instruction"] + inputs["input"]
        seen[key] += 1
        return {"response": f"{'y' * (8 - seen[key])} answer of {inputs['instruction'][:20]}: {seen[key]}"}

    return answered


@pytest.mark.acceptance("2.13 D2")
def test_swap_agreement_raises_the_accuracy_of_a_biased_judge():
    """A judge with a position bias of 0.2: from 0.73 to 0.86, on the 60% of pairs whose two orders agree.

    A fifth of the time it names what is shown first; else the better of two normal worths by a logistic in their gap.
    """
    rng = random.Random(7)

    def first_is_named(gap: float) -> bool:
        return rng.random() < 0.2 or rng.random() < 1 / (1 + math.exp(-1.45 * gap))

    single, right, kept, trials = 0.0, 0, 0, 60_000
    for _ in range(trials):
        gap = rng.gauss(0, 1) - rng.gauss(0, 1)  # of the first answer to the second
        straight, turned = first_is_named(gap), first_is_named(-gap)
        single += ((straight == (gap > 0)) + (turned == (gap < 0))) / 2
        if agreed(float(straight), float(not turned)):
            kept += 1
            right += straight == (gap > 0)
    assert single / trials == pytest.approx(0.73, abs=0.015)
    assert right / kept == pytest.approx(0.86, abs=0.015)
    assert kept / trials == pytest.approx(0.60, abs=0.015)


def test_a_judge_that_always_says_first_makes_no_pairs(tmp_path):
    """Pairs are made of what both orders agree on; averaged they are halves, and nothing is chosen."""
    params = {"judge": "pairwise", "sources": ["student", "student", "student"], "pairs": "all"}
    biased = world(better=lambda inputs: {"better": "A"})
    made = biased.run("self-rewarding", tmp_path / "biased", rows=3, params=params)
    assert (len(made.rows), set(stopped(made))) == (0, {"answers differ in score"})
    fair = world().run("self-rewarding", tmp_path / "fair", rows=3, params={**params, "longer": 1.0})
    assert {row.values["consistency"] for row in fair.rows} == {1.0}
    assert all(each["score_chosen"] > each["score_rejected"] for row in fair.rows for each in row.values["pairs"])


@pytest.mark.acceptance("2.13 D3")
def test_the_mean_of_three_scores_follows_the_truth_closer():
    """Whole points 0..5 with noise of sigma 1.2: a Spearman of 0.81 for one score and 0.93 for the mean of three."""
    from scipy.stats import spearmanr

    rng = random.Random(3)
    truth = [rng.randint(0, 5) for _ in range(6000)]
    said = [[min(5, max(0, round(score + rng.gauss(0, 1.2)))) for _ in range(3)] for score in truth]
    assert spearmanr(truth, [points([some[:1]]) for some in said]).statistic == pytest.approx(0.81, abs=0.015)
    assert spearmanr(truth, [points([some]) for some in said]).statistic == pytest.approx(0.93, abs=0.015)


@pytest.mark.acceptance("2.13 D4")
def test_a_perfect_overall_score_over_poor_aspects_is_flagged(tmp_path):
    """10 with a mean of 2 or less is flagged and waits for a person; 10 over 2.25, or 9 over 2, is not."""
    assert flagged(10, 2)
    assert flagged(10, 1.25)
    assert not flagged(10, 2.25)
    assert not flagged(9, 2)
    assert not flagged(None, 1)
    low = {"ratings": [{"reason": "", "points": 2}] * 4}
    perfect = world(rate=lambda inputs: low, overall=lambda inputs: {"feedback": "Fine.", "score": 10})
    made = perfect.run("ultrafeedback", tmp_path / "flagged", rows=2)
    assert len(made.rows) == 0
    assert {(row.status, row.gate) for row in made.rejects} == {("audit", "overall score and aspects agree")}
    nine = world(rate=lambda inputs: low, overall=lambda inputs: {"feedback": "Fine.", "score": 9})
    assert len(nine.run("ultrafeedback", tmp_path / "kept", rows=2).rows) == 2


NAMES = ("ultrafeedback", "zephyr", "nectar", "self-rewarding", "spin", "neural-chat")


@pytest.mark.parametrize("name", NAMES)
def test_presets_run_and_their_records_build(name, tmp_path):
    """Each preset gives the rows asked for on its sample, and its records of every schema carry their papers."""
    here = world(answer=numbered())
    if name == "neural-chat":
        here = world()
    made = here.run(name, tmp_path, rows=3)
    assert len(made.rows) == 3
    for schema, found in handed_over(name, made).items():
        assert found or schema == "critique"
        assert all(each.meta.rows[0]["passport"]["calls"] > 0 for each in found)


def test_ultrafeedback_asks_each_aspect_once_with_an_order_of_its_own(tmp_path):
    """Four askings of four answers each, a critique for each answer, and means that follow the answers, not places."""
    here = world(answer=numbered())
    made = here.run("ultrafeedback", tmp_path, rows=12)
    calls = Counter(call for call, _ in here.asked)
    assert calls["rate"] == calls["critique"] == calls["answer"] == 4 * 12
    for row in made.rows:
        assert [each["score"] for each in row.values["responses"]] == [4.0, 3.0, 2.0, 1.0]
        assert len(row.values["critiques"]) == 4
    rated = [[each[-1] for each in inputs["responses"]] for call, inputs in here.asked if call == "rate"]
    assert len({tuple(each) for each in rated}) > 5
    assert {inputs["system"] for call, inputs in here.asked if call == "answer"} == set(
        preset("ultrafeedback").params["systems"].values()
    )


@pytest.mark.parametrize(
    "said",
    [
        {"ratings": [{"reason": "", "points": 3}] * 3},
        {"ratings": [{"reason": "", "points": 6}] * 4},
        {"ratings": [{"reason": "", "points": 0}] * 4},
    ],
)
def test_ratings_that_do_not_fit_the_answers_are_refused(said, tmp_path):
    """Too few ratings, or points outside the scale, stop the row by form: they say nothing of the answers."""
    made = world(rate=lambda inputs: said).run("zephyr", tmp_path, rows=2)
    assert set(stopped(made)) == {"scores are whole"}
    assert {each["by"] for row in made.rejects for each in row.passport.verdicts if not each["passed"]} == {"form"}


def test_an_order_that_leaves_answers_out_is_refused(tmp_path):
    """A ranking names each answer once."""
    made = world(rank=lambda inputs: {"comparisons": [], "order": [1, 1, 2]}).run("nectar", tmp_path, rows=1)
    assert set(stopped(made)) == {"scores are whole"}
    assert permutation([3, 1, 2], 3) == [2, 0, 1]
    assert permutation([], 1) is None


def test_self_rewarding_asks_thrice_and_drops_ties(tmp_path):
    """Three judgements of each of four answers; where the means tie there is no pair."""
    here = world(answer=numbered())
    made = here.run("self-rewarding", tmp_path / "a", rows=3)
    calls = Counter(call for call, _ in here.asked)
    assert calls["judge"] == 12 * calls["answer"] / 4
    assert [(each["score_chosen"], each["score_rejected"]) for row in made.rows for each in row.values["pairs"]] == [
        (4.0, 1.0)
    ] * 3
    tied = world(judge=lambda inputs: {"feedback": "f", "score": 3}).run("self-rewarding", tmp_path / "b", rows=2)
    assert (len(tied.rows), set(stopped(tied))) == (0, {"answers differ in score"})
    assert {
        each["by"]
        for row in tied.rejects
        for each in row.passport.verdicts
        if each["gate"] == "answers differ in score"
    } == {"judge"}


def test_spin_sets_people_against_the_student_and_drops_equals(tmp_path):
    """Chosen is the gold answer to the byte; a sample that equals it makes no row."""
    gold = {row["instruction"]: row["response"] for row in prompts()}
    here = world(answer=lambda inputs: {"response": "My own words."})
    made = here.run("spin", tmp_path / "a", rows=20)
    assert [each["chosen"] for row in made.rows for each in row.values["pairs"]] == [
        gold[row.values["instruction"]] for row in made.rows
    ]
    assert len(made.rows) == 20
    same = world(answer=lambda inputs: {"response": gold[inputs["instruction"]]})
    assert set(stopped(same.run("spin", tmp_path / "b", rows=4))) == {"two answers"}
    with pytest.raises(BadData, match="must have a `response`"):
        here.run("spin", tmp_path / "c", given={"prompts": [{"instruction": "Say hello."}]})


def prompts() -> list[dict[str, Any]]:
    return prepare("spin", {"teacher": ScriptedEngine({})}, samples=True).source("prompts")


def test_longer_answers_are_not_chosen_in_more_than_seven_of_ten_rows(tmp_path):
    """Four of five chosen answers are the longer ones: of the rows kept at most 70% are, and the others wait."""
    order = {row["instruction"]: at for at, row in enumerate(prompts())}
    seen: Counter[str] = Counter()

    def answered(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        seen[inputs["instruction"]] += 1
        chosen = seen[inputs["instruction"]] % 2 == 1
        return {"response": "word " * (9 if chosen == (order[inputs["instruction"]] % 5 > 0) else 3)}

    made = world(answer=answered).run("neural-chat", tmp_path, rows=10)
    assert len(made.rows) >= 8
    assert fmean(row.values["longer"] == "chosen" for row in made.rows) <= 0.7
    assert {row.status for row in made.rejects} <= {"audit", "surplus"}
    assert any(row.status == "audit" for row in made.rejects)
    assert made.rows[0].values["longer"] == "rejected"
    assert longer_side([(answers(1)[0] | {"completion": "abc"}, answers(1)[0] | {"completion": "ab"})]) == "chosen"
    assert longer_side([]) == "neither"
    assert all("lengths" in each for row in made.rows for each in row.values["pairs"])


def engines(*roles: str) -> dict[str, ScriptedEngine]:
    return {role: ScriptedEngine({}, name=role.replace(" ", "-")) for role in roles}


def test_candidates_are_drawn_evenly_and_none_twice_before_all():
    """Of six candidates each answers as often as any other, and never twice to one prompt."""
    names = [f"candidate {at}" for at in range(6)]
    job = prepare("ultrafeedback", engines("teacher", "judge", *names), samples=True)
    who = [drawn(job, number) for number in range(600)]
    assert all(len(set(each)) == 4 for each in who)
    counts = Counter(role for each in who for role in each)
    assert set(counts) == set(names)
    assert all(count == pytest.approx(400, abs=60) for count in counts.values())
    two = prepare("ultrafeedback", engines("teacher", "candidate a", "candidate b"), samples=True)
    assert Counter(drawn(two, 0)) == {"candidate a": 2, "candidate b": 2}


def test_a_judge_is_not_among_those_it_judges():
    """Where several models are named, the judge must not answer too, unless that is declared."""
    some = engines("teacher", "candidate a", "candidate b")
    some["judge"] = some["candidate b"]
    job = prepare("ultrafeedback", some, samples=True)
    with pytest.raises(BadConfig, match="must not be one of those it judges"):
        job.method.flow(job)
    declared = prepare("ultrafeedback", some, samples=True, params={"self_play": True})
    assert declared.method.flow(declared).name == "ultrafeedback"


def test_another_candidate_is_another_recipe():
    """Who answers is part of what rows are made by: a folder begun with other models is refused."""
    one = prepare("ultrafeedback", engines("teacher", "candidate a"), samples=True)
    two = prepare("ultrafeedback", engines("teacher", "candidate b"), samples=True)
    assert one.digest != two.digest


def test_judges_are_constrained_to_one_readable_figure_for_each_answer():
    job = World({}).job("ultrafeedback")
    step = next(part for part in job.method.flow(job).parts if isinstance(part, Ask) and part.name.startswith("rate "))
    for n in (2, 4):
        ratings = step.vary(None, {"answers": [{}] * n}).shape.output_schema()["properties"]["ratings"]
        assert (ratings["minItems"], ratings["maxItems"]) == (n, n)
        assert ratings["items"]["properties"]["points"] == {"enum": [1, 2, 3, 4, 5]}
    job = World({}).job("nectar")
    step = next(part for part in job.method.flow(job).parts if isinstance(part, Ask) and part.name == "rank")
    asked = step.vary(None, {"answers": [{}] * 3}).shape.output_schema()["properties"]
    assert asked["order"] == {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 3, "maxItems": 3}
    assert asked["comparisons"]["minItems"] == 3
