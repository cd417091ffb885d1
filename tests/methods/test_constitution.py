"""The acceptance checks of the constitution method: principles in place of people's labels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from recipe_world import Words, World, handed_over, sample_rows, stopped

from stillroom.engines import Score
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, BadData
from stillroom.programs.methods._chosen import kept_apart, ranked
from stillroom.programs.methods._orders import agreed, settled
from stillroom.programs.methods._principles import consensus, length_ratio, read
from stillroom.programs.published import preset, records, run_preset

PRESETS = [
    "claude-2.1-honesty", "collective-constitution", "constitutional-ai-rl", "constitutional-ai-rl-cot",
    "constitutional-ai-sl", "critique-as-preference", "principle-selection", "qwen2-constitution", "salmon",
]  # fmt: skip
PRINCIPLES = sample_rows("principles.jsonl")


@pytest.fixture(autouse=True)
def _embedder(monkeypatch):
    monkeypatch.setattr("stillroom.evals.embedding.default_embedder", Words)


def world(**said) -> World:
    answers = iter(range(10_000))
    return World(
        {
            "answer": lambda inputs: {"response": f"Answer {next(answers)} to {inputs['instruction'][:20]}"},
            "critique": lambda inputs: {"critique": f"Against {inputs['principle'][20:40]!r}: too blunt."},
            "revise": lambda inputs: {"revised": f"{inputs['response']}, revised"},
            # whoever stands longer first in the alphabet is better, whatever the order
            "compare": lambda inputs: {"better": "A" if inputs["a"] < inputs["b"] else "B"},
            "word": lambda inputs: {"text": f"Choose the response that does so: {inputs['passage']}"},
            **said,
        }
    )


def reasoning(said):
    return lambda inputs: {"reasoning": "Thinking.", **said(inputs)}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_rows_and_records(name, tmp_path):
    """On scripted calls and the sample rows, each preset gives rows, and records of every schema that it promises."""
    here = world()
    if name.endswith("cot"):
        here.said = {**here.said, "compare": reasoning(here.said["compare"])}
    emitted = here.run(name, tmp_path, rows=6)
    assert len(emitted.rows) == 6
    for made in handed_over(name, emitted).values():
        assert made
        assert all(each.meta.rows[0]["passport"]["parents"] for each in made)


# -- critique and revision -----------------------------------------------------------------


@pytest.mark.acceptance("2.12 D1")
def test_the_transcript_is_an_answer_and_then_critique_and_revision_by_drawn_principles(tmp_path):
    """In this order, each by the principle that the row's papers name; the same seed draws the same, another others."""

    def run(folder, seed=0):
        here = world()
        emitted = here.run("constitutional-ai-sl", tmp_path / folder, rows=1, params={"helpful": 0.0}, seed=seed)
        return here, emitted.rows[0]

    here, row = run("one")
    assert [call for call, _ in here.asked] == ["answer", *["critique", "revise"] * 4]
    ids = row.passport.target["principles"]
    text = {each["id"]: each["principle"] for each in PRINCIPLES}
    assert [inputs["principle"] for call, inputs in here.asked if call == "critique"] == [text[each] for each in ids]
    assert [turn["principle"] for turn in row.values["turns"]] == ids
    first = here.asked[0][1]["instruction"]
    answer = row.values["original"]
    for number, (call, inputs) in enumerate(here.asked[1:]):
        assert inputs["response"] == answer + ", revised" * (number // 2)
        assert inputs["instruction"] == first
        if call == "revise":
            assert inputs["critique"] == row.values["turns"][number // 2]["critique"]
    assert row.values["response"] == answer + ", revised" * 4
    assert run("again")[1].passport.target == row.passport.target
    assert len({tuple(run(f"seed {seed}", seed)[1].passport.target["principles"]) for seed in range(1, 5)}) > 1


def test_principles_are_drawn_evenly():
    """Sixteen principles over 800 rows of four: each about 200 times."""
    job = world().job("constitutional-ai-sl")
    draw = job.method.flow(job).source.draw
    ids = [each for slot in range(800) for each in draw("principled", slot).asked["principles"]]
    assert all(140 <= ids.count(each["id"]) <= 260 for each in PRINCIPLES)


def test_helpful_rows_are_answered_once_and_make_no_pair(tmp_path):
    """42% of the rows, with nobody criticising them; refusals are told."""
    here = world(answer=lambda inputs: {"response": "I'm sorry, but I can't help with that request."})
    emitted = here.run("constitutional-ai-sl", tmp_path, rows=50)
    helpful = [row for row in emitted.rows if row.place.startswith("helpful/")]
    assert len(helpful) == 21
    assert all(row.values["pair"] == [] and row.values["turns"] == [] for row in helpful)
    assert all(row.values["evasive"] for row in helpful)
    assert sum(call == "critique" for call, _ in here.asked) == 29 * 4
    with pytest.raises(BadConfig, match="mixes in helpful rows"):
        here.job("critique-as-preference", params={"helpful": 0.5}).method.flow(
            here.job("critique-as-preference", params={"helpful": 0.5})
        )


def test_a_revision_is_preferred_to_its_original_unless_nothing_changed(tmp_path):
    """Chosen is the revision, rejected the first answer; a row left as it was is refused."""
    emitted = world().run("critique-as-preference", tmp_path / "changed", rows=3)
    for record in records(preset("critique-as-preference").load().emits["pref"], "pref", list(emitted.rows)):
        assert record.chosen[0].content == record.rejected[0].content + ", revised"
    same = world(revise=lambda inputs: {"revised": f" {inputs['response']}\n"})
    emitted = same.run("critique-as-preference", tmp_path / "same", rows=3)
    assert not emitted.rows
    assert list(stopped(emitted)) == ["answers differ"]


# -- comparison ----------------------------------------------------------------------------


def scored(p_first: float, lean: float = 0.0):
    """An engine whose judge gives `p_first` to whichever answer stands first, and `lean` more to the shorter one."""

    def score(request, continuations):
        text = request.messages[-1].text
        a, b = re.search(r"^a: (.*)$", text, re.M)[1], re.search(r"^b: (.*)$", text, re.M)[1]
        p = p_first + (lean if len(a) < len(b) else -lean)
        return [Score(each, float(np.log(p if "A" in each else 1 - p)), 1) for each in continuations]

    answers = iter(range(10_000))

    def answer(request):
        number = next(answers)
        return "short" if number % 2 else f"a much longer answer {number}"

    return ScriptedEngine(answer, score=score)


@pytest.mark.acceptance("2.12 D2")
def test_both_orders_average_to_the_stored_probability(tmp_path):
    """The place costs nothing: a judge that only sees the place gives exactly 0.5, which is no preference."""
    params = {"helpful": 0.0}
    emitted = run_preset(
        "constitutional-ai-rl", tmp_path / "lean", lm=scored(0.6, 0.3), samples=True, rows=5, params=params
    )
    assert len(emitted.rows) == 5
    for row in emitted.rows:
        (orders,) = row.values["orders"]
        assert sorted(round(p, 9) for p in orders) in ([0.7, 0.9], [0.1, 0.3])
        assert row.values["p_a"] == pytest.approx(sum(orders) / 2, abs=1e-12)
        (pair,) = row.values["pair"]
        assert pair["chosen"] == "short"
        assert pair["p_chosen"] == pytest.approx(0.8)
    emitted = run_preset(
        "constitutional-ai-rl", tmp_path / "even", lm=scored(0.75), samples=True, rows=5, params=params
    )
    assert not emitted.rows
    assert {row.values["p_a"] for row in emitted.rejects} == {0.5}
    assert list(stopped(emitted)) == ["preference"]


@pytest.mark.parametrize(("ab", "ba", "p", "agree"), [
    (0.9, 0.1, 0.5, False), (0.9, 0.7, 0.8, True), (0.2, 0.4, 0.3, True), (0.5, 0.9, 0.7, False), (0.5, 0.5, 0.5, False),
])  # fmt: skip
def test_the_mean_of_both_orders(ab, ba, p, agree):
    """And whether both prefer the same answer."""
    assert settled(ab, ba) == pytest.approx(p)
    assert agreed(ab, ba) is agree


def test_reasoned_labels_are_clamped(tmp_path):
    """A written letter in both orders is certain; 0.6 is stored."""
    here = world()
    here.said = {**here.said, "compare": reasoning(here.said["compare"])}
    emitted = here.run("constitutional-ai-rl-cot", tmp_path, rows=4)
    assert {row.values["pair"][0]["p_chosen"] for row in emitted.rows} == {0.6}
    assert {row.values["p_a"] for row in emitted.rows} <= {0.0, 1.0}


def test_the_most_decisive_principle_decides_and_turns_its_label_with_it(tmp_path):
    """Three principles: one is sure, two are not; where the sure one is turned around, so is the pair."""
    sure = PRINCIPLES[13]["principle"]

    def score(request, continuations):
        text = request.messages[-1].text
        a, b = re.search(r"^a: (.*)$", text, re.M)[1], re.search(r"^b: (.*)$", text, re.M)[1]
        lean = 0.4 if sure in text else 0.1  # the sure one likes the short answer, all others the long one
        p = 0.5 + (lean if (len(a) < len(b)) == (sure in text) else -lean)
        return [Score(each, float(np.log(p if "A" in each else 1 - p)), 1) for each in continuations]

    engine = scored(0.5)
    engine._score = score
    given = {"principles": [PRINCIPLES[13], *PRINCIPLES[:2]]}
    emitted = run_preset("salmon", tmp_path, lm=engine, samples=True, given=given, rows=12)
    turned = 0
    for row in emitted.rows:
        asked = row.passport.target
        flip = asked["turned"][asked["principles"].index("brevity")]
        turned += flip
        (pair,) = row.values["pair"]
        assert (pair["chosen"] == "short") is not flip
        assert pair["p_chosen"] == pytest.approx(0.9)
        shown = PRINCIPLES[13]["opposite" if flip else "principle"]
        assert f"- {shown}" in pair["prompt"]
    assert 0 < turned < 12


def test_pairs_of_people_are_mixed_in_as_they_are(tmp_path):
    """43% of the rows, with no call spent on them."""
    here = world()
    emitted = here.run("constitutional-ai-rl", tmp_path, rows=10)
    people = [row for row in emitted.rows if row.place.startswith("helpful/")]
    assert len(people) == 4
    given = sample_rows("answer_pairs.jsonl")
    assert all(row.passport.calls == 0 for row in people)
    assert all(any(row.values["pair"][0]["chosen"] == each["chosen"] for each in given) for row in people)


def test_answers_against_a_principle_are_asked_for_with_its_opposite(tmp_path):
    """The system message of one answer is the principle, that of the other its opposite."""
    here = world()
    emitted = here.run("qwen2-constitution", tmp_path, rows=1)
    (principle,) = [each for each in PRINCIPLES if each["id"] == emitted.rows[0].passport.target["principles"][0]]
    assert sorted(inputs["system"] for _, inputs in here.asked) == sorted(
        [principle["principle"], principle["opposite"]]
    )


# -- which principles ----------------------------------------------------------------------


@pytest.mark.acceptance("2.12 D3")
def test_a_statement_stays_where_both_groups_like_it(tmp_path):
    """Liked by both it becomes a principle, liked by one it goes, however large that group; copies keep the best liked."""
    statements = [
        {"statement": "Say when you are not sure.", "votes": {"x": [80, 100], "y": [30, 40]}},
        {"statement": "Answer at any price.", "votes": {"x": [900, 1000], "y": [1, 30]}},
        {"statement": "Refuse at any doubt.", "votes": {"x": [2, 90], "y": [40, 40]}},
        {"statement": "say when you are not sure", "votes": {"x": [95, 100], "y": [38, 40]}},
        {"statement": "Nobody voted on this.", "votes": {"x": [0, 0], "y": [0, 0]}},
    ]
    emitted = world().run("collective-constitution", tmp_path, rows=9, given={"statements": statements})
    assert [row.values["principle"] for row in emitted.rows] == [
        "Choose the response that does so: say when you are not sure"
    ]
    assert stopped(emitted) == {"consensus >= 0.6 in every group": 3, "cosine <= 0.9": 1}
    at = {"x": [59, 98], "y": [100, 100]}  # (59 + 1) / (98 + 2) = 0.6 exactly
    for votes, kept in ((at, 1), ({**at, "x": [58, 98]}, 0)):
        given = {"statements": [{"statement": "Be kind.", "votes": votes}]}
        assert len(world().run("collective-constitution", tmp_path / str(kept), given=given).rows) == kept
    assert consensus({"x": [80, 100], "y": [30, 40]}) == 31 / 42
    with pytest.raises(BadData, match="41 of 40"):
        consensus({"y": [41, 40]})


def test_principles_that_overlap_or_judge_unsteadily_are_out(tmp_path):
    """A copy, one too long, and one that follows the place: each is refused by its own rule; the others stay."""
    fickle = "Choose the response that feels right to whoever happens to read it today."
    rows = [
        *PRINCIPLES[:5],
        {"id": "copy", "principle": PRINCIPLES[0]["principle"].replace("practical ", "") + " "},
        {"id": "long", "principle": "Choose the response that " + "is good in one more of very many ways and " * 6},
        {"id": "fickle", "principle": fickle},
    ]
    here = world(
        compare=lambda inputs: {"better": "A" if inputs["principle"] == fickle or inputs["a"] < inputs["b"] else "B"}
    )
    emitted = here.run("principle-selection", tmp_path, given={"principles": rows}, rows=20)
    assert stopped(emitted) == {"cosine <= 0.9": 1, "length(0.5..2 of the median)": 1, "swap-consistency >= 0.6": 1}
    assert len(emitted.rows) == 5
    assert {row.values["consistency"] for row in emitted.rows} == {1.0}
    fickle_row = next(row for row in emitted.rejects if row.gate.startswith("swap"))
    assert fickle_row.values["consistency"] == 0.0
    assert fickle_row.values["unsure"] == 1.0
    assert length_ratio("a b c d", ["a b", "a b c d", "a"]) == 2.0
    with pytest.raises(BadData, match="'x' twice"):
        read([{"id": "x", "principle": "a"}, {"id": "x", "principle": "b"}])


def test_of_texts_that_lie_close_the_better_stays_whatever_their_order():
    """Both sides of the threshold, and every order of the same texts keeps the same ones."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    texts, scores = ["a", "b", "c"], [1.0, 2.0, 0.5]
    assert kept_apart(vectors, ranked(texts, scores), 0.7) == [1, None, None]
    assert kept_apart(vectors, ranked(texts, scores), 0.8) == [None, None, None]
    assert kept_apart(vectors, ranked(texts, [3.0, 2.0, 0.5]), 0.5) == [None, 0, None]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        found = kept_apart(vectors[order], ranked([texts[at] for at in order], [1.0] * 3), 0.5)
        assert {texts[order[at]] for at in range(3) if found[at] is None} == {
            texts[at] for at, near in enumerate(kept_apart(vectors, ranked(texts, [1.0] * 3), 0.5)) if near is None
        }  # fmt: skip
