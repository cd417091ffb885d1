"""A small world for methods: each call answered by a function of its inputs, and what was asked kept to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dspy.lm15 import Request

from stillroom.engines.scripted import ScriptedEngine
from stillroom.programs.flow import Emitted
from stillroom.programs.plan import Plan
from stillroom.programs.published import Job, prepare, run_preset
from stillroom.rows import EmittedRow
from stillroom.signatures import Shape

Said = Callable[[dict[str, Any]], "Mapping[str, Any] | Sequence[Any] | str"]


@dataclass
class World:
    """Runs presets on scripted calls.

    Attributes:
        said: By name of a call, what is answered to its inputs: its outputs, or a text that is sent as it is.
        asked: (call, inputs) of everything that was asked, in order.
        prompts: The whole text of everything that was asked, in the same order.
    """

    said: Mapping[str, Said]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def job(self, preset: str, **settings: Any) -> Job[Any]:
        """The job, to look into."""
        return prepare(preset, {"teacher": ScriptedEngine({})}, samples=True, **settings)

    def run(self, preset: str, run: Path, **settings: Any) -> Emitted:
        """Run `preset` into a folder; our sample rows stand in for those that are not given."""
        known = {"given", "rows", "params", "seed"}
        engine = self.engine(preset, **{key: settings[key] for key in settings if key in known})
        return run_preset(preset, run, lm=engine, samples=True, **settings)

    def engine(self, preset: str, **settings: Any) -> ScriptedEngine:
        """A model that answers the calls of `preset`, and knows them by their prompts."""
        job = self.job(preset, **settings)
        plans = {job.plan(call).system: (call, job.plan(call)) for call in job.method.calls}
        return ScriptedEngine(lambda request: self._answer(request, plans))

    def _answer(self, request: Request, plans: Mapping[str, tuple[str, Plan]]) -> str:
        call, plan = plans[str(request.system)]
        text = request.messages[-1].text or ""
        inputs = read_inputs(plan.shape, text)
        self.asked.append((call, inputs))
        self.prompts.append("\n".join([str(request.system), *(each.text or "" for each in request.messages)]))
        said = self.said[call](inputs)
        return said if isinstance(said, str) else json.dumps(said)


def read_inputs(shape: Shape, text: str) -> dict[str, Any]:
    """The inputs that a user message shows."""
    names = [each.name for each in shape.inputs]
    if len(names) == 1 and not text.startswith(f"{names[0]}: "):
        return {names[0]: text}
    pattern = "".join(rf"{name}: (?P<{name}>.*){chr(10) if name != names[-1] else ''}" for name in names)
    found = re.fullmatch(pattern, text, re.DOTALL)
    assert found, f"expected the fields {names}, got {text!r}"
    return {
        each.name: found[each.name] if each.schema.get("type") == "string" else json.loads(found[each.name])
        for each in shape.inputs
    }


def stopped(emitted: Emitted) -> dict[str, int]:
    """How many rows each gate stopped."""
    return {name: stopped for name, _, stopped in emitted.funnel if stopped}


def values(rows: Sequence[EmittedRow], *names: str) -> list[Any]:
    """The values of rows, or of one of their fields."""
    return [row.values[names[0]] if names else dict(row.values) for row in rows]
