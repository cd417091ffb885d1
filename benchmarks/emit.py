"""Emission under load, beside a plain aiohttp client on the same endpoint.

    python -m benchmarks.emit --json [--rows 6000] [--repeats 3] [--memory 200000] [--calls]

The endpoint is a mock in a second process that answers after 20 ms. For one-step
text, one-step JSON and chains of three steps, at 50, 200 and 500 rows under way,
rows go through a flow: rendered, asked, read, recorded, committed; and requests of
the same size through a client that does nothing but send and parse. The two take
turns, both on uvloop where it is installed, and the medians are compared. CPU is that of all threads of this process;
peak memory is that of child processes that emit few rows and many.

`--calls` leaves the flow out and measures its foundation: `Metered.acomplete` on
plain tasks that record a row each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.engines import Engine, HttpEngine, Session, open_session
from stillroom.programs import Plan
from stillroom.programs.flow import Ask, Flow, Quotas, Wanted, run_flow
from stillroom.programs.plan import Decoding
from stillroom.rows import EmittedRow, Passport
from stillroom.signatures import Field, Shape
from stillroom.store import Store
from stillroom.values import digest

from ._mock import MODEL, mock, run
from ._result import Goal, emit

__all__ = ["SHAPES", "emit_on", "emit_through", "raw"]

CONCURRENCY = (50, 200, 500)
SHARE, CPU_MS, GROWTH = 0.7, 0.35, 1.25  # of raw rows/s; of a row with one step; of peak memory, many rows to few
FEW = 2_000
TEXT = {"type": "string"}
LABEL = {"type": "string", "enum": ["card_lost", "top_up_failed", "exchange_rate"]}


@dataclass(frozen=True)
class Kind:
    """One kind of row: steps in their order, each with the field it reads and the fields it writes."""

    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    format: str

    def plans(self, model: str) -> list[Plan]:
        """A plan for each step."""
        return [
            Plan(
                Shape(
                    "Step",
                    "Write what a customer of a bank might write next.",
                    (Field(reads, TEXT, "what is known so far"),),
                    tuple(Field(name, schema, f"the {name}") for name, schema in writes.items()),
                ),
                model,
                "Write what a customer of a bank might write next.",
                format=self.format,
                decoding=Decoding(temperature=1.0, max_tokens=64),
            )
            for reads, writes in self.steps
        ]


SHAPES: Mapping[str, Kind] = {
    "text": Kind((("topic", {"message": TEXT}),), "bare"),
    "json": Kind((("topic", {"message": TEXT, "intent": LABEL}),), "json"),
    "chain": Kind((("topic", {"draft": TEXT}), ("draft", {"better": TEXT}), ("better", {"message": TEXT})), "bare"),
}


# -- what is compared ---------------------------------------------------------------------


async def raw(url: str, kind: Kind, rows: int, at_once: int) -> None:
    """Send requests of the same size and parse their answers; nothing is kept."""
    import aiohttp

    from stillroom.engines.http._wire import ChatWire

    wire = ChatWire(MODEL, dialect="vllm", guided=None, schema=True, tools=False)
    bodies = [wire.body(plan.render({reads: "topic 1234"}, seed=1)) for (reads, _), plan in _steps(kind)]
    numbers = iter(range(rows))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for _ in numbers:
                for body in bodies:
                    async with session.post(f"{url}/chat/completions", data=body) as reply:
                        answer = json.loads(await reply.read())
                    assert answer["choices"][0]["message"]["content"]

        await asyncio.gather(*(work() for _ in range(at_once)))


def emit_through(url: str, kind: Kind, rows: int, at_once: int, folder: Path, *, calls: bool = False) -> None:
    """Emit `rows` accepted rows into the run `folder`, as users do; or by bare `calls`."""
    engine = HttpEngine(url, MODEL, max_concurrency=at_once)
    try:
        emit_on(engine, kind, rows, folder, calls=calls)
    finally:
        engine.close()


def emit_on(engine: Engine, kind: Kind, rows: int, folder: Path, *, calls: bool = False) -> None:
    """Emit through an `engine` that is open."""
    with open_session(engine, folder, "emit", {}) as session:
        if calls:
            run(_calls(session, kind, rows, engine.max_concurrency))
        else:
            emitted = run_flow(_flow(session.engine.model, kind, rows), session)
            assert len(emitted.rows) == rows, emitted


def _check(folder: Path, kind: Kind, rows: int) -> None:
    """See that everything was recorded, once."""
    with Store(folder) as store:
        assert store.row_totals() == {"accepted": rows}
        assert store.call_counts() == {"done": rows * len(kind.steps), "twice": 0}


def _flow(model: str, kind: Kind, rows: int) -> Flow:
    def draw(cell: str, slot: int) -> Wanted:
        return Wanted(cell, slot, {"topic": f"topic {slot}"})

    asks = tuple(Ask(f"step-{number}", plan) for number, plan in enumerate(kind.plans(model)))
    return Flow("benchmark", Quotas({"all": rows}, draw), asks, emits=("topic", *kind.steps[-1][1]))


async def _calls(session: Session, kind: Kind, rows: int, at_once: int) -> None:
    numbers, steps = iter(range(rows)), _steps(kind, session.engine.model)
    papers = Passport("benchmark", steps[0][1].digest, session.engine.model, "unknown", (), {"seed": 0}, {}, 1, 64)

    async def work() -> None:
        for number in numbers:
            state: dict[str, Any] = {"topic": f"topic {number}"}
            for (reads, _), plan in steps:
                answer = await session.engine.acomplete(plan.render({reads: state[reads]}, seed=number))
                state |= plan.read(answer)
            row = EmittedRow(digest(state), f"all/{number}/0", "accepted", state, papers)
            session.store.put_rows("benchmark", [row])

    await asyncio.gather(*(work() for _ in range(at_once)))


def _steps(kind: Kind, model: str = "mock/mock@live") -> list[tuple[tuple[str, Mapping[str, Any]], Plan]]:
    return list(zip(kind.steps, kind.plans(model), strict=True))


# -- measuring ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Rows a second and milliseconds of CPU a row."""

    rows_s: float
    cpu_ms: float


def measured(work: Any, rows: int) -> Measured:
    """Run `work` once."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Measured(rows / wall, 1000 * cpu / rows)


def compare(url: str, kind: Kind, at_once: int, rows: int, repeats: int, *, calls: bool) -> dict[str, float]:
    """Medians of both, taken in turns; the ratio is that of neighbours in time."""
    pairs = []
    for _ in range(repeats):
        plain = measured(lambda: run(raw(url, kind, rows, at_once)), rows)
        with tempfile.TemporaryDirectory() as folder:
            ours = measured(lambda: emit_through(url, kind, rows, at_once, Path(folder), calls=calls), rows)
            _check(Path(folder), kind, rows)
        pairs.append((plain, ours))
    median = statistics.median
    return {
        "raw_rows_s": round(median(plain.rows_s for plain, _ in pairs), 1),
        "rows_s": round(median(ours.rows_s for _, ours in pairs), 1),
        "share_of_raw": round(median(ours.rows_s / plain.rows_s for plain, ours in pairs), 3),
        "raw_cpu_ms": round(median(plain.cpu_ms for plain, _ in pairs), 4),
        "cpu_ms": round(median(ours.cpu_ms for _, ours in pairs), 4),
        "cpu_times_raw": round(median(ours.cpu_ms / plain.cpu_ms for plain, ours in pairs), 3),
    }


def peak_mb(url: str, rows: int, *, calls: bool) -> float:
    """Peak memory of a child process that emits so many rows."""
    options = ["--calls"] if calls else []
    command = [sys.executable, "-m", "benchmarks.emit", "--child", url, "--rows", str(rows), *options]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _child(url: str, rows: int, *, calls: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        emit_through(url, SHAPES["json"], rows, 200, Path(folder), calls=calls)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024)


def _goals(figures: Mapping[str, Mapping[str, float]], memory: Mapping[str, float]) -> Iterator[Goal]:
    for name, found in figures.items():
        yield Goal(f"{name}: rows/s as a share of raw aiohttp", found["share_of_raw"], SHARE)
        if not name.startswith("chain"):
            yield Goal(f"{name}: ms of CPU a row", found["cpu_ms"], CPU_MS, "<=")
    if memory:
        yield Goal("peak memory, many rows to few", memory["growth"], GROWTH, "<=")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end (it always does)")
    parser.add_argument("--rows", type=int, default=6000, help="rows of one measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--at-once", nargs="+", type=int, default=list(CONCURRENCY), help="rows under way")
    parser.add_argument("--memory", type=int, default=200_000, help="rows of the large child process; 0 for none")
    parser.add_argument("--calls", action="store_true", help="without the flow")
    parser.add_argument("--child", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(args.child, args.rows, calls=args.calls)
        return
    started, figures, memory = time.monotonic(), {}, {}
    with mock() as url:
        for kind in SHAPES.values():  # imports and the like are not what is measured
            compare(url, kind, 50, 100, 1, calls=args.calls)
        for name in args.kinds:
            for at_once in args.at_once:
                rows = args.rows // len(SHAPES[name].steps)
                found = compare(url, SHAPES[name], at_once, rows, args.repeats, calls=args.calls)
                figures[f"{name} at {at_once}"] = found
                print(f"{name} at {at_once}: {found}", file=sys.stderr)
        if args.memory:
            few, many = (peak_mb(url, rows, calls=args.calls) for rows in (FEW, args.memory))
            memory = {f"peak_mb_{FEW}": few, f"peak_mb_{args.memory}": many, "growth": round(many / few, 3)}
    emit({"through": "calls" if args.calls else "flow", **figures, "memory": memory}, _goals(figures, memory), started)


if __name__ == "__main__":
    main()
