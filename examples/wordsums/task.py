"""Arithmetic word problems: the model writes the calculation, and a verifier evaluates it."""

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import stillroom as st


class WordSum(st.Signature):
    """Solve the word problem by writing the whole calculation as one arithmetic expression."""

    problem: str = st.Input()
    working: str = st.Output(
        desc="one expression of numbers, + - * / and parentheses, with no words and no equals sign"
    )


def right_value(expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> st.Verdict:
    """Check that the written calculation has the value of the right one, however it is written."""
    try:
        got = st.evaluate(outputs["working"])
    except ValueError as error:
        return st.Verdict.fail(f"working {error}")
    right = st.evaluate(expected["working"])
    return (
        st.Verdict.ok() if got == right else st.Verdict.fail(f"working gives {float(got):g}, right is {float(right):g}")
    )


def other_numbers(outputs: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """The same calculation with other whole numbers: a wanted output whose value is known before its problem is written."""

    def near(found: re.Match[str]) -> str:
        size = max(3, round(float(found[0])))
        return str(rng.randint(max(2, size // 2), 2 * size))

    for _ in range(200):
        working = re.sub(r"\d+(\.\d+)?", near, outputs["working"])
        try:
            value = st.evaluate(working)
        except ValueError:  # these numbers divide by zero
            continue
        if value > 0 and value.denominator == 1:
            return {"working": working}
    return dict(outputs)


task = st.Task(
    WordSum,
    data=Path(__file__).parent / "rows.jsonl",
    metric=right_value,
    name="wordsums",
    seed=7,
    licence="Apache-2.0",
    labelled_by="machine",
)
budget = st.Budget(calls=1_500, minutes=15)
recipe = st.recipes.varied(n=40, vary=other_numbers)
