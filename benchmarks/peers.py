"""Other tools beside ours: the same rows, the same endpoint, in turns.

    python -m benchmarks.peers --json --peers DIR [--rows 2000] [--concurrency 50 200] [--scenario text json chain3]

The scripts of the peers, their endpoint (20 ms latency) and the plain aiohttp client are in ../shared/peers, and
their environments in DIR (or $PEERS), as install.sh there makes them; those that are not there are left out. Every
tool runs in a process of its own, ours too, in turns, and medians over the turns are compared.

rows_s is by each tool's own clock around its run, without imports; with_start_s counts the whole process. cpu_ms
is of one more row: the CPU time of a run less that of a run of few rows. A peer that hangs, raises or sends fewer
requests than the scenario has (some have no chains) is reported as such and not compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._result import Goal, emit

__all__ = ["PEERS"]

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT.parent / "shared" / "peers"
PEERS: Mapping[str, str] = {  # by environment
    "accrue": "bench_accrue.py",
    "curator": "bench_curator.py",
    "dd": "bench_datadesigner.py",
    "distilabel": "bench_distilabel.py",
    "dspy": "bench_dspy.py",
    "sdghub": "bench_sdghub.py",
}
SCENARIOS = {"text": 1, "json": 1, "chain3": 3}  # and their requests for each row
TIMES = 4.0  # as fast as the best peer
FEW = 200
SENT = 0.9  # of the requests that a scenario has; answers of the endpoint may be equal, and so may then be requests
FIELD = re.compile(r"(\w+)=(\S+)")


@dataclass(frozen=True)
class Ran:
    """One run of one tool; `failed` says what became of it where nothing did."""

    rows_s: float = 0.0
    with_start_s: float = 0.0
    cpu_s: float = 0.0
    rss_mb: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Bench:
    """What the tools have in common."""

    port: int
    python: Mapping[str, Path]
    timeout: float

    def run(self, tool: str, scenario: str, rows: int, at_once: int) -> Ran:
        """Let one tool do it once."""
        _asked(self.port, "/reset")
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "work").mkdir()
            ran = self._timed(self._command(tool, scenario, rows, at_once, folder), rows, folder)
        sent = _asked(self.port, "/stats")["total"]
        steps = 1 if tool == "raw" else SCENARIOS[scenario]  # the plain client sends one request a row
        if not ran.failed and sent < SENT * rows * steps:
            return Ran(failed=f"sent {sent} requests for {rows} rows of {steps} steps")
        return ran

    def _command(self, tool: str, scenario: str, rows: int, at_once: int, folder: str) -> list[str]:
        python, port = str(self.python[tool]), str(self.port)
        if tool == "raw":  # one request a row, whatever the scenario: its requests are divided by the steps later
            return [python, str(SCRIPTS / "baseline.py"), str(rows), str(at_once), port]
        options = ["--rows", str(rows), "--conc", str(at_once), "--scenario", scenario]
        if tool == "ours":
            return [python, "-m", "benchmarks._ours", f"http://127.0.0.1:{port}/v1", f"{folder}/run", *options]
        return [python, str(SCRIPTS / PEERS[tool]), *options, "--port", port]

    def _timed(self, command: list[str], rows: int, folder: str) -> Ran:
        environ = {**os.environ, "PEERS": folder, "TMPDIR": folder}
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return Ran(failed=f"no end within {self.timeout:g} s")
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        line = next((each for each in said.splitlines() if each.startswith("RESULT")), "")
        told = dict(FIELD.findall(line))
        if not line:
            last = (said.strip().splitlines() or ["nothing"])[-1]
            return Ran(failed=f"ended with {child.returncode}: {last[:200]}")
        got = int(told.get("rows_out") or told["rows"])
        if got != rows:
            return Ran(failed=f"gave {got} of {rows} rows")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rss = float(told["peak_rss_mb"]) if "peak_rss_mb" in told else None
        return Ran(rows / float(told["gen_s"]), rows / seconds, cpu, rss)


def compare(bench: Bench, scenario: str, rows: int, at_once: int, repeats: int) -> dict[str, Any]:
    """All tools, in turns."""
    runs: dict[str, list[Ran]] = {tool: [] for tool in bench.python}
    few: dict[str, Ran] = {}
    for turn in range(repeats):
        for tool, ran in runs.items():
            if turn and ran[-1].failed:
                continue  # it would only cost time again
            if not turn:
                few[tool] = bench.run(tool, scenario, FEW, at_once)
            ran.append(few[tool] if few[tool].failed else bench.run(tool, scenario, rows, at_once))
            print(f"{scenario} at {at_once}: {tool} {ran[-1]}", file=sys.stderr, flush=True)
    steps = SCENARIOS[scenario]
    table = {tool: _summed(ran, few[tool], rows, steps if tool == "raw" else 1) for tool, ran in runs.items()}
    return {"tools": table, **_ratios(table)}


def _summed(ran: list[Ran], few: Ran, rows: int, divided: int) -> dict[str, Any]:
    """Medians of the turns. The plain client's requests are divided by the steps of a row."""
    good = [each for each in ran if not each.failed]
    if not good:
        return {"failed": ran[-1].failed}
    median = statistics.median
    cpu = (median(each.cpu_s for each in good) - few.cpu_s) / (rows - FEW) * divided
    memory = [each.rss_mb for each in good if each.rss_mb is not None]
    return {
        "rows_s": round(median(each.rows_s for each in good) / divided, 1),
        "with_start_s": round(median(each.with_start_s for each in good) / divided, 1),
        "cpu_ms": round(1000 * cpu, 3),
        "rss_mb": median(memory) if memory else None,
        "turns": len(good),
    }


def _ratios(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Ours to the best peer, by each clock and by CPU time (how many times ours it takes), and to the plain client."""
    found: dict[str, Any] = {}
    ours = table["ours"]
    peers = {tool: row for tool, row in table.items() if tool in PEERS and "rows_s" in row}
    for name in ("rows_s", "with_start_s"):
        best = max(peers, key=lambda tool: peers[tool][name], default=None)
        known = best is not None and name in ours
        found[f"best_peer_{name}"] = best
        found[f"times_best_peer_{name}"] = round(ours[name] / peers[best][name], 2) if known and best else None
    # of what a busy machine leaves to a tool this says nothing, so it holds where rows a second do not
    cheap = min((row["cpu_ms"] for row in peers.values() if row["cpu_ms"] > 0), default=None)
    found["cpu_of_cheapest_peer"] = round(cheap / ours["cpu_ms"], 2) if cheap and ours.get("cpu_ms", 0) > 0 else None
    raw = table["raw"]
    found["share_of_raw"] = round(ours["rows_s"] / raw["rows_s"], 3) if "rows_s" in ours and "rows_s" in raw else None
    return found


@contextmanager
def served(python: Path) -> Iterator[int]:
    """The peers' endpoint in a process of its own; gives its port."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [str(python), str(SCRIPTS / "mock_server.py"), "--port", str(port), "--latency-ms", "20"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                _asked(port, "/stats")
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        child.terminate()
        child.wait(10)


def _asked(port: int, path: str) -> Any:
    body = b"{}" if path == "/reset" else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", body, timeout=10) as reply:
        return json.load(reply)


def _pythons(peers: str) -> dict[str, Path]:
    """The interpreter of each peer that is installed under `peers`."""
    places = {tool: Path(peers) / f"v_{tool}" / "bin" / "python" for tool in ("mock", *PEERS)} if peers else {}
    return {tool: path for tool, path in places.items() if path.exists()}


def main() -> None:
    """Compare all that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end (it always does)")
    parser.add_argument("--peers", default=os.environ.get("PEERS", ""), help="folder of the peers' environments")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds until a run is given up")
    args = parser.parse_args()
    if args.rows <= FEW:
        parser.error(f"--rows must be above {FEW}, which start-up is told apart by")
    started, load = time.monotonic(), [round(os.getloadavg()[0], 1)]
    names = [f"{scenario} at {at_once}" for scenario in args.scenario for at_once in args.concurrency]
    goals = dict.fromkeys(names)
    if not SCRIPTS.is_dir():
        print(f"SKIPPED: {SCRIPTS} is not there, so there is nothing to compare with", file=sys.stderr)
        emit(
            {"skipped": "no ../shared/peers"},
            [Goal(f"{each}: times the best peer", None, TIMES) for each in names],
            started,
        )
        return
    found = _pythons(args.peers)
    if not found.keys() & PEERS.keys():
        print(f"no peer is installed under {args.peers or '--peers'}: ratios to peers are None", file=sys.stderr)
    here = Path(sys.executable)
    tools = {"raw": here, "ours": here, **{tool: path for tool, path in found.items() if tool in PEERS}}
    figures: dict[str, Any] = {}
    with served(found.get("mock", here)) as port:
        bench = Bench(port, tools, args.timeout)
        for scenario in args.scenario:
            for at_once in args.concurrency:
                name = f"{scenario} at {at_once}"
                figures[name] = compare(bench, scenario, args.rows, at_once, args.repeats)
                goals[name] = figures[name]["times_best_peer_rows_s"]
                load.append(round(os.getloadavg()[0], 1))
                print(f"{name}: {json.dumps(figures[name])}", file=sys.stderr, flush=True)
    figures |= {"rows": args.rows, "repeats": args.repeats, "load": load}
    emit(figures, [Goal(f"{name}: times the best peer", value, TIMES) for name, value in goals.items()], started)


if __name__ == "__main__":
    main()
