"""The main job on real rows: zero-shot, compiled, seed-only student, seed + synthetic student, full-real student.

    python -m benchmarks.mainjob --data ../shared/data/banking77 --labels 10 --per-label 4 --json

`--data` is a folder with `train.jsonl`, `dev.jsonl` and `test.jsonl` of `text` and
`label`. The first `--labels` labels in alphabetical order are kept. `--per-label`
training rows of each may be shown as demos; all dev rows are the search split;
all test rows are the test split and are opened once. The remaining training
rows train the full-real student and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import dspy

import stillroom as st
from stillroom.engines import open_engine
from stillroom.evals.stats import macro_f1

from ._result import Goal, emit

Row = dict[str, str]


def read(folder: Path, labels: int, per_label: int) -> tuple[dict[str, list[Row]], list[Row], list[str]]:
    """The rows of each split for the first labels, the real training rows, and the labels."""
    found = {
        name: [json.loads(line) for line in (folder / f"{name}.jsonl").open(encoding="utf-8")]
        for name in ("train", "dev", "test")
    }
    names = sorted({row["label"] for row in found["train"]})[:labels]
    kept = {
        name: [{"text": row["text"], "label": row["label"]} for row in rows if row["label"] in names]
        for name, rows in found.items()
    }
    shown: defaultdict[str, list[Row]] = defaultdict(list)
    for row in kept["train"]:
        if len(shown[row["label"]]) < per_label:
            shown[row["label"]].append(row)
    demos = [row for rows in shown.values() for row in rows]
    return {"demos": demos, "search": kept["dev"], "test": kept["test"]}, kept["train"], names


def task_of(data: dict[str, list[Row]], names: list[str], name: str) -> st.Task:
    """A task over real rows: what a user would declare, without any hint beyond the label names."""
    fields: dict[str, Any] = {"text": (str, dspy.InputField()), "label": (Literal[tuple(names)], dspy.OutputField())}
    signature = dspy.make_signature(fields, "Name the intent of a customer's message.", "Intent")
    return st.Task(signature, data=data, metric=st.exact("label"), name=name, seed=7)


def main() -> None:
    """Run the job and print one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--per-label", type=int, default=4)
    parser.add_argument("--emit", type=int, default=20, help="synthetic rows wanted per label")
    parser.add_argument("--lm", default="local/qwen2.5-coder-1.5b")
    parser.add_argument("--calls", type=int, default=1_500, help="budget of the compile")
    parser.add_argument("--run", type=Path, help="run folder, to resume; a temporary one otherwise")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.data / "train.jsonl").exists():
        sys.exit(f"error: --data must hold train.jsonl, got {options.data}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        figures = run(options, options.run or Path(scratch))
    compiled, baseline = (
        figures["systems"].get("compiled", figures["systems"]["baseline"]),
        figures["systems"]["baseline"],
    )
    gain = round(compiled["accuracy"] - baseline["accuracy"], 4)
    emit(figures, [Goal("compiled minus zero-shot, accuracy", gain, 0.10)], started)


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All five steps; figures by system."""
    data, real, names = read(options.data, options.labels, options.per_label)
    task = task_of(data, names, options.data.name)
    engine = open_engine(options.lm)
    clock = time.monotonic()
    program = st.compile(
        task,
        lm=engine,
        run=folder,
        budget=st.Budget(calls=options.calls),
        on_progress=lambda *step: print(*step, file=sys.stderr),
    )
    compiled_in, clock = time.monotonic() - clock, time.monotonic()
    emitted = program.emit(
        st.recipes.labelled(per_label=options.emit), on_progress=lambda *step: print("emit", *step, file=sys.stderr)
    )
    emitted_in = time.monotonic() - clock
    real_rows = [task.example(row) for row in real]
    students = {
        "seed": st.distil(task, folder=folder / "students" / "seed"),
        "seed + synthetic": st.distil(task, emitted.rows, folder=folder / "students" / "synthetic"),
        "real": st.distil(task, labelled=real_rows, folder=folder / "students" / "real"),
    }
    proof = st.prove(task, program=program, students=students)
    print(proof, file=sys.stderr)
    engine.close()
    return {
        "data": options.data.name,
        "model": engine.model,
        "rows": {split: len(rows) for split, rows in data.items()},
        "verdict": program.verdict,
        "systems": {
            each.name: {
                "accuracy": each.score,
                "low": each.low,
                "high": each.high,
                "calls": each.calls,
                "tokens": each.tokens,
                "rows_per_second": each.rows_per_second,
            }
            for each in proof.results
        },
        "students": {
            name: {"macro_f1": macro(student, task), "trained_on": student.trained_on}
            for name, student in students.items()
        },
        "words": list(proof.words),
        "compile_seconds": round(compiled_in, 1),
        "emit": {
            "accepted": len(emitted.rows),
            "written": emitted.written,
            "seconds": round(emitted_in, 1),
            "funnel": [list(each) for each in emitted.funnel],
            "shortfall": dict(emitted.shortfall),
        },
    }


def macro(student: st.Student, task: st.Task) -> float:
    """Macro-F1 of a head on the test split."""
    got = student.system.head.predict([example.text for example in task.held_out])
    return macro_f1([example.outputs["label"] for example in task.held_out], [str(label) for label in got])


if __name__ == "__main__":
    main()
