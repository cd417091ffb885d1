"""Arithmetic word problems: the model writes an expression, and a verifier evaluates it."""

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stillroom as st


class WordSum(st.Signature):
    """Solve the word problem: write the calculation as one arithmetic expression, then its value."""

    problem: str = st.Input()
    working: str = st.Output(desc="one expression of numbers, + - * / and parentheses")
    answer: float = st.Output(desc="the value of the expression")


def other_numbers(outputs: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """The same calculation with other whole numbers, so that the answer is right by construction."""
    for _ in range(200):
        working = re.sub(r"\d+(\.\d+)?", lambda found: str(rng.randint(2, 60)), outputs["working"])
        try:
            answer = st.evaluate(working)
        except ValueError:  # these numbers divide by zero
            continue
        if answer > 0 and answer.is_integer():
            return {"working": working, "answer": int(answer)}
    return dict(outputs)


# full marks need both: the value is right, and the calculation that was written gives it
task = st.Task(
    WordSum,
    data=Path(__file__).parent / "rows.jsonl",
    metric=st.numeric("answer") & st.expression("working", "answer"),
    name="wordsums",
    seed=7,
)
budget = st.Budget(calls=1_500, minutes=15)
recipe = st.recipes.varied(n=40, vary=other_numbers)
