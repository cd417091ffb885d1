"""A small world for methods: each call answered by a function of its inputs, and what was asked kept to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dspy.lm15 import Request

from stillroom.engines.scripted import ScriptedEngine
from stillroom.evals.copies.duplicates import words
from stillroom.programs.flow import Emitted
from stillroom.programs.plan import Plan
from stillroom.programs.published import Job, prepare, preset, records, run_preset, sample
from stillroom.rows import EmittedRow
from stillroom.signatures import FORMATS, Shape
from stillroom.signatures.records import SCHEMAS, Record

WORDS = [
    "amber", "birch", "copper", "dune", "ember", "fjord", "grove", "heath", "inlet", "juniper",
    "kelp", "larch", "moss", "north", "otter", "pebble",
]  # fmt: skip
"""To make texts of that have no word in common."""
Said = Callable[[dict[str, Any]], "Mapping[str, Any] | Sequence[Any] | str"]


@dataclass
class World:
    """Runs presets on scripted calls.

    Attributes:
        said: By name of a call, what is answered to its inputs: its outputs, or a text that is sent as it is.
        asked: (call, inputs) of everything that was asked, in order.
        prompts: The whole text of everything that was asked, in the same order.
    """

    said: Mapping[str, Said]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def job(self, preset: str, **settings: Any) -> Job[Any]:
        """The job, to look into."""
        return prepare(preset, {"teacher": ScriptedEngine({})}, samples=True, **settings)

    def run(self, preset: str, run: Path, **settings: Any) -> Emitted:
        """Run `preset` into a folder; our sample rows stand in for those that are not given."""
        known = {"given", "rows", "params", "seed"}
        engine = self.engine(preset, **{key: settings[key] for key in settings if key in known})
        return run_preset(preset, run, lm=engine, samples=True, **settings)

    def engine(self, preset: str, **settings: Any) -> ScriptedEngine:
        """A model that answers the calls of `preset`, and knows them by their prompts."""
        job = self.job(preset, **settings)
        plans = {job.plan(call).system: (call, job.plan(call)) for call in job.method.calls}
        return ScriptedEngine(lambda request: self._answer(request, plans))

    def _answer(self, request: Request, plans: Mapping[str, tuple[str, Plan]]) -> str:
        call, plan = plans[str(request.system)]
        text = request.messages[-1].text or ""
        inputs = read_inputs(plan.shape, text)
        self.asked.append((call, inputs))
        self.prompts.append("\n".join([str(request.system), *(each.text or "" for each in request.messages)]))
        said = self.said[call](inputs)
        if isinstance(said, Mapping) and plan.format != "json":
            return FORMATS[plan.format].write(plan.shape, said)
        return said if isinstance(said, str) else json.dumps(said)


def read_inputs(shape: Shape, text: str) -> dict[str, Any]:
    """The inputs that a user message shows."""
    names = [each.name for each in shape.inputs]
    if len(names) == 1 and not text.startswith(f"{names[0]}: "):
        return {names[0]: text}
    pattern = "".join(rf"{name}: (?P<{name}>.*){chr(10) if name != names[-1] else ''}" for name in names)
    found = re.fullmatch(pattern, text, re.DOTALL)
    assert found, f"expected the fields {names}, got {text!r}"
    return {
        each.name: found[each.name] if each.schema.get("type") == "string" else json.loads(found[each.name])
        for each in shape.inputs
    }


def stopped(emitted: Emitted) -> dict[str, int]:
    """How many rows each gate stopped."""
    return {name: stopped for name, _, stopped in emitted.funnel if stopped}


def values(rows: Sequence[EmittedRow], *names: str) -> list[Any]:
    """The values of rows, or of one of their fields."""
    return [row.values[names[0]] if names else dict(row.values) for row in rows]


def sample_rows(name: str) -> list[dict[str, Any]]:
    """Our own rows of a source, by the name of their file."""
    return [json.loads(line) for line in sample(name).read_text(encoding="utf-8").splitlines()]


def handed_over(name: str, emitted: Emitted) -> dict[str, list[Record]]:
    """The records of every schema that a preset promises: each of its type, with the papers of the rows it is made of."""
    shown, rows, rejects = preset(name), list(emitted.rows), list(emitted.rejects)
    recipes = {row.passport.recipe for row in rows}
    assert len(recipes) == 1
    found: dict[str, list[Record]] = {}
    for schema in shown.emits:
        found[schema] = list(records(shown.load().emits[schema], schema, rows, rejects, seed=0))
        for each in found[schema]:
            assert isinstance(each, SCHEMAS[schema])
            assert each.meta.licence
            assert each.meta.models
            assert {paper["passport"]["recipe"] for paper in each.meta.rows} == recipes
    return found


class Words:
    """Stands in for an embedding model: the words of a text, hashed."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors, shape (n, 1024); texts of the same words have the same."""
        out = np.zeros((len(texts), 1024), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in words(text):
                row[_hash(word)] += 1
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
        return out


def _hash(word: str) -> int:
    found = 7
    for letter in word:
        found = (found * 31 + ord(letter)) % 1021
    return found
