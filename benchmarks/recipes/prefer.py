"""Whether a small judge finds planted degradations, by log-probability averaged over both orders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from stillroom.programs.flow import Flow, Quotas, Wanted, run_flow
from stillroom.programs.methods._orders import agreed
from stillroom.programs.methods._texts import sentences
from stillroom.programs.published import prepare
from stillroom.programs.published.prompts import task_text

from ._check import Check, Measured, Models

__all__ = ["CHECKS", "planted"]

PAIRS = 40
KINDS = ("truncated", "shuffled", "swapped")
PRINCIPLE = "The response that does better what the instruction asks."


def planted(rows: Sequence[dict[str, Any]], rng: random.Random) -> list[dict[str, str]]:
    """Each answer beside itself cut to a third of its words, with its sentences shuffled, and beside another's answer."""
    found = []
    for at, row in enumerate(rows):
        good, words = row["response"], row["response"].split()
        parts = [each.text for each in sentences(good)]
        shuffled = rng.sample(parts, len(parts))
        while len(parts) > 1 and shuffled == parts:
            rng.shuffle(shuffled)
        bad = {
            "truncated": " ".join(words[: max(1, len(words) // 3)]),
            "shuffled": " ".join(shuffled) if len(parts) > 1 else good,
            "swapped": rows[(at + len(rows) // 2) % len(rows)]["response"],
        }
        found += [
            {"kind": kind, "instruction": task_text(row), "good": good, "bad": bad[kind], "principle": PRINCIPLE}
            for kind in KINDS
            if bad[kind] != good
        ]
    return found


def accuracy(models: Models) -> Measured:
    """Of 40 pairs drawn, how often the mean of both orders is for the answer that nothing was done to."""
    with models.session("smol") as session:
        job = prepare("ultrafeedback", {"teacher": session.engine}, samples=True)
        rng = random.Random(0)
        pairs = rng.sample(planted(job.source("prompts"), rng), PAIRS)
        wanted = [Wanted("pairs", at, each) for at, each in enumerate(pairs)]
        straight = job.ask("compare", "straight", inputs={"a": "good", "b": "bad"}, shares="p straight")
        turned = job.ask("compare", "turned", inputs={"a": "bad", "b": "good"}, shares="p turned")
        quotas = Quotas({"pairs": PAIRS}, lambda cell, slot: wanted[slot])
        made = run_flow(Flow("check", quotas, (straight, turned), emits=("kind", "p straight", "p turned")), session)
    said = [(row.values["kind"], row.values["p straight"]["A"], row.values["p turned"]["A"]) for row in made.rows]
    right = {kind: [float(one + 1 - two > 1) for which, one, two in said if which == kind] for kind in KINDS}
    every = [each for some in right.values() for each in some]
    figures = {
        "pairs": len(said),
        "accuracy": round(fmean(every), 3) if every else None,
        "by_kind": {kind: [round(fmean(some), 3), len(some)] for kind, some in right.items() if some},
        "mean_p_first": round(fmean([each for _, *both in said for each in both]), 3) if said else None,
        "swap_consistency": round(fmean([agreed(one, 1 - two) for _, one, two in said]), 3) if said else None,
    }
    return Measured(figures, fmean(every) if every else None, 0.7, n=len(every))


CHECKS = [
    Check("2.13 M1", "Smol finds planted degradations by log-probability over both orders", accuracy, "smol"),
]
