"""A teacher's explanations: system messages by task family, strategies that are erased, gold answers that must agree.

Orca (Mukherjee et al. 2023, arXiv:2306.02707) attaches system messages to FLAN tasks; Orca 2 (Mitra et al. 2023,
arXiv:2311.11045) tells the teacher a strategy and leaves it out of the row (prompt erasure); OpenOrca and Dolphin
filter what such rows say of their writer; SlimOrca drops answers that contradict the labels of the tasks. Mixtures
such as OpenHermes draw finished rows by declared weights. One flow: what is not wanted is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.copies.pool import without_copies
from stillroom.evals.filters.boilerplate import boilerplate
from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, OnceEach, Rule
from stillroom.programs.published.caps import Capped
from stillroom.programs.published.prompts import answered, prompt_of, task_text
from stillroom.programs.published.shares import spread
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import Answer, Classify
from stillroom.values import digest

from ._gold import contradicts, read_answer
from ._systems import TABLES
from ._texts import shared

__all__ = ["METHOD", "NEUTRAL", "TABLES", "Params", "erased", "restored"]

NEUTRAL = "You are a careful assistant. You think about what is asked, and answer in the way that suits it."
"""What stands in a row in place of the strategy that its teacher was told."""
RUN = 5
"""So many words in a row of a strategy must not stand in a prompt."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        table: System messages: orca, strategies, or none.
        erase: Whether a row has a neutral system message in place of the one that its teacher was told.
        neutral: That message.
        answer: Whether a teacher answers; else rows have answers already.
        gold: Whether answers that contradict a known one are dropped, and those that cannot be read wait for a person.
        traces: Rules of boilerplate that an answer must not break; none are asked where empty.
        weights: Share of each family, or source, in the rows; all tasks alike where none are named.
        by: The field that weights are of.
        most: Rows of one task, where tasks are named; 0 for any number.
        copies: Whether near copies (MinHash over word 5-grams, Jaccard 0.7) are refused, across all sources.
    """

    table: str = "orca"
    erase: bool = False
    neutral: str = NEUTRAL
    answer: bool = True
    gold: bool = False
    traces: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    by: str = "family"
    most: int = 0
    copies: bool = False


# -- what is wanted ----------------------------------------------------------------------


def source(job: Job[Params]) -> OnceEach:
    """So many rows of each family or source, in an order drawn once; each task is begun for one row."""
    params, rows = job.params, job.source("tasks")
    cells = _cells(job, rows)
    near = without_copies([task_text(row) for row in rows]) if params.copies else [None] * len(rows)
    order = {cell: job.rng("order", cell).sample(places, len(places)) for cell, places in cells.items()}
    names = ("instruction", "input", "system", "family", "source", "task", "gold", "labels", "completion")

    def starts(cell: str) -> Iterator[Wanted]:
        for place in order[cell]:
            row, match = rows[place], near[place]
            fields: dict[str, Any] = {name: row.get(name) for name in names}
            fields |= {"input": row.get("input") or "", "labels": row.get("labels") or []}
            fields |= {
                "families": sorted(TABLES[params.table][1]),
                "copy": "" if match is None else f"row {match.other_id}",
            }
            yield Wanted(cell, 0, fields, parents=(digest(row),))

    shares = params.weights or {cell: len(places) for cell, places in cells.items()}
    return OnceEach(spread(job.rows, shares), starts)


def _cells(job: Job[Params], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """The places of the rows of each family or source.

    Raises:
        BadConfig: For what cannot work, before anything is asked.
    """
    params = job.params
    if params.table not in TABLES:
        raise BadConfig(f"table must be one of {', '.join(TABLES)}, got {params.table!r}")
    if not params.answer and any(not row.get("completion") for row in rows):
        raise BadConfig(f"{job.preset.name} mixes finished rows: each needs a completion")
    unknown = sorted({str(row["family"]) for row in rows if row.get("family")} - set(TABLES[params.table][1]))
    if unknown and params.answer:
        raise BadConfig(f"families must be of {', '.join(TABLES[params.table][1])}, got {unknown}")
    cells: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        cell = str(row.get(params.by) or "") if params.weights else "tasks"
        if not params.weights or cell in params.weights:
            cells[cell].append(place)
    missing = sorted(set(params.weights) - set(cells))
    if missing:
        raise BadConfig(f"each weight needs rows whose {params.by} it names, got none for {missing}")
    return cells


# -- the flow ------------------------------------------------------------------------------


def flow(job: Job[Params]) -> Flow:
    """Refuse copies, find the family, answer, look at the answer, and put the row together."""
    params, wanted = job.params, source(job)
    parts: list[Part] = []
    if params.copies:
        parts.append(At(Rule("no near copy", lambda row: row["copy"] and f"a near copy of {row['copy']}"), ("copy",)))
    if params.most:
        parts.append(At(Capped("task", params.most), ("task",)))
    parts += answering(job) if params.answer else []
    if params.traces:
        parts.append(At(boilerplate("completion", rules=params.traces), ("completion",)))
    if params.gold:
        parts += checking()
    if params.erase:
        parts.append(At(Rule(f"no {RUN} words of the strategy", erased), ("shown", "instruction", "input", "told")))
    return job.flow(
        wanted,
        [*parts, Do("messages", messages, adds=("prompt", "messages"))],
        emits=("instruction", "input", "family", "source", "shown", "message", "completion", "gold", "answer",
               "prompt", "messages"),
        text=("instruction", "input", "completion"),
    )  # fmt: skip


def answering(job: Job[Params]) -> list[Part]:
    """The teacher's answer, under the system message of the task's family."""
    params = job.params
    texts, families = TABLES[params.table]

    def chosen(row: State) -> Mapping[str, Any]:
        family = row["family"] or row["label"]
        # drawn from what the task says, so that a task that is tried again is told the same
        name = job.rng("system", task_text(row)).choice(families.get(family, next(iter(families.values()))))
        shown = params.neutral if params.erase else texts[name]
        return {"family": family, "message": name, "told": texts[name], "shown": shown}

    return [
        Do("text", lambda row: {"text": task_text(row)}, reads=("instruction", "input"), adds=("text",)),
        job.ask("classify", inputs={"labels": "families"}, when=lambda row: not row["family"]),
        Do(
            "system",
            chosen,
            reads=("family", "label", "instruction", "input"),
            adds=("family", "message", "told", "shown"),
        ),
        job.ask("answer", inputs={"system": "told"}),
        Do(
            "completion", lambda row: {"completion": row["response"].strip()}, reads=("response",), adds=("completion",)
        ),
        At(Whole("answered"), ("completion",)),
    ]


def checking() -> list[Part]:
    """What the answer comes to, where the task's own answer is known."""

    def read(row: State) -> Mapping[str, Any]:
        known = row["gold"] is not None
        return {"answer": read_answer(row["completion"], row["labels"], str(row["gold"])) if known else None}

    def unread(row: Mapping[str, Any]) -> str:
        return "its answer cannot be read" if row["gold"] is not None and row["answer"] is None else ""

    fields = ("answer", "gold", "labels")
    return [
        Do("read", read, reads=("completion", "gold", "labels"), adds=("answer",)),
        At(Rule("answer can be read", unread, by="verifier", on_fail="audit"), fields),
        At(Rule("agrees with gold", contradicts, by="verifier"), fields),
    ]


def messages(row: State) -> Mapping[str, Any]:
    """The row as messages."""
    system = row.get("shown") if row.get("shown") is not None else row.get("system")
    prompt = prompt_of(task_text(row), system or "")
    return {"prompt": prompt, "messages": answered(prompt, row["completion"])}


# -- erasure ---------------------------------------------------------------------------------


def erased(row: Mapping[str, Any]) -> str:
    """The reason against a prompt that still has `RUN` words in a row of what its teacher was told, or ""."""
    prompt = " ".join(str(row.get(name) or "") for name in ("shown", "instruction", "input"))
    left = shared(row["told"], prompt, RUN)
    return f"the prompt still says {left!r}" if left else ""


def restored(row: EmittedRow, table: str = "strategies") -> str:
    """What the teacher of an emitted row was told: the row names it, and the table has its text."""
    return TABLES[table][0][str(row.values["message"])]


METHOD = Method(
    "explain",
    "2",
    Params,
    given={
        "tasks": Given(
            "tasks to be explained, or finished rows to be mixed",
            {
                "instruction": "what is asked",
                "input?": "and of what",
                "family?": "cot, niv2, t0, flan2021 or multiple choice; asked for where it is missing",
                "task?": "a name that several rows share",
                "gold?": "the known answer",
                "labels?": "the answers there are",
                "source?": "the set that a finished row is from",
                "system?": "its system message",
                "completion?": "its answer",
            },
        )
    },
    calls={
        "classify": Call(Classify, role="judge", decoding=Decoding(max_tokens=32)),
        "answer": Call(Answer, decoding=Decoding(temperature=0.7, max_tokens=1024)),
    },
    flow=flow,
    emits={"sft": Emit(), "chat": Emit()},
)
