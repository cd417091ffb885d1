"""Acceptance of the published systems.

    python -m benchmarks.recipes [NAME ...] --json           measure checks: all, or those of ids or methods
    python -m benchmarks.recipes --summary --json            how all checks stand; those that tests decide are run
    python -m benchmarks.recipes --rows PRESET ... [--lm MODEL] [--n 6] [--minutes M] [--jobs J]
                                                             real rows of presets, or of `all`

What was measured is kept in benchmarks/results/recipes/, a file for each check; a check that has one is
not measured again without `--again`. Calls are kept in `--runs`, so that a check that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks._result import Goal, emit
from stillroom.engines import open_engine
from stillroom.errors import BudgetExceeded, EngineError
from stillroom.values import pretty, write_atomic

from ._acceptance import Listed, decided, listed
from ._check import MODELS, Check, Measured, Models
from ._rows import store_rows

__all__ = ["checks", "main", "measured"]

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "recipes"
SYSTEMS, RUN = 74, 66
"""Published systems in the table, and how many of them are to run."""


def checks() -> dict[str, Check]:
    """The measured checks of all modules here, by id. A module that does not load is a mistake, and ends it."""
    found: dict[str, Check] = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        for check in import_module(f"{__package__}.{path.stem}").CHECKS:
            if check.id in found:
                raise SystemExit(f"a check has one measurement, {check.id} has two")
            found[check.id] = check
    return found


def measured(check: Check, runs: Path, into: Path = RESULTS) -> dict[str, Any]:
    """Measure a check and keep what was found."""
    began = time.monotonic()
    with Models(runs / check.slug) as models:
        found: Measured = check.measure(models)
        opened = sorted(engine.model for engine in models.opened.values())
    record = {
        "check": check.id,
        "says": check.says,
        **found.as_json(),
        "models": opened or ([MODELS[check.model]] if check.model else []),
        "seconds": round(time.monotonic() - began, 1),
        "python": platform.python_version(),
    }
    into.mkdir(parents=True, exist_ok=True)
    write_atomic(into / f"{check.slug}.json", pretty(record))
    return record


def _stored(id: str, into: Path = RESULTS) -> dict[str, Any] | None:
    path = into / f"{id.replace(' ', '-')}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _chosen(names: Sequence[str], known: dict[str, Check]) -> list[Check]:
    """The checks of these ids ("2.1 M1", "2.1-M1"), sections ("2.1") or methods ("bootstrap"); all for no names."""
    methods = {each.id: each.of for each in listed()}
    found: dict[str, Check] = {}
    for name in names:
        fit = [check for id, check in known.items() if name in (id, check.slug, id.split()[0], methods.get(id))]
        if not fit:
            raise SystemExit(f"there is no measured check {name!r}; there are {', '.join(known) or 'none'}")
        found |= {each.id: each for each in fit}
    return list(found.values()) if names else list(known.values())


def _measure(args: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    figures: dict[str, Any] = {}
    goals = []
    for check in _chosen(args.names, checks()):
        record = None if args.again else _stored(check.id)
        if record is None:
            print(f"{check.id}: {check.says}", file=sys.stderr, flush=True)
            try:
                record = measured(check, args.runs)
            except (EngineError, BudgetExceeded, KeyboardInterrupt):
                raise
            except Exception:  # one check that breaks must not cost the others; it counts as not measured
                traceback.print_exc()
                figures[check.id] = {"check": check.id, "error": traceback.format_exc(limit=-1)}
                goals.append(Goal(check.id, None, 0.0))
                continue
        figures[check.id] = record
        goals += _goals(record)
    return figures, goals


def _goals(record: dict[str, Any]) -> list[Goal]:
    also = [
        Goal(f"{record['check']}: {each['name']}", each["value"], each["goal"], each["direction"])
        for each in record["also"]
    ]
    return [Goal(record["check"], record["value"], record["threshold"], record["direction"]), *also]


def _summary() -> tuple[dict[str, Any], list[Goal]]:
    """How everything stands. The goals: systems that run, checks of tests that hold, measured checks that have a verdict."""
    from stillroom.programs.published import presets, systems

    tested, all_checks = decided(), listed()
    by_measure = [each for each in all_checks if not each.by_test]
    table = [_verdict(each) for each in by_measure]
    running = [each for each in systems() if each.status == "runs"]
    holds = [each for each in tested if each.verdict == "holds"]
    figures = {
        "systems": {
            "listed": len(systems()),
            "run": len(running),
            "excluded": {each.name: each.excluded for each in systems() if each.status == "excluded"},
            "missing": [each.name for each in systems() if each.status == "missing"],
            "presets": len(presets()),
        },
        "by test": {
            "checks": len(tested),
            "hold": len(holds),
            "others": {each.id: {"verdict": each.verdict, "tests": each.tests} for each in tested if each not in holds},
        },
        "measured": {
            "checks": len(by_measure),
            "measured": sum(each["verdict"] != "missing" for each in table),
            "met": sum(each["verdict"] == "met" for each in table),
            "verdicts": table,
        },
    }
    goals = [
        Goal(f"systems of {SYSTEMS} that run", len(running), RUN),
        Goal("checks by test that hold", len(holds), len(tested)),
        Goal("measured checks with a verdict", figures["measured"]["measured"], len(by_measure)),
    ]
    return figures, goals


def _verdict(check: Listed) -> dict[str, Any]:
    record = _stored(check.id)
    if record is None:
        return {"check": check.id, "says": check.says, "verdict": "missing"}
    kept = ("value", "threshold", "direction", "n", "models", "seconds", "also")
    return {
        "check": check.id,
        "says": check.says,
        "verdict": "met" if record["met"] else "not met",
        **{name: record[name] for name in kept},
    }


def _rows(args: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    from stillroom.programs.published import preset, presets

    names = list(presets()) if args.rows == ["all"] else [preset(name).name for name in args.rows]
    figures: dict[str, Any] = {}
    engine = open_engine(args.lm)

    def made(name: str) -> Goal:
        run = args.runs / "rows" / f"{name}-{args.lm.rpartition('/')[2]}-{args.n}"
        try:
            record = store_rows(name, engine, args.n, run, minutes=args.minutes)
        except Exception:  # one recipe that breaks must not cost the others
            traceback.print_exc()
            figures[name] = {"error": traceback.format_exc(limit=-1)}
            return Goal(name, None, 1)
        told = ("model", "wanted", "ended", "rejects", "funnel", "cost", "seconds")
        figures[name] = {"rows": len(record["rows"]), **{each: record[each] for each in told}}
        print(f"{name}: {len(record['rows'])} rows, {record['seconds']} s", file=sys.stderr, flush=True)
        return Goal(name, len(record["rows"]), 1)

    try:
        # a local model answers several recipes in one batch
        with ThreadPoolExecutor(args.jobs) as pool:
            goals = list(pool.map(made, names))
    finally:
        engine.close()
    return figures, goals


def main() -> None:
    """Measure, sum up or make rows; print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="ids or sections of checks, or methods")
    parser.add_argument("--summary", action="store_true", help="how all checks stand")
    parser.add_argument("--rows", nargs="+", metavar="PRESET", help="real rows of these presets, or of all")
    parser.add_argument("--lm", default=MODELS["qwen"], metavar="MODEL", help="who writes them (default: %(default)s)")
    parser.add_argument("--n", type=int, default=6, metavar="N", help="accepted rows wanted of each (default: 6)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="recipes whose rows are made at once")
    parser.add_argument("--minutes", type=float, metavar="M", help="the most that the rows of one recipe may take")
    parser.add_argument("--again", action="store_true", help="measure also what has a result")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs") / "recipes", metavar="FOLDER", help="where calls are kept"
    )
    parser.add_argument("--json", action="store_true", help="accepted for symmetry: the result is always JSON")
    args = parser.parse_args()
    began = time.monotonic()
    figures, goals = _summary() if args.summary else _rows(args) if args.rows else _measure(args)
    emit(figures, goals, began)


if __name__ == "__main__":
    main()
