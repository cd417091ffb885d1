"""Demo sets: which labelled rows, or the model's own right answers, a prompt may show."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillroom.programs import Demo, Outcome
from stillroom.signatures import Example, Task

__all__ = ["DemoSet", "demo_sets", "trace_sets"]

MOST = 36  # more demos than this cost more prompt than they have been seen to gain


@dataclass(frozen=True)
class DemoSet:
    """A named, ordered choice of demos; none is a choice too."""

    name: str
    demos: tuple[Demo, ...] = ()


def demo_sets(task: Task, tried: Mapping[str, Outcome], rng: random.Random) -> list[DemoSet]:
    """Choices of labelled rows: none, stratified draws of several sizes, and hard rows first.

    Args:
        task: Its demos split is drawn from, and no other.
        tried: What the baseline made of rows of that split, by example id.
        rng: Draws and orders.
    """
    sets = [DemoSet("none")]
    for size in _sizes(task):
        sets += [
            DemoSet(f"labelled-{size}-{draw}", _demos(_stratified(task, list(task.demos), size, rng), rng))
            for draw in ("a", "b")
        ]
    wrong = [example for example in task.demos if example.id in tried and tried[example.id].score < 1]
    if wrong:
        size = _sizes(task)[-1]
        # a stable sort: rows the baseline got wrong come first within each draw
        easy = [example for example in task.demos if example not in wrong]
        sets.append(DemoSet(f"hard-{size}", _demos(_stratified(task, wrong + easy, size, None), rng)))
    unique: dict[tuple[str, ...], DemoSet] = {}
    for demo_set in sets:
        unique.setdefault(tuple(demo.id for demo in demo_set.demos), demo_set)
    return list(unique.values())


def trace_sets(task: Task, traced: Mapping[str, Outcome], rng: random.Random) -> list[DemoSet]:
    """Bootstrapped demos: rows the model answered fully right, shown with its own reasoning.

    The idea is BootstrapFewShot's (Khattab et al. 2023, arXiv 2310.03714).
    """
    right = [example for example in task.demos if example.id in traced and traced[example.id].score == 1]
    sets = [DemoSet("none")]
    for size in (2, 4):
        chosen = (
            _stratified(task, right, 1, rng)[:size]
            if task.shape.label_field
            else rng.sample(right, min(size, len(right)))
        )
        if chosen:
            sets.append(
                DemoSet(
                    f"bootstrapped-{size}",
                    tuple(Demo(each.id, dict(each.inputs), dict(traced[each.id].outputs)) for each in chosen),
                )
            )
    return sets


def _sizes(task: Task) -> tuple[int, ...]:
    """Demos per label for a classification, in all for anything else."""
    label = task.shape.label_field
    if label is None:
        return tuple(size for size in (2, 4, 8, 12) if size <= len(task.demos)) or (len(task.demos),)
    return tuple(size for size in (1, 2, 3, 5) if size * len(label.labels) <= MOST) or (1,)


def _stratified(task: Task, rows: Sequence[Example], size: int, rng: random.Random | None) -> list[Example]:
    """`size` rows of each label (of all rows without labels), drawn by `rng`, or the first ones without it."""
    label = task.shape.label_field
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in rows:
        groups["all" if label is None else str(example.outputs[label.name])].append(example)
    chosen = []
    for name in sorted(groups):
        group = groups[name]
        chosen += rng.sample(group, min(size, len(group))) if rng is not None else group[:size]
    return chosen


def _demos(examples: list[Example], rng: random.Random) -> tuple[Demo, ...]:
    """In a drawn order: with demos grouped by label, a small model repeats the last group's label."""
    rng.shuffle(examples)
    return tuple(Demo.of(example) for example in examples[:MOST])
