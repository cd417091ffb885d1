"""Calls of tools, each of which was made: queries that need them, what they gave, and the answer.

Llama 3.1 (arXiv:2407.21783, section 4.3.5): queries that by construction need a call, several in turn, in parallel or
nested, or none although tools are there; conversations of several turns; and, zero-shot, queries for the user's own
functions. AFM (arXiv:2407.21075) keeps single calls and hands several to people. Chain-of-Abstraction (Gao et al.
2024, arXiv:2401.17464) rewrites solutions so that each derived value is a placeholder that a tool fills.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty
from stillroom.evals.sandbox import shared_sandbox
from stillroom.programs.flow import Ask, At, Do, Flow, Part, Quotas, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.rule import told
from stillroom.programs.published.shares import spread
from stillroom.signatures.operators import Abstract, Answer, CallTools, ToolQuery

from ._reason_checks import math_equal
from ._tools_box import Search, Tool, Toolbox, calculator, mined, python
from ._tools_chain import fill, solved
from ._tools_kinds import KINDS, as_asked, made, names_result
from ._tools_shown import CALLS, CHAINS, queries

__all__ = ["METHOD", "Params"]

SYSTEM = "Answer the user from the results of the tools. Where there are none, answer from what you know. Be brief."


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        shape: "calls" for queries with calls, "abstraction" for solutions rewritten with placeholders.
        kinds: Share of the rows of each kind: single, multi, parallel, nested, unused, turns. They sum to 1.
        tools: Of calculator, python, search; beside them are the functions given, where there are any.
        rounds: Times the model may call before it answers.
        people: Kinds whose rows wait for a person.
        found: Texts that a search gives.
    """

    shape: Literal["calls", "abstraction"] = "calls"
    kinds: Mapping[str, float] = field(
        default_factory=lambda: {
            "single": 0.4, "multi": 0.15, "parallel": 0.1, "nested": 0.1, "unused": 0.15, "turns": 0.1
        }
    )  # fmt: skip
    tools: tuple[str, ...] = ("calculator", "python", "search")
    rounds: int = 4
    people: tuple[str, ...] = ()
    found: int = 3

    def __post_init__(self) -> None:
        unknown = sorted({*self.kinds, *self.people} - KINDS.keys())
        if unknown or abs(sum(self.kinds.values()) - 1) > 1e-9 or min(self.kinds.values(), default=-1) < 0:
            raise BadConfig(f"kinds must be shares of {', '.join(KINDS)} that sum to 1, got {dict(self.kinds)}")
        if set(self.tools) - {"calculator", "python", "search"} or self.rounds < 1 or self.found < 1:
            raise BadConfig(
                f"tools are calculator, python and search, rounds and found at least 1, "
                f"got {list(self.tools)}, {self.rounds}, {self.found}"
            )


def flow(job: Job[Params]) -> Flow:
    """Queries with calls that are made, or chains that are worked out."""
    return _chains(job) if job.params.shape == "abstraction" else _calls(job)


def _box(job: Job[Params]) -> Toolbox:
    """The tools of the job.

    Raises:
        BadConfig: If a search has nothing to search, or there is no tool.
        EngineError: If one needs the sandbox, and there is none.
    """
    params = job.params
    functions = [tool for row in job.source("functions") if (tool := mined(str(row["code"])))]
    if "python" in params.tools or functions:
        shared_sandbox()  # none: told before anything is paid for
    documents = job.source("documents") if "search" in params.tools else []
    if "search" in params.tools and not documents:
        raise BadConfig(
            "the search needs rows called 'documents', or a folder of texts, got none",
            mend="Or leave search out of tools.",
        )
    own: dict[str, Callable[[], Tool]] = {
        "calculator": calculator,
        "python": python,
        "search": lambda: Search(documents, params.found).tool(),
    }
    return Toolbox([*(own[name]() for name in params.tools), *{each.name: each for each in functions}.values()])


def _calls(job: Job[Params]) -> Flow:
    params, box = job.params, _box(job)
    topics = [str(row["topic"]) for row in job.source("topics")]

    def draw(kind: str, slot: int) -> Wanted:
        topic = job.rng("topic", kind, slot).choice(topics) if topics else ""
        n, manner = KINDS[kind]
        fields = {
            "kind": kind, "n_calls": n, "manner": manner, "topic": topic, "schemas": json.dumps(box.schemas),
            "about": box.about if n else "",  # who is to write what needs no tool is not led to one
            "system": SYSTEM, "conversation": "", "history": "", "asked": "", "done": False, "fault": "", "unfit": "",
            "messages": [], "ran": [],
        }  # fmt: skip
        return Wanted(kind, slot, fields, asked={"kind": kind})

    parts: list[Part] = []
    for turn in (1, 2) if "turns" in params.kinds else (1,):
        parts += _turn(job, box, turn)
    seen = ("kind", "messages", "ran", "fault", "unfit")
    parts += [
        told("calls fit their tools", "unfit", "verifier"),
        told("calls ran", "fault", "verifier"),
        At(Rule("calls as the kind asks", as_asked, by="verifier"), seen),
        At(Rule("answer names the result", names_result, by="verifier"), seen),
        Do(
            "tools",
            lambda row: {"tools": box.schemas, "query": row["messages"][0]["content"]},
            ("messages",),
            ("tools", "query"),
        ),
        At(Novelty("new query", Exact), ("query",)),
    ]
    if params.people:
        waits = lambda row: "a person decides rows of this kind" if row["kind"] in params.people else ""  # noqa: E731
        parts.append(At(Rule("kinds for people", waits, on_fail="audit"), ("kind",)))
    emits = ("query", "kind", "messages", "tools", "ran")
    return job.flow(Quotas(spread(job.rows, params.kinds), draw), parts, emits=emits, text=("query",))


def _turn(job: Job[Params], box: Toolbox, turn: int) -> Iterator[Part]:
    """One question of the user's, calls until the model wants no more, and the answer."""

    def here(row: State) -> bool:
        return turn == 1 or (row["kind"] == "turns" and not row["fault"] and not row["unfit"])

    def opened(row: State) -> Mapping[str, Any]:
        if not here(row):
            return {}
        query = row[f"query {turn}"][0]["query"].strip()
        return {
            "asked": query,
            "history": row["conversation"],
            "done": False,
            "messages": [*row["messages"], {"role": "user", "content": query}],
        }

    def goes_on(row: State) -> bool:
        return here(row) and not (row["done"] or row["fault"] or row["unfit"])

    def closed(row: State) -> Mapping[str, Any]:
        said = row[f"answer {turn}"]
        if not said:
            return {}
        answer = said[0]["response"].strip()
        talk = f"{row['conversation']}User: {row['asked']}\nAssistant: {answer}\n"
        return {"messages": [*row["messages"], {"role": "assistant", "content": answer}], "conversation": talk}

    # given for a row of its own, and written anew in each round: what a step adds must be among them
    changes = ("messages", "ran", "history", "done", "fault", "unfit")
    asked = {kind: job.plan("query", queries(kind)) for kind in job.params.kinds}
    yield job.ask(
        "query",
        f"query {turn}",
        inputs={"tools": "about"},
        into=f"query {turn}",
        when=here,
        vary=lambda wanted, row: asked[row["kind"]],
    )
    yield Do(f"open {turn}", opened, None, ("asked", "history", "done", "messages"))
    for number in range(1, job.params.rounds + 1):
        name = f"{turn}.{number}"
        inputs = {"query": "asked", "tools": "schemas"}
        step = job.ask("call", f"call {name}", demos=CALLS, inputs=inputs, into=f"call {name}", when=goes_on)
        yield fitted(step, box)
        yield Do(f"run {name}", made(box, f"call {name}", name), None, changes, beside=True)
    yield job.ask("answer", f"answer {turn}", inputs={"instruction": "asked", "input": "history"}, into=f"answer {turn}",
                  when=lambda row: here(row) and not row["fault"] and not row["unfit"])  # fmt: skip
    yield Do(f"close {turn}", closed, None, ("messages", "conversation"))


def fitted(step: Ask, box: Toolbox) -> Ask:
    """The step with its calls constrained to those that fit the tools; what engines without constraints give is checked."""
    return replace(step, plan=replace(step.plan, shape=step.plan.shape.asking(calls=box.calls)))


def _chains(job: Job[Params]) -> Flow:
    """Solutions rewritten with placeholders, kept if working them out gives the answer."""
    rows = job.needed("solved")
    box = Toolbox([calculator()])

    def worked(row: State) -> Mapping[str, Any]:
        filled = fill(row["chain"], row["goal"])
        if filled.fault:
            return {"fault": filled.fault, "result": "", "messages": [], "completion": "", "tools": box.schemas}
        messages = solved(row["question"], row["chain"], row["goal"], filled)
        return {
            "fault": "",
            "result": filled.result,
            "messages": messages,
            "tools": box.schemas,
            "completion": messages[1]["content"],
        }

    def arrives(row: State) -> str:
        found = math_equal(row["answer"], row["result"])
        return "" if found.passed else f"the chain arrives at {row['result']}, not at {row['answer']}"

    starts = [
        made_from(row, {"question": str(row["question"]), "gold": str(row["solution"]), "answer": str(row["answer"])})
        for row in job.rng("order").sample(rows, len(rows))
    ]
    kept = ("question", "chain", "goal", "fault", "result", "answer")
    parts: list[Part] = [
        job.ask("abstract", demos=CHAINS),
        Do("work out", worked, ("question", "chain", "goal"), ("fault", "result", "messages", "completion", "tools")),
        told("chain can be worked out", "fault", "verifier"),
        At(Rule("chain arrives at the answer", arrives, by="verifier"), kept),
    ]
    emits = ("question", "chain", "goal", "answer", "result", "completion", "messages", "tools")
    return job.flow(Once(lambda: starts, job.rows), parts, emits=emits, text=("question",))


METHOD = Method(
    "tools",
    "2",
    Params,
    given={
        "topics": Given("what queries are about", {"topic": "a few words"}, optional=True),
        "documents": Given(
            "texts to search, or a folder of them", {"text": "one", "title?": "its title"}, optional=True
        ),
        "functions": Given(
            "Python functions to be called, each with a docstring and types", {"code": "the source"}, optional=True
        ),
        "solved": Given(
            "solved problems, to be rewritten",
            {"question": "what is asked", "solution": "how it is solved", "answer": "the answer alone"},
            optional=True,
        ),
    },
    calls={
        "query": Call(ToolQuery, decoding=Decoding(temperature=0.8, max_tokens=200)),
        "call": Call(CallTools, decoding=Decoding(max_tokens=400)),
        "answer": Call(Answer, decoding=Decoding(max_tokens=300)),
        "abstract": Call(Abstract, decoding=Decoding(temperature=0.7, max_tokens=500)),
    },
    flow=flow,
    emits={
        "tool": Emit(),
        "sft": Emit({"prompt": ("question",), "completion": ("completion",)}),
    },
)
