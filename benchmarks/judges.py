"""Local judges beside people, before and after compiling them on a small labelled part.

    python -m benchmarks.judges --json
    python -m benchmarks.judges --json --sets llmbar --model local/smollm2-135m --rows 10
    python -m benchmarks.judges --json --summary

A cell is one model on one set of human preferences. The set is cut by prompt into rows
for demos, search and test. The judge as declared and the compiled one judge the same
test rows, each pair in both orders, by log-probability. *Raw* agreement reads each
order alone (a pair counts the mean of its two orders), *averaged* agreement takes the mean
probability of both. Rows people called a tie are left out, and so are rows whose three
texts together are longer than `--chars`. A finished cell is written at once below `--out`
and is not run again; an interrupted one goes on from its run folder below `--runs`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stillroom as st
from stillroom.engines import Engine, open_engine, open_session
from stillroom.evals.agreement import bootstrap
from stillroom.evals.stats import exact_paired_p, holm
from stillroom.ledger import Budget
from stillroom.programs import judging
from stillroom.signatures import DataWarning
from stillroom.values import digest, pretty, write_atomic

from ._result import Goal, emit

ROOT = Path(__file__).parents[1]
MODELS = ("local/smollm2-135m", "local/qwen2.5-coder-1.5b")
SHARES = (0.2, 0.3, 0.5)
PLACES = {"1": "first", "2": "second"}
LEAST = 8  # rows of a split below which a search is refused

Row = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Preferences:
    """A set of human preferences: the fields of a pair in its file."""

    prompt: tuple[str, ...]
    answers: tuple[str, str]
    systems: str = ""


SETS: Mapping[str, Preferences] = {
    "llmbar": Preferences(("input",), ("output_1", "output_2")),
    "mtbench_human": Preferences(("input",), ("output_1", "output_2")),
    "pandalm_test": Preferences(("instruction", "input"), ("response_1", "response_2"), "systems"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the cells that are missing, and print one JSON object last."""
    options = _options(arguments)
    started = time.monotonic()
    if not options.summary:
        for model in options.model or MODELS:
            _run(model, options)
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(options.out.glob("*/*.json"))]
    figures, goals = summary([cell for cell in found if cell["settings"] == _settings(options)])
    emit(figures, goals, started)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object last (it always does)")
    parser.add_argument("--model", action="append", help=f"may be given again (default: {', '.join(MODELS)})")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--chars", type=int, default=1200, help="longest prompt and answers together")
    parser.add_argument("--rows", type=int, help="test pairs at most (all by default)")
    parser.add_argument("--demos", type=int, default=40, help="labelled pairs to show at most")
    parser.add_argument("--search", type=int, default=40, help="labelled pairs to search on at most")
    parser.add_argument("--calls", type=int, default=1500, help="of each compilation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "judges")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench-judges")
    parser.add_argument("--again", action="store_true", help="make finished cells again")
    parser.add_argument("--summary", action="store_true", help="run nothing, only read the cells")
    options = parser.parse_args(arguments)
    unknown = sorted(set(_names(options.sets)) - SETS.keys())
    if unknown:
        sys.exit(f"error: expected some of {', '.join(SETS)}, got {', '.join(unknown)}")
    return options


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """What a cell is a function of, beside its set and model."""
    return {key: getattr(options, key) for key in ("chars", "rows", "demos", "search", "calls", "seed")}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- rows -----------------------------------------------------------------------------------------


def pairs(name: str, data: Path, chars: int) -> list[Row]:
    """The set's pairs with a preference, short enough, in the file's order. Raises `FileNotFoundError`."""
    made, found = SETS[name], []
    for line in (data / name / "data.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        texts = [str(raw[field] or "") for field in (*made.prompt, *made.answers)]
        label = PLACES.get(str(raw["label"]))
        if label is None or sum(map(len, texts)) > chars or not all(text.strip() for text in texts[-2:]):
            continue
        prompt = "\n".join(text for text in texts[:-2] if text)
        systems = str(raw.get(made.systems, "")).partition("_") if made.systems else ("", "", "")
        found.append(
            {
                "instruction": prompt,
                "first": texts[-2],
                "second": texts[-1],
                "better": label,
                "first_system": systems[0],
                "second_system": systems[2],
            }
        )
    return found


def cut(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, list[Row]]:
    """Demos, search and test rows by prompt, each cut to size in the order of their hashes."""
    splits = judging.split_by_prompt(rows, "instruction", SHARES, options.seed)
    sizes = {"demos": options.demos, "search": options.search, "test": options.rows}
    ordered = {split: sorted(some, key=digest) for split, some in splits.items()}
    return {split: some[: sizes[split]] for split, some in ordered.items()}


# -- cells ----------------------------------------------------------------------------------------


def _run(model: str, options: argparse.Namespace) -> None:
    engine: Engine | None = None
    for name in _names(options.sets):
        settings = _settings(options)
        slug = re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-") + (
            "" if options.rows is None else f"-rows{options.rows}"
        )
        path = options.out / slug / f"{name}.json"
        if path.exists() and not options.again and json.loads(path.read_text(encoding="utf-8"))["settings"] == settings:
            _say(f"{model} on {name}: the cell is there")
            continue
        try:
            splits = cut(pairs(name, options.data, options.chars), options)
        except FileNotFoundError as error:
            _say(f"SKIPPED {name}: its rows are not there ({error.filename}); give their folder with --data")
            continue
        if min(map(len, splits.values())) < LEAST:
            _say(
                f"SKIPPED {name}: too few rows of {options.chars} characters: { {k: len(v) for k, v in splits.items()} }"
            )
            continue
        engine = engine or open_engine(model)
        _say(f"{model} on {name}: { {split: len(some) for split, some in splits.items()} } ...")
        folder = options.runs / slug / f"{name}-{digest(settings, 8)}"
        cell = {"set": name, "spec": model, "settings": settings, **make_cell(name, splits, engine, folder, settings)}
        write_atomic(path, pretty(cell))
        _say(f"{model} on {name}: {_line(cell)}")
    if engine is not None:
        engine.close()


def make_cell(
    name: str, splits: Mapping[str, list[Row]], engine: Engine, folder: Path, settings: Mapping[str, Any]
) -> Cell:
    """Compile the judge, then let it and the one as declared judge the test rows."""
    both = {part: [each for row in some for each in (_asked(row), _turned(row))] for part, some in splits.items()}
    shape = judging.KINDS["pairwise"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = st.Task(shape.shape.to_signature(), both, shape.metric, f"judge-{name}", settings["seed"])
    program = st.compile(
        task,
        lm=engine,
        run=folder / "compile",
        budget=Budget(calls=settings["calls"]),
        settings=st.Settings(trials=60, seed=settings["seed"]),
    )
    declared = judging.pairwise(engine)
    kept = program.plan.digest == program.baseline.digest
    plan = declared.plan if kept else judging.by_scores(program.plan, engine)
    found = {"declared": _judged(declared, splits["test"], engine, folder / "declared")}
    # a search that kept its baseline has no second judge: the same one asked again differs by rounding alone
    found["compiled"] = (
        found["declared"]
        if kept
        else _judged(judging.judge_of(plan, engine), splits["test"], engine, folder / "compiled")
    )
    return {
        "model": engine.model,
        "rows": {split: len(some) for split, some in splits.items()},
        "verdict": program.verdict,
        "established": not kept,
        "scored": plan.scored is not None,
        "demos": len(plan.demos),
        **found,
        "gain": _gains(found, [row["instruction"] for row in splits["test"]]),
    }


def _asked(row: Row) -> Row:
    return {key: row[key] for key in ("instruction", "first", "second", "better")}


def _turned(row: Row) -> Row:
    return {
        **_asked(row),
        "first": row["second"],
        "second": row["first"],
        "better": {"first": "second", "second": "first"}[row["better"]],
    }


def _judged(judge: judging.Judge, rows: Sequence[Row], engine: Engine, folder: Path) -> Cell:
    """One judge on the test rows: agreement of both readings, and its certificate."""
    with open_session(engine, folder, "judge", {"judge": judge.name, "rows": digest(rows)}) as session:
        asking = judging.with_engine(judge, session.engine)
        labelled = judging.read_labels(asking, rows, label="better")
        opinions = asking.judge([row.inputs for row in labelled])
        certificate = judging.certify(asking, labelled, source=folder.name)  # every answer is in the store by now
    certificate.save(folder / "certificate.json")
    return {
        "raw": [_raw(opinion, row["better"]) for opinion, row in zip(opinions, rows, strict=True)],
        "averaged": [
            0.5 if opinion.choice in ("", "tie") else float(opinion.choice == row["better"])
            for opinion, row in zip(opinions, rows, strict=True)
        ],
        # the rows of a canary are texts of the set: they stay in the run folder
        "certificate": {key: value for key, value in certificate.as_json().items() if key != "canary"},
    }


def _raw(opinion: judging.Opinion, better: str) -> float:
    """Mean of the two orders, each read alone: was the better answer named where it stood?"""
    if len(opinion.readings) != 2:
        return 0.5
    straight, turned = opinion.readings
    places = (straight, turned) if better == "first" else (1 - straight, 1 - turned)
    named = [0.5 if p == 0.5 else float(p > 0.5) for p in (places[0], 1 - places[1])]
    return sum(named) / 2


def _gains(found: Mapping[str, Cell], prompts: Sequence[str]) -> Cell:
    """Compiled less declared, resampled by prompt."""
    told = {}
    for reading in ("raw", "averaged"):
        before, after = found["declared"][reading], found["compiled"][reading]
        gaps = [mine - theirs for mine, theirs in zip(after, before, strict=True)]
        interval = bootstrap(lambda values: float(values.mean()), gaps, groups=prompts, n=2000, seed=0)
        assert interval is not None
        told[reading] = {
            "before": round(sum(before) / len(before), 4),
            "after": round(sum(after) / len(after), 4),
            "gain": round(interval.mean, 4),
            "low": round(interval.low, 4),
            "high": round(interval.high, 4),
            "p": exact_paired_p(after, before, alternative="greater"),
        }
    return told


# -- telling --------------------------------------------------------------------------------------


def summary(cells: Sequence[Cell]) -> tuple[dict[str, Any], list[Goal]]:
    """A line for each cell, and the goal: one compiled judge beats itself as declared, surely."""
    rows = []
    for cell in cells:
        positions = {side: cell[side]["certificate"]["positions"] or {} for side in ("declared", "compiled")}
        kappas = {side: cell[side]["certificate"]["agreement"]["kappa"] for side in ("declared", "compiled")}
        rows.append(
            {
                "set": cell["set"],
                "model": cell["model"],
                "rows": cell["rows"],
                "established": cell["established"],
                **cell["gain"],
                "kappa": kappas,
                "p_first": {side: each.get("p_first") for side, each in positions.items()},
                "swap_consistency": {side: each.get("swap_consistency") for side, each in positions.items()},
            }
        )
    adjusted = holm([row["averaged"]["p"] for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        row["averaged"]["p_holm"] = p
    sure = {reading: sum(row[reading]["low"] > 0 for row in rows) for reading in ("raw", "averaged")}
    says = (
        f"{sure['averaged']} of {len(rows)} compiled judges beat themselves as declared on averaged agreement, "
        f"{sure['raw']} on raw agreement, with an interval above zero"
    )
    goals = [
        Goal(
            "compiled judges above zero-shot, averaged agreement, interval above zero",
            _known(sure["averaged"], rows),
            1,
        ),
        Goal("compiled judges above zero-shot, raw agreement, interval above zero", _known(sure["raw"], rows), 1),
    ]
    certificates = {f"{cell['set']} {cell['model']}": cell["compiled"]["certificate"] for cell in cells}
    return {"says": says, "cells": rows, "certificates": certificates}, goals


def _known(count: int, rows: Sequence[Any]) -> float | None:
    return float(count) if rows else None


def _line(cell: Cell) -> str:
    told = cell["gain"]
    return "; ".join(
        f"{reading} {told[reading]['before']:.3f} -> {told[reading]['after']:.3f} [{told[reading]['low']:+.3f}, {told[reading]['high']:+.3f}]"
        for reading in ("raw", "averaged")
    )


if __name__ == "__main__":
    main()
