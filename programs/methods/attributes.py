"""Answers with what they were found to be, in whole numbers by name: for models that are steered by such numbers.

SteerLM (Dong et al. 2023, arXiv:2310.05344): an attribute model rates answers of other sets (step 2), a model is
trained on prompt and attributes to give the answer (3), answers to attributes with the best quality, which it gives
when asked, are rated anew and trained on with what was found, not with what was asked for (4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, State
from stillroom.programs.plan import Decoding, Plan
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, made_from
from stillroom.programs.published.prompts import task_text
from stillroom.programs.published.rule import told
from stillroom.signatures.operators import Answer, Attributes
from stillroom.signatures.records import attribute_text
from stillroom.values import canonical

__all__ = ["METHOD", "NAMES", "Params", "best_seen", "read_attributes"]

NAMES = ("quality", "toxicity", "humor", "creativity", "violence", "helpfulness", "not_appropriate")
"""What the paper rates, 0 to 9 each (section 3.1)."""

_LINE = re.compile(r"(?:Attributes:\s*)?((?:[^\s:,][^:,]*:-?\d+)(?:,[^\s:,][^:,]*:-?\d+)*)")


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: `annotate` rates rows that are there (step 2); `bootstrap` asks for answers to attributes and rates them
            (step 4).
        names: The attributes.
        lowest, highest: Their scale: 0 to 9 in the paper, 0 to 4 in its code.
        best: The attribute that must be highest in what is asked for.
    """

    kind: Literal["annotate", "bootstrap"] = "bootstrap"
    names: tuple[str, ...] = NAMES
    lowest: int = 0
    highest: int = 9
    best: str = "quality"

    def problem(self, attributes: Mapping[str, Any]) -> str:
        """Why `attributes` are not whole numbers on the scale for each of the names, or ""."""
        if set(attributes) != set(self.names):
            unknown, missing = sorted(set(attributes) - set(self.names)), sorted(set(self.names) - set(attributes))
            return f"attributes must be {', '.join(self.names)}; unknown: {unknown}, missing: {missing}"
        off = {name: value for name, value in attributes.items() if not self._fits(value)}
        return f"attributes must be {self.lowest} to {self.highest}, got {off}" if off else ""

    def _fits(self, value: Any) -> bool:
        return type(value) is int and self.lowest <= value <= self.highest


def read_attributes(text: str, params: Params) -> dict[str, int]:
    """Read back what `attribute_text` wrote, in whatever order.

    Raises:
        BadData: If it is no such line, or an attribute is unknown, missing, named twice or off the scale.

    >>> read_attributes("Attributes: humor:0,quality:4", Params(names=("quality", "humor")))
    {'quality': 4, 'humor': 0}
    """
    found = _LINE.fullmatch(text.strip())
    pairs = [each.rsplit(":", 1) for each in found[1].split(",")] if found else []
    attributes = {name: int(value) for name, value in pairs}
    problem = params.problem(attributes) if len(attributes) == len(pairs) else "an attribute must be named once"
    if not pairs or problem:
        raise BadData(f"{problem or 'attributes must be written name:number,name:number'}, got {text[:120]!r}")
    return {name: attributes[name] for name in params.names}


def best_seen(rows: Sequence[Mapping[str, Any]], params: Params) -> list[dict[str, int]]:
    """The combinations of attributes that rows have with the best one at its highest, each once, in a fixed order.

    Combinations that nobody has seen, such as a helpful answer that is toxic and funny, are not asked for.

    Raises:
        BadData: If a row's attributes are not those of the parameters, or no row has the best one at its highest.
    """
    found = {}
    for number, row in enumerate(rows, start=1):
        attributes = row.get("attributes")
        if attributes is None:
            continue
        problem = params.problem(attributes)
        if problem:
            raise BadData(f"row {number} of 'rated': {problem}")
        if attributes[params.best] == params.highest:
            found[canonical(attributes)] = {name: attributes[name] for name in params.names}
    if not found:
        raise BadData(f"rated rows must hold one with {params.best} at {params.highest}, got none")
    return [found[key] for key in sorted(found)]


def flow(job: Job[Params]) -> Flow:
    """The flow of the parameters' kind."""
    if job.params.best not in job.params.names:
        raise BadConfig(f"best must be one of {', '.join(job.params.names)}, got {job.params.best!r}")
    return _annotate(job) if job.params.kind == "annotate" else _bootstrap(job)


def _rated(job: Job[Params], *, known: bool) -> list[Part]:
    """Rate the response, unless people have; keep what is on the scale."""

    def work(row: State) -> Mapping[str, Any]:
        said = row["given"] or row["rating"][0]["attributes"]
        problem = job.params.problem(said)
        kept = {name: said[name] for name in job.params.names if name in said}
        return {"attributes": kept, "broken": problem}

    asked = job.ask("rate", into="rating", when=(lambda row: not row["given"]) if known else None)
    return [
        replace(asked, plan=_declared(asked.plan, job.params)),
        Do("attributes", work, reads=("given", "rating"), adds=("attributes", "broken")),
        told("attributes on the scale", "broken"),
    ]


def _declared(plan: Plan, params: Params) -> Plan:
    """The plan with the attributes and their scale in its schema: a small model would go on naming others."""
    number = {"type": "integer", "minimum": params.lowest, "maximum": params.highest}
    named = dict.fromkeys(params.names, number)
    schema = {"type": "object", "properties": named, "required": list(named), "additionalProperties": False}
    outputs = tuple(replace(each, schema=schema) for each in plan.shape.outputs)
    return replace(plan, shape=replace(plan.shape, outputs=outputs))


def _fields(job: Job[Params]) -> dict[str, Any]:
    params = job.params
    return {"names": list(params.names), "scale": f"{params.lowest} to {params.highest}", "given": None}


def _annotate(job: Job[Params]) -> Flow:
    """All rows, good and bad: what is bad is as good a demonstration of its numbers as what is good."""
    starts = []
    for row in job.needed("rated"):
        fields = {"prompt": str(row["prompt"]), "response": str(row["response"]), **_fields(job)}
        starts.append(made_from(row, {**fields, "given": row.get("attributes")}))
    return job.flow(
        Once(lambda: starts, job.rows),
        _rated(job, known=True),
        emits=("prompt", "response", "attributes"),
        text=("prompt", "response"),
    )


def _bootstrap(job: Job[Params]) -> Flow:
    """Ask for the best that was seen, and keep what it turned out to be."""
    wishes = best_seen(job.needed("rated"), job.params)
    starts = []
    for number, row in enumerate(job.needed("prompts")):
        wish = job.rng("wish", number).choice(wishes)
        prompt = task_text(row)
        fields = {"prompt": prompt, "requested": wish, "asked": f"{prompt}\n\n{attribute_text(wish)}", "none": ""}
        starts.append(made_from(row, {**fields, **_fields(job)}))
    return job.flow(
        Once(lambda: starts, job.rows),
        [
            job.ask("answer", inputs={"system": "none", "instruction": "asked", "input": "none"}),
            At(Whole(), ("response",)),
            *_rated(job, known=False),
        ],
        emits=("prompt", "response", "attributes", "requested"),
        text=("prompt", "response"),
    )


METHOD = Method(
    "attributes",
    "1",
    Params,
    given={
        "rated": Given(
            "answers, rated or not",
            {"prompt": "what was asked", "response": "the answer", "attributes?": "whole numbers by name"},
            True,
        ),
        "prompts": Given("prompts to answer", {"instruction": "what is asked", "input?": "what it is about"}, True),
    },
    calls={
        "answer": Call(Answer, role="student", decoding=Decoding(temperature=1.0, max_tokens=512)),
        "rate": Call(Attributes, role="judge", decoding=Decoding(max_tokens=160)),
    },
    flow=flow,
    emits={"attr": Emit()},
)
