"""What comes back of code by way of its description with a local model, and of three words of a description."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import islice
from typing import Any

from benchmarks._result import Goal
from stillroom.evals.outputs import arguments, difference, outputs
from stillroom.programs.flow import Flow, Wanted, run_flow
from stillroom.programs.published import Once, prepare, run_preset, sample

from ._check import Check, Measured, Models

__all__ = ["CHECKS", "there_and_back"]

PROGRAMS, FRESH, WORDS = 10, 20, 3
NAME, LAST = "llama3-code-backtranslation", "reproduces the outputs"


def there_and_back(models: Models, name: str = "qwen") -> Measured:
    """Ten functions described and written again; then from the first three words of the same descriptions."""
    with sample("programs.jsonl").open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [json.loads(line) for line in islice(file, PROGRAMS)]
    given = {"programs": rows}
    emitted = run_preset(NAME, models.run / "whole", lm=models(name), given=given, rows=PROGRAMS)
    kept = list(emitted.rows)
    entries = {row["code"]: row["entry"] for row in rows}
    same = [not _differs(row.values["completion"], row.values["translation"], entries) for row in kept]
    docs = {each.values["text"]: each.values["doc"] for each in (*kept, *emitted.rejects) if each.values.get("doc")}
    with models.session(name, folder="cut") as session:
        job = prepare(NAME, {"teacher": session.engine}, given=given, rows=PROGRAMS)
        flow = job.method.flow(job)
        asked = ["run source", *flow.names[flow.names.index("write from description") : flow.names.index(LAST) + 1]]
        parts = tuple(part for part, each in zip(flow.parts, flow.names, strict=True) if each in asked)
        wanted = [_cut(each, docs) for each in islice(flow.source.wanted("rows"), PROGRAMS)]
        cut = run_flow(Flow("cut", Once(lambda: wanted, PROGRAMS), parts, recipe=f"{job.digest} cut"), session)
    share = len(cut.rows) / PROGRAMS
    figures = {
        "programs": PROGRAMS,
        "kept": len(kept),
        "described": len(docs),
        "stopped": {gate: stopped for gate, _, stopped in emitted.funnel if stopped},
        "kept_of_three_words": len(cut.rows),
        "stopped_of_three_words": {gate: stopped for gate, _, stopped in cut.funnel if stopped},
    }
    value = sum(same) / len(same) if same else None
    # below a fifth: of ten at most one
    return Measured(figures, value, 1.0, n=len(same), also=(Goal("kept of three words", share, 0.199, "<="),))


def _cut(wanted: Wanted, docs: Mapping[str, str]) -> Wanted:
    """The same with the first words of its description; of the function's own docstring where it has none."""
    said = docs.get(wanted.fields["text"]) or wanted.fields["text"].split('"""')[1]
    return Wanted(wanted.cell, wanted.slot, {**wanted.fields, "doc": " ".join(said.split()[:WORDS])}, key="")


def _differs(source: str, other: str, entries: dict[str, str]) -> str:
    """On inputs that the run did not draw."""
    entry = entries[source]
    inputs = arguments(source, entry, FRESH, random.Random(f"fresh {entry}"))
    return difference(inputs, outputs(source, entry, inputs).values, outputs(other, entry, inputs))


CHECKS = [
    Check(
        "2.6 M1",
        "Qwen, 10 functions by way of a description: what is kept does the same; of three words less than a fifth is kept",
        there_and_back,
        "qwen",
    )
]
