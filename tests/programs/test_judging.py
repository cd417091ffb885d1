"""Judges: what they say in every state, what they cost, where they stand as metric and gate, and their certificates."""

from __future__ import annotations

import json
import random
import re
import warnings
from dataclasses import replace
from pathlib import Path

import dspy
import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given, settings
from hypothesis import strategies as some

import stillroom as st
from stillroom.engines import Score, ScriptedEngine
from stillroom.errors import BadConfig, BadData, EngineBusy
from stillroom.evals.gates import Candidate
from stillroom.programs import judging
from stillroom.programs.judging.shapes import kind_of, order_of, swapped
from stillroom.signatures import DataWarning


def shown(request) -> dict[str, str]:
    """The fields of the last message."""
    text = request.messages[-1].text
    found = re.findall(
        r"^(instruction|first|second|response|text|reference|question|answers): (.*)$", text, re.MULTILINE
    )
    return dict(found)


def worth(text: str) -> float:
    """How good an answer is in this world."""
    return text.count("good") - text.count("bad")


def scorer(pull: float = 0.0, skill: float = 1.0):
    """Log-probabilities by worth, with a pull to the first place."""

    def score(request, continuations):
        row = shown(request)
        if "text" in row:
            gap = skill * worth(row["text"])
        elif "response" in row:
            return [
                Score(each, -abs(worth(row["response"]) + 3 - at) * 9, 3) for at, each in enumerate(continuations, 1)
            ]
        else:
            gap = skill * (worth(row["first"]) - worth(row["second"])) + pull
        return [Score(each, gap if at == 0 else 0.0, 3) for at, each in enumerate(continuations)]

    return score


def engine(answer=None, **more) -> ScriptedEngine:
    """A scripted judge; without an answer it can only score."""
    return ScriptedEngine(answer or (lambda request: "?"), name=more.pop("name", "judge"), **more)


def scoring(pull: float = 0.0, skill: float = 1.0) -> ScriptedEngine:
    """A judge by log-probability."""
    return engine(score=scorer(pull, skill))


def writing(pull: float = 0.0) -> ScriptedEngine:
    """A judge that writes which of two answers is better."""

    def answer(request):
        row = shown(request)
        return json.dumps({"better": "first" if worth(row["first"]) - worth(row["second"]) + pull > 0 else "second"})

    return engine(answer)


ROW = {"instruction": "Say hello.", "first": "good", "second": "bad"}


def pairs(count: int) -> list[dict]:
    """Labelled pairs."""
    rng = random.Random(4)
    rows = []
    for at in range(count):
        first, second = rng.sample(["good good", "good", "plain", "bad", "bad bad"], 2)
        better = "first" if worth(first) > worth(second) else "second"
        row = {"instruction": f"task {at // 2}", "first": f"{first} {at}", "second": f"{second} {at}"}
        rows.append({**row, "label": better, "better": better})
    return rows


# -- pairs -----------------------------------------------------------------------------


def test_a_pair_is_judged_in_both_orders_and_averaged():
    """The mean of both orders is the opinion; both readings are kept."""
    (found,) = judging.pairwise(scoring(pull=1.0)).judge([ROW])
    assert found.choice == "first"
    assert found.calls == 2
    assert found.cost.tokens > 0
    straight, turned = found.readings
    assert found.p == pytest.approx((straight + 1 - turned) / 2)
    assert found.verdict.score == found.p
    assert "P(first is better)" in found.verdict.why


def test_a_judge_with_nothing_but_a_favourite_place_says_a_half():
    """So a tie, and unverified."""
    (found,) = judging.pairwise(scoring(pull=3.0, skill=0.0)).judge([ROW])
    assert found.p == pytest.approx(0.5)
    assert found.choice == "tie"
    assert not found.verdict.verified


@given(first=some.text(min_size=1), second=some.text(min_size=1), pull=some.floats(-5, 5))
@settings(max_examples=40)
def test_the_order_of_a_pair_does_not_matter(first, second, pull):
    """Swapped, P(first) becomes 1 - P(first), whatever the texts."""
    judge = judging.pairwise(scoring(pull))
    row = {"instruction": "x", "first": first, "second": second}
    straight, turned = judge.judge([row, swapped(row)])
    if straight.p is None:
        assert turned.p is None
    else:
        assert straight.p + turned.p == pytest.approx(1)


def test_a_written_pair_stands_where_both_orders_agree():
    """Full credit for the first, none for the second, with a reason."""
    judge = judging.pairwise(writing())
    assert judge.plan.scored is None
    up, down = judge.judge([ROW, swapped(ROW)])
    assert (up.verdict.score, up.verdict.why, up.choice) == (1.0, "", "first")
    assert (down.verdict.score, down.choice) == (0.0, "second")
    assert down.verdict.why


def test_a_written_pair_is_a_tie_where_the_orders_disagree():
    """Unverified, and it says so."""
    (found,) = judging.pairwise(writing(pull=9)).judge([ROW])
    assert (found.choice, found.verdict.score, found.p) == ("tie", None, 0.5)
    assert "disagree" in found.verdict.why


def test_an_answer_that_does_not_parse_is_unverified():
    """It is neither a tie nor a loss."""
    (found,) = judging.pairwise(engine(lambda request: "I like both")).judge([ROW])
    assert (found.choice, found.verdict.score, found.p) == ("", None, None)
    assert "parse" in found.verdict.why


def test_an_outage_is_no_opinion():
    """It raises."""
    with pytest.raises(EngineBusy):
        judging.pairwise(engine(lambda request: EngineBusy("503"))).judge([ROW])


def test_a_missing_input_costs_nothing():
    """Unverified, without a call."""
    judge = judging.pairwise(scoring())
    found = judge.judge([{"instruction": "x", "first": "good"}, {**ROW, "second": "  "}])
    assert [each.verdict.verified for each in found] == [False, False]
    assert "second missing" in found[0].verdict.why
    assert judge.bill.calls == 0


def test_the_bill_adds_up():
    """Calls and tokens of all opinions."""
    judge = judging.pairwise(scoring())
    found = judge.judge([ROW] * 3)
    assert judge.bill.calls == 6
    assert judge.bill.cost.tokens == sum(each.cost.tokens for each in found)


def test_a_plan_for_another_model_or_shape_is_refused():
    """Before anything is asked."""
    plan = judging.pairwise(scoring()).plan
    with pytest.raises(BadConfig, match="made for"):
        judging.Pairwise(plan, engine(name="other"))
    with pytest.raises(BadConfig, match="inputs"):
        judging.YesNo(plan, scoring())
    with pytest.raises(BadConfig, match="margin"):
        judging.pairwise(scoring(), margin=0.6)


# -- points, yes and no, rankings ------------------------------------------------------


def test_points_are_the_mean_of_three_samples_with_feedback_first():
    """The reasoning stands before the score, and each sample has its own seed."""
    seeds = []

    def answer(request):
        seeds.append(request.config.seed)
        return json.dumps({"reasoning": "It is short.", "score": "345"[len(seeds) - 1]})

    judge = judging.rubric(engine(answer), criteria="politeness")
    (found,) = judge.judge([{"instruction": "Say hello.", "response": "hi"}])
    assert found.readings == (3.0, 4.0, 5.0)
    assert found.verdict.score == pytest.approx(0.75)
    assert found.choice == "4"
    assert "It is short." in found.verdict.why
    assert len(set(seeds)) == 3
    assert "politeness" in judge.plan.system
    assert [each.name for each in judge.plan.asked.outputs] == ["reasoning", "score"]


def test_samples_at_temperature_zero_are_refused():
    """They would be one sample three times."""
    with pytest.raises(BadConfig, match="measure nothing"):
        judging.rubric(engine(), temperature=0.0)


def test_points_that_do_not_parse_are_left_out_of_the_mean():
    """All of them: unverified."""
    replies = iter(["nonsense", '{"reasoning": "", "score": "5"}', '{"reasoning": "", "score": "9"}', *["no"] * 3])
    judge = judging.rubric(engine(lambda request: next(replies)))
    good, none = judge.judge([{"instruction": "x", "response": "a"}, {"instruction": "x", "response": "b"}])
    assert good.readings == (5.0,)
    assert good.verdict.passed
    assert not none.verdict.verified
    assert none.calls == 3


def test_scored_points_are_expected_points():
    """One call; the distribution over 1 to 5 decides."""
    plan = replace(judging.rubric(scoring(), feedback=False).plan, scored=dict.fromkeys("12345", 0.0))
    judge = judging.judge_of(plan, scoring())
    (found,) = judge.judge([{"instruction": "x", "response": "good good"}])
    assert found.calls == 1
    assert found.verdict.score == pytest.approx(1.0, abs=1e-3)


def test_a_reference_judge_wants_its_reference():
    """It is told from a rubric by its fields."""
    judge = judging.reference(engine(lambda request: '{"reasoning": "r", "score": "5"}'))
    assert judge.kind == "reference"
    assert kind_of(judge.plan.shape).name == "reference"
    full, bare = judge.judge(
        [{"instruction": "x", "response": "a", "reference": "a"}, {"instruction": "x", "response": "a"}]
    )
    assert full.verdict.passed
    assert not bare.verdict.verified


def test_yes_and_no_by_log_probability_and_in_writing():
    """P(yes) is the score; a written answer is 1 or 0."""
    row = {"question": "Is it good?", "text": "good"}
    (found,) = judging.yes_no(scoring()).judge([row])
    assert (found.choice, found.calls) == ("yes", 1)
    assert found.verdict.score == pytest.approx(0.731, abs=1e-3)
    (written,) = judging.yes_no(engine(lambda request: '{"answer": "no"}')).judge([row])
    assert (written.choice, written.verdict.score) == ("no", 0.0)


def rank(request) -> str:
    """Order the shown answers by worth."""
    answers = json.loads(shown(request)["answers"])
    return json.dumps({"order": sorted(range(1, len(answers) + 1), key=lambda at: -worth(answers[at - 1]))})


def test_a_ranking_finds_its_way_back_from_shuffled_orders():
    """The order is that of the answers as given."""
    row = {"instruction": "x", "answers": ["bad", "good good", "good", "plain"]}
    (found,) = judging.ranking(engine(rank)).judge([row])
    assert found.choice == "2,3,4,1"
    assert found.verdict.score == 0.0
    assert found.calls == 2
    (best,) = judging.ranking(engine(rank)).judge([{**row, "answers": ["good", "bad"]}])
    assert best.verdict == st.Verdict(1.0)


def test_a_ranking_by_place_cancels_out():
    """First shown, first ranked: unverified."""
    keep = engine(lambda request: '{"order": [1, 2, 3]}')
    (found,) = judging.ranking(keep).judge([{"instruction": "x", "answers": ["a", "b", "c"]}])
    assert not found.verdict.verified
    (odd,) = judging.ranking(engine(lambda request: '{"order": [1, 1, 7]}')).judge(
        [{"instruction": "x", "answers": ["a", "b", "c"]}]
    )
    assert not odd.verdict.verified
    (one,) = judging.ranking(keep).judge([{"instruction": "x", "answers": ["a"]}])
    assert one.calls == 0


@pytest.mark.parametrize(
    ("said", "read"), [("2>1", (2, 1)), ([2, 1], (2, 1)), ([1, 1], None), ("a", None), (None, None)]
)
def test_an_order_names_every_answer_once(said, read):
    """However it is spelled."""
    assert order_of(said, 2) == read


# -- compiling -------------------------------------------------------------------------


def test_a_judge_compiles_like_any_other_program(tmp_path: Path):
    """The compiled plan is a judge again; no prompt stands in two splits; pairs come in both orders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = judging.judge_task("pairwise", pairs(80), seed=1)
    prompts = [{row.inputs["instruction"] for row in rows} for rows in task.splits.values()]
    assert not prompts[0] & prompts[1] | prompts[1] & prompts[2] | prompts[0] & prompts[2]
    labels = [row.outputs["better"] for row in task.search]
    assert labels.count("first") == labels.count("second")
    lm = ScriptedEngine(lambda request: '{"better": "first"}', name="judge", score=scorer(pull=0.1))
    program = st.compile(task, lm=lm, run=tmp_path, settings=st.Settings(trials=6, proposals=0))
    assert program.facts["established"], program.verdict
    judge = judging.judge_of(program.plan, lm)
    assert judge.kind == "pairwise"
    assert judge.judge([ROW])[0].choice == "first"


@pytest.mark.parametrize("kind", sorted(judging.KINDS))
def test_every_kind_has_a_signature_that_comes_back_as_its_shape(kind):
    """So that a saved plan is known as its judge."""
    from stillroom.signatures.shape import shape_of

    shape = judging.KINDS[kind].shape
    assert shape_of(shape.to_signature()).as_json() == shape.as_json()
    assert kind_of(shape).name == kind


def test_the_metrics_of_judges_give_credit_by_distance():
    """One point off is better than four; a swapped neighbour better than a reversed order."""
    near, order = judging.KINDS["rubric"].metric, judging.KINDS["ranking"].metric
    assert [near({"score": "1"}, {"score": said}).score for said in ("1", "2", "5", None)] == [1, 0.75, 0, 0]
    row = {"answers": ["a", "b", "c"], "order": [1, 2, 3]}
    found = [order(row, {"order": said}).score for said in ([1, 2, 3], [2, 1, 3], [3, 2, 1], "?")]
    assert found == pytest.approx([1, 2 / 3, 0, 0])


def test_what_is_no_judge_is_refused():
    """With the fields it has."""
    plan = judging.pairwise(scoring()).plan
    with pytest.raises(BadConfig, match="no setting"):
        judging.judge_of(plan, scoring(), samples=3)
    with pytest.raises(BadConfig, match="fields must be"):
        kind_of(replace(plan.shape, outputs=()))
    with pytest.raises(BadConfig, match="must be one of"):
        judging.judge_task("oracle", [])


# -- faces -----------------------------------------------------------------------------


class TestYesNoAsVerifier(VerifierContract):
    """A judge keeps the laws of verifiers."""

    @pytest.fixture
    def verifier(self):
        lm = engine(lambda request: json.dumps({"answer": "yes" if "good" in shown(request)["text"] else "no"}))
        return judging.as_verifier(judging.yes_no(lm), question="ask", text="answer")

    @pytest.fixture
    def right(self):
        return {"ask": "Is it good?", "answer": "x"}, {"answer": "good"}

    @pytest.fixture
    def wrong(self):
        return {"ask": "Is it good?", "answer": "x"}, {"answer": "bad"}


def test_a_pairwise_judge_compares_with_the_gold_answer():
    """Sources say where its inputs come from."""
    metric = judging.as_verifier(
        judging.pairwise(scoring()),
        instruction="question",
        first="answer",
        second=lambda expected, outputs: expected["answer"],
    )
    row = {"question": "x", "answer": "plain"}
    assert metric(row, {"answer": "good good"}).score > 0.8
    assert metric(row, {"answer": "bad"}).score < 0.5
    assert metric(row, {}) == st.Verdict(0.0, "nothing to judge: no first")  # the gold one does not stand in
    assert not metric({"question": "x"}, {"answer": "good"}).verified
    with pytest.raises(BadConfig, match="source"):
        judging.as_verifier(judging.pairwise(scoring()), third="x")


def test_a_judge_is_a_dspy_metric():
    """A number for evaluation, feedback for GEPA."""
    metric = judging.as_dspy_metric(judging.yes_no(scoring()), question="ask", text="answer")
    row, said = dspy.Example(ask="Is it good?"), dspy.Prediction(answer="bad bad")
    assert metric(row, said) < 0.5
    assert "P(yes)" in metric(row, said, None, "part", None).feedback
    assert metric(row, said, trace=[]) is False


def candidates(*texts: str) -> list[Candidate]:
    """Rows on their way out."""
    return [Candidate(str(at), {"ask": "Is it good?", "answer": text}, text, {}) for at, text in enumerate(texts)]


@pytest.fixture(scope="module")
def strong() -> judging.Certificate:
    """A certificate of a judge that is always right."""
    judge = judging.yes_no(scoring())
    rows = [{"question": "Is it good?", "text": f"{word} {at}"} for at in range(40) for word in ("good", "bad")]
    rows = [{**row, "label": "yes" if "good" in row["text"] else "no", "prompt": row["text"]} for row in rows]
    return judging.certify(judge, judging.read_labels(judge, rows, prompt="prompt"))


def test_a_certified_judge_decides_alone(strong):
    """What fails is rejected."""
    gate = judging.certified(judging.yes_no(scoring()), strong, question="ask", text="answer")
    assert gate.on_fail == "rejected"
    good, bad = gate.check(candidates("good", "bad"))
    assert good.passed
    assert bad.score < 0.5


def test_an_uncertified_judge_sends_everything_to_review(strong):
    """And says why; passes too, as they would be its decision."""
    gate = judging.certified(judging.yes_no(scoring()), None, question="ask", text="answer")
    assert gate.on_fail == "audit"
    found = gate.check(candidates("good", "bad"))
    assert [each.verified for each in found] == [False, False]
    assert "no certificate" in found[0].why
    assert "a pass" in found[0].why
    assert "a fail" in found[1].why
    assert "no certificate" in gate.name
    flags = judging.certified(judging.yes_no(scoring()), None, review="failed", question="ask", text="answer")
    assert [each.passed for each in flags.check(candidates("good", "bad"))] == [True, False]


def test_a_certificate_holds_for_its_plan_model_and_settings_only(strong):
    """Another plan, model or a higher bar widens to review."""
    own = judging.yes_no(scoring())
    other = judging.yes_no(scoring(), criteria="be strict")
    moved = judging.yes_no(engine(score=scorer(), version="2"))
    for judge, bar in ((other, 0.4), (moved, 0.4), (own, 0.99)):
        gate = judging.certified(judge, strong, kappa=bar, question="ask", text="answer")
        assert gate.on_fail == "audit"
        assert gate.doubt
    assert strong.doubt(own) == ""
    with pytest.raises(BadConfig, match="review"):
        judging.certified(own, strong, review="none")


def test_a_gate_asks_nothing_about_rows_that_did_not_parse():
    """They fail with their own reason."""
    judge = judging.yes_no(scoring())
    gate = judging.as_gate(judge, question="ask", text="answer")
    row = replace(candidates("good")[0], fault="no JSON")
    assert gate.check([row])[0].why == "no JSON"
    assert judge.bill.calls == 0


# -- certificates ----------------------------------------------------------------------


def test_a_certificate_tells_place_length_and_probabilities(tmp_path: Path):
    """And comes back from its file as it was; an edited one is refused."""
    judge = judging.pairwise(scoring(pull=0.2))
    labelled = judging.read_labels(judge, pairs(60))
    found = judging.certify(judge, labelled, source="pairs")
    assert found.agreement["accuracy"]["mean"] > 0.9
    assert found.agreement["prompts"] == 30
    assert found.positions["swap_consistency"]["mean"] > 0.9
    assert found.calibration["rows"] == 60
    assert found.cost["calls"] == 120
    assert len(found.canary) == 20
    assert found.weakness() == ""
    path = found.save(tmp_path / "certificate.json")
    assert judging.Certificate.load(path) == found
    path.write_text(path.read_text().replace('"source": "pairs"', '"source": "better pairs"'))
    with pytest.raises(BadConfig, match="edited"):
        judging.Certificate.load(path)


def test_a_place_bound_judge_is_found_out():
    """Weak, with the reasons a reader must see."""
    judge = judging.pairwise(writing(pull=9))
    found = judging.certify(judge, judging.read_labels(judge, pairs(40)))
    assert "kappa" in found.weakness()
    assert any("swap consistency" in line for line in found.warnings)
    assert any("favours a place" in line for line in found.warnings)
    assert found.agreement["open"] == 0  # a tie is a value between, and still no agreement
    assert found.agreement["accuracy"]["mean"] == 0


def test_points_and_orders_are_certified_too():
    """Points by weighted kappa, orders by their pairs."""
    rng = random.Random(3)
    words = {1: "bad bad", 2: "bad", 3: "plain", 4: "good", 5: "good good"}
    rows = [
        {"instruction": f"t{at}", "response": f"{words[n]} {at}", "label": n}
        for at in range(60)
        for n in [rng.randint(1, 5)]
    ]
    plan = replace(judging.rubric(scoring(), feedback=False).plan, scored=dict.fromkeys("12345", 0.0))
    judge = judging.judge_of(plan, scoring())
    assert judging.certify(judge, judging.read_labels(judge, rows)).agreement["kappa"]["low"] > 0.8
    ranker = judging.ranking(engine(rank))
    orders = [{"instruction": f"t{at}", "answers": ["plain", "good", "bad"], "label": "2>1>3"} for at in range(12)]
    found = judging.certify(ranker, judging.read_labels(ranker, orders))
    assert (found.agreement["n"], found.agreement["prompts"]) == (36, 12)
    assert found.agreement["accuracy"]["mean"] == 1


def test_bad_labels_are_all_told_at_once():
    """Row by row."""
    judge = judging.pairwise(scoring())
    rows = [{**ROW, "label": "3"}, {"instruction": "x", "label": "first"}, {**ROW, "label": "A"}]
    with pytest.raises(BadData) as caught:
        judging.read_labels(judge, rows)
    assert len(caught.value.problems) == 2
    with pytest.raises(BadData, match="none"):
        judging.read_labels(judge, [])


def test_a_canary_that_sings_as_before_is_steady():
    """Twenty rows, the same answers."""
    judge = judging.pairwise(scoring())
    found = judging.certify(judge, judging.read_labels(judge, pairs(40)))
    assert judging.recheck(judge, found).verdict.passed
    turned = judging.pairwise(scoring(skill=-1.0))
    drift = judging.recheck(turned, found)
    assert drift.verdict.score == 0.0
    assert drift.changed
    with pytest.raises(BadConfig, match="own plan"):
        judging.recheck(judging.pairwise(scoring(), criteria="x"), found)
