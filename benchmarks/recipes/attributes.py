"""Whether a small model learns to be steered by attributes that a program can measure."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import dspy

from benchmarks._result import Goal
from stillroom.evals.agreement import spearman
from stillroom.signatures import shape_of
from stillroom.signatures.records import attribute_text

from ._check import Check, Measured, Models
from ._tuned import plan_of, tuned_and_not

__all__ = ["CHECKS", "measured", "planted"]

ROWS, PROMPTS = 1000, 50
EDGES = (11, 21, 31, 43)
"""Words at which the next bin begins: five bins."""
THINGS = ["rain", "tea", "bridges", "cats", "maps", "snow", "bread", "clocks", "rivers", "songs", "stairs", "apples", "trains", "letters", "gardens", "lamps", "boats", "owls", "salt", "hills"]  # fmt: skip
SAYING = ["Tell me about {}.", "What is there to know of {}?", "Say something on {}.", "Write about {}.", "Describe {} to me.", "I wonder about {}."]  # fmt: skip
PIECES = ("People have known them for long.", "They are found in most places.", "Some are small and some are large.",
          "Much was written about them.", "They change with the season.", "Nobody owns them all.",
          "They are older than the town.", "One sees them best in the morning.")  # fmt: skip


class Steered(dspy.Signature):
    """Answer the prompt. The line of attributes says how long the answer is, whether it has a list, and how it ends."""

    prompt: str = dspy.InputField()
    response: str = dspy.OutputField()


def measured(text: str) -> dict[str, int]:
    """The attributes of an answer, found by code."""
    return {
        "list": int(any(line.startswith("- ") for line in text.splitlines())),
        "question": int(text.rstrip().endswith("?")),
        "words": bisect_right(EDGES, len(text.replace("- ", "").split())),
    }


def planted(count: int, rng: random.Random) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Answers put together from pieces, with the attributes that they were found to have."""
    found = []
    for _ in range(count):
        thing, length = rng.choice(THINGS), rng.choice((5, 13, 23, 34, 46))
        parts: list[str] = [f"{thing.capitalize()} are worth a thought."]
        while sum(len(each.split()) for each in parts) < length:
            parts.append(rng.choice(PIECES))
        text = "\n".join(f"- {each}" for each in parts) if rng.random() < 0.5 else " ".join(parts)
        text += " Shall I go on?" if rng.random() < 0.5 else ""
        found.append((_asked(rng.choice(SAYING).format(thing), measured(text)), {"response": text}))
    return found


def steered(models: Models) -> Measured:
    """Trained on 1,000 rows for one epoch; asked 50 prompts, how the words of the answers follow those asked for."""
    rng = random.Random(1)
    rows = planted(ROWS, rng)
    wishes = [{"list": rng.randrange(2), "question": rng.randrange(2), "words": at % 5} for at in range(PROMPTS)]
    asked = [_asked(rng.choice(SAYING).format(rng.choice(THINGS)), wish) for wish in wishes]
    plan = plan_of(shape_of(Steered), max_tokens=112)
    after, before, student = tuned_and_not(models, plan, rows, asked)
    wanted = [each["words"] for each in wishes]
    said = {name: [measured(each) for each in some] for name, some in (("tuned", after), ("untuned", before))}
    follows = {name: _follows(wanted, [each["words"] for each in some]) for name, some in said.items()}
    low = _lowest(wanted, [each["words"] for each in said["tuned"]])
    figures: dict[str, Any] = {
        "spearman": {name: round(each, 3) for name, each in follows.items()},
        "lower_bound": round(low, 3),
        "kept": {
            name: round(sum(wish[name] == each[name] for wish, each in zip(wishes, said["tuned"], strict=True)) / PROMPTS, 3)
            for name in ("list", "question", "words")
        },
        "rows": ROWS,
        "final_loss": round(student.final_loss, 4),
        "training_seconds": round(student.seconds),
    }  # fmt: skip
    above = Goal("Spearman above the untuned model's", follows["tuned"] - follows["untuned"], 0.001)
    return Measured(figures, low, 0.001, n=PROMPTS, also=(above,))


def _asked(prompt: str, wish: dict[str, int]) -> dict[str, str]:
    return {"prompt": f"{prompt}\n\n{attribute_text(wish)}"}


def _follows(wanted: Sequence[int], got: Sequence[int]) -> float:
    """Spearman's correlation; 0 where one side does not vary, which follows nothing."""
    found = spearman(wanted, got)
    return 0.0 if math.isnan(found) else found


def _lowest(wanted: Sequence[int], got: Sequence[int], resamples: int = 1000) -> float:
    """Lower end of the 95% bootstrap interval of Spearman's correlation, prompts drawn with replacement."""
    rng = random.Random(0)
    places = range(len(wanted))
    found = []
    for _ in range(resamples):
        drawn = rng.choices(places, k=len(wanted))
        found.append(_follows([wanted[at] for at in drawn], [got[at] for at in drawn]))
    return sorted(found)[int(0.025 * resamples)]


CHECKS = [Check("2.15 M1", "Smol with LoRA on 1,000 rows writes as many words as it is asked for", steered, "smol")]
