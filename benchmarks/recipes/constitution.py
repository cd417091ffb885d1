"""Whether revisions keep to principles that a program can check: no digits, at most forty words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from statistics import fmean

from benchmarks._result import Goal
from stillroom.programs.published import run_preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

RULES: dict[str, tuple[str, Callable[[str], int]]] = {
    "no digits": (
        "The response must not contain any digit; numbers are written as words.",
        lambda text: len(re.findall(r"\d", text)),
    ),
    "at most 40 words": ("The response must have at most 40 words.", lambda text: max(0, len(text.split()) - 40)),
}
"""Principles, and by how much a text breaks each: its digits, its words too many."""
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
    """One revision of each answer under each rule: of the answers that broke it, how many revisions break it less.

    How many keep it entirely is shown beside that: it is the harder question, and not the one that decides.
    """
    engine = models(name)
    changes: list[tuple[int, int]] = []
    figures: dict[str, object] = {}
    examples: list[dict[str, object]] = []
    for rule, (text, breaks) in RULES.items():
        emitted = run_preset(
            "critique-as-preference", models.run / rule.replace(" ", "-"), lm=engine, rows=most, samples=True,
            given={"principles": [{"id": rule, "principle": text}], "prompts": [{"instruction": each} for each in PROMPTS[:most]]},
            params={"changed": False},
        )  # fmt: skip
        pairs = [(row.values["original"], row.values["response"]) for row in emitted.rows]
        wrong = [(before, after) for before, after in pairs if breaks(before)]
        amounts = [(breaks(before), breaks(after)) for before, after in wrong]
        figures[rule] = {"answers": len(pairs), "broke_it": len(wrong), **_shares(amounts), "amounts": amounts}
        changes += amounts
        examples += [{"rule": rule, "answer": before, "revision": after} for before, after in wrong[:2]]
    shares = _shares(changes)
    figures |= {**shares, "examples": examples}
    broken = Goal("answers that broke a rule", len(changes), 5)
    return Measured(figures, shares["breaks_it_less"], 0.7, n=len(changes), also=(broken,))


def _shares(amounts: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    """Of answers that broke a rule: the share whose revision breaks it less, and the share whose revision keeps it."""
    if not amounts:
        return {"breaks_it_less": None, "keeps_it": None}
    less = fmean(after < before for before, after in amounts)
    return {"breaks_it_less": round(less, 3), "keeps_it": round(fmean(after == 0 for _, after in amounts), 3)}


SAYS = (
    "of the answers that broke a rule that code can check, >= 70% break it less after one revision: fewer digits, fewer "
    "words above 40 (beside it, the share that keeps the rule entirely)"
)
CHECKS = [Check("2.12 M1", SAYS, obeyed, "qwen")]
