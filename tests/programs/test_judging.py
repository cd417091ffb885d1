"""Judges: what each kind says in every state, and what it costs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from judging_world import ROW, engine, rank, scoring, writing

import stillroom as st
from stillroom.errors import BadConfig, EngineBusy
from stillroom.programs import judging
from stillroom.programs.judging.shapes import kind_of, order_of, swapped

# -- pairs -----------------------------------------------------------------------------


def test_a_pair_is_judged_in_both_orders_and_averaged():
    """QR-10: the mean of both orders is the opinion; both readings are kept."""
    (found,) = judging.pairwise(scoring(pull=1.0)).judge([ROW])
    assert found.choice == "first"
    assert found.calls == 2
    assert found.cost.tokens > 0
    straight, turned = found.readings
    assert found.p == pytest.approx((straight + 1 - turned) / 2)
    assert found.verdict.score == found.p
    assert "P(first is better)" in found.verdict.why


def test_a_judge_with_nothing_but_a_favourite_place_says_a_half():
    """QR-10: so a tie, and unverified."""
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
    """QR-9: the reasoning stands before the score, and each sample has its own seed."""
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
    """QR-9: they would be one sample three times."""
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
