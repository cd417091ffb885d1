"""Our search beside DSPy's optimizers: score on held-out rows at equal calls, and calls to reach MIPROv2's score.

    python -m benchmarks.search --json --tasks banking77,news --task-model local/qwen2.5-coder-1.5b
    python -m benchmarks.search --json --summary

A cell is one strategy on one task with one model and one seed. MIPROv2 (light) runs
first and to its natural end; the calls our ledger counted for it are the budget of
all others. A finished cell is written at once below `--out` with the command that
makes it and is not run again (but see `--again`); a run that was interrupted goes on
from its folder below `--runs`, where finished calls are free. The goals are computed
from the cells alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import dspy

import stillroom as st
from stillroom.engines import Engine, open_engine
from stillroom.evals.stats import bootstrap_mean, exact_paired_p, paired_bootstrap
from stillroom.ledger import Budget, Ledger
from stillroom.optimizers.strategies import STRATEGIES, Found, run_strategy
from stillroom.optimizers.systems import System
from stillroom.store import Store
from stillroom.values import pretty, write_atomic

from ._result import Goal, emit
from .search_tasks import SEARCH_TASKS, SIZES, load

ROOT = Path(__file__).parents[1]
MEASURE = "miprov2"  # its natural end is everybody's budget
COMPARED = ("stillroom", "random-search", "miprov2", "gepa")
TASKS_FOR_GOALS = 8  # goals over fewer say nothing
OURS: Mapping[str, Any] = {"trials": 100}  # the budget ends the search
# small models ramble to the limit, which costs time and no call: proposals as long as ours, answers with room for the format
PEERS: Mapping[str, Any] = {"prompt_max_tokens": 400}
ROOM, REASONED_ROOM, ROOM_A_FIELD = (
    48,
    300,
    24,
)  # tokens of an answer of one field, with reasoning, of each further field

Cell = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What all cells of one invocation share. `calls` is `None` for MIPROv2's natural end; `adapter` is the peers'."""

    task_model: str
    prompt_model: str | None
    calls: int | None
    seed: int
    sizes: Mapping[str, int]
    data: Path
    out: Path
    runs: Path
    adapter: str = "chat"

    @property
    def slug(self) -> str:
        """Folder name of these models and this budget."""
        models = self.task_model if self.prompt_model is None else f"{self.task_model}+{self.prompt_model}"
        more = "" if self.calls is None else f"-calls{self.calls}"
        more += "" if self.adapter == "chat" else f"-{self.adapter}"
        return re.sub(r"[^A-Za-z0-9.+]+", "-", models).strip("-") + more

    def name(self, task: str, strategy: str) -> str:
        """Of a cell's file and run folder."""
        return f"{task}.{strategy}.{self.seed}"

    def path(self, task: str, strategy: str) -> Path:
        """Where the cell is stored."""
        return self.out / self.slug / f"{self.name(task, strategy)}.json"

    def command(self, task: str, strategy: str) -> str:
        """What makes the cell."""
        words = ["python", "-m", "benchmarks.search", "--json", "--tasks", task, "--strategies", strategy]
        words += ["--task-model", self.task_model, "--seed", str(self.seed)]
        words += [] if self.prompt_model is None else ["--prompt-model", self.prompt_model]
        words += [] if self.calls is None else ["--budget", str(self.calls)]
        words += [] if self.adapter == "chat" else ["--peer-adapter", self.adapter]
        words += [part for split, size in self.sizes.items() for part in (f"--{split}", str(size))]
        return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing and print one JSON object last."""
    options = _options(arguments)
    started = time.monotonic()
    bench = Bench(
        options.task_model,
        options.prompt_model,
        None if options.budget == "natural" else int(options.budget),
        options.seed,
        {split: getattr(options, split) for split in SIZES},
        options.data,
        options.out,
        options.runs,
        options.peer_adapter,
    )
    if not options.summary:
        logging.getLogger("dspy").setLevel(logging.ERROR)  # it warns of every answer that is cut
        run_all(bench, _list(options.tasks, SEARCH_TASKS), _list(options.strategies, STRATEGIES), again=options.again)
    figures, goals = summary(cells(bench.out / bench.slug))
    emit({"model": bench.slug, **figures}, goals, started)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object last (it always does)")
    parser.add_argument("--tasks", default=",".join(SEARCH_TASKS))
    parser.add_argument("--strategies", default=",".join(COMPARED))
    parser.add_argument("--task-model", default="local/qwen2.5-coder-1.5b")
    parser.add_argument("--prompt-model", help="the task model by default")
    parser.add_argument("--budget", default="natural", help="natural (MIPROv2's own), or calls for everybody")
    parser.add_argument(
        "--peer-adapter", default="chat", choices=["chat", "json"], help="DSPy's default, or its JSON one"
    )
    parser.add_argument("--seed", type=int, default=0)
    for split, size in SIZES.items():
        parser.add_argument(f"--{split}", type=int, default=size, help=f"rows of the {split} split")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "search")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "bench-search")
    parser.add_argument("--again", action="store_true", help="run finished cells again, from nothing")
    parser.add_argument("--summary", action="store_true", help="run nothing, only read the cells")
    return parser.parse_args(arguments)


def _list(text: str, known: Sequence[str] | Mapping[str, Any]) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"error: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return names


# -- cells ------------------------------------------------------------------------------------------


def run_all(
    bench: Bench, tasks: Sequence[str], strategies: Sequence[str], *, again: bool = False, engine: Engine | None = None
) -> None:
    """Make every missing cell, task by task; the one that sets the budget first.

    `engine` answers in place of the model that is named, for tests.
    """
    if bench.calls is None:
        strategies = [MEASURE, *(name for name in strategies if name != MEASURE)]
    prompts = None if bench.prompt_model is None else open_engine(bench.prompt_model)
    for name in tasks:
        missing = [each for each in strategies if again or _stored(bench, name, each) is None]
        if not missing:
            _say(f"{name}: all cells are there")
            continue
        try:
            task = load(name, bench.data, bench.sizes)
        except FileNotFoundError as error:
            _say(f"SKIPPED {name}: its rows are not there ({error.filename}); give their folder with --data")
            continue
        engine = engine or open_engine(bench.task_model)
        for strategy in missing:
            folder = bench.runs / bench.slug / bench.name(name, strategy)
            if again and folder.exists():
                shutil.rmtree(folder)
            _say(f"{name}: {strategy} ...")
            cell = make_cell(bench, task, strategy, engine, prompts, folder)
            write_atomic(bench.path(name, strategy), pretty(cell))
            _say(f"{name}: {strategy} {_line(cell)}")


def make_cell(bench: Bench, task: st.Task, strategy: str, engine: Engine, prompts: Engine | None, folder: Path) -> Cell:
    """Run one strategy and open the test split for what it found."""
    calls = bench.calls
    if calls is None and strategy != MEASURE:
        measure = _stored(bench, task.name, MEASURE)
        assert measure is not None, "the cell that sets the budget is made first"
        calls = natural(measure)
    reasoned = SEARCH_TASKS[task.name].reasoned
    found = run_strategy(
        strategy,
        task,
        lm=engine,
        prompt_lm=prompts,
        run=folder,
        budget=Budget(calls=calls),
        seed=bench.seed,
        options=_options_of(strategy, task, reasoned, bench.adapter),
    )
    scores, start = _held_out(task, (found.program, found.start), folder.with_name(f"{task.name}.test"))
    return {
        "command": bench.command(task.name, strategy),
        "task": task.name,
        "strategy": strategy,
        "seed": bench.seed,
        "model": engine.model,
        "prompt_model": (prompts or engine).model,
        "budget": calls,
        "sizes": {split: len(rows) for split, rows in task.splits.items()},
        "wanted": dict(bench.sizes),
        **_spent(found),
        "search": round(found.search_score, 4),
        "search_start": round(found.baseline_score, 4),
        "test": _test(scores, start),
        "scores": packed(scores),
        "scores_start": packed(start),
        "trajectory": [[calls, round(score, 4)] for calls, score in found.trajectory],
        "ended": found.ended,
        "reasoning": reasoned,
        "machine": f"{platform.machine()} {platform.system()}, Python {platform.python_version()}, DSPy {dspy.__version__}",
    }


def _options_of(strategy: str, task: st.Task, reasoned: bool, adapter: str) -> Mapping[str, Any]:
    if strategy in ("stillroom", "baseline"):
        return OURS if strategy == "stillroom" else {}
    room = REASONED_ROOM if reasoned else ROOM + ROOM_A_FIELD * (len(task.shape.outputs) - 1)
    chosen = {} if adapter == "chat" else {"adapter": adapter}
    return {**PEERS, **chosen, "reasoning": reasoned, "max_tokens": room}


def natural(measure: Cell) -> int:
    """The calls that everybody gets: MIPROv2's own, or what its eleven full evaluations would take if it crashed."""
    return 11 * int(measure["sizes"]["search"]) if _crashed(measure) else int(measure["calls"])


def _crashed(cell: Cell) -> bool:
    return bool(cell["ended"].startswith("crashed"))


def _spent(found: Found) -> Cell:
    spent = found.spent
    return {
        "calls": spent.calls,
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "seconds": round(spent.seconds, 1),
    }


def _held_out(task: st.Task, systems: Sequence[System], folder: Path) -> list[list[float]]:
    """Scores of each system on the test split. One store for a task: the same answer is not paid for twice."""
    with Store(folder) as store:
        store.claim("prove", task.fingerprint)
        ledger = Ledger(Budget(), store.spent("prove"))
        answered = [system.answer(task, task.held_out, store, ledger)[0] for system in systems]
    return [[outcome.score for outcome in outcomes] for outcomes in answered]


def _test(scores: Sequence[float], start: Sequence[float]) -> Cell:
    """Held-out score, and what it is above the strategy's own start, with 95% intervals and the exact paired p."""
    own, gain = bootstrap_mean(scores, seed=0), paired_bootstrap(scores, start, seed=0)
    return {
        "score": round(own.mean, 4),
        "low": round(own.low, 4),
        "high": round(own.high, 4),
        "start": round(sum(start) / len(start), 4),
        "gain": round(gain.mean, 4),
        "gain_low": round(gain.low, 4),
        "gain_high": round(gain.high, 4),
        "p": round(exact_paired_p(scores, start), 6),
    }


def packed(scores: Sequence[float]) -> str | list[float]:
    """One score a test row, in the task's order: a string of 0 and 1 where they are nothing else."""
    if all(score in (0, 1) for score in scores):
        return "".join(str(int(score)) for score in scores)
    return [round(score, 4) for score in scores]


def unpacked(scores: str | Sequence[float]) -> list[float]:
    """What `packed` made."""
    return [float(score) for score in scores]


def cells(folder: Path) -> list[Cell]:
    """All cells stored in a folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _stored(bench: Bench, task: str, strategy: str) -> Cell | None:
    path = bench.path(task, strategy)
    if not path.exists():
        return None
    cell: Cell = json.loads(path.read_text(encoding="utf-8"))
    if cell["wanted"] != dict(bench.sizes):
        sys.exit(f"error: {path.name} was made with {cell['wanted']} rows, got {dict(bench.sizes)}; give another --out")
    return cell


# -- what the cells say -------------------------------------------------------------------------------


def summary(found: Sequence[Cell]) -> tuple[dict[str, Any], list[Goal]]:
    """Figures and goals of the cells of one model."""
    groups: dict[str, dict[str, Cell]] = {}
    for cell in found:
        groups.setdefault(f"{cell['task']}.{cell['seed']}", {})[cell["strategy"]] = cell
    both = {name: group for name, group in groups.items() if {"stillroom", MEASURE} <= group.keys()}
    ratios = {
        name: reach(group["stillroom"], group[MEASURE]) for name, group in both.items() if not _crashed(group[MEASURE])
    }
    wins = {name: _at_least(group) for name, group in both.items()}
    below = [name for name, group in groups.items() if "stillroom" in group and _below(group["stillroom"])]
    peers = sorted({peer for per in wins.values() for peer in per})
    middle = median(math.inf if ratio is None else ratio for ratio in ratios.values()) if ratios else math.inf
    ratio = None if math.isinf(middle) else round(middle, 4)
    best = sum(all(per.values()) for per in wins.values())
    enough = len({group[MEASURE]["task"] for group in both.values()}) >= TASKS_FOR_GOALS
    figures = {
        "tasks": len(both),
        "ratio": ratios,
        "ratio_median": ratio,
        "at_least_all_peers": best,
        "at_least_peer": {
            peer: f"{sum(per.get(peer, False) for per in wins.values())} of {sum(peer in per for per in wins.values())}"
            for peer in peers
        },
        "significantly_below_baseline": below,
        "crashed": {
            f"{cell['task']}.{cell['strategy']}.{cell['seed']}": cell["ended"] for cell in found if _crashed(cell)
        },
        "table": {name: {each: _line(cell) for each, cell in sorted(group.items())} for name, group in groups.items()},
    }
    share = best / len(both) if both and enough else None
    return figures, [
        Goal("median of our calls to MIPROv2's search score / its calls", ratio if enough else None, 0.25, "<="),
        Goal(f"share of {len(both)} tasks where we hold out at least as well as every peer at equal cost", share, 0.75),
        Goal("tasks where we are significantly below the baseline", len(below) if enough else None, 0, "<="),
    ]


def reach(ours: Cell, measure: Cell) -> float | None:
    """Our calls until the incumbent scored what `measure` ended with, as a share of its calls; `None` for never."""
    reached = [calls for calls, score in ours["trajectory"] if score >= measure["search"] - 1e-9]
    return round(min(reached) / measure["calls"], 4) if reached and measure["calls"] else None


def _at_least(group: Mapping[str, Cell]) -> dict[str, bool]:
    """For each peer that was given as many calls, whether we score at least as much on the test split."""
    ours = group["stillroom"]
    return {
        name: ours["test"]["score"] >= cell["test"]["score"]
        for name, cell in group.items()
        if name not in ("stillroom", "baseline") and (name == MEASURE or cell["budget"] == ours["budget"])
    }


def _below(cell: Cell) -> bool:
    return bool(cell["test"]["gain"] < 0 and cell["test"]["p"] < 0.05)


def _line(cell: Cell) -> str:
    test = cell["test"]
    return f"test {test['score']:.3f} ({test['low']:.3f} to {test['high']:.3f}), gain {test['gain']:+.3f} p {test['p']:.3f}, search {cell['search']:.3f}, {cell['calls']} calls, {cell['tokens_in'] + cell['tokens_out']} tokens, {cell['seconds']:.0f} s, {cell['ended'][:60]}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
