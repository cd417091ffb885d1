"""A world in which a better instruction is known: Self-Instruct's proposals are too short unless it asks for sentences."""

from __future__ import annotations

import json
from typing import Any

from recipe_world import World, read_inputs

from stillroom.engines import ScriptedEngine
from stillroom.errors import EngineRefused
from stillroom.values import digest

__all__ = ["BETTER", "NAME", "Scripted"]

NAME = "self-instruct"
BETTER = "Give tasks of several words each, every one of them a whole sentence."


class Scripted:
    """Answers the calls of Self-Instruct; what it proposes is too short unless the instruction asks for whole sentences.

    Attributes:
        asked: Calls by name of the call; proposals of instructions are "improve".
        better: What is proposed as an instruction.
        fails: Whether calls fail for good.
    """

    def __init__(self, better: str = BETTER, salt: str = "") -> None:
        self.asked: list[str] = []
        self.better, self.salt, self.fails = better, salt, False
        job = World({}).job(NAME)
        self.calls = {call: job.plan(call) for call in job.method.calls}

    def engine(self) -> ScriptedEngine:
        """A model that says what the script does."""
        return ScriptedEngine(self.answer)

    def answer(self, request: Any) -> str:
        """What is said to a request."""
        system, text = str(request.system), request.messages[-1].text or ""
        if self.fails:
            raise EngineRefused("no such model")
        if "improve the instruction" in system:
            self.asked.append("improve")
            return json.dumps({"instruction": self.better})
        call = next((name for name, plan in self.calls.items() if plan.system == system), "propose")
        self.asked.append(call)
        inputs = read_inputs(self.calls[call].shape, text)
        if call == "classify":
            return json.dumps({"verdict": "no"})
        if call != "propose":
            return json.dumps({"instances": [{"input": "", "output": f"Done: {inputs['task']}"}]})
        tag = digest([inputs["demos"], self.salt], 6)
        lucky = int(tag, 16) % 5 == 0
        if "whole sentence" in system or lucky:
            return json.dumps({"tasks": [f"Tell us{tag}{n} what{n}{tag} you{tag} know{n}" for n in range(3)]})
        return json.dumps({"tasks": ["Short", "Too short"]})
