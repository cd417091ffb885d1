"""Response tables: what one real model answered for every candidate on every row, as scores.

    python -m benchmarks.tables make --task NAME --model local/smollm2-135m --out benchmarks/tables/NAME.npz
    python -m benchmarks.tables list

On a table any search strategy is replayed in milliseconds (`benchmarks.racing`). A
table is two files: NAME.npz with the arrays (`scores`, candidates x rows; `cost`,
mean prompt tokens of each candidate; `held_out`, one flag a row) and NAME.json with
everything readable. `make` may be killed and called again: calls are recorded in
the run folder, and nothing is asked twice.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ._table_tasks import TABLE_TASKS

__all__ = ["FOLDER", "Table", "load", "save", "shipped"]

FOLDER = Path(__file__).with_name("tables")
SIZES = (2, 2, 2, 4, 4, 4, 8, 8, 8, 12, 12)  # labelled draws, each a set of its own
EXACT = 240  # fractional scores are kept in 1/240, the least number that 1..6, 8 and 10 fields divide


@dataclass(frozen=True, eq=False)
class Table:
    """A full response table.

    Attributes:
        name: Of the file.
        scores: Candidates x rows, 0..1; candidate 0 is the baseline.
        cost: Mean prompt tokens of each candidate.
        held_out: Whether each row is held out; the others are searched on.
        candidates: What each candidate is: instruction (index), demos (ids), draw, format, constrained, reasoning.
        meta: The model, the task, the instructions, the rows' ids and gold labels (null where there is none), the command.
    """

    name: str
    scores: np.ndarray
    cost: np.ndarray
    held_out: np.ndarray
    candidates: Sequence[Mapping[str, Any]]
    meta: Mapping[str, Any]

    @property
    def search(self) -> np.ndarray:
        """Scores on the rows that are searched on."""
        return self.scores[:, ~self.held_out]

    @property
    def test(self) -> np.ndarray:
        """Scores on the held-out rows."""
        return self.scores[:, self.held_out]


def save(table: Table, path: Path | str) -> Path:
    """Write `table` as `path` (.npz) and the .json beside it. Scores of 0 and 1 take a bit each before compression."""
    path = Path(path)
    whole = np.round(table.scores * EXACT).astype(np.uint8)
    if np.abs(whole / EXACT - table.scores).max() > 1e-9:
        raise ValueError(f"scores must be multiples of 1/{EXACT}")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, scores=whole, cost=table.cost.astype(np.float32), held_out=table.held_out)
    words = {"name": table.name, **table.meta, "candidates": list(table.candidates)}
    path.with_suffix(".json").write_text(json.dumps(words, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path | str) -> Table:
    """Read a table back. Nothing in it is executed (no pickle)."""
    path = Path(path)
    meta = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(path, allow_pickle=False) as arrays:
        scores, cost, held_out = (arrays[name] for name in ("scores", "cost", "held_out"))
    candidates = meta.pop("candidates")
    if scores.shape != (len(candidates), len(meta["rows"])) or held_out.shape != scores.shape[1:]:
        raise ValueError(f"{path.name}: arrays and description must agree, got {scores.shape} and {len(candidates)}")
    return Table(meta.pop("name"), scores / EXACT, cost, held_out, candidates, meta)


def shipped(folder: Path = FOLDER) -> list[Path]:
    """The published tables, in the order of their names."""
    return sorted(folder.glob("*.npz"))


# -- making one -----------------------------------------------------------------------


def candidates_of(
    task: Any, model: str, instructions: Sequence[str], count: int, seed: int
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Plans and their descriptions: the baseline, then random ones, no two alike."""
    from stillroom.programs import Decoding, Demo, Plan
    from stillroom.signatures import FORMATS

    rng = random.Random(seed)
    room = 16 + max(len(FORMATS["json"].write(task.shape, row.outputs)) for row in task.demos) // 2
    baseline = Plan(task.shape, model, instructions[0], decoding=Decoding(max_tokens=room))
    draws = [(), *(_draw(task, size, rng) for size in SIZES)]
    formats = [name for name, format in FORMATS.items() if format.fits(task.shape)]
    seen: set[str] = set()
    while len(seen) < count:
        first = not seen
        index, draw = (0, 0) if first else (rng.randrange(len(instructions)), rng.randrange(len(draws)))
        name = "json" if first else rng.choice(formats)
        constrained = bool(FORMATS[name].constrain(task.shape)) and (first or rng.random() < 0.6)
        plan = replace(
            baseline,
            instruction=instructions[index],
            demos=tuple(Demo.of(row) for row in draws[draw]),
            format=name,
            decoding=replace(baseline.decoding, constrained=constrained),
        )
        if plan.digest in seen:
            continue
        seen.add(plan.digest)
        ids = [row.id for row in draws[draw]]
        yield (
            plan,
            {
                "instruction": index,
                "draw": draw,
                "demos": ids,
                "format": name,
                "constrained": constrained,
                "reasoning": False,
            },
        )


def _draw(task: Any, size: int, rng: random.Random) -> list[Any]:
    """Labelled rows, as evenly over the labels as they come, in a shuffled order."""
    rows = rng.sample(list(task.demos), len(task.demos))
    label = task.shape.label_field
    if label is None:
        return rows[:size]
    ranks: dict[str, int] = {}
    order = []
    for row in rows:
        ranks[row.outputs[label.name]] = ranks.get(row.outputs[label.name], -1) + 1
        order.append(ranks[row.outputs[label.name]])
    even = [row for _, _, row in sorted(zip(order, range(len(rows)), rows, strict=True), key=lambda each: each[:2])]
    return rng.sample(even[:size], size)


def make(options: argparse.Namespace) -> Table:
    """Ask the model for every candidate on every row, one candidate at a time."""
    from stillroom.engines import open_engine, open_session
    from stillroom.programs import Evaluator

    spec = TABLE_TASKS[options.task]
    task = spec.read(options.data, options.task, options.rows)
    rows = [*task.search, *task.held_out]
    engine = open_engine(options.model)
    started, scores, cost, told, unparsed = time.monotonic(), [], [], [], []
    try:
        with open_session(engine, options.run, "table", task.fingerprint) as session:
            evaluator = Evaluator(session.engine, session.store, task.metric, task.metric_name)
            plans = candidates_of(task, engine.model, spec.instructions, options.candidates, options.seed)
            for number, (plan, description) in enumerate(plans):
                outcomes = evaluator.run(plan, rows)
                scores.append([outcome.score for outcome in outcomes])
                unparsed.append(sum(outcome.kind == "unparsed" for outcome in outcomes))
                # answered from the store: only the count of tokens is wanted
                answered = [session.engine.complete(plan.render(row.inputs)) for row in rows[:20]]
                cost.append(float(np.mean([answer.usage.input_tokens or 0 for answer in answered])))
                told.append(description)
                mean = np.mean(scores[-1])
                print(
                    f"{number} {mean:.3f} {cost[-1]:.0f} {description}"[:110],
                    int(time.monotonic() - started),
                    file=sys.stderr,
                )
    finally:
        engine.close()
    command = f"python -m benchmarks.tables make --task {options.task} --model {options.model} --candidates {options.candidates} --rows {options.rows} --seed {options.seed}"
    meta = {
        "task": options.task,
        "model": engine.model,
        "licence": engine.licence,
        "metric": task.metric_name,
        "command": command,
        "instructions": list(spec.instructions),
        "rows": [row.id for row in rows],
        "gold": [row.outputs[task.shape.label_field.name] if task.shape.label_field else None for row in rows],
        "unparsed": unparsed,
    }
    held_out = np.arange(len(rows)) >= len(task.search)
    return Table(options.out.stem, np.array(scores), np.array(cost), held_out, told, meta)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make a table, or list those there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make", help="ask a model and write a table")
    making.add_argument("--task", choices=TABLE_TASKS, required=True)
    making.add_argument("--model", default="local/smollm2-135m")
    making.add_argument("--candidates", type=int, default=64)
    making.add_argument("--rows", type=int, default=160, help="half are searched on, half are held out")
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--data", type=Path, default=Path("../shared/data"))
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--run", type=Path, help="run folder that holds the calls; OUT without its ending by default")
    verbs.add_parser("list", help="the tables there are").add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if options.verb == "make":
        options.run = options.run or options.out.with_suffix("")
        print(_line(load(save(make(options), options.out))))
        return
    for path in shipped(options.folder):
        print(_line(load(path)))


def _line(table: Table) -> str:
    means = table.search.mean(axis=1)
    best = int(means.argmax())
    return (
        f"{table.name}: {table.scores.shape[0]} candidates x {table.scores.shape[1]} rows ({int(table.held_out.sum())} held out), "
        f"{table.meta['model']}, baseline {means[0]:.3f}, best on search {means[best]:.3f} (held out {table.test[best].mean():.3f}), "
        f"best held out {table.test.mean(axis=1).max():.3f}"
    )


if __name__ == "__main__":
    main()
