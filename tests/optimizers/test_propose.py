"""Proposals: grounded, reflected, crossed and guided; only demos rows are shown, and unsound ones are not used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine, open_session
from stillroom.optimizers.propose import REWRITTEN, Proposer, sound
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.subject import Part
from stillroom.optimizers.task_subject import TaskSubject
from stillroom.programs import Outcome
from stillroom.store import Store

TASK = world.task()
GOOD = "Decide by the nouns of the message which topic it has."


class Writer:
    """A prompt model that keeps what it was shown."""

    def __init__(self, text: str = GOOD) -> None:
        self.text, self.shown = text, []

    def __call__(self, request) -> str:
        self.shown.append(f"{request.system}\n{request.messages[-1].text}")
        name = "definition" if "Define one" in str(request.system) else "instruction"
        return json.dumps({name: self.text})


@pytest.fixture
def subject(tmp_path: Path):
    with open_session(world.engine(), tmp_path / "run", "compile", {}) as session:
        yield TaskSubject(TASK, session.engine, session.store, Settings())


def tried(count: int = 12):
    """Every other of the first demos rows is answered wrongly."""
    return [
        (row, Outcome(row.id, "scored", float(number % 2), "expected another topic", {"topic": "billing"}))
        for number, row in enumerate(TASK.demos[:count])
    ]


def ask(subject: TaskSubject, writer: Writer, kind: str):
    proposer, (part,) = Proposer(subject, ScriptedEngine(writer), 3), subject.parts
    calls = {
        "grounded": lambda: proposer.grounded(part, [("Old instruction.", 0.61)], 1),
        "reflected": lambda: proposer.reflected(part, "Old instruction.", tried(), 1),
        "crossed": lambda: proposer.crossed(part, ("First instruction.", 0.5), ("Second instruction.", 0.7), 1),
        "guide": lambda: proposer.guide(part, tried()),
    }
    return calls[kind]()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("grounded", ["message -> topic", "labelled rows", "0.610: Old instruction."]),
        ("reflected", ["Old instruction.", "answered topic: billing", "expected another topic", "right is topic:"]),
        ("crossed", ["First instruction.", "Second instruction.", "0.700"]),
        ("guide", ["Define one topic", "not_to_be_confused_with"]),
    ],
)
def test_each_kind_shows_what_it_works_with_and_no_row_of_another_split(subject, kind: str, said: list[str]):
    """The signature, scores, failures and reasons are in the prompt; search and test rows never are."""
    writer = Writer()
    assert GOOD in ask(subject, writer, kind)
    shown = "\n".join(writer.shown)
    assert all(text in shown for text in said)
    assert not any(row.inputs["message"] in shown for row in (*TASK.search, *TASK.held_out))
    assert kind == "crossed" or any(row.inputs["message"] in shown for row in TASK.demos)


def test_reflection_needs_a_failure(subject):
    """Where everything was right there is nothing to reflect on, and nothing is asked."""
    writer = Writer()
    right = [(row, Outcome(row.id, "scored", 1.0, "", {})) for row in TASK.demos[:5]]
    assert Proposer(subject, ScriptedEngine(writer), 0).reflected(subject.parts[0], "x", right, 1) is None
    assert writer.shown == []


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is a better instruction: decide the topic of the message.",
        "The improved instruction is to decide the topic of each message.",
        "Decide the topic of the message by its nouns, and",
        "Decide the topic. [[ ## instruction ## ]]",
        "too short",
        "word " * 400,
    ],
)
def test_chatter_and_torn_ends_are_refused(subject, text: str):
    """Meta-text, a torn sentence, markers of a format, too short, too long."""
    assert not sound(text, subject)
    assert ask(subject, Writer(text), "grounded") is None


def test_a_data_row_in_a_proposal_is_refused_even_in_part(subject):
    """The whole text, another case of it, or eight of its words in a row."""
    row = TASK.search[0].inputs["message"]
    words = row.split()
    assert not sound(f"Decide the topic. {row.upper()} is billing.", subject)
    assert not sound(f"Decide as for {' '.join(words[2:12])} and the like.", subject)
    assert sound(f"Decide as for {' '.join(words[2:6])} and the like.", subject)


def test_a_long_declared_instruction_is_kept_behind_the_new_one(subject):
    """A list of tools, say, is nothing a rewrite may lose."""
    declared = "Use one of these tools. " + "tool: what it does. " * 40
    assert len(declared) > REWRITTEN
    part = Part("", declared, ("message",), ("topic",))
    text = Proposer(subject, ScriptedEngine(Writer()), 0).grounded(part, [], 1)
    assert text == f"{GOOD}\n\n{declared}"


def test_a_cut_off_proposal_is_none(subject):
    """An answer that ended at its limit is no instruction, however well it reads."""
    proposer = Proposer(subject, ScriptedEngine(Writer(GOOD + " And so on." * 300)), 0)
    assert proposer.grounded(subject.parts[0], [], 1) is None


def test_another_model_may_write_the_proposals_under_the_same_budget(tmp_path: Path):
    """Its calls are on the same bill, and the budget holds for both together."""
    answers, writes = world.engine(), ScriptedEngine(Writer(), name="writer")
    program = st.compile(
        TASK, lm=answers, prompt_lm=writes, run=tmp_path, settings=st.Settings(trials=14), budget=st.Budget(calls=1500)
    )
    assert writes.served > 0
    with Store(tmp_path) as store:
        spent = store.spent("compile").calls
        tried_instructions = {note["instruction"] for note in store.notes("trial").values()}
    assert spent == answers.served + writes.served <= 1500
    assert any(GOOD in text for text in tried_instructions)
    assert program.plan.model == answers.model
