"""The symbolic recipe: 1,000 theorems with proofs, each confirmed by a checker that shares no code with the prover.

    python -m benchmarks.symbolic --json [--seed 0] [--mutated 300] [--out benchmarks/results/symbolic.json]

1. The recipe as it stands, 1,000 rows, from an empty run folder to committed rows. Goal: 60 s.
2. Every row once more before the checker, from the export, in this process but outside the run. Goal: all confirmed.
3. Forms up to renaming. Goal: no two alike.
4. Mutants of the rows, ten kinds: how many does the checker refuse? Those it confirms are listed.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from stillroom.evals.proofs import confirmed
from stillroom.programs.symbolic import SIZES, symbolic_rows
from stillroom.rows import EmittedRow

from ._proof_mutants import mutants
from ._result import Goal, emit

__all__ = ["main", "mutated"]


def mutated(rows: Sequence[EmittedRow], rng: random.Random) -> dict[str, Any]:
    """Mutants made and refused, by domain and kind, and those that were confirmed."""
    check = confirmed()
    made: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    passed: list[dict[str, str]] = []
    for row in rows:
        for kind, mutant in mutants(row.values, rng):
            name = f"{mutant['domain']}: {kind}"
            made[name] += 1
            if check({}, mutant).passed:
                passed.append({"kind": name, "row": row.values["text"], "mutant": mutant["text"]})
            else:
                refused[name] += 1
    return {
        "made": made.total(),
        "refused": refused.total(),
        "by_kind": {name: [refused[name], count] for name, count in sorted(made.items())},
        "confirmed": passed,
    }


def main() -> None:
    """Measure, and end with JSON."""
    started = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutated", type=int, default=300, help="rows to make mutants of")
    parser.add_argument("--out", default="", help="a file that gets the JSON too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun, cpu = time.monotonic(), time.process_time()
        emitted = symbolic_rows(Path(folder) / "run", SIZES, seed=args.seed)
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
        rows, rejects = list(emitted.rows), list(emitted.rejects)
    check = confirmed()
    fine = sum(check({}, row.values).passed for row in rows)
    forms = len({row.values["form"] for row in rows})
    rng = random.Random(args.seed)
    tried = mutated(rng.sample(rows, min(args.mutated, len(rows))), rng)
    domains = Counter(row.values["domain"] for row in rows)
    geometry = [row.values["auxiliary"] > 0 for row in rows if row.values["domain"] == "geometry"]
    answers = Counter(row.values["verifiable"]["solution"] for row in rows if row.values["domain"] != "linear")
    figures = {
        "rows": len(rows),
        "by_domain": domains,
        "by_cell": dict(SIZES),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "drawn": len(rows) + len(rejects),
        "funnel": [list(each) for each in emitted.funnel],
        "refused_by_the_checker": Counter(
            " ".join(row.why.split(":")[0].split()[:1] + row.why.split(":")[0].split()[2:])
            if row.why.startswith("line")
            else row.why.split(":")[0]
            for row in rejects
            if row.gate.startswith("confirmed")
        ),
        "geometry_with_auxiliary_points": round(sum(geometry) / len(geometry), 4),
        "answers": answers,
        "mutants": tried,
    }
    goals = [
        Goal("seconds for 1,000 rows", round(seconds, 1), 60, "<="),
        Goal("rows", len(rows), 1000),
        Goal("rows confirmed", fine, 1000),
        Goal("forms up to renaming", forms, 1000),
        Goal("mutants refused, share", round(tried["refused"] / tried["made"], 4), 0.95),
    ]
    kept = StringIO()
    with redirect_stdout(kept):
        emit(figures, goals, started)
    print(kept.getvalue(), end="")
    if args.out:
        text = json.dumps(json.loads(kept.getvalue()), indent=1, ensure_ascii=False)
        Path(args.out).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
