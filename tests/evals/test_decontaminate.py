"""Decontamination: planted copies go with rule and source, siblings and paraphrases are told, the rest stays."""

from __future__ import annotations

import json
from typing import Literal

import dspy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.evals.copies.decontaminate import Decontamination, Parts, decontaminate, parts_of
from stillroom.evals.copies.guarded import Guarded, guarded_demos, guarded_file, guarded_task
from stillroom.evals.gates import Candidate, Clean
from stillroom.signatures import Task

APPLES = "Tom has 3 apples and buys 4 more at the market. How many apples has Tom got now?"
GUARDED = [
    Guarded("q1", APPLES, "sums/test", "7"),
    Guarded("q2", "Why was my last top up declined by the bank", "bank/test", "top_up_failed"),
    Guarded("q3", "Thank you.", "chat/test", "thanks"),
]


@pytest.mark.parametrize(
    ("row", "rule", "part"),
    [
        ({"prompt": APPLES, "response": "7"}, "exact", "prompt"),
        ({"prompt": APPLES.upper().replace(" ", "  ")}, "normalised", "prompt"),
        ({"prompt": APPLES.replace("got now", "in the end")}, "ngram", "prompt"),
        ({"prompt": APPLES.replace("buys 4 more at the market", "at the market buys 4 more")}, "words", "prompt"),
        ({"prompt": "Why was my last top up refused by the bank"}, "one_word", "prompt"),
        ({"instruction": "Answer this.", "input": APPLES}, "exact", "prompt"),
        ({"prompt": "Write a sum.", "response": f"Here you are: {APPLES}"}, "ngram", "response"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": APPLES}]}, "exact", "response"),
        ({"messages": [{"role": "user", "content": APPLES}, {"role": "assistant", "content": "7"}]}, "exact", "prompt"),
        ({"prompt": "thank you"}, "normalised", "prompt"),
    ],
)  # fmt: skip
def test_copies_go_with_rule_part_and_source(row, rule, part):
    """In the prompt, one of its fields, a chat's turn or the response."""
    cleaned = decontaminate([row, {"prompt": "Something else altogether, I hope"}], GUARDED)
    assert cleaned.kept == ({"prompt": "Something else altogether, I hope"},)
    found = cleaned.removed["0"]
    assert (found.rule, found.part, found.removes) == (rule, part, True)
    assert found.source in ("sums/test", "bank/test", "chat/test")
    assert cleaned.counts == {(found.source, rule): 1}
    assert found.source in str(found)


def test_a_short_response_is_nobodys():
    """Labels and phrases of under six words in the response are no copies."""
    rows = [{"prompt": "Say something polite to my aunt", "response": "Thank you."}]
    assert decontaminate(rows, GUARDED).kept == tuple(rows)


@pytest.mark.parametrize(
    ("text", "answer", "removed", "reported"),
    [
        (APPLES.replace("3", "5"), "9", None, "sibling"),
        (APPLES.replace("3", "3.5"), "7.5", None, "sibling"),
        (APPLES.replace("3", "5"), "7", "ngram", None),
        (APPLES.replace("3", "5"), None, "ngram", None),
        (APPLES.replace("3", "5").replace("got", ""), "9", "ngram", None),
        (APPLES, "12", "exact", None),
    ],
)
def test_siblings_with_another_answer_are_reported(text, answer, removed, reported):
    """Other numbers and another answer: another problem. Same answer, none, or another word: a copy."""
    row = {"id": "r", "question": text} | ({"answer": answer} if answer else {})
    cleaned = decontaminate([row], GUARDED, answer="answer")
    assert (cleaned.removed["r"].rule if cleaned.removed else None) == removed
    assert (cleaned.reported["r"].rule if cleaned.reported else None) == reported


def test_a_sibling_of_one_is_removed_as_the_copy_of_another():
    """The search goes on behind a sibling."""
    other = APPLES.replace("3", "5").replace("now", "today")
    guarded = [*GUARDED, Guarded("q9", other, "sums/dev", "9")]
    cleaned = decontaminate(
        [{"id": "r", "question": APPLES.replace("3", "5"), "answer": "9"}], guarded, answer="answer"
    )
    assert cleaned.removed["r"].other_id == "q9"


class Topics:
    """Embeds by two topics, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def embed(self, texts):
        self.asked += texts
        vectors = np.array([["top" in text or "refill" in text, "apple" in text, 0.1] for text in texts], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_paraphrases_are_reported_and_stay():
    """Meaning the same is told, with the source, and no reason to drop; copies found before cost no embedding."""
    topics = Topics()
    guard = Decontamination(GUARDED, embedder=topics)
    rows = [{"id": "p", "prompt": "My refill did not work"}, {"id": "c", "prompt": APPLES}]
    cleaned = decontaminate(rows, guard)
    assert cleaned.kept == (rows[0],)
    assert (cleaned.reported["p"].rule, cleaned.reported["p"].other_id) == ("paraphrase", "q2")
    assert list(cleaned.removed) == ["c"]
    assert topics.asked == [*(each.text for each in GUARDED), "My refill did not work"]


def test_what_every_row_of_a_benchmark_says_is_nobodys():
    """An instruction, or a long run, that stands in more than ten guarded texts removes nothing."""
    told = "Read the question with care and answer with the letter of the right option, nothing else please."
    guarded = [Guarded(str(i), told, "quiz:instruction") for i in range(40)]
    guarded += [Guarded(str(i), f"{told} Question {i}: what is {word}?", "quiz:prompt") for i, word in enumerate("abcdefghijklmnopqrst")]  # fmt: skip
    row = {"prompt": f"{told} Which of these four birds can fly for the longest time without any rest at all?"}
    assert decontaminate([row, {"prompt": told}], guarded).removed == {}
    assert len(decontaminate([row], Decontamination(guarded, boilerplate=None)).removed) == 1


@pytest.mark.filterwarnings("ignore:post")
def test_sources_are_read_from_tasks_demos_and_files(tmp_path):
    """All splits of a task with its long outputs, demos, and fields of files."""

    class Reply(dspy.Signature):
        """Answer the customer."""

        message: str = dspy.InputField()
        label: Literal["a", "b"] = dspy.OutputField()
        reply: str = dspy.OutputField()

    said = "We are sorry to hear that and will send a new one"
    rows = [
        {"message": f"message number {i}", "label": "ab"[i % 2], "reply": said if i == 3 else "ok"} for i in range(40)
    ]
    guarded = guarded_task(Task(Reply, rows, lambda row, out: None, name="post"))
    assert {each.source.split(":")[0] for each in guarded} == {"post/demos", "post/search", "post/test"}
    assert [each.text for each in guarded if each.source.endswith(":reply")] == [said]
    assert len(guarded) == 41
    assert [each.text for each in guarded_demos([{"q": said, "a": "yes"}])] == [said]

    listed = [{"id": "x", "question": APPLES, "options": ["seven", said], "n": 3, "answer": "7"}]
    (tmp_path / "bench.jsonl").write_text("\n".join(map(json.dumps, listed)), encoding="utf-8")
    found = guarded_file(tmp_path / "bench.jsonl", answer="answer")
    assert [(each.id, each.source, each.answer) for each in found] == [
        ("x", "bench.jsonl:question", "7"),
        ("x", "bench.jsonl:options", "7"),
    ]
    assert [each.text for each in guarded_file(tmp_path / "bench.jsonl", fields=["answer"])] == ["7"]
    (tmp_path / "lines.txt").write_text(f"{said}\n\n{APPLES}\n", encoding="utf-8")
    assert [each.id for each in guarded_file(tmp_path / "lines.txt")] == ["1", "3"]
    with pytest.raises(BadConfig, match="field 'prompt'"):
        guarded_file(tmp_path / "bench.jsonl", fields=["prompt"])
    with pytest.raises(BadConfig, match="must exist"):
        guarded_file(tmp_path / "none.txt")


def test_the_gate_fails_copies_and_tells_the_rest():
    """A copy fails with the finding; a paraphrase and a sibling pass and say so."""
    gate = Clean(Decontamination(GUARDED[:2], embedder=Topics()))

    def candidate(text, answer):
        return Candidate("c/0", {"text": text, "label": answer}, text, {"label": answer})

    batch = [
        candidate(APPLES, "7"),
        candidate(APPLES.replace("3", "8"), "12"),
        candidate("My refill did not work", "top_up_failed"),
        candidate("Good morning everyone", "hello"),
        Candidate("c/1", {}, "", {"label": "x"}, fault="no JSON"),
    ]
    verdicts = gate.check(batch)
    assert [verdict.passed for verdict in verdicts] == [False, True, True, True, True]
    assert ["exact" in verdicts[0].why, "sibling" in verdicts[1].why, "paraphrase" in verdicts[2].why] == [True] * 3
    assert verdicts[3].why == ""
    gate.keep(batch)


json_values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, json_values, some.text(max_size=20))
def test_nothing_a_model_writes_breaks_it(prompt, response, text):
    """Any JSON in any field, any text."""
    guard = Decontamination(GUARDED)
    row = {"prompt": prompt, "response": response, "input": text}
    cleaned = decontaminate([row], guard)
    assert len(cleaned.kept) + len(cleaned.removed) == 1
    assert guard.examine([Parts((text,), (text,), text)]) == guard.examine([Parts((text,), (text,), text)])


def test_bad_settings_are_refused():
    """Nothing to guard, no text in a row, one id twice, thresholds outside their range."""
    with pytest.raises(BadConfig, match="needs texts"):
        Decontamination([])
    with pytest.raises(BadConfig, match="paraphrase"):
        Decontamination(GUARDED, paraphrase=0)
    with pytest.raises(BadConfig, match="boilerplate"):
        Decontamination(GUARDED, boilerplate=0)
    with pytest.raises(BadConfig, match="one of the fields"):
        parts_of({"body": "text"})
    with pytest.raises(BadConfig, match="twice"):
        decontaminate([{"id": 1, "prompt": "a"}, {"id": 1, "prompt": "b"}], GUARDED)


def test_the_name_states_settings_and_what_is_guarded():
    """Two guards that could disagree have different names."""
    made = [
        Decontamination(GUARDED),
        Decontamination(GUARDED[:2]),
        Decontamination(GUARDED, ngram=8),
        Decontamination(GUARDED, boilerplate=None),
        Decontamination(GUARDED, embedder=Topics()),
    ]
    assert len({guard.name for guard in made}) == len(made)
