"""A small world for flows: plans over one scripted model that answers in any order, and runs of them.

What is answered is a fixed function of the request; when it is answered is not.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dspy.lm15 import Message, Request, Response, Usage

from stillroom.engines import Engine, open_session
from stillroom.evals import Verdict
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty, Schema, Whole
from stillroom.ledger import Budget
from stillroom.programs import Decoding, Plan
from stillroom.programs.flow import Ask, Emitted, Flow, Quotas, Wanted, run_flow
from stillroom.rows import EmittedRow
from stillroom.signatures import Field, Shape
from stillroom.store import Store

TEXT = {"type": "string"}
MODEL = "scripted/flow@0"
Answer = Callable[[Request], "str | Response | Exception"]


class Model(Engine):
    """Answers by a function of the request, after waiting as `wait` says.

    Attributes:
        asked: How often each request was sent, by its last message and seed.
        most: Most calls that were under way at once.
    """

    model = MODEL
    licence = "LicenseRef-own-data"
    charges_unanswered = False

    def __init__(
        self,
        answer: Answer,
        *,
        wait: Callable[[Request], Any] | None = None,
        max_concurrency: int = 8,
        name: str = MODEL,
    ) -> None:
        self.model, self.max_concurrency = name, max_concurrency
        self.asked: Counter[tuple[str, int | None]] = Counter()
        self.under_way = self.most = 0
        self._answer, self._wait = answer, wait

    def submit(self, request: Request) -> Any:
        raise NotImplementedError

    async def acomplete(self, request: Request) -> Response:
        self.asked[said(request), request.config.seed] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self._wait is not None:
                await self._wait(request)
            found = self._answer(request)
        finally:
            self.under_way -= 1
        if isinstance(found, Exception):
            raise found
        return response(found) if isinstance(found, str) else found


def response(text: str, finish: str = "stop") -> Response:
    """An answer as engines give it."""
    usage = Usage(input_tokens=3, output_tokens=len(text.split()))
    return Response(id=None, model=MODEL, message=Message.assistant(text), finish_reason=finish, usage=usage)


def said(request: Request) -> str:
    """What the last message of a request says."""
    return request.messages[-1].text or ""


def shuffled(seed: int) -> Callable[[Request], Any]:
    """Waits that put the answers into another order for each seed."""
    rng = random.Random(seed)

    async def wait(request: Request) -> None:
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)

    return wait


def plan(
    inputs: str = "q", outputs: str = "a", *, model: str = MODEL, temperature: float = 0.7, name: str = "Ask"
) -> Plan:
    """A plan with text fields, named as in "q,r"."""
    sides = [tuple(Field(each, TEXT) for each in side.split(",")) for side in (inputs, outputs)]
    return Plan(Shape(name, "Answer.", *sides), model, "Answer.", decoding=Decoding(temperature=temperature))


def draw(cell: str, slot: int) -> Wanted:
    """A wanted row that says where it stands."""
    return Wanted(cell, slot, {"q": f"{cell} {slot}"}, asked={"outputs": {}})


def echo(request: Request) -> str:
    """The question and the seed, as the answer: no two rows alike."""
    return json.dumps({"a": f"re {said(request)} {request.config.seed}"})


def flow(quotas: dict[str, int] | None = None, parts: Sequence[Any] | None = None, **settings: Any) -> Flow:
    """One step and the gates of form, unless told otherwise."""
    usual = (Ask("write", plan()), Schema(plan().shape), Whole(), Novelty("exact", Exact))
    settings = {"emits": ("q", "a"), "text": ("a",), "attempts": 3, "block": 8, **settings}
    source = settings.pop("source", None) or Quotas(quotas or {"x": 30, "y": 20}, draw)
    return Flow("test", source, tuple(usual if parts is None else parts), **settings)


def run(folder: Path, made: Flow, engine: Engine, *, budget: Budget | None = None, **settings: Any) -> Emitted:
    """Run a flow in a folder, once."""
    with open_session(engine, folder, "emit", {"flow": made.key}, budget) as session:
        return run_flow(made, session, **settings)


def stored(folder: Path) -> list[dict[str, Any]]:
    """Every row on record, in its order."""
    with Store(folder) as store:
        return [row.as_json() for row in store.rows()]


def places(rows: Sequence[EmittedRow]) -> list[str]:
    """Where rows stand."""
    return [row.place for row in rows]


@dataclass
class Asks:
    """A gate that asks a model about each row, and lets those pass that it answers with yes."""

    engine: Model
    name: str = "judge"
    on_fail: str = "audit"
    by: str = "judge"

    def check(self, batch):
        raise AssertionError("a gate that can be awaited is awaited")

    def keep(self, passed):
        pass

    async def acheck(self, batch):
        judge = plan("a", "verdict", name="Judge", temperature=0.0)
        asked = [self.engine.acomplete(judge.render({"a": candidate.text})) for candidate in batch]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return [
            answer if isinstance(answer, Exception) else Verdict(float("yes" in answer.message.text), "it said no")
            for answer in answers
        ]


@dataclass
class Remembers:
    """A gate that remembers everything: what it was asked about, in which batches."""

    name: str = "remembers"
    on_fail: str = "rejected"
    batches: list[list[str]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def check(self, batch):
        self.batches.append([candidate.place for candidate in batch])
        return [Verdict.ok() for _ in batch]

    def keep(self, passed):
        self.kept += [candidate.place for candidate in passed]


def answers(request):
    """Judges say no to every fifth; writers repeat themselves now and then, and sometimes write no JSON."""
    text = said(request)
    if "verdict" in str(request.system):
        return json.dumps({"verdict": "no" if int(text.rsplit(" ", 1)[1]) % 5 == 0 else "yes"})
    if request.config.seed % 11 == 0 and len(request.messages) == 1:
        return "no JSON at all"
    return json.dumps({"a": f"re {text.split()[0]} {request.config.seed % 400}"})


def judged(engine: Model, **settings) -> Flow:
    """A flow with every kind of gate."""
    shape = plan().shape
    parts = (Ask("write", plan()), Schema(shape), Whole(), Novelty("exact", Exact), Asks(engine), Remembers())
    return flow({"x": 60, "y": 35}, parts, **settings)
