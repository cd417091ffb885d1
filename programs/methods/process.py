"""Labels of single steps: by completions from each prefix, by a stronger scorer, or by people.

PRM800K (Lightman et al. 2023, arXiv:2305.20050) has people label the steps of sampled solutions, up to the first
wrong one; a solution scores the product of its steps' probabilities; what people are shown are the most convincing
wrong answers (`candidates`, `choose` and `write_queue` make the file that they fill). Llama 3.1 (arXiv:2407.21783,
4.3.3) filters with models trained on step labels. Where nobody labels, a step counts by how many of some completions
from behind it arrive at the right answer (Wang et al. 2023, Math-Shepherd, arXiv:2312.08935).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty
from stillroom.programs.flow import At, Do, Flow, Part, Split, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.signatures.operators import Solve, YesNo

from ._process_queue import Scored, candidates, choose, write_queue
from ._process_steps import product, rated, split_steps, up_to_first_wrong
from ._reason_checks import compared, math_equal, shown

__all__ = ["METHOD", "Params", "Scored", "candidates", "choose", "write_queue"]

QUESTION = "Is the last step of this solution right, given the problem and the steps before it?"
_SO_FAR = "{problem}\n\nThe solution begins like this. Go on from there; do not change what stands here.\n{steps}"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        labels: Where they come from: "rollouts" (completions from each prefix), "scorer" (a model says whether each
            step is right), "people" (the source `ratings`).
        samples: Solutions asked for of each problem.
        completions: From each prefix.
        soft: Whether a step is right from a share of completions on, `least`; else one right completion will do.
        least: That share, or the scorer's probability of "yes".
        steps: The longest solution that is labelled, in steps.
        seconds: For comparing two answers.
    """

    labels: Literal["rollouts", "scorer", "people"] = "rollouts"
    samples: int = 4
    completions: int = 8
    soft: bool = False
    least: float = 0.5
    steps: int = 12
    seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("samples", "completions", "steps"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.least <= 1:
            raise BadConfig(f"least must be in 0..1, got {self.least}")


def flow(job: Job[Params]) -> Flow:
    """Sample solutions, label their steps up to the first wrong one; or take the labels of people."""
    params = job.params
    if params.labels == "people":
        parts: list[Part] = [
            Do("take", _taken, ("problem", "steps", "ratings"), ("judged",)),
            At(Rule("labelled by people", _unrated, by="person", on_fail="audit"), ("problem", "judged")),
        ]
        starts = list(_ratings(job))
    else:
        parts, starts = [*_solutions(job), *_judged(job)], list(_problems(job))
    return job.flow(
        Once(lambda: starts, job.rows),
        parts,
        emits=("problem", "steps", "answer", "truth", "equal", "chances", "score", "judged", "outcome", "solution"),
        text=("problem", "steps"),
        attempts=1 if params.labels == "people" else 4,
        window=max(1, min(32, math.ceil(job.rows / params.samples))),
    )


def _problems(job: Job[Params]) -> Iterator[Wanted]:
    problems = job.needed("problems")
    for row in job.rng("order").sample(problems, len(problems)):
        yield made_from(row, {"problem": str(row["problem"]).strip(), "truth": str(row["answer"]).strip()})


def _ratings(job: Job[Params]) -> Iterator[Wanted]:
    """The lines that people have filled."""
    for row in job.needed("ratings"):
        steps, ratings = list(row["steps"]), list(row["ratings"])
        if len(ratings) > len(steps):
            raise BadData(f"there must be a rating of each step at most, got {len(ratings)} of {len(steps)} steps")
        if ratings:
            rated(ratings)
        fields = {"problem": str(row["problem"]), "steps": steps, "ratings": ratings, "answer": row.get("answer", "")}
        yield made_from(row, fields)


def _taken(row: State) -> Mapping[str, Any]:
    if not row["ratings"]:
        return {"judged": None}
    steps, labels = up_to_first_wrong(row["steps"], rated(row["ratings"]))
    return {"judged": {"prompt": row["problem"], "completions": steps, "labels": labels}}


def _unrated(row: State) -> str:
    return "" if row["judged"] else "nobody has rated its steps yet"


def _solutions(job: Job[Params]) -> list[Part]:
    """Solutions of the problem, each a row with its steps, and whether its answer is right."""
    params = job.params

    def stepped(row: State) -> Mapping[str, Any]:
        return {"steps": split_steps("\n".join(row["steps"])), "answer": row["answer"]}

    def long(row: State) -> str:
        count = len(row["steps"])
        return "" if 1 <= count <= params.steps else f"a solution must have 1 to {params.steps} steps, got {count}"

    return [
        job.ask("solve", samples=params.samples, into="tries"),
        Split("tries", "tries", params.samples),
        Do("split steps", stepped, None, ("steps", "answer")),
        At(Rule(f"1 to {params.steps} steps", long), ("steps",)),
        At(Novelty("new solution", Exact), ("problem", "steps")),
        *compared(params.seconds),
    ]


def _judged(job: Job[Params]) -> list[Part]:
    """Judge step after step, until one is wrong: nothing is paid for what follows a mistake."""
    params = job.params
    parts: list[Part] = [Do("begin", lambda row: {"chances": [], "going": True}, (), ("chances", "going"))]
    for step in range(1, params.steps + 1):
        parts += _rolled_out(job, step) if params.labels == "rollouts" else _scored(job, step)

    def ended(row: State) -> Mapping[str, Any]:
        return _records(row, [_good(each, params) for each in row["chances"]], row["equal"] == "yes")

    reads = ("problem", "steps", "answer", "chances", "equal")
    return [*parts, Do("label", ended, reads, ("judged", "outcome", "solution", "score"))]


def _rolled_out(job: Job[Params], step: int) -> list[Part]:
    params, begun, ends = job.params, f"begun {step}", f"ends {step}"

    def start(row: State) -> Mapping[str, Any]:
        return {begun: _SO_FAR.format(problem=row["problem"], steps="\n".join(row["steps"][:step]))}

    def inside(row: State) -> bool:
        return bool(row["going"] and step < len(row["steps"]))

    def count(row: State) -> Mapping[str, Any]:
        if not row["going"] or step > len(row["steps"]):
            return {}
        if step == len(row["steps"]):  # its own answer is what it arrives at
            chance = float(row["equal"] == "yes")
        else:
            right = sum(math_equal(row["truth"], each["answer"], params.seconds).passed for each in row[ends])
            chance = right / params.completions
        return {"chances": [*row["chances"], chance], "going": _good(chance, params)}

    reads = (ends, "steps", "truth", "equal", "chances", "going")
    return [
        Do(begun, start, ("problem", "steps"), (begun,)),
        job.ask("complete", f"complete {step}", inputs={"problem": begun}, samples=params.completions, into=ends,
                when=inside, least=1),
        Do(f"count {step}", count, reads, ("chances", "going"), beside=True),
    ]  # fmt: skip


def _scored(job: Job[Params], step: int) -> list[Part]:
    params, text, share = job.params, f"text {step}", f"p {step}"

    def start(row: State) -> Mapping[str, Any]:
        return {text: "\n".join([row["problem"], "", *row["steps"][:step]]), "question": QUESTION}

    def inside(row: State) -> bool:
        return bool(row["going"] and step <= len(row["steps"]))

    def count(row: State) -> Mapping[str, Any]:
        if not inside(row):
            return {}
        chance = float(row[share]["yes"])
        return {"chances": [*row["chances"], chance], "going": _good(chance, params)}

    return [
        Do(text, start, ("problem", "steps"), (text, "question")),
        job.ask("rate", f"rate {step}", inputs={"text": text}, shares=share, when=inside),
        Do(f"count {step}", count, (share, "steps", "chances", "going"), ("chances", "going")),
    ]


def _good(chance: float, params: Params) -> bool:
    """Whether a step counts as right."""
    if params.labels == "rollouts" and not params.soft:
        return chance > 0
    return chance >= params.least


def _records(row: State, good: list[bool], right: bool) -> Mapping[str, Any]:
    """What the row is handed on as: labelled steps, one label for the whole (of an ORM), the solution if all is right."""
    steps, labels = up_to_first_wrong(row["steps"], good)
    whole = {"prompt": row["problem"], "completion": shown(row["steps"], row["answer"])}
    sound = right and len(labels) == len(row["steps"]) and all(labels)
    return {
        "judged": {"prompt": row["problem"], "completions": steps, "labels": labels},
        "outcome": {**whole, "label": right},
        "solution": whole if sound else None,
        "score": product(row["chances"]),
    }


METHOD = Method(
    "process",
    "1",
    Params,
    given={
        "problems": Given("problems to solve", {"problem": "what is asked", "answer": "its answer"}, optional=True),
        "ratings": Given(
            "solutions that people labelled, as a queue file has them",
            {
                "problem": "what is solved",
                "steps": "the solution",
                "ratings": "positive, neutral or negative, for each step to the first negative one",
                "answer?": "its answer",
            },
            optional=True,
        ),
    },
    calls={
        "solve": Call(Solve, decoding=Decoding(temperature=0.7, max_tokens=1024)),
        "complete": Call(
            Solve,
            decoding=Decoding(temperature=0.7, max_tokens=1024),
            instruction="Go on with the solution from where it stops: the steps that are missing, then the final answer alone.",
        ),
        "rate": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
    },
    flow=flow,
    emits={
        "steps": Emit(field="judged"),
        "unpaired": Emit(field="outcome"),
        "sft": Emit(field="solution"),
    },
)
