"""What the execute method keeps with a local model, and whether tests of people that it never saw agree."""

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
MATRIX, DIALOGUES = "qwen2-execution", "llama3-execution-feedback"


def hidden(models: Models, name: str = "qwen") -> Measured:
    """Ten easy problems whose tests of people are kept back: eight solutions each against written tests, then dialogues.

    The verdict is that of solutions against tests, where a test that all fail is dropped. A dialogue has one solution:
    whether it or its tests are wrong only its repairs can tell.
    """
    with sample("problems.jsonl").open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [json.loads(line) for line in islice(file, PROBLEMS)]
    told = [{"problem": row["problem"], "entry": row["entry"]} for row in rows]
    tests = {row["entry"]: row["tests"] for row in rows}
    figures: dict[str, Any] = {"problems": PROBLEMS}
    for preset in (MATRIX, DIALOGUES):
        folder = models.run / preset
        emitted = run_preset(preset, folder, lm=models(name), given={"problems": told}, rows=PROBLEMS)
        kept = [row.values for row in emitted.rows]
        wrong = [
            row["entry"]
            for row in kept
            if not all(run_test(_code(row["completion"]), test).passed for test in tests[row["entry"]])
        ]
        figures[preset] = {
            "kept": len(kept),
            "fail_hidden_tests": sorted(wrong),
            "repaired": sum(row["repairs"] > 0 for row in kept),
            "weak_tests": sum(row["weak"] for row in kept),
            "stopped": {gate: stopped for gate, _, stopped in emitted.funnel if stopped},
        }
    found = figures[MATRIX]
    share = 1 - len(found["fail_hidden_tests"]) / found["kept"] if found["kept"] else 0.0
    return Measured(figures, found["kept"], 7, n=PROBLEMS, also=(Goal("kept that pass hidden tests", share, 0.9),))


def _code(completion: str) -> str:
    return completion.removeprefix("```python\n").removesuffix("\n```")


CHECKS = [Check("2.5 M1", "of 10 easy problems at least 7 end kept, 90% of them right by hidden tests", hidden, "qwen")]
