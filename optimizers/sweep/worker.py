"""A worker of a sweep: take a cell, search, prove, record; until no cell is left for it."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

from stillroom.engines import Engine
from stillroom.errors import EngineError, ModelMissing, RunError
from stillroom.ledger import Budget, Spent
from stillroom.optimizers.proof import Result, prove_systems
from stillroom.optimizers.systems import System
from stillroom.signatures import Task
from stillroom.values import canonical, pretty, write_atomic

from .grid import Cell
from .queue import Claim, Queue

__all__ = ["Engines", "Found", "Runner", "work"]

POLL = 1.0  # seconds between two looks at the queue while others work on what is left
INFRASTRUCTURE = (EngineError, ModelMissing, RunError, OSError, MemoryError)


class Found(Protocol):
    """What a strategy gives back, as `stillroom.optimizers.strategies.run_strategy` does."""

    @property
    def program(self) -> System:
        """The program it chose."""

    @property
    def search_score(self) -> float:
        """Of that program, on the search split."""

    @property
    def baseline_score(self) -> float | None:
        """Of the task as declared, on the same rows."""

    @property
    def spent(self) -> Spent:
        """By the ledger."""

    @property
    def trajectory(self) -> Sequence[Any]:
        """(calls, best score so far) as the search went on."""

    @property
    def ended(self) -> str:
        """Why it stopped, in words."""


class Runner(Protocol):
    """Run one strategy on one task in one run folder."""

    def __call__(
        self,
        name: str,
        task: Task,
        *,
        lm: Engine,
        prompt_lm: Engine | None,
        run: Path,
        budget: Budget,
        seed: int,
        options: Mapping[str, Any] | None,
    ) -> Found:
        """Give what the strategy found. Raises what stopped it."""


Engines = Callable[[str], AbstractContextManager[Engine]]
"""Opens the engine that a model string names."""


def work(
    queue: Queue,
    cells: Sequence[Cell],
    *,
    engines: Engines,
    runner: Runner,
    stop: Callable[[], bool] = lambda: False,
    on_change: Callable[[], None] = lambda: None,
    poll: float = POLL,
) -> int:
    """Work until every cell is done or failed; wait for cells of other workers, and take over those of dead ones.

    Args:
        queue: With the cells added.
        cells: Of the sweep.
        engines: Opens a model; it stays open while its cells last.
        runner: `run_strategy`, or what stands in for it.
        stop: Asked between cells.
        on_change: Called after each cell and each look at the queue.
        poll: Seconds between two looks while nothing is waiting.

    Returns:
        How many cells this worker recorded.
    """
    recorded = 0
    with _Open(engines) as models:
        while not stop():
            with queue.claim(cells, models.name) as claim:
                if claim is not None:
                    recorded += _worked(queue, claim, models, runner)
            on_change()
            if claim is not None:
                continue
            if not any(state.status in ("waiting", "running") for state in queue.states(cells).values()):
                break
            models.close()  # others have the rest: no model is held in memory for waiting
            time.sleep(poll)
    return recorded


def _worked(queue: Queue, claim: Claim, models: _Open, runner: Runner) -> bool:
    """Run a cell and record its result, or its failure: one bad cell is not the end of the others."""
    try:
        result = _run_cell(claim, models, runner)
    except Exception as error:  # whatever a strategy, a peer's code or a metric raises, recorded with its reason
        first = (str(error).splitlines() or [""])[0]
        told = {
            "kind": type(error).__name__,
            "reason": first[:500] or "no reason given",
            "mend": getattr(error, "mend", ""),
            "again": isinstance(error, INFRASTRUCTURE),
        }
        _note(claim, "error.txt", "".join(traceback.format_exception(error)))
        return queue.fail(claim, told)
    _note(claim, "cell.json", pretty({**claim.cell.facts, **result}))
    (claim.folder / "error.txt").unlink(missing_ok=True)
    return queue.finish(claim, result, result["search"])


def _run_cell(claim: Claim, models: _Open, runner: Runner) -> dict[str, Any]:
    cell = claim.cell
    lm = models.open(cell.model)
    prompt_lm = models.second(cell.prompt_model)
    found = runner(
        cell.strategy,
        cell.task,
        lm=lm,
        prompt_lm=prompt_lm,
        run=claim.folder,
        budget=cell.budget,
        seed=cell.seed,
        options=dict(cell.options),
    )
    tested: Result | None = None
    if cell.prove:
        tested = prove_systems(cell.task, [found.program], [], claim.folder).results[0]
    return _result(found, tested, lm.model)


def _result(found: Found, tested: Result | None, engine: str) -> dict[str, Any]:
    """The result as the queue keeps it: plain JSON."""
    spent = found.spent
    result = {
        "search": _number(found.search_score),
        "baseline": None if found.baseline_score is None else _number(found.baseline_score),
        "test": tested.score if tested else None,
        "low": tested.low if tested else None,
        "high": tested.high if tested else None,
        "test_rows_unparsed": tested.unparsed if tested else None,
        "calls": spent.calls,
        "tokens": spent.tokens,
        "usd": spent.usd,
        "seconds": spent.seconds,
        "ended": str(found.ended),
        "engine": engine,
        "trajectory": [[int(calls), _number(score)] for calls, score in map(_point, found.trajectory)],
    }
    canonical(result)  # what no storage can hold is found here
    return result


def _point(step: Any) -> tuple[Any, Any]:
    """A point of a trajectory: a pair, or something with `calls` and `best` or `score`."""
    if isinstance(step, Mapping):
        return step["calls"], step.get("best", step.get("score"))
    if hasattr(step, "calls"):
        return step.calls, getattr(step, "best", getattr(step, "score", None))
    calls, score = step
    return calls, score


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a score must be a finite number, got {value!r}")
    return number


def _note(claim: Claim, name: str, text: str) -> None:
    """Leave word in the cell's folder, unless somebody else has the cell by now."""
    if not claim.lost.is_set():
        write_atomic(claim.folder / name, text)


class _Open:
    """The engines a worker has open: its cell's model, and the one that writes proposals."""

    def __init__(self, engines: Engines) -> None:
        self._engines = engines
        self._held: dict[str, tuple[Engine, ExitStack]] = {}
        self.name = ""

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self, name: str) -> Engine:
        """The cell's model; another cell's is closed first."""
        if name != self.name:
            self.close()
            self.name = name
        return self._opened(name)

    def second(self, name: str | None) -> Engine | None:
        """The prompt model beside it."""
        return None if name is None else self._opened(name)

    def close(self) -> None:
        """Close what is open."""
        self.name = ""
        with ExitStack() as closing:  # all of them, also where closing one raises
            for _, stack in self._held.values():
                closing.callback(stack.close)
            self._held.clear()

    def _opened(self, name: str) -> Engine:
        if name not in self._held:
            with ExitStack() as stack:
                engine = stack.enter_context(self._engines(name))
                self._held[name] = (engine, stack.pop_all())
        return self._held[name][0]
