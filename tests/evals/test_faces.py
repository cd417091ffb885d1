"""One verifier as a DSPy metric, as a gate and as a reward of TRL's trainer."""

from __future__ import annotations

import inspect

import dspy
import pytest

from stillroom.errors import BadConfig
from stillroom.evals.faces import as_dspy_metric, as_gate, as_reward
from stillroom.evals.gates import Candidate
from stillroom.evals.verdict import Verdict, Verifier
from stillroom.evals.verifiers import exact, json_schema, length, multi_label, numeric

ROWS = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}, {"text": "three"}]
HALF = Verifier("half", lambda row, out: Verdict(0.5, "half of it"))


class Says(dspy.Module):
    """Answers with a fixed label."""

    def forward(self, text):
        return dspy.Prediction(label="a", reason=text)


def candidate(**values):
    return Candidate("0", values, "text", {"label": "a"})


# --- DSPy ----------------------------------------------------------------------------


def test_dspy_evaluate_scores_with_a_verifier():
    """One right, one wrong, one without gold: the third earns nothing and is counted apart."""
    metric = as_dspy_metric(exact("label"), "label")
    devset = [dspy.Example(**row).with_inputs("text") for row in ROWS]
    found = dspy.Evaluate(devset=devset, metric=metric, num_threads=1)(Says())
    assert found.score == pytest.approx(33.33)
    assert [score for *_, score in found.results] == [1.0, 0.0, 0.0]
    assert metric.open == 1


def test_a_demo_is_collected_only_from_what_is_right_in_full():
    """With a trace the metric says yes or no."""
    metric = as_dspy_metric(HALF)
    assert metric(dspy.Example(), dspy.Prediction()) == 0.5
    assert metric(dspy.Example(), dspy.Prediction(), trace=[]) is False


def test_gepa_gets_the_reason_as_feedback():
    """A score and a text where a predictor is named."""
    said = as_dspy_metric(exact("label"))(dspy.Example(label="a"), dspy.Prediction(label="b"), None, "predict", None)
    assert said.score == 0
    assert said.feedback == "label is 'b', not 'a'"


def test_only_the_fields_asked_for_are_seen():
    """A verifier of one output is not given the others."""
    seen = []
    spy = Verifier("spy", lambda row, out: seen.append(set(out)) or Verdict.ok())
    as_dspy_metric(spy, "label")(dspy.Example(), dspy.Prediction(label="a", reason="b"))
    as_dspy_metric(spy)(dspy.Example(), dspy.Prediction(label="a", reason="b"))
    assert seen == [{"label"}, {"label", "reason"}]


# --- gates ---------------------------------------------------------------------------


def test_a_gate_compares_what_was_written_with_what_was_wished():
    """Verdicts in order, with the verifier's reason."""
    gate = as_gate(exact("label"))
    assert gate.check([candidate(label="a"), candidate(label="b")]) == [Verdict.ok(), Verdict.fail("label is 'b', not 'a'")]  # fmt: skip
    assert gate.name == "exact(label)"
    assert gate.on_fail == "rejected"
    assert gate.check([Candidate("0", {}, "", {}, fault="no JSON")]) == [Verdict.fail("no JSON")]


def test_a_gate_may_take_partial_credit():
    """What reaches the threshold passes in full, and keeps its reason."""
    assert as_gate(HALF, least=0.5).check([candidate()]) == [Verdict(1.0, "half of it")]
    assert not as_gate(HALF, least=0.6).check([candidate()])[0].passed
    assert as_gate(HALF, least=0.5).name != as_gate(HALF).name


def test_two_gates_reject_the_wrong_and_show_a_person_the_open():
    """The first lets pass what could not be told, the second asks a person about it."""
    check = numeric("total")
    first, second = as_gate(check, unverified="pass"), as_gate(check, on_fail="audit")
    open_ = Candidate("0", {"total": 3}, "text", {"total": "many"})
    wrong = Candidate("1", {"total": 3}, "text", {"total": 4})
    assert [v.passed for v in first.check([open_, wrong])] == [True, False]
    assert first.check([open_])[0].why.startswith("unverified: gold total")
    assert second.check([open_])[0].score is None
    assert second.on_fail == "audit"


@pytest.mark.parametrize("bad", [{"least": 0}, {"least": 2}, {"on_fail": "accepted"}, {"unverified": "maybe"}])
def test_gate_settings_that_make_no_sense_are_refused(bad):
    """And so is a score outside 0..1 for DSPy."""
    with pytest.raises(BadConfig):
        as_gate(HALF, **bad)
    with pytest.raises(BadConfig):
        as_dspy_metric(HALF, unverified=2)


# --- TRL -----------------------------------------------------------------------------


def as_trl_calls(reward, prompts, completions, **columns):
    """Call as `GRPOTrainer._calculate_rewards` does: all by keyword, with its state and loggers."""
    return reward(
        prompts=prompts,
        completions=completions,
        completion_ids=[[1, 2]] * len(completions),
        **columns,
        trainer_state=object(),
        log_extra=print,
        log_metric=print,
    )


def test_a_reward_scores_completions_against_the_columns():
    """Right, wrong, and None where there is no gold: TRL takes None for "no reward"."""
    reward = as_reward(numeric("answer"), "answer")
    found = as_trl_calls(reward, ["2+2?"] * 3, ["It is 4", "It is 5", "It is 6"], answer=["4", "4", "many"])
    assert found == [1.0, 0.0, None]
    assert as_trl_calls(as_reward(numeric("answer"), "answer", unverified=0.5), ["?"], ["6"], answer=["many"]) == [0.5]


def test_a_reward_reads_conversations():
    """The last message is the completion, the last of the prompt the request."""
    check = Verifier("asks", lambda row, out: Verdict.ok() if (row["prompt"], out["completion"]) == ("Hi?", "Yo") else Verdict.fail("no"))  # fmt: skip
    prompts = [[{"role": "user", "content": "Hi?"}]]
    assert as_trl_calls(as_reward(check), prompts, [[{"role": "assistant", "content": "Yo"}]]) == [1.0]
    assert as_trl_calls(as_reward(check), prompts, [[{"role": "assistant", "content": [{"type": "text", "text": "Yo"}]}]]) == [1.0]  # fmt: skip


def test_a_reward_can_read_fields_from_the_completion():
    """A completion that cannot be read has no outputs, which fails."""
    import json

    reward = as_reward(multi_label("tags"), read=json.loads)
    assert as_trl_calls(reward, ["?"] * 2, ['{"tags": ["a"]}', "no"], tags=[["a"], ["a"]]) == [1.0, 0.0]


def test_trl_itself_takes_the_reward():
    """The trainer's own function is run on a stand-in for the trainer: names, None and weights come out right."""
    import torch
    from accelerate import PartialState
    from trl.trainer import grpo_trainer
    from trl.trainer.utils import get_callable_name, is_async_callable

    PartialState()
    reward = as_reward(numeric("answer"), "answer")
    assert get_callable_name(reward) == "numeric(answer, 1e-06)"
    assert not is_async_callable(reward)

    class Trainer:
        """What `_calculate_rewards` reads of a trainer."""

        accelerator = type("A", (), {"device": torch.device("cpu"), "is_main_process": False})()
        reward_funcs, reward_processing_classes, reward_func_names = [reward], [None], ["numeric"]
        state, environments = type("State", (), {"global_step": 0})(), None
        _log_completion_extra = _log_metric = staticmethod(print)
        args = type("Args", (), {"report_to": []})()

    inputs = [{"prompt": "2+2?", "answer": gold} for gold in ("4", "4", "many")]
    calculate = inspect.unwrap(grpo_trainer.GRPOTrainer._calculate_rewards)
    found = calculate(Trainer(), inputs, ["2+2?"] * 3, ["4", "5", "6"], [[1]] * 3)
    assert found[:2, 0].tolist() == [1.0, 0.0]
    assert torch.isnan(found[2, 0])


@pytest.mark.parametrize("verifier", [exact("x"), length("x", "words"), json_schema("x", True)])
def test_every_verifier_wears_every_face(verifier):
    """The same verdict through three doors."""
    row, said = {"x": "word"}, "word"
    assert as_dspy_metric(verifier)(dspy.Example(**row), dspy.Prediction(x=said)) == verifier(row, {"x": said}).score
    assert as_gate(verifier).check([Candidate("0", {"x": said}, said, row)])[0].passed is verifier(row, {"x": said}).passed  # fmt: skip
    assert as_reward(verifier, "x")(prompts=["?"], completions=[said], x=["word"]) == [verifier(row, {"x": said}).score]
