"""What the bootstrap method's calls give with local models: tasks that pass the filters, labels that are balanced."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks._result import Goal
from stillroom.engines import Engine, Session
from stillroom.evals.gates import Candidate
from stillroom.programs.flow import Emitted, Flow, Part, Quotas, Wanted, run_flow
from stillroom.programs.methods.bootstrap import bounded, form, source, unlisted
from stillroom.programs.published import Job, prepare

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

BINARY = {
    "Decide whether the customer's message is a complaint or praise.": ("complaint", "praise"),
    "Say whether the weather report promises rain or no rain.": ("rain", "no rain"),
    "Tell whether the sentence is about the past or the future.": ("past", "future"),
    "Say whether the film review is positive or negative.": ("positive", "negative"),
    "Decide whether the e-mail is spam or not spam.": ("spam", "not spam"),
    "Say whether the animal described is wild or tame.": ("wild", "tame"),
    "Tell whether the request is polite or rude.": ("polite", "rude"),
    "Decide whether the statement is a fact or an opinion.": ("fact", "opinion"),
    "Say whether the recipe is sweet or savoury.": ("sweet", "savoury"),
    "Tell whether the headline is about sport or politics.": ("sport", "politics"),
    "Say whether the number in the sentence is even or odd.": ("even", "odd"),
    "Decide whether the product review is about price or quality.": ("price", "quality"),
    "Tell whether the speaker is at home or at work.": ("home", "work"),
    "Say whether the word is a noun or a verb.": ("noun", "verb"),
    "Decide whether the question can be answered with yes or needs a longer answer.": ("yes", "longer answer"),
    "Say whether the traveller arrives early or late.": ("early", "late"),
    "Tell whether the room described is tidy or untidy.": ("tidy", "untidy"),
    "Decide whether the message is urgent or not urgent.": ("urgent", "not urgent"),
    "Say whether the sentence is in the active or the passive voice.": ("active", "passive"),
    "Tell whether the food described is hot or cold.": ("hot", "cold"),
}
"""Tasks with two labels each."""


def tasks(models: Models) -> Measured:
    """Three calls of Self-Instruct, and what the filters of form say of the tasks they give."""
    with models.session("smol") as session:
        job = _job(session.engine)
        drawn = source(job)
        wanted = [drawn.draw("tasks", slot, ()) for slot in range(3)]
        emitted = _run(job, session, wanted, [job.ask("propose", trim=True)], ("tasks",))
    proposed = [task for row in emitted.rows for task in unlisted(row.values["tasks"], job.params.ask)]
    passed = [task for task in proposed if all(_passes(rule, task) for rule in form(job.params, "instruction"))]
    share = len(passed) / len(proposed) if proposed else 0.0
    figures = {"calls": 3, "parsed_calls": len(emitted.rows), "tasks": len(proposed), "passed": len(passed), "examples": proposed[:5]}  # fmt: skip
    return Measured(figures, len(proposed), 10, n=3, also=(Goal("share that passes F1-F3", share, 1.0),))


def balance(models: Models) -> Measured:
    """The entropy of labels over all instances of a task, written label first and input first."""
    with models.session("qwen") as session:
        job = _job(session.engine)
        wanted = [Wanted("tasks", at, {"task": task, "labels": list(labels), "instruction": _named(task, labels)}) for at, (task, labels) in enumerate(BINARY.items())]  # fmt: skip
        task = {"task": "instruction"}
        parts = [
            bounded(job.ask("label first", inputs=task, into="by_label"), 5),
            bounded(job.ask("input first", inputs=task, into="by_input"), 5),
        ]
        emitted = _run(job, session, wanted, parts, ("task", "labels", "by_label", "by_input"))
    first = {"label first": "label", "input first": "output"}
    entropies = {
        step: [_entropy([each[name] for each in row.values[into][0]["instances"]], row.values["labels"]) for row in emitted.rows]
        for (step, name), into in zip(first.items(), ("by_label", "by_input"), strict=True)
    }  # fmt: skip
    means = {step: sum(each) / len(each) if each else 0.0 for step, each in entropies.items()}
    figures = {"tasks": len(emitted.rows), "entropy": {step: round(mean, 3) for step, mean in means.items()}}
    gain = Goal("label first minus input first", means["label first"] - means["input first"], 0.0)
    return Measured(figures, means["label first"], 0.9, n=len(emitted.rows), also=(gain,))


def _job(engine: Engine) -> Job[Any]:
    return prepare("self-instruct", {"teacher": engine}, samples=True)


def _run(job: Job[Any], session: Session, wanted: Sequence[Wanted], parts: Sequence[Part], emits: tuple[str, ...]) -> Emitted:  # fmt: skip
    quotas = Quotas({"tasks": len(wanted)}, lambda cell, slot: wanted[slot])
    return run_flow(Flow("check", quotas, tuple(parts), emits=emits, seed=job.seed), session)


def _passes(rule: Any, task: str) -> bool:
    return bool(rule.check([Candidate("", {"instruction": task}, task, {})])[0].passed)


def _named(task: str, labels: Sequence[str]) -> str:
    return f"{task} Answer with {labels[0]!r} or {labels[1]!r}."


def _entropy(said: Sequence[str], labels: Sequence[str]) -> float:
    """Of the labels said, 0..1: 1 where both come equally often. What is neither label counts for none."""
    counts = Counter(each.strip().strip(".'\"").casefold() for each in said)
    known = [counts[label.casefold()] for label in labels]
    total = sum(known)
    return -sum(each / total * math.log2(each / total) for each in known if each) if total else 0.0


CHECKS = [
    Check("2.1 M1", "Smol, 3 calls: at least 10 parsed tasks, all pass the filters of form", tasks, "smol"),
    Check("2.1 M2", "Qwen, 20 binary tasks: labels are balanced where they come first", balance, "qwen"),
]
