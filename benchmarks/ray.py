"""What going through Ray costs: one process beside a cluster of two nodes, on one machine.

    python -m benchmarks.ray --json [--rows 3000] [--repeats 3] [--at-once 50 200] [--local smollm2-135m]

The endpoint is a mock in a process of its own that answers after 20 ms. Rows of one JSON step
are emitted through the same flow, store and ledger; the engine is an `HttpEngine` in this
process, or half of it on each of two nodes of a local cluster. They take turns. CPU is that of
this process, and of this process with all of the cluster's. One call alone is timed too.

`--local` asks a local model, here and on both nodes, for short answers in groups of sixteen that
share their demos. One process reads the demos of a group once, and so should two nodes.

Both nodes and the mock share this machine's processors, so that the cluster can only lose here:
what is measured is the price of Ray, not what further machines bring.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from dspy.lm15 import Config, Message, Request

from stillroom.engines import Engine, HttpEngine, open_engine
from stillroom.engines.ray import RayEngine
from stillroom.errors import EngineError

from ._mock import MODEL, mock
from ._result import emit
from .emit import SHAPES, emit_on

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from ray_cluster import RayCluster, cluster

__all__ = ["main"]

KIND = SHAPES["json"]
ALONE = 200  # calls of which one is under way at a time
GROUPS, TOGETHER, PLACES = 12, 16, 64  # of the local model's requests; under way on each machine
WORDS = ("card", "bank", "lost", "please", "help", "transfer", "phone", "morning", "letter", "green", "river", "seven")


@contextmanager
def two_nodes() -> Iterator[RayCluster]:
    """A cluster that this process may join."""
    with (
        tempfile.TemporaryDirectory(prefix="srb-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        cluster(Path(folder)) as made,
    ):
        made.add("second", f"--address={made.address}")
        os.environ.update({name: value for name, value in made.environment.items() if name.startswith("RAY_")})
        yield made


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """Seconds of CPU that they have used, as far as they are alive."""
    total = 0.0
    for process in processes:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


# -- an endpoint -------------------------------------------------------------------------


def emitted(engine: Engine, rows: int, made: RayCluster) -> dict[str, float]:
    """Rows a second, and milliseconds of CPU a row: of this process, and with those of the cluster."""
    theirs = lambda: cpu_of(process for node in made.nodes for process in node.processes())  # noqa: E731
    wall, own, other = time.perf_counter(), time.process_time(), theirs()
    with tempfile.TemporaryDirectory() as folder:
        emit_on(engine, KIND, rows, Path(folder))
    wall, own, other = time.perf_counter() - wall, time.process_time() - own, theirs() - other
    return {"rows_s": rows / wall, "cpu_ms": 1000 * own / rows, "all_cpu_ms": 1000 * (own + other) / rows}


def alone(engine: Engine) -> float:
    """Milliseconds of a call with none beside it."""
    plan = KIND.plans(engine.model)[0]
    took = []
    for number in range(ALONE):
        began = time.perf_counter()
        engine.complete(plan.render({"topic": f"topic {number}"}, seed=number))
        took.append(time.perf_counter() - began)
    return round(1000 * statistics.median(took), 2)


def compare(url: str, made: RayCluster, at_once: int, rows: int, repeats: int) -> dict[str, Any]:
    """Medians of both, taken in turns; the ratio is that of neighbours in time."""
    began = time.perf_counter()
    with (
        closing(RayEngine(partial(HttpEngine, url, MODEL, max_concurrency=at_once // 2), made.address)) as spread,
        closing(HttpEngine(url, MODEL, max_concurrency=at_once)) as plain,
    ):
        assert (spread.copies, spread.max_concurrency) == (2, at_once)
        found: dict[str, Any] = {"open_s": round(time.perf_counter() - began, 1)}
        for engine in (plain, spread):  # what is slow the first time is not what is measured
            emitted(engine, 200, made)
        turns = [(emitted(plain, rows, made), emitted(spread, rows, made)) for _ in range(repeats)]
        for place, name in enumerate(("one_process", "two_nodes")):
            each = {key: statistics.median(turn[place][key] for turn in turns) for key in turns[0][place]}
            found[name] = {key: round(value, 3) for key, value in each.items()}
        found["rows_s_ratio"] = round(statistics.median(two["rows_s"] / one["rows_s"] for one, two in turns), 3)
        found["call_alone_ms"] = {"one_process": alone(plain), "two_nodes": alone(spread)}
        return found


# -- a local model ------------------------------------------------------------------------


def asked(group: int) -> list[Request]:
    """Requests that share eight demos."""
    rng = random.Random(group)
    shown = [" ".join(rng.choices(WORDS, k=12 if answer else 30)) for _ in range(8) for answer in (False, True)]
    demos = [Message.assistant(text) if place % 2 else Message.user(text) for place, text in enumerate(shown)]
    return [
        Request(
            model="any",
            messages=(*demos, Message.user(f"Write number {number}.")),
            config=Config(max_tokens=12, temperature=0.8, seed=number),
        )
        for number in range(TOGETHER)
    ]


def answered(engine: Engine, first: int) -> dict[str, float]:
    """Milliseconds of CPU an answer, of all processes, and answers a second."""
    me = psutil.Process()
    engine.complete_many(asked(-1))  # loads the models
    requests = [request for group in range(first, first + GROUPS) for request in asked(group)]
    wall, cpu = time.perf_counter(), cpu_of([me, *me.children(recursive=True)])
    answers = engine.complete_many(requests)
    wall, cpu = time.perf_counter() - wall, cpu_of([me, *me.children(recursive=True)]) - cpu
    assert not [each for each in answers if isinstance(each, EngineError)], answers
    return {"answers_s": round(len(answers) / wall, 2), "all_cpu_ms": round(1000 * cpu / len(answers), 1)}


def local(name: str, made: RayCluster) -> dict[str, Any]:
    """The same requests to a model in one process, and on two nodes."""
    with closing(open_engine(f"local/{name}", max_concurrency=2 * PLACES)) as plain:
        one = answered(plain, 0)
    with closing(open_engine(f"local/{name}", on=made.address, max_concurrency=PLACES)) as spread:
        return {"one_process": one, "two_nodes": answered(spread, 0)}


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end (it always does)")
    parser.add_argument("--rows", type=int, default=3000, help="rows of one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--at-once", nargs="+", type=int, default=[50, 200], help="rows under way")
    parser.add_argument("--local", metavar="NAME", help="a local model to ask as well")
    args = parser.parse_args()
    started, figures = time.monotonic(), {}
    with mock() as url, two_nodes() as made:
        for at_once in args.at_once:
            figures[f"at {at_once}"] = found = compare(url, made, at_once, args.rows, args.repeats)
            print(f"at {at_once}: {found}", file=sys.stderr)
        if args.local:
            figures[f"local/{args.local}"] = local(args.local, made)
    emit(figures, [], started)


if __name__ == "__main__":
    main()
