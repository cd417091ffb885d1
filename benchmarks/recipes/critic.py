"""Whether a small model learns to write feedback that ends in a score that can be read."""

from __future__ import annotations

import random
from typing import Any

import dspy

from stillroom.programs.methods._critiques import result
from stillroom.signatures import shape_of

from ._check import Check, Measured, Models
from ._tuned import plan_of, tuned_and_not

__all__ = ["CHECKS", "planted"]

ROWS, HELD_OUT = 500, 60
RUBRIC = "Does the answer name the steps and their order, politely? 1: nothing of it. 5: all of it."
DOING = [
    "clean",
    "wash",
    "mend",
    "paint",
    "store",
    "fold",
    "carry",
    "sharpen",
    "polish",
    "wrap",
    "pack",
    "label",
    "oil",
    "dry",
    "sort",
]
THINGS = ["a window", "a bicycle", "a knife", "a coat", "a lamp", "a kettle", "a chair", "a map", "a rug", "a shelf", "a bell", "a drum", "a tent", "a rope", "a clock", "a boot", "a mirror", "a basket", "a bench", "a jar"]  # fmt: skip
MARKS = {
    "First you look at it.": "how to begin",
    "Then you do it slowly.": "what to do",
    "At last you check it.": "how to end",
    "Thank you for asking.": "a friendly word",
}


class Score(dspy.Signature):
    """Say what the response has and what it lacks by the rubric. End with [RESULT] and the score, 1 to 5."""

    instruction: str = dspy.InputField()
    response: str = dspy.InputField()
    rubric: str = dspy.InputField()
    assessment: str = dspy.OutputField()


def planted(count: int, rng: random.Random) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Answers that have some of four marks, and feedback that names those they lack: a point each, and one for all."""
    tasks = [f"Explain how to {doing} {thing}." for doing in DOING for thing in THINGS]
    found = []
    for at in range(count):
        kept = [each for each in MARKS if rng.random() < 0.5]
        lacking = [MARKS[each] for each in MARKS if each not in kept]
        said = f"It lacks {', '.join(lacking)}." if lacking else "It lacks nothing."
        inputs = {"instruction": tasks[(at * 7) % len(tasks)], "response": " ".join(kept) or "No.", "rubric": RUBRIC}
        found.append((inputs, {"assessment": f"{said} [RESULT] {1 + len(kept)}"}))
    return found


def parsed(models: Models) -> Measured:
    """Trained on 500 rows for one epoch; of held-out rows, the share whose score can be read, before and after."""
    rows = planted(ROWS + HELD_OUT, random.Random(0))
    seen = {str(inputs) for inputs, _ in rows[:ROWS]}
    held = [row for row in rows[ROWS:] if str(row[0]) not in seen]
    plan = plan_of(shape_of(Score), max_tokens=64)
    after, before, student = tuned_and_not(models, plan, rows[:ROWS], [inputs for inputs, _ in held])
    read = {name: [result(each) for each in said] for name, said in (("tuned", after), ("untuned", before))}
    shares = {name: sum(each is not None for each in said) / len(said) for name, said in read.items()}
    right = [each is not None and each[1] == result(gold["assessment"])[1] for each, (_, gold) in zip(read["tuned"], held, strict=True)]  # type: ignore[index]  # fmt: skip
    figures: dict[str, Any] = {
        "parsed": {name: round(share, 3) for name, share in shares.items()},
        "right_score": round(sum(right) / len(right), 3),
        "rows": ROWS,
        "final_loss": round(student.final_loss, 4),
        "training_seconds": round(student.seconds),
        "examples": after[:3],
    }
    return Measured(figures, shares["tuned"], 0.95, n=len(held))


CHECKS = [Check("2.14 M1", "Smol with LoRA on 500 planted rows writes scores that can be read", parsed, "smol")]
