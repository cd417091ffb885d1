"""Grow a pool of tasks from seeds: propose, refuse what is too close to the pool, then write instances or answers.

Self-Instruct (Wang et al. 2022) and what followed it. Each call shows some tasks of people and a few of the pool;
what it gives passes filters of form and of novelty, one task after the other. Parameters and filters are those of
yizhongw/self-instruct and tatsu-lab/stanford_alpaca, and of Honovich et al. 2022, section 2. A row is a task with all
that was made for it; records are made of its instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Exact, NearDuplicates
from stillroom.evals.embedding import default_embedder
from stillroom.evals.gates import Novelty, Whole
from stillroom.programs.flow import Ask, At, Do, Flow, Part, Split, State, Wanted
from stillroom.programs.plan import Decoding, Demo
from stillroom.programs.published import Call, Emit, Given, Growing, Job, Method, Rule
from stillroom.programs.published.filters import RougeNovelty, banned, first_character, sized
from stillroom.programs.published.rule import always
from stillroom.programs.published.shares import spread
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import (
    Answer,
    ContinueTasks,
    MakeInstances,
    MakeLabelled,
    Paraphrase,
    ProposeExamples,
    ProposeInput,
    YesNo,
)
from stillroom.values import digest

from ._instances import contradiction, encoded, valid
from ._shown import fixed, instruction, listed, shown, unlisted

__all__ = ["BLACKLIST", "METHOD", "Params", "bounded", "form", "source", "unlisted"]

BLACKLIST = (
    "image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to",
)  # fmt: skip
"""Words of tasks that a model of texts cannot do (Self-Instruct's code)."""
CLASSIFICATION = "Can this task be regarded as a classification task with finite output labels?"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        propose: What a call gives: instructions alone, whole examples, or one instruction with input and constraints.
        respond: What is made of a task: instances, one answer, what came with the proposal, or nothing.
        human: Tasks of people shown in each call.
        machine: Tasks of the pool shown, at most.
        sets: Shown are that many fixed sets of people's tasks in turn; 0 draws them anew for each call.
        ask: New tasks asked for in each call.
        stratify: A field of the seeds whose values share the rows equally; seeds shown are of one value.
        least, most: Words of an instruction; 0 for `most` turns the filters of form off.
        words: Words it must not have.
        beginnings: How it must not begin.
        novelty: Largest ROUGE-L F1 with seeds and pool; 0 compares nothing but whole texts.
        cosine: Least cosine with a task of the pool that stops a task; 0 asks no embedder.
        shots: Seeds with instances shown where instances are written.
        kinds: Seeds shown where tasks are told apart: classification tasks, and others.
        instances: Instances kept of each task, at most.
        paraphrases: Further wordings of each task.
        templates: Whether prompts are written in one of Self-Instruct's templates, drawn for each.
        window: Calls for tasks that do not see what each other gives; twice as many are under way.
    """

    propose: Literal["tasks", "examples", "input"] = "tasks"
    respond: Literal["instances", "answer", "given", "none"] = "instances"
    human: int = 6
    machine: int = 2
    sets: int = 0
    ask: int = 8
    stratify: str = ""
    least: int = 4
    most: int = 150
    words: tuple[str, ...] = BLACKLIST
    beginnings: tuple[str, ...] = ("Write a program",)
    novelty: float = 0.7
    cosine: float = 0.0
    shots: int = 4
    kinds: tuple[int, int] = (12, 19)
    instances: int = 5
    paraphrases: int = 0
    templates: bool = False
    window: int = 8


def form(params: Params, field: str = "task") -> tuple[Rule, ...]:
    """The filters that look at one instruction alone, in the published order (F1, F2, F3)."""
    return (
        sized(field, params.least, params.most),
        banned(field, params.words, params.beginnings),
        first_character(field),
    )


# -- what is shown ----------------------------------------------------------------------


def source(job: Job[Params]) -> Growing:
    """The wanted calls, each with the tasks that it shows."""
    params, seeds = job.params, job.source("seeds")
    if params.human + params.machine and not seeds:
        raise BadConfig(f"{job.preset.name} shows tasks of people, got no rows called 'seeds'")
    missing = sorted({"input", "constraints"} - set(seeds[0])) if params.propose == "input" else []
    if missing:
        raise BadConfig(f"seeds of {job.preset.name} must have input and constraints, got none called {missing}")

    def draw(cell: str, slot: int, pool: Sequence[EmittedRow]) -> Wanted:
        rng = job.rng("demos", cell, slot)
        people = [row for row in seeds if not params.stratify or row[params.stratify] == cell]
        grown = [row for row in pool if row.place.startswith(f"{cell}/")]
        machine = rng.sample(grown, min(params.machine, len(grown)))
        # where there are no machine tasks yet, people's fill their places
        count = min(params.human + params.machine - len(machine), len(people))
        chosen = fixed(people, count, slot // TOGETHER, params.sets) if params.sets else rng.sample(people, count)
        show = instruction if params.propose == "tasks" else shown
        demos = [*map(show, chosen), *(show(row.values) for row in machine)]
        if not params.sets:
            rng.shuffle(demos)
        fields = {"demos": demos, "n": params.ask, "domain": cell, "listed": listed(demos, params.ask)}
        parents = (*map(digest, chosen), *(row.id for row in machine))
        return Wanted(cell, slot, fields, asked={"domain": cell} if params.stratify else {}, parents=parents)

    return Growing(quotas(job, seeds), draw, together=TOGETHER if params.sets else 1)


TOGETHER = 8
"""Calls that show the same fixed set one after the other, so that its prompt is read once."""


def quotas(job: Job[Params], seeds: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Tasks wanted of each stratum: equal shares."""
    if not job.params.stratify:
        return {"tasks": job.rows}
    if any(job.params.stratify not in row for row in seeds):
        raise BadConfig(f"every seed of {job.preset.name} needs a {job.params.stratify!r}")
    return spread(job.rows, dict.fromkeys(sorted({str(row[job.params.stratify]) for row in seeds}), 1))


def bounded(step: Ask, most: int) -> Ask:
    """The step with its list bounded: small models do not stop by themselves at the number they were told."""
    plan = step.plan
    outputs = tuple(
        replace(each, schema={**each.schema, "maxItems": most}) if each.schema.get("type") == "array" else each
        for each in plan.shape.outputs
    )
    return replace(step, plan=replace(plan, shape=replace(plan.shape, outputs=outputs)), trim=True)


# -- the flow ---------------------------------------------------------------------------


def flow(job: Job[Params]) -> Flow:
    """Propose, filter, answer."""
    params = job.params
    parts = [*proposing(job), *filtering(job), *RESPONDING[params.respond](job)]
    if params.paraphrases:
        again = {"samples": params.paraphrases, "into": "wordings"} if params.paraphrases > 1 else {"into": "wordings"}
        parts.append(job.ask("paraphrase", **again))
    emits = ("instruction", "domain", "kind", "input", "constraints", "output", "instances", "wordings")
    return job.flow(
        source(job),
        [*parts, Do("records", partial(recorded, job), adds=("records", "labelled", "text"))],
        emits=(*emits, "records", "labelled", "text"),
        text=("instruction",),
        window=params.window,
        ahead=2,
    )


def proposing(job: Job[Params]) -> list[Part]:
    """Tasks, one a row."""
    if job.params.propose == "input":
        return [job.ask("propose input")]
    if job.params.propose == "examples":
        return [bounded(job.ask("propose examples"), job.params.ask), Split("tasks", "tasks", job.params.ask)]

    def folded(row: State) -> Mapping[str, Any]:
        return {"instruction": " ".join(row["items"].split()), "input": "", "constraints": ""}

    adds = ("instruction", "input", "constraints")
    return [
        job.ask("propose", trim=True),
        Do(
            "read the list",
            lambda row: {"items": unlisted(row["tasks"], job.params.ask)},
            reads=("tasks",),
            adds=("items",),
        ),
        Split("tasks", "items", job.params.ask),
        Do("instruction", folded, reads=("items",), adds=adds),
    ]


def filtering(job: Job[Params]) -> list[Part]:
    """Form, then novelty."""
    params, seeds = job.params, job.source("seeds")
    fields = ("instruction", "input") if params.propose == "input" else ("instruction",)
    known = {tuple(str(row.get(name) or "") for name in fields) for row in seeds}

    def copied(row: State) -> str:
        return "it copies a task of people" if tuple(row[name] for name in fields) in known else ""

    def lacking(row: State) -> str:
        empty = [name for name in fields if not row[name].strip()]
        return f"must not be empty: {', '.join(empty)}" if empty else ""

    parts: list[Part] = [At(Rule("every field", lacking), fields), At(Rule("no copy of a seed", copied), fields)]
    if params.most:
        parts += [At(rule, ("instruction",)) for rule in form(params, "instruction")]
    if params.novelty:
        parts.append(At(RougeNovelty([str(row["instruction"]) for row in seeds], params.novelty), ("instruction",)))
    else:
        parts.append(At(Novelty("exact", Exact), fields))
    if params.cosine:
        near = partial(NearDuplicates, None, shingle=None, cosine=params.cosine, embedder=default_embedder())
        parts.append(At(Novelty(f"cosine < {params.cosine:g}", near), ("instruction",)))
    return parts


def with_instances(job: Job[Params]) -> list[Part]:
    """Tell classification tasks apart, write their labels first, and the input first for all others."""
    params, task = job.params, {"task": "instruction"}

    def asked(row: State) -> bool:
        return bool(row["kind"] == "yes")

    def gathered(row: State) -> Mapping[str, Any]:
        if row["by_label"]:
            made = [{"input": each["input"], "output": each["label"]} for each in row["by_label"][0]["instances"]]
        else:
            made = row["by_input"][0]["instances"]
        return {"instances": valid(made)}

    def contradicted(row: State) -> str:
        found = contradiction(row["instances"])
        return f"the input {found[:80]!r} has two outputs" if found else ""

    return [
        always("question", {"question": CLASSIFICATION}),
        job.ask("classify", inputs={"text": "instruction"}, demos=kinds(job)),
        Do("kind", lambda row: {"kind": row["verdict"], "labels": []}, reads=("verdict",), adds=("kind", "labels")),
        bounded(job.ask("label first", inputs=task, into="by_label", when=asked, demos=examples(job, labelled=True)),
                params.instances),
        bounded(job.ask("input first", inputs=task, into="by_input", when=lambda row: not asked(row),
                        demos=examples(job, labelled=False)), params.instances),
        Do("gather", gathered, reads=("by_label", "by_input"), adds=("instances",)),
        At(Rule("an instance", lambda row: "" if row["instances"] else "no instance is left"), ("instances",)),
        At(Rule("one output for an input", contradicted), ("instances",)),
    ]  # fmt: skip


def with_answer(job: Job[Params]) -> list[Part]:
    """Ask for the answer in a call of its own, which sees the constraints."""
    answer = job.ask("answer", inputs={"system": "constraints"})
    made = Do(
        "output",
        lambda row: {"output": row["response"], "instances": [{"input": row["input"], "output": row["response"]}]},
        reads=("response", "input"),
        adds=("output", "instances"),
    )
    return [answer, At(Whole("answered"), ("response",)), made]


def as_given(job: Job[Params]) -> list[Part]:
    """Take the example that came with the task."""
    made = Do(
        "example",
        lambda row: {"instances": valid([{"input": row["input"], "output": row["output"]}])},
        adds=("instances",),
    )
    return [made, At(Rule("an instance", lambda row: "" if row["instances"] else "it has no output"), ("instances",))]


def unanswered(job: Job[Params]) -> list[Part]:
    """Nothing: the task is all that is wanted."""
    return []


RESPONDING: Mapping[str, Callable[[Job[Params]], list[Part]]] = {
    "instances": with_instances,
    "answer": with_answer,
    "given": as_given,
    "none": unanswered,
}


# -- demos and records -------------------------------------------------------------------


def kinds(job: Job[Params]) -> list[Demo]:
    """Seeds that say whether they are classification tasks, as worked examples: the same for every task."""
    demos = []
    for said, count in zip((True, False), job.params.kinds, strict=True):
        rows = [row for row in job.source("seeds") if row.get("is_classification") is said]
        for row in job.rng("kinds", said).sample(rows, min(count, len(rows))):
            inputs = {"question": CLASSIFICATION, "text": row["instruction"]}
            demos.append(Demo(digest(row), inputs, {"verdict": "yes" if said else "no"}))
    job.rng("kinds").shuffle(demos)
    return demos


def examples(job: Job[Params], *, labelled: bool) -> list[Demo]:
    """Seeds with instances as worked examples, classification tasks or others."""
    rows = [
        row for row in job.source("seeds") if row.get("instances") and bool(row.get("is_classification")) is labelled
    ]
    demos = []
    for row in job.rng("examples", labelled).sample(rows, min(job.params.shots, len(rows))):
        of = row["instances"][: job.params.instances]
        if labelled:
            inputs: dict[str, Any] = {"task": row["instruction"], "labels": []}
            made = [{"label": each["output"], "input": each["input"]} for each in of]
        else:
            inputs, made = {"task": row["instruction"]}, [dict(each) for each in of]
        demos.append(Demo(digest(row), inputs, {"instances": made}))
    return demos


def recorded(job: Job[Params], row: State) -> Mapping[str, Any]:
    """What records are made of: prompts and completions, labelled texts, or the task as a text."""
    params, task = job.params, row["instruction"]
    kept = row.get("instances") or []
    if len(kept) > params.instances:
        kept = job.rng("instances", task).sample(kept, params.instances)
    if row.get("constraints"):
        task = f"{task}\n\n{row['constraints']}"
    again = [each["paraphrase"].strip() for each in row.get("wordings") or []]
    wordings = dict.fromkeys([task, *(each for each in again if each and each != row["instruction"])])
    records = [
        encoded(each, instance, job.rng("template", each, instance) if params.templates else None)
        for each in wordings
        for instance in kept
    ]
    labelled = [
        {"text": f"{task}\n\n{each['input']}", "label": each["output"]}
        for each in kept
        if row.get("by_label") and each["input"]
    ]
    return {"records": records, "labelled": labelled, "text": task}


METHOD = Method(
    "bootstrap",
    "1",
    Params,
    given={
        "seeds": Given(
            "tasks of people",
            {
                "instruction": "what is to be done",
                "instances?": "examples of it, each with input and output",
                "is_classification?": "whether its outputs are labels",
                "input?": "where a task has one input",
                "constraints?": "what its output must keep to",
            },
            optional=True,
        )
    },
    calls={
        "propose": Call(ContinueTasks, decoding=Decoding(temperature=0.7, top_p=0.5, max_tokens=1024)),
        "propose examples": Call(ProposeExamples, decoding=Decoding(temperature=1.0, max_tokens=3072)),
        "propose input": Call(ProposeInput, decoding=Decoding(temperature=1.0, top_p=0.99, max_tokens=512)),
        "classify": Call(YesNo, decoding=Decoding(max_tokens=8), scored=True),
        "label first": Call(MakeLabelled, decoding=Decoding(max_tokens=300)),
        "input first": Call(MakeInstances, decoding=Decoding(max_tokens=350)),
        "answer": Call(Answer, decoding=Decoding(max_tokens=512)),
        "paraphrase": Call(Paraphrase, decoding=Decoding(temperature=1.0, top_p=0.99, max_tokens=256)),
    },
    flow=flow,
    emits={"sft": Emit(field="records"), "label": Emit(field="labelled"), "text": Emit()},
)
