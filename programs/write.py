"""Turn a task around: from wanted outputs and a style to the inputs that call for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from stillroom.signatures import Example, Field, Shape, Task

from .plan import Decoding, Demo, Plan
from .recipes import ALL, Recipe, Target

__all__ = ["length", "shows_demos", "writer", "writing_inputs"]

STYLE = "style"
SHOWN = 256  # plans with their demos that are kept at hand


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


def shows_demos(
    plan: Plan, task: Task, recipe: Recipe, told: Callable[[Example], Mapping[str, Any]] | None = None
) -> Callable[[str, int], Plan]:
    """A function of (cell, draw) that gives the writer showing labelled rows of that cell; `draw` numbers the choice.

    `told` gives the writer's inputs for a labelled row: its outputs and its length, where none is given.
    """
    told = told or (lambda example: {**example.outputs, STYLE: length(example)})
    alike: dict[str, list[Example]] = {}
    for example in task.demos:
        alike.setdefault(_cell(example, task), []).append(example)

    @lru_cache(maxsize=SHOWN)  # rows that stand together share a plan, with its digest and its prompt's beginning
    def shown(cell: str, draw: int) -> Plan:
        rows = alike.get(cell) or list(task.demos)
        picked = random.Random(f"{recipe.seed}/{cell}/{draw}").sample(rows, min(recipe.demos, len(rows)))
        # a demo has no declared style; its own length is what can be said of it truthfully
        demos = tuple(Demo(example.id, told(example), dict(example.inputs)) for example in picked)
        return replace(plan, demos=demos)

    return shown


def writing_inputs(target: Target) -> dict[str, Any]:
    """The writer's inputs for a wanted row."""
    return {**target.outputs, STYLE: ", ".join(target.style.values())}


def _cell(example: Example, task: Task) -> str:
    label = task.shape.label_field
    return ALL if label is None else str(example.outputs[label.name])


def length(example: Example) -> str:
    """How long a labelled row is, in the words of a style."""
    words = len(example.text.split())
    return "a few words" if words <= 6 else "one sentence" if words <= 18 else "two or three sentences"


def _names(fields: Sequence[Field]) -> str:
    return " and ".join(each.name for each in fields)
