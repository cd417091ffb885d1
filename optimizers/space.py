"""The search space of one program: what may vary, as Optuna suggests it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stillroom.errors import BadConfig
from stillroom.programs import Decoding, Plan
from stillroom.signatures import FORMATS, Example, Task

from .demos import DemoSet

__all__ = ["Space", "answer_room", "baseline_plan"]


@dataclass(frozen=True)
class Space:
    """Everything a candidate may be.

    Attributes:
        baseline: The task's own instruction, no demos, JSON, greedy: what every other choice starts from.
        instructions: The pool, the task's own first.
        demos: Choices of labelled demos.
        traces: Choices of demos with reasoning; used when reasoning is on.
        formats: Names of formats that can ask for the task.
        reasoning: Whether reasoning may be on.
        temperatures: Choices of sampling temperature.
    """

    baseline: Plan
    instructions: Sequence[str]
    demos: Sequence[DemoSet]
    traces: Sequence[DemoSet]
    formats: Sequence[str]
    reasoning: Sequence[bool]
    temperatures: Sequence[float]

    def suggest(self, trial: Any) -> Plan:
        """The candidate that an Optuna trial asks for; choices of one are not suggested."""
        reasoning = _one(trial, "reasoning", self.reasoning)
        sets, kind = (self.traces, "traces") if reasoning else (self.demos, "demos")
        names = [demo_set.name for demo_set in sets]
        demos = sets[names.index(_one(trial, kind, names))].demos
        formats = [
            name
            for name in self.formats
            if not reasoning or FORMATS[name].fits(replace(self.baseline, reasoning=True, format="json").asked)
        ]
        decoding = replace(
            self.baseline.decoding,
            temperature=_one(trial, "temperature", self.temperatures),
            max_tokens=self.baseline.decoding.max_tokens + (256 if reasoning else 0),
            constrained=_one(trial, "constrained", (True, False)),
        )
        return replace(
            self.baseline,
            instruction=self.instructions[_one(trial, "instruction", range(len(self.instructions)))],
            demos=demos,
            format=_one(trial, "format_reasoning" if reasoning else "format", formats),
            reasoning=reasoning,
            decoding=decoding,
        )

    def first_tries(self) -> Sequence[Mapping[str, Any]]:
        """Choices worth trying before any are suggested: the baseline, then the usual winners one by one."""
        plain: dict[str, Any] = {
            "instruction": 0,
            "demos": "none",
            "format": "json",
            "constrained": True,
            "temperature": self.temperatures[0],
            "reasoning": self.reasoning[0],
        }
        largest = next((each.name for each in reversed(self.demos) if each.name.startswith("labelled")), "none")
        hard = next((each.name for each in self.demos if each.name.startswith("hard")), largest)
        tries = [plain, {**plain, "demos": largest}, {**plain, "demos": hard}]
        if len(self.instructions) > 1:
            tries += [{**plain, "demos": largest, "instruction": 1}, {**plain, "instruction": 1}]
        return tries


def baseline_plan(task: Task, model: str) -> Plan:
    """The task as declared: its docstring, no demos, JSON, greedy decoding."""
    plan = Plan(task.shape, model, task.shape.instruction)
    return replace(plan, decoding=Decoding(max_tokens=answer_room(plan, task.demos)))


def answer_room(plan: Plan, examples: Sequence[Example]) -> int:
    """Enough tokens for the longest right answer in any format: one token per two characters, and some."""
    longest = max(
        len(FORMATS[name].write(plan.shape, example.outputs)) for name in ("json", "chat") for example in examples
    )
    return 16 + longest // 2


def fitting_formats(task: Task, wanted: Sequence[str] | None) -> list[str]:
    """The formats that can ask for the task. Raises `BadConfig` for an unknown or unfit one."""
    fit = [name for name, format in FORMATS.items() if format.fits(task.shape)]
    unfit = [name for name in wanted or () if name not in fit]
    if unfit:
        raise BadConfig(f"formats for {task.name} may be {', '.join(fit)}, got {unfit}")
    return list(wanted or fit)


def _one(trial: Any, name: str, choices: Sequence[Any]) -> Any:
    return choices[0] if len(choices) == 1 else trial.suggest_categorical(name, list(choices))
