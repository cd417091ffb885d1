"""Grow a pool of tasks from seeds: propose, refuse what is too close to the pool, then write instances.

Self-Instruct (Wang et al. 2022) and what followed it. Each call shows some tasks of people and a few of the pool;
the tasks it gives pass filters of form and of novelty, one after the other; classification tasks get their labels
before their inputs, all others their input first; a task one of whose inputs has two outputs is dropped whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.programs.flow import At, Do, Flow, Part, Split, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Growing, Job, Method, Rule
from stillroom.programs.published.filters import RougeNovelty, banned, first_character, sized
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import MakeInstances, MakeLabelled, ProposeTasks, YesNo

__all__ = ["BLACKLIST", "METHOD", "Params", "consistent", "form"]

BLACKLIST = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
)  # fmt: skip
"""Words of tasks that a model of texts cannot do (Self-Instruct's code)."""
CLASSIFICATION = "Can this task be regarded as a classification task with finite output labels?"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        human: Tasks of people shown in each call.
        machine: Tasks of the pool shown, at most.
        ask: New tasks asked for in each call.
        least, most: Words of an instruction.
        words: Words it must not have.
        beginnings: How it must not begin.
        novelty: Largest ROUGE-L F1 with the pool.
        label_first: Whether classification tasks get their labels before their inputs.
        instances: Instances kept of each task, at most.
        window: Calls for tasks under way at once: they do not see what each other gives.
    """

    human: int = 6
    machine: int = 2
    ask: int = 8
    least: int = 4
    most: int = 150
    words: tuple[str, ...] = BLACKLIST
    beginnings: tuple[str, ...] = ("Write a program",)
    novelty: float = 0.7
    label_first: bool = True
    instances: int = 5
    window: int = 8


def form(params: Params, field: str = "task") -> tuple[Rule, ...]:
    """The filters that look at one instruction alone, in the published order (F1, F2, F3)."""
    return (
        sized(field, params.least, params.most),
        banned(field, params.words, params.beginnings),
        first_character(field),
    )


def consistent(instances: Sequence[Mapping[str, str]], most: int) -> list[dict[str, str]]:
    """The instances of a task that may be kept: none at all where one input has two outputs.

    Left out are those without an output, whose output is their input, whose output ends in a colon, and copies.
    """
    kept: list[dict[str, str]] = []
    for each in instances:
        given, output = each["input"].strip(), each["output"].strip()
        if not output or output == given or output.endswith(":") or given.endswith(":"):
            continue
        if {"input": given, "output": output} not in kept:
            kept.append({"input": given, "output": output})
    outputs: dict[str, set[str]] = {}
    for each in kept:
        if each["input"]:
            outputs.setdefault(each["input"], set()).add(each["output"])
    return [] if any(len(each) > 1 for each in outputs.values()) else kept[:most]


def flow(job: Job[Params]) -> Flow:
    """Propose, split, filter, write instances, split."""
    params, seeds = job.params, [str(row["instruction"]) for row in job.source("seeds")]

    def draw(cell: str, slot: int, pool: Sequence[EmittedRow]) -> Wanted:
        rng = job.rng("demos", slot)
        grown = list(dict.fromkeys(row.values["instruction"] for row in pool))
        machine = rng.sample(grown, min(params.machine, len(grown)))
        # where there are no machine tasks yet, people's fill their places
        people = rng.sample(seeds, min(params.human + params.machine - len(machine), len(seeds)))
        demos = people + machine
        rng.shuffle(demos)
        return Wanted(cell, slot, {"demos": demos, "n": params.ask})

    def asked(row: State) -> bool:
        return params.label_first and row["kind"] == "yes"

    def gathered(row: State) -> Mapping[str, Any]:
        if row["by_label"]:
            made = [{"input": each["input"], "output": each["label"]} for each in row["by_label"][0]["instances"]]
        else:
            made = row["by_input"][0]["instances"]
        return {"examples": consistent(made, params.instances)}

    parts: list[Part] = [
        job.ask("propose"),
        Split("tasks", "tasks"),
        Do("instruction", lambda row: {"instruction": row["tasks"].strip()}, reads=("tasks",), adds=("instruction",)),
        *(At(rule, ("instruction",)) for rule in form(params, "instruction")),
        At(RougeNovelty(seeds, params.novelty), ("instruction",)),
        Do("question", lambda row: {"question": CLASSIFICATION}, reads=(), adds=("question",)),
        job.ask("classify", inputs={"text": "instruction"}),
        Do("kind", lambda row: {"kind": row["verdict"], "labels": []}, reads=("verdict",), adds=("kind", "labels")),
        job.ask("label first", inputs={"task": "instruction"}, into="by_label", when=asked),
        job.ask("input first", inputs={"task": "instruction"}, into="by_input", when=lambda row: not asked(row)),
        Do("gather", gathered, adds=("examples",)),
        Split("examples", "examples"),
    ]
    return job.flow(
        Growing({"tasks": job.rows}, draw),
        parts,
        emits=("instruction", "input", "output", "kind"),
        window=params.window,
    )


METHOD = Method(
    "bootstrap",
    "1",
    Params,
    given={"seeds": Given("tasks of people", {"instruction": "what is to be done"})},
    calls={
        "propose": Call(ProposeTasks, decoding=Decoding(temperature=0.7, top_p=0.5, max_tokens=1024)),
        "classify": Call(YesNo, decoding=Decoding(max_tokens=8), scored=True),
        "label first": Call(MakeLabelled, decoding=Decoding(max_tokens=300)),
        "input first": Call(MakeInstances, decoding=Decoding(max_tokens=350)),
    },
    flow=flow,
    emits={"sft": Emit({"prompt": ("instruction", "input"), "completion": ("output",)})},
)
