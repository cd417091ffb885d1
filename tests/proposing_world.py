"""A small recipe of our own, and a world in which a better instruction for its first call is known.

Topics -> tasks -> replies. A task must have four words at the least; the model proposes shorter ones unless
it is told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import stillroom as st
from stillroom.engines import ScriptedEngine
from stillroom.errors import EngineRefused
from stillroom.programs.flow import At, Do, Flow, Quotas, Split, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Preset, prepare, shelf
from stillroom.programs.published.filters import RougeNovelty, sized
from stillroom.values import digest

__all__ = ["BETTER", "NAME", "PRESET", "Scripted", "shelved"]

NAME = "small"
BETTER = "Give tasks of several words each, every one of them a whole sentence."


class Propose(st.Signature):
    """Propose tasks on the topic."""

    topic: str = st.Input(desc="what the tasks are about")
    tasks: list[str] = st.Output(desc="one instruction each")


class Reply(st.Signature):
    """Do the task."""

    task: str = st.Input()
    reply: str = st.Output()


@dataclass(frozen=True)
class Params:
    """What may be set.

    Attributes:
        least, most: Words of a task.
        novelty: Largest ROUGE-L F1
            with earlier tasks.
    """

    least: int = 4
    most: int = 50
    novelty: float = 0.7


def flow(job: Job[Params]) -> Flow:
    """Propose, split, look at each task, reply."""
    topics = [str(row["instruction"]) for row in job.source("seeds")]

    def draw(cell: str, slot: int) -> Wanted:
        return Wanted(cell, slot, {"topic": f"{job.rng('topic', slot).choice(topics)} {slot}"})

    parts = (
        job.ask("propose"),
        Split("tasks", "tasks"),
        Do("task", lambda row: {"task": row["tasks"].strip()}, reads=("tasks",), adds=("task",)),
        At(sized("task", job.params.least, job.params.most), ("task",)),
        At(RougeNovelty((), job.params.novelty), ("task",)),
        job.ask("reply"),
    )
    return job.flow(Quotas({"tasks": job.rows}, draw), parts, emits=("task", "reply"))


METHOD = Method(
    "small",
    "1",
    Params,
    given={"seeds": Given("tasks of people", {"instruction": "what is to be done"})},
    calls={
        "propose": Call(Propose, decoding=Decoding(temperature=0.7, top_p=0.5)),
        "reply": Call(Reply, role="writer"),
        "other": Call(Reply),
    },
    flow=flow,
    emits={"sft": Emit({"prompt": ("task",), "completion": ("reply",)})},
)


@dataclass(frozen=True)
class Small(Preset):
    """A preset whose method lies here."""

    def load(self) -> Method[Any]:
        """The method."""
        return METHOD


PRESET = Small(NAME, "A small recipe", "small", (1,), "nobody", "Topics, tasks, replies.", ("sft",), "Ours.",
               sample={"seeds": "tasks.jsonl"}, rows=20)  # fmt: skip


def shelved(monkeypatch: pytest.MonkeyPatch, **more: Preset) -> None:
    """Put the small recipe on the shelf, beside the others."""
    found: Mapping[str, Preset] = {**shelf.presets(), NAME: PRESET, **more}
    monkeypatch.setattr(shelf, "presets", lambda: found)


class Scripted:
    """Answers the calls of the small recipe; tasks are too short unless the instruction asks for whole sentences.

    Attributes:
        asked: Calls by their names, in order; proposals of instructions are "improve".
        better: What is proposed as an instruction.
        salt: Makes other tasks of the same topics.
        fails: Whether a request, by the text of its last message, fails for good.
        says: What `propose` says always, where it says anything.
        lucky: One in so many proposals is good, whatever is asked for.
    """

    def __init__(self, better: str = BETTER, salt: str = "") -> None:
        self.asked: list[str] = []
        self.better, self.salt = better, salt
        self.fails: Any = lambda text: False
        self.says: list[str] | None = None
        self.lucky = 5
        job = prepare(PRESET, {"teacher": ScriptedEngine({})}, samples=True)
        self.systems = {job.plan(call).system: call for call in ("reply", "propose")}

    def engine(self) -> ScriptedEngine:
        """A model that says what the script does."""
        return ScriptedEngine(self.answer)

    def answer(self, request: Any) -> str:
        """What is said to a request."""
        system, text = str(request.system), request.messages[-1].text or ""
        if self.fails(text):
            raise EngineRefused("too long")
        if "improve the instruction" in system:
            self.asked.append("improve")
            return json.dumps({"instruction": self.better})
        call = self.systems.get(system, "propose")
        self.asked.append(call)
        if call == "reply":
            return f"Done: {text}"  # asked for bare
        tag = digest([text, self.salt], 6)
        if self.says is not None:
            return json.dumps({"tasks": self.says})
        if "whole sentence" in system or int(tag, 16) % self.lucky == 0:
            return json.dumps({"tasks": [f"Tell us{tag}{n} what{n}{tag} you{tag} know{n}" for n in range(3)]})
        return json.dumps({"tasks": ["Short", "Too short"]})
