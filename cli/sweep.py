"""`stillroom sweep`: run the cells of a sweep, in this process or in many, and tell what they found."""

from __future__ import annotations

import os
import signal
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .progress import Bars
from .show import Ending, Screen, table
from .taskfile import execute, read_task_file
from .watched import Watched, stoppable

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    import pandas as pd

    from stillroom.engines import Engine
    from stillroom.optimizers.sweep import Cell, Queue, State, Sweep
    from stillroom.signatures import Task

__all__ = ["sweep"]

FAILED = 6  # exit code when cells failed
LOOK = 0.5  # seconds between two looks at the queue while processes work


@dataclass(frozen=True)
class Job:
    """A sweep and where it lies.

    Attributes:
        spec: The file it was read from.
        sweep: What is compared.
        cells: Its cells.
        folder: Where they lie.
        storage: Address of the shared queue; `None` for a journal in the folder.
    """

    spec: Path
    sweep: Sweep
    cells: Sequence[Cell]
    folder: Path
    storage: str | None


def sweep(args: Namespace, screen: Screen) -> Ending:
    """Run what is left of a sweep; exit code 6 if cells failed."""
    job = _read(args.spec, args.folder, args.storage)
    if args.workers < 1:
        raise BadConfig(f"workers must be at least 1, got {args.workers}")
    if args.worker and args.workers > 1:
        raise BadConfig(
            "one of --worker and --workers may be given, got both", mend="Start --worker as often as wanted."
        )
    if args.dry_run:
        return _listed(job, screen)
    _warn(job, args.workers, screen)
    queue = _queue(job)
    queue.add(job.cells, again=not args.worker, all_failed=args.retry)
    with Bars(screen) as bars:
        if args.workers == 1:
            _work(job, queue, bars)
        else:
            _work_together(job, queue, bars, args.workers)
    return _told(job, queue.states(job.cells), screen)


# -- reading ---------------------------------------------------------------------------


def _read(spec: Path, folder: Path | None, storage: str | None) -> Job:
    from stillroom.optimizers.sweep import cells_of

    found = _spec(spec)
    cells = cells_of(found, _task, _strategies())
    return Job(spec, found, cells, folder or Path("sweeps") / found.name, storage)


def _spec(path: Path) -> Sweep:
    """Read SPEC.toml or SPEC.py. Raises `BadConfig` if it is neither, or says something that cannot work."""
    from stillroom.optimizers.sweep import Sweep, read_sweep_toml

    if not path.is_file():
        raise BadConfig(f"a sweep must be a file, got {str(path)!r}", mend="Give a TOML file, or a Python file.")
    if path.suffix == ".toml":
        return read_sweep_toml(path)
    if path.suffix != ".py":
        raise BadConfig(f"a sweep must end in .toml or .py, got {path.name!r}")
    found = vars(execute(path)).get("sweep")
    if not isinstance(found, Sweep):
        raise BadConfig(
            f"{path} must define `sweep` as a Sweep, got {type(found).__name__ if found is not None else 'no such name'}",
            mend="Write: from stillroom import Sweep; sweep = Sweep(...)",
        )
    return found


def _task(path: Path) -> Task:
    return read_task_file(path).task


def _strategies() -> tuple[str, ...]:
    from stillroom.optimizers.strategies import STRATEGIES

    return STRATEGIES


def _queue(job: Job) -> Queue:
    from stillroom.optimizers.storage import open_storage
    from stillroom.optimizers.sweep import Queue

    return Queue(open_storage(job.storage, job.folder / "sweep.log"), f"stillroom sweep {job.sweep.name}", job.folder)


# -- working ---------------------------------------------------------------------------


def _work(job: Job, queue: Queue, bars: Bars, stopped: Any = None) -> None:
    """Be a worker in this process."""
    from stillroom.optimizers.strategies import run_strategy
    from stillroom.optimizers.sweep import work

    def show() -> None:
        _show(bars, queue.states(job.cells))

    show()
    work(
        queue,
        job.cells,
        engines=_engine,
        runner=run_strategy,
        stop=stopped.is_set if stopped is not None else lambda: False,
        on_change=show,
    )


@contextmanager
def _engine(name: str) -> Iterator[Engine]:
    """Open a model, see that it can be reached, and let Ctrl-C stop it between calls."""
    from stillroom.engines import open_engine

    inner = open_engine(name)
    try:
        check = getattr(inner, "check", None)
        if callable(check):
            check()
        engine = Watched(inner)
        with stoppable(engine):
            yield engine
    finally:
        inner.close()


def _work_together(job: Job, queue: Queue, bars: Bars, count: int) -> None:
    """Start `count` worker processes and wait for them; Ctrl-C is handed on to each once."""
    context = get_context("spawn")  # engines hold threads: none of them survives a fork
    stopped = context.Event()
    settings = (job.spec, job.folder, job.storage, stopped)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a worker that still starts must not end with a traceback
    try:
        workers = [context.Process(target=_worker, args=settings, name=f"sweep-{n}") for n in range(count)]
        for worker in workers:
            worker.start()
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        _watch(job, queue, bars, workers)
    except BaseException:
        stopped.set()
        _interrupt(workers)
        try:
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            _interrupt(workers)
            for worker in workers:
                worker.join()
        raise


def _watch(job: Job, queue: Queue, bars: Bars, workers: Sequence[BaseProcess]) -> None:
    """Show how far the sweep is until its workers have ended; what dead ones leave is done here."""
    while any(worker.is_alive() for worker in workers):
        _show(bars, queue.states(job.cells))
        connection.wait([worker.sentinel for worker in workers if worker.is_alive()], timeout=LOOK)
    if any(worker.exitcode for worker in workers):
        _work(job, queue, bars)


def _worker(spec: Path, folder: Path, storage: str | None, stopped: Any) -> None:
    """One process of a sweep."""
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which hands it on
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with Screen(as_json=True) as screen, screen.aside():
        try:
            job = _read(spec, folder, storage)
            _work(job, _queue(job), Bars(screen), stopped)
        except KeyboardInterrupt:
            return


def _end_with_parent() -> None:
    """Stop between calls when nobody waits for this process any more."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGINT)


def _interrupt(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        if worker.is_alive() and worker.pid is not None:
            os.kill(worker.pid, signal.SIGINT)


def _warn(job: Job, workers: int, screen: Screen) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = any(model.startswith("local/") for model in job.sweep.models)
    if local and workers > cores:
        screen.note(f"{workers} workers with a local model each on {cores} cores are slower than {cores} workers")


# -- telling ---------------------------------------------------------------------------


def _show(bars: Bars, states: Mapping[str, State]) -> None:
    counts = Counter(state.status for state in states.values())
    remark = ", ".join(f"{counts[status]} {status}" for status in ("running", "failed") if counts[status])
    bars.report("cells", counts["done"] + counts["failed"], len(states), remark)


def _listed(job: Job, screen: Screen) -> Ending:
    """The cells of a sweep and what they may cost at most. Nothing is run or written."""
    rows = [{**cell.facts, "worst_calls": cell.worst_calls, "folder": cell.folder} for cell in job.cells]
    worst = [cell.worst_calls for cell in job.cells]
    total = None if None in worst else sum(calls or 0 for calls in worst)
    columns = ("task", "model", "strategy", "budget", "seed", "worst_calls")
    screen.say(
        f"{job.sweep.name}: {len(rows)} cells, {'no limit of' if total is None else f'at most {total:,}'} calls",
        *_indented([columns, *([row[column] for column in columns] for row in rows)]),
    )
    return Ending({"sweep": job.sweep.name, "folder": str(job.folder), "cells": rows, "worst_calls": total})


def _told(job: Job, states: Mapping[str, State], screen: Screen) -> Ending:
    from stillroom.optimizers import sweep as found
    from stillroom.values import pretty, write_atomic

    from .sweep_page import write_page

    frame = found.table(job.cells, states)
    means, gaps = found.summary(frame), found.differences(frame)
    text, columns = found.write_table(frame, job.folder)
    write_atomic(job.folder / "sweep.json", pretty(job.sweep.as_json()))
    page = write_page(job.folder / "sweep.html", job.sweep, job.cells, states, (frame, means, gaps))
    counts = Counter(state.status for state in states.values())
    failed = [
        {**cell.facts, **states[cell.digest].error} for cell in job.cells if states[cell.digest].status == "failed"
    ]
    _say(job, screen, counts["done"], means, gaps, failed)
    screen.say(f"  table: {text}", f"  page: {page}")
    value = {
        "sweep": job.sweep.name,
        "folder": str(job.folder),
        **{status: counts[status] for status in ("done", "failed", "running", "waiting")},
        "failures": failed,
        "summary": _plain(means),
        "differences": _plain(gaps),
        "table": str(text),
        "parquet": str(columns),
        "page": str(page),
    }
    return Ending(value, FAILED if failed else 0)


def _say(
    job: Job,
    screen: Screen,
    done: int,
    means: pd.DataFrame,
    gaps: pd.DataFrame,
    failed: Sequence[Mapping[str, Any]],
) -> None:
    shown = ("task", "model", "strategy", "budget", "cells", "search", "test", "calls")
    rows = [[*(row[column] for column in shown[:-1]), round(row["calls"])] for row in _plain(means)]
    score = "test" if job.sweep.prove else "search"
    lines = [_against(row) for row in _plain(gaps) if row["score"] == score]
    screen.say(
        f"{job.sweep.name}: {done} of {len(job.cells)} cells done",
        *(_indented([shown, *rows]) if rows else []),
        *(f"  {line}" for line in lines),
        *(
            f"  failed: {each['task']}, {each['model']}, {each['strategy']}, {each['budget']}, seed {each['seed']}: {each['kind']}: {each['reason']}"
            for each in failed
        ),
    )


def _against(row: Mapping[str, Any]) -> str:
    pairs = f"{row['pairs']} pair{'s' * (row['pairs'] != 1)}"
    said = f"{row['strategy']} against baseline on the {row['score']} rows: {row['difference']:+.3f} over {pairs}"
    return said if row["low"] is None else f"{said}, 95% interval {row['low']:+.3f} to {row['high']:+.3f}"


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain JSON values; what is missing is `None`."""
    import pandas as pd

    return [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
    ]


def _indented(rows: list[Any]) -> list[str]:
    return [f"  {line}" for line in table(rows)]
