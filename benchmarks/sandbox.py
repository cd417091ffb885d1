"""The sandbox: how many programs a second, what hostile ones get, and whether its verdicts are those of the tests.

    python -m benchmarks.sandbox --json [--problems 164] [--mutants] [--backend namespaces]

1. Throughput, with a new sandbox for each program and with warm ones.
2. A table of hostile programs. Each must be stopped in time, must not get what it wants, and must leave
   the host as it was: files, processes, listening sockets, and a process that stands by.
3. HumanEval: canonical solutions pass; a mutant fails exactly if a bare `python tests.py` in
   bubblewrap, which shares nothing with the verifier but the kernel, fails.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from stillroom.evals.code import unit_tests
from stillroom.evals.mutants import mutants
from stillroom.evals.sandbox import Limits, Ran, Sandbox, available, open_sandbox
from stillroom.evals.sandbox.view import python_view

from ._hostile import PROGRAMS, Hostile
from ._result import Goal, emit

__all__ = ["PROGRAMS", "Bait", "Outcome", "attack", "bait", "problems", "throughput"]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "humaneval" / "data.jsonl"
TIGHT = Limits(seconds=3, cpu_seconds=2, memory_mb=256)
LATE = 6.0  # seconds after its limit at which a program must be gone, on a machine with other work


@dataclass(frozen=True)
class Bait:
    """What lies in wait on the host: a secret, sockets that answer, a process that can be hurt."""

    secret: Path
    word: str
    port: int
    unix: str
    victim: subprocess.Popen[bytes]

    def fill(self, code: str) -> str:
        """Put the bait's places into a program."""
        places = {
            "secret": str(self.secret),
            "folder": str(self.secret.parent),
            "bait": self.word,
            "port": str(self.port),
            "unix": self.unix,
            "victim": str(self.victim.pid),
            "parent": str(os.getpid()),
        }
        for name, value in places.items():
            code = code.replace("{" + name + "}", value)
        return code


@contextmanager
def bait() -> Iterator[Bait]:
    """Lay the bait out, and take it away."""
    with tempfile.TemporaryDirectory() as folder, closing(socket.create_server(("127.0.0.1", 0))) as server:
        word = f"bait-{secrets.token_hex(8)}"
        secret = Path(folder) / "secret.txt"
        secret.write_text(word)
        secret.chmod(0o644)
        Path(folder).chmod(0o777)  # only the sandbox keeps it out
        unix, path = socket.socket(socket.AF_UNIX), f"{folder}/socket"
        victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        os.environ["STILLROOM_BAIT"] = word
        with closing(unix), open(secret) as held:
            os.set_inheritable(held.fileno(), True)  # careless on purpose
            unix.bind(path)
            unix.listen()
            try:
                yield Bait(secret, word, server.getsockname()[1], path, victim)
            finally:
                victim.kill()
                victim.wait()
                del os.environ["STILLROOM_BAIT"]


def host(bait: Bait) -> dict[str, Any]:
    """Look at what a program might have changed. Workers that stand by are not counted."""
    me = psutil.Process()
    ours = {me.pid, *(child.pid for child in me.children(recursive=True))}
    strays = [p.pid for p in psutil.process_iter() if _seen(p) and me not in p.parents()]
    listening = sorted({c.laddr[:2] for c in psutil.net_connections("inet") if c.status == "LISTEN" and c.pid in ours})
    return {
        "files": sorted((p.name, p.read_text() if p.is_file() else "") for p in bait.secret.parent.iterdir()),
        "escaped": [
            p for p in ("/escaped", "/tmp/escaped", "/tmp/left", "/dev/shm/left2", "/dev/shm/0") if Path(p).exists()
        ],
        "strays": strays,
        "processes": len(ours),
        "listening": listening,
        "victim": bait.victim.poll(),
        "shm": subprocess.run(["ipcs", "-m"], capture_output=True, check=False).stdout.count(b"\n")
        if shutil.which("ipcs")
        else 0,
    }


def settled(sandbox: Sandbox, bait: Bait, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    """Look at the host once a worker stands by and idles; a look that differs is taken again for a second."""
    sandbox.run("pass")
    for _ in range(10):
        time.sleep(0.1 if wanted is None else 0.02)  # the minder of the last program is on its way out
        found = host(bait)
        if wanted is None or found == wanted:
            break
        time.sleep(0.1)
    return found


def _seen(process: psutil.Process) -> bool:
    try:
        return "from inside.warm import warm" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


@dataclass(frozen=True)
class Outcome:
    """What became of one hostile program."""

    name: str
    contained: bool
    ended: str
    seconds: float
    faults: tuple[str, ...] = ()


def attack(sandbox: Sandbox, program: Hostile, bait: Bait, limits: Limits = TIGHT) -> Outcome:
    """Run one hostile program and say what it got."""
    before = settled(sandbox, bait)
    started = time.monotonic()
    ran = sandbox.run(bait.fill(program.code), limits=limits, returns="found" if "found =" in program.code else "")
    seconds = time.monotonic() - started
    faults = []
    if "ESCAPED" in ran.stdout + ran.stderr.split("Traceback")[0]:
        faults.append(f"it got what it wanted: {ran.stdout[:200]}")
    if program.killed and ran.killed_by not in program.killed:
        faults.append(f"ended by {ran.killed_by}, not {' or '.join(program.killed)}")
    if seconds > limits.seconds + LATE:
        faults.append(f"took {seconds:.1f} s")
    if len(ran.stdout) + len(ran.stderr) > limits.output_bytes:
        faults.append("wrote more than it may")
    if sandbox.run("print(6 * 7)").stdout != "42\n":
        faults.append("the sandbox no longer works")
    after = settled(sandbox, bait, before)
    faults += [
        f"the host's {what} changed: {before[what]} to {after[what]}" for what in before if before[what] != after[what]
    ]
    return Outcome(program.name, not faults, _ended(ran), round(seconds, 2), tuple(faults))


def _ended(ran: Ran) -> str:
    return (
        f"killed: {ran.killed_by}" if ran.killed_by else f"exit {ran.exit}" if ran.exit >= 0 else f"signal {-ran.exit}"
    )


# --- throughput ------------------------------------------------------------------


def throughput(backend: str, *, reuse: int, programs: int, threads: int) -> float:
    """Measure programs a second on `threads` threads."""
    with open_sandbox(backend, reuse=reuse) as sandbox:
        sandbox.run_many(["pass"] * threads, threads=threads)
        started = time.monotonic()
        ran = sandbox.run_many([f"print(sum(range({i})))" for i in range(programs)], threads=threads)
        seconds = time.monotonic() - started
    assert all(each.stdout == f"{sum(range(i))}\n" for i, each in enumerate(ran))
    return round(programs / seconds, 1)


# --- HumanEval -------------------------------------------------------------------


def problems() -> list[dict[str, str]]:
    """Read HumanEval, if it is here."""
    return [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.is_file() else []


def judged(sandbox: Sandbox, count: int, with_mutants: bool) -> dict[str, Any]:
    """Compare our verdicts with those of bare runs of the same tests."""
    rows = problems()[:count]
    if not rows:
        return {"problems": 0}
    check = unit_tests(
        "code",
        tests="test",
        entry_point="entry_point",
        prompt="prompt",
        limits=Limits(seconds=4, cpu_seconds=4),
        sandbox=sandbox,
    )
    cases = [(row, "canonical", row["prompt"] + row["canonical_solution"]) for row in rows]
    if with_mutants:
        cases += [
            (row, what, text) for row, _, source in list(cases) for what, text in mutants(source, row["entry_point"])
        ]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        ours = list(pool.map(lambda case: check(case[0], {"code": case[2]}), cases))
        bare = list(
            pool.map(lambda case: bare_run(f"{case[2]}\n{case[0]['test']}\ncheck({case[0]['entry_point']})\n"), cases)
        )
    same = [verdict.verified and verdict.passed == passed for verdict, passed in zip(ours, bare, strict=True)]
    solutions = [verdict.passed for verdict in ours[: len(rows)]]
    return {
        "problems": len(rows),
        "canonical_passed": sum(solutions),
        "mutants": len(cases) - len(rows),
        "mutants_the_tests_see": sum(not passed for passed in bare[len(rows) :]),
        "of_them_failed": sum(
            verdict.score == 0 and not passed
            for verdict, passed in zip(ours[len(rows) :], bare[len(rows) :], strict=True)
        ),
        "verdicts_that_differ": [
            {"task": row["task_id"], "change": what, "ours": asdict(verdict), "bare": passed}
            for (row, what, _), verdict, passed, fine in zip(cases, ours, bare, same, strict=True)
            if not fine
        ],
    }


def bare_run(source: str) -> bool:
    """Run a script by bubblewrap alone; True if its status is 0."""
    view = python_view()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tests.py").write_text(source)
        os.chmod(folder, 0o755)
        shown = [part for path in (*view.shown, folder) for part in ("--ro-bind", path, path)]
        links = [part for target, link in view.links if target != "/box" for part in ("--symlink", target, link)]
        limits = ["prlimit", "--as=536870912", "--nproc=64", "--fsize=1000000"]
        command = [
            *limits,
            "bwrap",
            "--unshare-all",
            "--die-with-parent",
            "--clearenv",
            "--setenv",
            "PYTHONHASHSEED",
            "0",
            *shown,
            *links,
        ]
        command += ["--dev", "/dev", "--", view.python, "-S", "-s", "-B", f"{folder}/tests.py"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def main() -> None:
    """Measure, print a table, and end with JSON."""
    started = time.monotonic()
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--backend", default="")
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--mutants", action="store_true", help="also run all mutants (about two thousand)")
    parser.add_argument("--programs", type=int, default=100, help="programs to time")
    args = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    cold = throughput(args.backend, reuse=1, programs=max(10, args.programs // 5), threads=threads)
    warm = throughput(args.backend, reuse=200, programs=args.programs, threads=threads)
    print(f"{warm} programs a second warm, {cold} with a sandbox of their own; {threads} threads")
    with open_sandbox(args.backend, reuse=100_000) as sandbox, bait() as laid:  # one worker meets them all
        outcomes = [attack(sandbox, program, laid) for program in PROGRAMS]
        for each in outcomes:
            print(
                f"{'contained' if each.contained else 'NOT CONTAINED':14}{each.name:42}{each.ended:18}{each.seconds:6.2f} s  {'; '.join(each.faults)}"
            )
        humaneval = judged(sandbox, args.problems, args.mutants)
        print(json.dumps(humaneval, indent=1))
        name = sandbox.name
    seen = humaneval.get("mutants_the_tests_see") or None
    goals = [
        Goal("programs a second, warm", warm, 25),
        Goal("hostile programs tried", len(outcomes), 40),
        Goal("hostile programs contained, share", sum(each.contained for each in outcomes) / len(outcomes), 1.0),
        Goal("HumanEval canonical solutions that pass", humaneval.get("canonical_passed"), 164),
        Goal("mutants the tests see that fail, share", seen and humaneval["of_them_failed"] / seen, 1.0),
        Goal("verdicts that differ from bare runs", len(humaneval["verdicts_that_differ"]) if seen else None, 0, "<="),
    ]
    figures = {
        "backend": name,
        "available": [asdict(choice) for choice in available()],
        "per_second_warm": warm,
        "per_second_cold": cold,
        "hostile": [asdict(each) for each in outcomes],
        "humaneval": humaneval,
    }
    emit(figures, goals, started)


if __name__ == "__main__":
    main()
