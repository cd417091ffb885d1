"""The default gates: copies of what is guarded go, labels and wanted answers do not count, verdicts say who decided."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import dspy
import numpy as np
import pytest
import scripted_world as world

import stillroom as st
from stillroom.errors import BadConfig
from stillroom.evals import gates
from stillroom.evals.copies.decontaminate import Decontamination
from stillroom.evals.copies.duplicates import Exact, NearDuplicates
from stillroom.evals.copies.guarded import Guarded
from stillroom.evals.gates import Agreement, Candidate, Clean, Novelty, doubt_of, entry, pins
from stillroom.programs.published.filters import RougeNovelty
from stillroom.signatures import DataWarning

TASK = world.task()


def quiet(*args, **settings) -> st.Task:
    """A task without notes about few rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return st.Task(*args, **settings)


def candidate(text: str, topic: str = "billing") -> Candidate:
    return Candidate("billing/0/0", {"message": text, "topic": topic}, text, {"topic": topic})


def clean(task: st.Task, **settings) -> Clean:
    """The gate of the default ones that decontaminates."""
    (gate,) = [gate for gate in gates.default(task, None, **settings) if isinstance(gate, Clean)]
    return gate


def respaced(text: str) -> str:
    return f"  {text.upper().replace(' ', '   ')}!"


def one_word_changed(text: str) -> str:
    words = text.split()
    words[len(words) // 2] = "whatever"
    return " ".join(words)


class Meaning:
    """Two texts mean the same if they speak of the same thing."""

    digest = "things-v1"

    def embed(self, texts):
        vectors = np.asarray([[1e-3 + (thing in text.lower()) for thing in world.THINGS] for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


# -- copies -----------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["demos", "search", "test"])
@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (lambda text: text, {"exact"}),
        (respaced, {"normalised"}),
        (lambda text: f"Hello there, {text} and that is all I know", {"ngram"}),
        (one_word_changed, {"one_word", "ngram"}),
    ],
)
def test_planted_copies_of_any_split_are_removed_by_rule(split, change, rules):
    """QR-8: exact, re-spaced, quoted and one-word-changed copies go, with rule, source and row."""
    row = TASK.splits[split][3]
    (verdict,) = clean(TASK).check([candidate(change(row.inputs["message"]))])
    assert not verdict.passed
    assert verdict.found["rule"] in rules
    assert (verdict.found["source"], verdict.found["row"]) == (f"world/{split}", row.id)
    assert f"world/{split} row {row.id}" in verdict.why


def test_a_paraphrase_is_reported_and_stays():
    """QR-8: told by cosine, with the source, in the verdict of a row that passes."""
    said = "My new kettle never came, and nobody answers the phone"
    (verdict,) = clean(TASK, embedder=Meaning()).check([candidate(said)])
    assert verdict.passed
    assert (verdict.found["rule"], verdict.found["removes"]) == ("paraphrase", False)
    assert "paraphrase" in verdict.why
    (alone,) = clean(TASK).check([candidate(said)])
    assert (alone.passed, alone.found) == (True, {})


def test_demos_and_benchmarks_are_guarded(tmp_path: Path):
    """QR-8: what a prompt shows, and the user's own lists: rows, lines, and chosen fields."""
    question = "A farmer has seventeen sheep and all but nine run away, how many are left?"
    (tmp_path / "sums.jsonl").write_text(json.dumps({"id": "q7", "question": question, "answer": "9"}) + "\n")
    (tmp_path / "lines.txt").write_text("Which planet of the solar system has the most moons today\n")
    (tmp_path / "short.jsonl").write_text(json.dumps({"ask": "Who are you?"}) + "\n")
    short = {"path": tmp_path / "short.jsonl", "fields": ["ask"]}
    task = quiet(
        world.Topic,
        world.rows(),
        st.exact("topic"),
        benchmarks=[tmp_path / "sums.jsonl", str(tmp_path / "lines.txt"), short],
    )
    shown = [{"message": "Our parcel went to the wrong house on Monday", "topic": "delivery"}]
    gate = clean(task, demos=shown)
    copies = [
        (question.lower(), "sums.jsonl:question", "q7"),
        ("which planet of the solar system has the most moons right now", "lines.txt", "1"),
        ("who are you", "short.jsonl:ask", "1"),
        ("Our parcel went to the wrong house on Tuesday", "demos:message", "0"),
    ]
    for text, source, row in copies:
        (verdict,) = gate.check([candidate(text)])
        assert (verdict.passed, verdict.found["source"], verdict.found["row"]) == (False, source, row), text


@pytest.mark.parametrize("benchmarks", ["sums.jsonl", ["nowhere.jsonl"], [{"fields": ["question"]}], [7]])
def test_benchmarks_that_are_not_there_are_refused_with_the_task(benchmarks):
    """Before anything is paid for."""
    with pytest.raises(BadConfig, match="benchmark"):
        quiet(world.Topic, world.rows(), st.exact("topic"), benchmarks=benchmarks)


# -- what is no copy --------------------------------------------------------------------


LONG = ("The customer wants to close the account today", "The customer asks where the parcel is right now")


class Intent(dspy.Signature):
    """Say what the customer wants."""

    message: str = dspy.InputField()
    intent: Literal[
        "The customer wants to close the account today", "The customer asks where the parcel is right now"
    ] = dspy.OutputField()


def test_labels_are_nobodys_however_long(tmp_path: Path):
    """QR-8: a label of eight words stands in splits and in a benchmark, and no row that says or quotes it fails."""
    rng = random.Random(2)

    def rows(count, *labels):
        return [{"message": world.sentence("billing", rng), "intent": labels[at % len(labels)]} for at in range(count)]

    listed = [{"text": world.sentence("account", rng), "label": label} for label in LONG]
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, listed)) + "\n")
    # the second label is seen in the test split alone
    data = {"demos": rows(9, LONG[0]), "search": rows(9, LONG[0]), "test": rows(9, *LONG)}
    task = quiet(Intent, data, st.exact("intent"), benchmarks=[tmp_path / "bench.jsonl"])
    gate = clean(task)
    for label in LONG:
        for text in ("Please tell me when someone will come to the door", f"My note says: {label}. Is that so?"):
            row = Candidate("c/0/0", {"message": text, "intent": label}, text, {"intent": label})
            (verdict,) = gate.check([row])
            assert (verdict.passed, verdict.found) == (True, {}), verdict.why


class Reply(dspy.Signature):
    """Answer the customer, and quote what the answer is about."""

    message: str = dspy.InputField()
    reply: str = dspy.OutputField()
    quote: str = dspy.OutputField()


def replies(count: int = 60) -> list[dict[str, str]]:
    """Rows with free answers, and spans of fourteen words quoted from the message."""
    rng, out = random.Random(9), []
    for at in range(count):
        span = " ".join(rng.choice(world.THINGS + world.PLACES) for _ in range(14))
        first, last = (" ".join(f"{rng.choice('abcdefgh')}{rng.randint(0, 999)}" for _ in range(6)) for _ in "ab")
        reply = f"We are sorry about number {at} and will write to you in {rng.randint(2, 90)} days"
        out.append({"message": f"{first} {span} {last}", "reply": reply, "quote": span})
    return out


def test_rows_that_say_what_demos_were_answered_with_do_not_fail():
    """QR-8: new rows are asked for by the outputs of demos, which are their parents: no row may fail for that."""
    task = quiet(Reply, replies(), lambda row, out: None, name="post")
    gate = clean(task)
    rng = random.Random(1)
    batch = []
    for target in st.recipes.varied(n=30).targets(task):
        text = f"Well, {target.outputs['quote']} it says on order {rng.randint(0, 10**6)}"
        batch.append(Candidate("rows/0/0", {"message": text, **target.outputs}, text, target.outputs))
    assert [verdict.why for verdict in gate.check(batch) if not verdict.passed] == []


def test_a_copied_answer_of_a_held_out_row_is_removed():
    """QR-8: outputs are looked at as inputs are; and a demo's own message stays a copy, whatever it quotes."""
    task = quiet(Reply, replies(), lambda row, out: None, name="post")
    gate = clean(task)
    outputs = {**task.demos[0].outputs, "reply": task.held_out[0].outputs["reply"]}
    (verdict,) = gate.check([Candidate("rows/0/0", {"message": "Hi!", **outputs}, "Hi!", outputs)])
    assert (verdict.passed, verdict.found["part"], verdict.found["source"]) == (False, "response", "post/test:reply")
    demo = task.demos[0]
    said = one_word_changed(demo.inputs["message"])
    (verdict,) = gate.check([Candidate("rows/0/0", {"message": said, **demo.outputs}, said, demo.outputs)])
    assert (verdict.passed, verdict.found["source"]) == (False, "post/demos")


# -- who decided, and what must not change -----------------------------------------------


@dataclass(frozen=True)
class Mute:
    """A gate of a user's own that says no more than it must."""

    name: str = "mine"
    on_fail: str = "rejected"

    def check(self, batch):
        return [st.Verdict.ok() for _ in batch]

    def keep(self, accepted):
        pass


def test_every_verdict_says_who_decided():
    """QR-16: form, verifier or judge; a gate that does not say claims nothing."""
    made = gates.default(TASK, lambda batch: [st.Verdict.ok() for _ in batch])
    assert {gate.name: entry(gate, st.Verdict.ok())["by"] for gate in made} == {
        "schema": "form",
        "whole": "form",
        "exact": "form",
        "near": "form",
        "decontaminated": "form",
        "agreement": "judge",
    }
    assert entry(Mute(), st.Verdict.fail("no")) == {"gate": "mine", "by": "form", "passed": False, "why": "no"}
    from stillroom.evals import as_gate

    assert entry(as_gate(st.exact("topic")), st.Verdict.ok())["by"] == "verifier"


def test_a_judge_of_agreement_is_in_doubt_until_it_is_certified():
    """Its gate never rejects alone; a program that knows what is right is in no doubt."""

    def judge(batch):
        return [st.Verdict.ok() for _ in batch]

    assert doubt_of(Agreement(judge)) == "its judge has no certificate"
    assert doubt_of(Agreement(judge, certificate="ab12")) == doubt_of(Agreement(judge, by="verifier")) == ""
    assert doubt_of(Mute()) == ""


def test_pins_change_with_whatever_decides(tmp_path: Path):
    """QR-2: settings and guarded texts of a gate, the judge behind it, and the order."""
    (tmp_path / "bench.txt").write_text("Which planet of the solar system has the most moons today\n")
    more = quiet(
        world.Topic, world.rows(), st.exact("topic"), name="world", seed=3, benchmarks=[tmp_path / "bench.txt"]
    )
    made = gates.default(TASK, None)
    assert pins(made) == pins(gates.default(TASK, None))
    assert pins(made)["gate 1"] == "schema"
    others = [gates.default(more, None), gates.default(TASK, None, embedder=Meaning()), made[::-1], made[:-1]]
    assert all(pins(other) != pins(made) for other in others)
    guards = [Clean(Decontamination([Guarded("1", "some text or other", "x")], ngram=size)) for size in (8, 13)]
    assert pins(guards[:1]) != pins(guards[1:])


@pytest.mark.parametrize(
    "make", [lambda: Novelty("exact", Exact), lambda: Novelty("near", NearDuplicates), RougeNovelty]
)
def test_an_earlier_try_of_a_slot_is_nobodys_copy(make):
    """Nothing of it was accepted; the same text in another slot, or from another row of the same try, is a copy."""
    text = "The dock at the old harbour takes no bikes today"

    def passes(gate, place: str) -> bool:
        (verdict,) = gate.check([seen := Candidate(place, {}, text, {})])
        gate.keep([seen] if verdict.passed else [])
        return verdict.passed

    gate = make()
    assert [passes(gate, place) for place in ("v/1/0.0", "v/1/0.1", "v/1/1.0", "v/1/2", "v/2/0", "w/1/1")] == [
        True, False, True, True, False, False
    ]  # fmt: skip
