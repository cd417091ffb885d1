"""Whether rows with calls of a calculator are what the calculator gives, and the share of rows without a call."""

from __future__ import annotations

import json

from benchmarks._result import Goal
from stillroom.programs.methods._tools_box import Toolbox, calculator
from stillroom.programs.published import run_preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

QUERIES = 30
UNUSED = 0.2


def reproduced(models: Models) -> Measured:
    """Thirty rows of the tool preset with a calculator alone, a fifth of them to need no tool; each call made again."""
    params = {"tools": ["calculator"], "kinds": {"single": 1 - UNUSED, "unused": UNUSED}}
    emitted = run_preset(
        "llama3-tools", models.run, lm=models("qwen"), samples=True, rows=QUERIES, params=params, seed=0
    )
    box, same, calls, without = Toolbox([calculator()]), 0, 0, 0
    for row in emitted.rows:
        asked = [each["function"] for one in row.values["messages"] for each in one.get("tool_calls") or []]
        stored = [one["content"] for one in row.values["messages"] if one["role"] == "tool"]
        again = [box.call(each["name"], each["arguments"]).output for each in asked]
        same, calls, without = same + (again == stored), calls + len(asked), without + (not asked)
    kept = len(emitted.rows)
    share = without / kept if kept else None
    figures = {
        "kept": kept,
        "wanted": QUERIES,
        "calls": calls,
        "without_a_call": without,
        "written": kept + len(emitted.rejects),
        "stopped_by": {name: stopped for name, _, stopped in emitted.funnel if stopped},
        "examples": [json.dumps(row.values["messages"], ensure_ascii=False)[:400] for row in emitted.rows[:3]],
    }
    off = Goal(
        "share of rows without a call, off its quota", None if share is None else abs(share - UNUSED), 0.02, "<="
    )
    return Measured(figures, same / kept if kept else None, 1.0, n=kept, also=(off,))


CHECKS = [
    Check(
        "2.16 M1",
        "Qwen, 30 calculator queries: kept rows all reproduce; share of no-tool rows within 2 points of its quota",
        reproduced,
        "qwen",
    )
]
