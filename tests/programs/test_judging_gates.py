"""Judges at work: as a verifier, as DSPy's metric, and as a gate that decides alone only where it may."""

from __future__ import annotations

import json
from dataclasses import replace

import dspy
import pytest
from contracts.verifier_contract import VerifierContract
from judging_world import engine, scorer, scoring, shown

import stillroom as st
from stillroom.errors import BadConfig
from stillroom.evals.gates import Candidate, doubt_of, entry, pins
from stillroom.programs import judging


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


def test_what_a_judge_says_of_a_row_names_its_certificate(strong):
    """QR-16: a row vouched for by a certified judge says by which; one in doubt, or one left to itself, does not."""
    judge = judging.yes_no(scoring())
    sources = {"question": "ask", "text": "answer"}
    vouched = judging.certified(judge, strong, **sources)
    doubtful = judging.certified(judge, None, **sources)
    alone = judging.as_gate(judge, **sources)
    assert entry(vouched, st.Verdict.ok())["certificate"] == strong.digest
    assert all("certificate" not in entry(gate, st.Verdict.ok()) for gate in (doubtful, alone))
    assert {entry(gate, st.Verdict.ok())["by"] for gate in (vouched, doubtful, alone)} == {"judge"}
    assert doubt_of(vouched) == ""
    assert doubt_of(doubtful) == "it has no certificate"
    assert "decides alone all the same" in doubt_of(alone)


def test_a_run_is_pinned_to_the_judge_behind_a_gate(strong):
    """QR-2: another model, plan or certificate is another gate."""
    sources = {"question": "ask", "text": "answer"}
    others = [
        judging.certified(judging.yes_no(scoring()), strong, **sources),
        judging.certified(judging.yes_no(scoring()), None, **sources),
        judging.as_gate(judging.yes_no(scoring()), **sources),
        judging.as_gate(judging.yes_no(engine(score=scorer(), version="2")), **sources),
        judging.as_gate(judging.yes_no(scoring(), criteria="be strict"), **sources),
    ]
    found = [pins([gate])["gate 1"] for gate in others]
    assert len(set(found)) == len(found)
