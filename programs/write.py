"""Turn a task around: from wanted outputs and a style to the inputs that call for them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stillroom.signatures import Example, Field, Shape, Task

from .plan import Decoding, Demo, Plan
from .recipes import Recipe, Target

__all__ = ["writer", "writing_inputs"]

STYLE = "style"


def writer(task: Task, program: Plan, recipe: Recipe) -> Plan:
    """The plan that writes inputs for wanted outputs, without demos yet.

    The instruction of the compiled program is quoted, because it may say what each label means.
    """
    asked, given = _names(task.shape.inputs), _names(task.shape.outputs)
    instruction = (
        f"You write realistic examples for this task:\n{program.instruction.strip()}\n\n"
        f"You are told the wanted {given} and a style. Write one new {asked} for which a careful expert would answer exactly that. "
        f"Sound like a real person, be specific, do not copy the earlier examples, and do not mention the wanted {given} by name."
    )
    shape = Shape(
        f"Write{task.shape.name}",
        instruction,
        (*(replace(each, description="") for each in task.shape.outputs), Field(STYLE, {"type": "string"})),
        task.shape.inputs,
    )
    longest = max((len(example.text) for example in task.demos), default=200)
    decoding = Decoding(temperature=recipe.temperature, max_tokens=min(64 + longest, 700), top_p=0.95)
    return Plan(shape, program.model, instruction, format="json", decoding=decoding)


def with_demos(plan: Plan, task: Task, target: Target, recipe: Recipe, draw: int) -> tuple[Plan, tuple[str, ...]]:
    """The writer showing labelled rows like the target, and their ids; `draw` numbers the choice."""
    rng = random.Random(f"{recipe.seed}/{target.cell}/{draw}")
    alike = [example for example in task.demos if _cell(example, task) == target.cell] or list(task.demos)
    shown = rng.sample(alike, min(recipe.demos, len(alike)))
    # a demo has no declared style; its own length is what can be said of it truthfully
    demos = tuple(
        Demo(example.id, {**example.outputs, STYLE: _length(example)}, dict(example.inputs)) for example in shown
    )
    return replace(plan, demos=demos), tuple(example.id for example in shown)


def writing_inputs(target: Target) -> dict[str, Any]:
    """The writer's inputs for a wanted row."""
    return {**target.outputs, STYLE: ", ".join(target.style.values())}


def _cell(example: Example, task: Task) -> str:
    label = task.shape.label_field
    return "rows" if label is None else str(example.outputs[label.name])


def _length(example: Example) -> str:
    words = len(example.text.split())
    return "a few words" if words <= 6 else "one sentence" if words <= 18 else "two or three sentences"


def _names(fields: Sequence[Field]) -> str:
    return " and ".join(each.name for each in fields)


def emitted_values(task: Task, target: Target, written: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an emitted row: inputs as written, outputs as wanted."""
    inputs = {each.name: written[each.name] for each in task.shape.inputs}
    return {**inputs, **target.outputs}
