"""Rows for a small labelled set, output first: the label and the style are drawn, then a text is written for them.

The emission of the main job as a method (RECIPES 2.2): targets from declared quotas, worked examples of the same
label, the default gates. A text is kept if a classifier fitted on the labelled rows reads the wanted label in it, or
else the judge does, blind; what neither reads so is for a person to look at. Nothing that stands nearer to a held-out
row than a cosine of 0.95 is kept.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import dspy

from stillroom.errors import BadConfig
from stillroom.evals import exact
from stillroom.evals.copies.duplicates import NearDuplicates
from stillroom.evals.embedding import default_embedder
from stillroom.evals.gates import Gate, Novelty, default
from stillroom.programs.flow import Flow, Quotas, State, Wanted
from stillroom.programs.judges import agreement
from stillroom.programs.plan import Decoding, Plan
from stillroom.programs.published import Call, Emit, Given, Job, Method
from stillroom.programs.published.filters import Apart
from stillroom.programs.published.shares import spread
from stillroom.programs.recipes import STYLES as COMMON
from stillroom.programs.recipes import labelled
from stillroom.programs.write import length, shows_demos
from stillroom.signatures import DataWarning, Example, Task
from stillroom.signatures.operators import Classify, WriteForLabel

__all__ = ["METHOD", "Params", "quotas", "task_of"]

Row = Mapping[str, Any]

STYLES: Mapping[str, tuple[str, ...]] = {
    **{name: values for name, values in COMMON.items() if name != "noise"},
    "spelling": ("right", "right", "right", "with a typo or two"),
}
"""The main job's attributes, of which "noise" is called what it is: small models write about the word."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        about: What the labels say of a text; the instruction of the blind classification.
        quotas: Rows wanted of each label; equal shares of all rows where none are named.
        styles: Values of each attribute of a text, repeated by weight; drawn before the text is written.
        demos: Labelled rows shown for each text, of its label.
        together: Texts written one after the other with the same worked examples, whose prompt is then read once.
        near: Least cosine with a held-out row, or a text kept before, that stops a text.
        check: Whether labels are checked by a classifier and then the judge, or not at all.
        attempts: Texts begun for each one wanted, at most.
    """

    about: str = "Choose the label that fits the text."
    quotas: Mapping[str, int] = field(default_factory=dict)
    styles: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(STYLES))
    demos: int = 4
    together: int = 16
    near: float = 0.95
    check: Literal["agreement", "none"] = "agreement"
    attempts: int = 4


def task_of(job: Job[Params]) -> Task:
    """The user's rows as a task. Held-out rows are its test split.

    Raises:
        BadData: If the rows are too few or break their types.
    """
    rows, held_out = job.source("labelled"), job.source("held_out")
    names = tuple(sorted({str(row["label"]) for row in rows}))
    if len(names) < 2:
        raise BadConfig(f"labelled rows must have two labels or more, got {list(names)}")
    fields: dict[str, Any] = {"text": (str, dspy.InputField()), "label": (Literal[names], dspy.OutputField())}
    signature = dspy.make_signature(fields, job.params.about, "Labelled")
    definitions = {str(row["label"]): str(row["definition"]) for row in rows if row.get("definition")}
    with warnings.catch_warnings():  # nothing is compared here: how few rows there are is not the point
        warnings.simplefilter("ignore", DataWarning)
        data = dealt(rows, [row for row in held_out if str(row["label"]) in names])
        return Task(signature, data, exact("label"), name=job.preset.name, seed=job.seed, definitions=definitions)


def dealt(rows: Sequence[Row], held_out: Sequence[Row]) -> dict[str, list[dict[str, str]]]:
    """The splits, label by label: a quarter of the labelled rows is not shown, and a quarter is held out if nothing is."""
    splits: dict[str, list[dict[str, str]]] = {"demos": [], "search": [], "test": [_plain(row) for row in held_out]}
    seen: Counter[str] = Counter()
    for row in map(_plain, rows):
        place = seen[row["label"]] % 4
        seen[row["label"]] += 1
        splits["search" if place == 3 else "test" if place == 1 and not held_out else "demos"].append(row)
    return splits


def _plain(row: Row) -> dict[str, str]:
    return {"text": str(row["text"]), "label": str(row["label"])}


def quotas(job: Job[Params], labels: Sequence[str]) -> dict[str, int]:
    """Rows wanted of each label.

    Raises:
        BadConfig: If a label is unknown, or the quotas do not add up to the rows wanted.
    """
    named = dict(job.params.quotas)
    if not named:
        return spread(job.rows, dict.fromkeys(labels, 1))
    unknown = sorted(set(named) - set(labels))
    if unknown or sum(named.values()) != job.rows:
        raise BadConfig(
            f"quotas must name labels of the rows and add up to {job.rows}, got {named}",
            mend=f"The labels are {', '.join(labels)}.",
        )
    return named


def flow(job: Job[Params]) -> Flow:
    """Draw, write, let pass."""
    params, task = job.params, task_of(job)
    label = task.shape.label_field
    assert label is not None  # the signature was made with one
    recipe = labelled(
        quotas(job, label.labels), styles=params.styles, demos=params.demos, together=params.together, seed=job.seed
    )
    shown = shows_demos(job.plan("write"), task, recipe, lambda example: told(task, example))

    def draw(cell: str, slot: int) -> Wanted:
        target = recipe.draw(task, cell, slot, job.seed)
        style = ", ".join(f"{name}: {value}" for name, value in target.style.items())
        said = {"label": cell, "definition": meaning(task, cell), "attributes": style}
        fields = {**said, "group": slot // recipe.together}  # rows of a group are shown the same demos
        return Wanted(
            cell, slot, fields, target.outputs, {"outputs": dict(target.outputs), "style": dict(target.style)}
        )

    def vary(wanted: Wanted, state: State) -> Plan:
        # another try sees other demos
        return shown(state["label"], state["group"] + 1000 * wanted.attempt)

    return job.flow(
        Quotas(recipe.quotas(task), draw, recipe.together),
        [job.ask("write", vary=vary), *gates(job, task)],
        emits=("text", "label"),
        text=("text",),
        attempts=params.attempts,
    )


def gates(job: Job[Params], task: Task) -> list[Gate]:
    """The main job's, and that no held-out row is near; labels are agreed on last, as that may cost a call."""
    params = job.params
    embedder = default_embedder()
    judge = agreement(task, program(job, task), job.engine("judge"), embedder) if params.check == "agreement" else None
    found = default(task, judge, embedder=embedder)
    at = len(found) - (judge is not None)
    held_out = [str(row["text"]) for row in job.source("held_out")] or [example.text for example in task.held_out]
    near = partial(NearDuplicates, None, shingle=None, cosine=params.near, embedder=embedder)
    apart: list[Gate] = [Apart(held_out, embedder, params.near), Novelty(f"cosine < {params.near:g}", near)]
    return [*found[:at], *apart, *found[at:]]


def program(job: Job[Params], task: Task) -> Plan:
    """Who reads a text blind: the bare signature, or the call as it was compiled. The labels are the task's own."""
    plan = job.plan("classify")
    instruction = plan.instruction if "classify" in job.plans else job.params.about
    demos = tuple(replace(each, inputs={"text": each.inputs["text"]}) for each in plan.demos)
    return replace(plan, shape=task.shape, instruction=instruction, demos=demos)


def told(task: Task, example: Example) -> dict[str, Any]:
    """A labelled row as the writer's inputs; of its style its own length can be said truthfully."""
    label = str(example.outputs["label"])
    return {"label": label, "definition": meaning(task, label), "attributes": f"length: {length(example)}"}


def meaning(task: Task, label: str) -> str:
    """What a label means; where nobody has said, what the labels are for, so that the writer knows whose texts these are."""
    return task.definitions.get(label) or f"one of the labels of a task: {task.shape.instruction}"


METHOD = Method(
    "labelled",
    "3",
    Params,
    given={
        "labelled": Given(
            "labelled texts", {"text": "a text", "label": "its label", "definition?": "what the label means"}
        ),
        "held_out": Given(
            "rows of the evaluation, never copied", {"text": "a text", "label": "its label"}, optional=True
        ),
    },
    calls={
        "write": Call(WriteForLabel, decoding=Decoding(temperature=0.9, top_p=0.95, max_tokens=256)),
        "classify": Call(Classify, role="judge", decoding=Decoding(max_tokens=64)),
    },
    flow=flow,
    emits={"label": Emit()},
)
