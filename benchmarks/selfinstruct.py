"""Self-Instruct with a local model: a pool of instructions, ended by kill -9 in the middle and resumed.

    python -m benchmarks.selfinstruct --json --seeds DIR [--rows 300] [--lm local/qwen2.5-coder-1.5b] [--run RUN]

DIR holds the 175 seed tasks (`*.jsonl`, field `instruction`). One instance is kept of each instruction, so that
accepted rows are accepted instructions. The run goes on in a process of its own; when `--kill-at` of the rows are
accepted that process is killed, and another one goes on in the same folder. Said of the end: rows and distinct
instructions, whether the funnel adds up (begun = accepted + stopped at each gate + lost), calls that were answered
twice, and the diversity of the instructions beside that of the seeds.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from ._result import Goal, emit

__all__ = ["main"]

RUN = "import sys; from benchmarks.selfinstruct import run; run(*sys.argv[1:])"


def run(folder: str, lm: str, rows: str, seeds: str) -> None:
    """Run the recipe to its end, in this process; its funnel is the last line."""
    from stillroom.programs.published import run_preset

    given = {"seeds": [json.loads(line) for line in _seeds(Path(seeds))]}
    emitted = run_preset("self-instruct", folder, lm=lm, given=given, rows=int(rows))
    print(json.dumps(emitted.as_json()))


def main() -> None:
    """Run, kill, resume, and end with JSON."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end (it always does)")
    parser.add_argument("--seeds", type=Path, required=True, help="folder of the seed tasks")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--lm", default="local/qwen2.5-coder-1.5b")
    parser.add_argument("--run", type=Path, default=Path("runs/selfinstruct"))
    parser.add_argument("--kill-at", type=float, default=0.4, help="share of the rows (default: 0.4)")
    args = parser.parse_args()

    killed = _killed(args)
    before = _calls(args.run)
    done = subprocess.run(_command(args), stdout=subprocess.PIPE, text=True, check=True)
    funnel = json.loads(done.stdout.splitlines()[-1])

    from stillroom.evals.diversity import describe
    from stillroom.evals.embedding import default_embedder
    from stillroom.programs.export import read_emitted

    rows = read_emitted(args.run / "rows.jsonl")
    instructions = [row.values["instruction"] for row in rows]
    seeds = [json.loads(line)["instruction"] for line in _seeds(args.seeds)]
    diversity = describe(instructions, seeds, embedder=default_embedder())
    print(diversity, file=sys.stderr)
    stopped = sum(count for _, _, count in funnel["gates"])
    figures = {
        "model": rows[0].passport.model,
        "accepted": len(rows),
        "distinct instructions": len(set(instructions)),
        "killed at": killed,
        "calls when killed": before,
        "calls": _calls(args.run),
        "funnel": funnel,
        "adds up": funnel["accepted"] + stopped == funnel["written"],
        "answered twice": _twice(args.run),
        "in flight when killed": _ask(args.run, "SELECT count(*) FROM calls WHERE status = 'lost'"),
        "diversity": diversity.as_json(),
        "examples": instructions[:: max(1, len(instructions) // 12)],
    }
    emit(
        figures,
        [
            Goal("distinct instructions accepted", len(set(instructions)), 300),
            Goal("kill -9 in the middle, then resumed", float(killed is not None), 1),
            Goal("rows that the funnel does not account for", abs(funnel["accepted"] + stopped - funnel["written"]), 0, "<="),
            Goal("calls answered twice", _twice(args.run), 0, "<="),
        ],
        started,
    )  # fmt: skip


def _command(args: argparse.Namespace) -> list[str]:
    return [sys.executable, "-c", RUN, str(args.run), args.lm, str(args.rows), str(args.seeds)]


def _killed(args: argparse.Namespace) -> int | None:
    """Begin the run and kill it when enough rows are accepted; how many those were. None if it was past that already."""
    if _accepted(args.run) >= args.kill_at * args.rows:
        return None
    process = subprocess.Popen(_command(args), stdout=subprocess.PIPE)
    while process.poll() is None:
        found = _accepted(args.run)
        if found >= args.kill_at * args.rows:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return found
        time.sleep(0.5)
    raise SystemExit(f"the run ended before it could be killed, with exit code {process.returncode}")


def _ask(run: Path, query: str) -> int:
    if not (run / "run.db").is_file():
        return 0
    with closing(sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True)) as database:
        try:
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # its tables are not there yet
            return 0


def _accepted(run: Path) -> int:
    return _ask(run, "SELECT count(*) FROM rows WHERE status = 'accepted'")


def _calls(run: Path) -> int:
    return _ask(run, "SELECT count(*) FROM calls")


def _twice(run: Path) -> int:
    """Calls that were begun although their answer was recorded before."""
    return _ask(run, "SELECT count(*) FROM calls a JOIN calls b ON a.key = b.key AND a.id > b.id AND b.status = 'done'")


def _seeds(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
