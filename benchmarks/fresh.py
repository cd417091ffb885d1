"""Do rows that demos were chosen from look easier than new ones? Why a search keeps rows from itself for its end.

    python -m benchmarks.fresh --data ../shared/data --json [--reps 200]

Nothing is asked of a model: a row is answered with the label of the nearest demo, which is
the part of an answer that depends on which demos are shown, and no more than that. Demos are
chosen as the search chooses them, among all rows of the demos split or among those that
`keep_fresh` leaves to learn from. Each time the answers on the split's other rows are compared
with those on rows that were in no split at all.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stillroom.optimizers.confirm import keep_fresh
from stillroom.optimizers.demos import covering, vectors
from stillroom.optimizers.subject import Part
from stillroom.signatures import Example
from stillroom.values import digest

from ._result import emit
from .search_tasks import SEARCH_TASKS

TASKS = ("banking77", "clinc150", "news", "emotions", "polarity")
ROWS, OTHERS = 120, 200  # of the demos split, and of none
DEMOS = 24


def gaps(rows: Sequence[Example], part: Part, reps: int) -> dict[str, tuple[float, float]]:
    """Accuracy on rows of the demos split less that on others: mean over `reps` draws, and its standard error.

    Returns:
        By which rows: those that covering demos were chosen from and left, those that were kept
        from the choice, and those left by demos drawn blindly.
    """
    embedded = vectors(rows, "words")
    size = max(1, DEMOS // len(part.labels))
    found: dict[str, list[float]] = {"left by covering demos": [], "kept from the choice": [], "left by any demos": []}

    def gap(demos: Sequence[Example], asked: Sequence[Example], others: Sequence[Example]) -> float:
        shown = np.stack([embedded[demo.id] for demo in demos])

        def right(group: Sequence[Example]) -> float:
            nearest = np.argmax(np.stack([embedded[row.id] for row in group]) @ shown.T, axis=1)
            return float(np.mean([demos[at].outputs == row.outputs for at, row in zip(nearest, group, strict=True)]))

        return right(asked) - right(others)

    for rep in range(reps):
        rng = random.Random(rep)
        drawn = rng.sample(rows, min(len(rows), ROWS + OTHERS))
        split, others = drawn[:ROWS], drawn[ROWS:]
        learnt, kept = keep_fresh(split, [part], ROWS, rep)
        for name, demos, asked in (
            ("left by covering demos", covering(split, part, size, embedded), split),
            ("kept from the choice", covering(learnt, part, size, embedded), kept),
            ("left by any demos", rng.sample(split, DEMOS), split),
        ):
            found[name].append(gap(demos, [row for row in asked if row not in demos], others))
    return {
        name: (round(float(np.mean(each)), 4), round(float(np.std(each) / np.sqrt(len(each))), 4))
        for name, each in found.items()
    }


def read(name: str, data: Path) -> tuple[list[Example], Part]:
    """All rows of a task, its own splits joined, and the part that they are labels of."""
    task = SEARCH_TASKS[name]
    rows: dict[str, Example] = {}
    for path in sorted((data / task.folder).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = task.row(json.loads(line))
            if row is not None:
                inputs = {field: row[field] for field in task.inputs}
                rows.setdefault(digest(inputs), Example(digest(inputs), inputs, {task.label: row[task.label]}))
    examples = sorted(rows.values(), key=lambda row: row.id)[:3_000]
    labels = tuple(sorted({row.outputs[task.label] for row in examples}))
    return examples, Part("", task.says, tuple(task.inputs), (task.label,), labels)


def main() -> None:
    """Print a line a task, or the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--reps", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    args, started = parser.parse_args(), time.monotonic()
    figures = {name: gaps(*read(name, args.data), args.reps) for name in TASKS}
    if args.json:
        emit(figures, [], started)
        return
    for name, found in figures.items():
        print(name, *(f"{which} {mean:+.3f} (standard error {error:.3f})" for which, (mean, error) in found.items()))


if __name__ == "__main__":
    main()
