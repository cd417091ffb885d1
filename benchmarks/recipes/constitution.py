"""Whether revisions keep to principles that a program can check: no digits, at most forty words."""

from __future__ import annotations

import re
from collections.abc import Callable

from benchmarks._result import Goal
from stillroom.programs.published import run_preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

RULES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "no digits": (
        "The response must not contain any digit; numbers are written as words.",
        lambda text: not re.search(r"\d", text),
    ),
    "at most 40 words": ("The response must have at most 40 words.", lambda text: len(text.split()) <= 40),
}
PROMPTS = (
    "When did the First World War begin and end?",
    "How do I boil an egg?",
    "Give me a timetable for a day at the museum.",
    "What are the distances of the planets from the sun?",
    "Write a recipe for pancakes for four people.",
    "Explain how a mortgage of 200,000 euros is paid back.",
    "List the five largest countries with their areas.",
    "How do I train for a marathon?",
    "What does a healthy week of meals look like?",
    "Tell me the history of the telephone.",
)


def obeyed(models: Models, name: str = "qwen", most: int = len(PROMPTS)) -> Measured:
    """One revision of each answer under each rule: of the answers that broke it, how many revisions keep it."""
    engine = models(name)
    broke = mended = 0
    figures: dict[str, object] = {}
    for rule, (text, holds) in RULES.items():
        emitted = run_preset(
            "critique-as-preference", models.run / rule.replace(" ", "-"), lm=engine, rows=most, samples=True,
            given={"principles": [{"id": rule, "principle": text}], "prompts": [{"instruction": each} for each in PROMPTS[:most]]},
            params={"changed": False},
        )  # fmt: skip
        pairs = [(row.values["original"], row.values["response"]) for row in emitted.rows]
        wrong = [pair for pair in pairs if not holds(pair[0])]
        right = sum(holds(after) for _, after in wrong)
        broke, mended = broke + len(wrong), mended + right
        figures[rule] = {"answers": len(pairs), "broke_it": len(wrong), "revision_keeps_it": right}
    share = mended / broke if broke else None
    return Measured(figures, share, 0.7, n=broke, also=(Goal("answers that broke a rule", broke, 5),))


CHECKS = [Check("2.12 M1", "after one revision a rule that code can check is kept by >= 70% of the answers that broke it", obeyed, "qwen")]  # fmt: skip
