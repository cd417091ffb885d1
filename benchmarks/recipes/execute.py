"""What the execute method keeps with a local model, and whether tests of people that nobody showed it agree."""

from __future__ import annotations

import json
from itertools import islice
from typing import Any

from benchmarks._result import Goal
from stillroom.evals.execution import run_test
from stillroom.programs.published import run_preset, sample

from ._check import Check, Measured, Models

__all__ = ["CHECKS", "hidden"]

PROBLEMS = 10


def hidden(models: Models, name: str = "qwen") -> Measured:
    """Ten easy problems through Llama 3.1's execution feedback; their tests of people are kept back."""
    with sample("problems.jsonl").open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [json.loads(line) for line in islice(file, PROBLEMS)]
    told = [{"problem": row["problem"], "entry": row["entry"]} for row in rows]
    emitted = run_preset(
        "llama3-execution-feedback", models.run, lm=models(name), given={"problems": told}, rows=PROBLEMS
    )
    tests = {row["entry"]: row["tests"] for row in rows}
    kept = {row.values["entry"]: row.values for row in emitted.rows}
    agree = {
        entry: all(run_test(_code(row["completion"]), test).passed for test in tests[entry])
        for entry, row in kept.items()
    }
    share = sum(agree.values()) / len(agree) if agree else 0.0
    figures = {
        "problems": PROBLEMS,
        "kept": len(kept),
        "repaired": sum(row["repairs"] > 0 for row in kept.values()),
        "weak_tests": sum(row["weak"] for row in kept.values()),
        "hidden_tests_failed": sorted(entry for entry, fine in agree.items() if not fine),
        "stopped": {gate: stopped for gate, _, stopped in emitted.funnel if stopped},
    }
    return Measured(figures, len(kept), 7, n=PROBLEMS, also=(Goal("kept that pass hidden tests", share, 0.9),))


def _code(completion: str) -> str:
    return completion.removeprefix("```python\n").removesuffix("\n```")


CHECKS = [Check("2.5 M1", "of 10 easy problems at least 7 end kept, 90% of them right by hidden tests", hidden, "qwen")]
