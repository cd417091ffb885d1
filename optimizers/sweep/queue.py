"""The queue of a sweep: one Optuna study, shared by workers on any machine, that no cell leaves twice.

A cell's trials stand in order of number; the first that has not failed is the one
that counts, so that two workers that add one at once add no work. It is taken by the
storage's own WAITING -> RUNNING step, which one worker wins. Only a relational storage
has heartbeats in Optuna 5, a journal and the gRPC proxy have none, so liveness is ours
and the same everywhere: a worker holds the kernel's lock on its cell's folder, which
tells on the same machine at once, and counts up a beat in the trial, which tells from
afar. A beat is compared with the watcher's own clock only: clocks need not agree.
"""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stillroom.optimizers.storage import finished_error

from .grid import Cell

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["Claim", "Queue", "State", "Status"]

_log = logging.getLogger("stillroom.sweep")

BEAT = 15.0  # seconds between two beats of a worker
LEASE = 150.0  # seconds without a beat after which a worker on another machine counts as dead
DEATHS = 3  # workers a cell may kill before it counts as failed

Status: TypeAlias = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class State:
    """Where a cell is: `result` when it is done, `error` (`kind`, `reason`, `again`) when it failed."""

    status: Status
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)
    worker: str = ""


@dataclass(frozen=True)
class Claim:
    """A cell that this worker alone works on."""

    cell: Cell
    folder: Path
    trial: int
    lost: threading.Event


class Queue:
    """The cells of a sweep in a study.

    Args:
        storage: Of Optuna.
        study: Name of the study; made when missing.
        folder: The sweep's folder on this machine; each cell has its run folder in it.
        beat, lease: Seconds between beats, and without one until a worker far away counts as dead.
        clock: Gives seconds.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: str,
        folder: Path,
        *,
        beat: float = BEAT,
        lease: float = LEASE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(study_name=study, storage=storage, direction="maximize", load_if_exists=True)
        self._storage, self._id = storage, storage.get_study_id_from_name(study)
        self._folder, self._beat, self._lease, self._clock = folder, beat, lease, clock
        self._seen: dict[int, tuple[Any, float]] = {}
        self.worker = f"{_machine()[0]}:{os.getpid()}"

    # -- what is where -----------------------------------------------------------------

    def states(self, cells: Sequence[Cell]) -> dict[str, State]:
        """The state of each cell, by digest."""
        trials = self._trials()
        return {cell.digest: _state(trials[cell.digest]) for cell in cells}

    def add(self, cells: Sequence[Cell], *, again: bool = False, all_failed: bool = False) -> None:
        """Queue the cells that no trial stands for yet.

        Args:
            cells: Of the sweep.
            again: Also those whose infrastructure failed, or whose workers died.
            all_failed: Also all others that failed.
        """
        trials = self._trials()
        for cell in cells:
            error = _state(trials[cell.digest]).error if trials[cell.digest] else {}
            if not trials[cell.digest] or (error and (all_failed or (again and error["again"]))):
                self._enqueue(cell, fresh=True)

    def _trials(self) -> defaultdict[str, list[FrozenTrial]]:
        found: defaultdict[str, list[FrozenTrial]] = defaultdict(list)
        for trial in self._storage.get_all_trials(self._id, deepcopy=False):
            found[str(trial.user_attrs.get("cell"))].append(trial)
        return found

    def _enqueue(self, cell: Cell, *, fresh: bool = False) -> None:
        attrs = {"cell": cell.digest, "fresh": fresh, **cell.facts}
        self._study.enqueue_trial({"cell": cell.digest}, user_attrs=attrs)

    # -- taking and giving back --------------------------------------------------------

    @contextmanager
    def claim(self, cells: Sequence[Cell], model: str = "") -> Iterator[Claim | None]:
        """Take one waiting cell, of `model` if there is one, or that of a dead worker; `None` if there is none.

        Left without `finish` or `fail` (Ctrl-C, say), the cell goes back to the queue.
        """
        trials = self._trials()
        for cell in sorted(cells, key=lambda cell: cell.model != model):
            folder = self._folder / cell.folder
            if not self._may_take(trials[cell.digest], folder):
                continue
            with _locked(folder / "cell.lock") as lock:
                number = None if lock is None else self._take(cell)
                if number is None:
                    continue
                claim = Claim(cell, folder, number, threading.Event())
                with self._beating(claim, lock):
                    try:
                        yield claim
                    finally:
                        self._give_back(claim)
                return
        yield None

    def finish(self, claim: Claim, result: Mapping[str, Any], score: float) -> bool:
        """Record the result of a cell; false if the claim was lost to another worker, who records its own."""
        from optuna.trial import TrialState

        return self._end(claim, "result", dict(result), TrialState.COMPLETE, [score])

    def fail(self, claim: Claim, error: Mapping[str, Any]) -> bool:
        """Record why a cell failed; false if the claim was lost."""
        from optuna.trial import TrialState

        return self._end(claim, "error", dict(error), TrialState.FAIL)

    def _end(self, claim: Claim, name: str, value: Any, state: Any, values: list[float] | None = None) -> bool:
        trial = self._trial_id(claim.trial)
        try:
            self._storage.set_trial_user_attr(trial, name, value)
            return bool(self._storage.set_trial_state_values(trial, state, values))
        except finished_error():
            return False

    def _give_back(self, claim: Claim) -> None:
        if not self._storage.get_trial(self._trial_id(claim.trial)).state.is_finished():
            from optuna.trial import TrialState

            if self._end(claim, "stopped", True, TrialState.FAIL):
                self._enqueue(claim.cell)

    # -- who may have what -------------------------------------------------------------

    def _may_take(self, trials: Sequence[FrozenTrial], folder: Path) -> bool:
        """Look without a lock whether a cell is worth one."""
        state = _state(trials)
        if state.status == "running":
            return self._dead(_current(trials), folder)
        return state.status == "waiting"

    def _take(self, cell: Cell) -> int | None:
        """Under the folder's lock: bury a dead worker's trial, then take the one that stands. Gives its number."""
        from optuna.trial import TrialState

        current = _current(self._trials()[cell.digest])
        if current is not None and current.state == TrialState.RUNNING:
            if not self._dead(current, self._folder / cell.folder, held=True):
                return None
            try:  # one watcher wins this step, and the cell's next trial is the same for all
                self._storage.set_trial_state_values(self._trial_id(current.number), TrialState.FAIL)
            except finished_error():
                return None
            current = None
        if _state(self._trials()[cell.digest]).status != "waiting":
            return None
        if current is None:
            self._enqueue(cell)
            current = _current(self._trials()[cell.digest])
        assert current is not None
        try:
            won = self._storage.set_trial_state_values(self._trial_id(current.number), TrialState.RUNNING)
        except finished_error():
            return None
        return current.number if won else None

    def _dead(self, trial: FrozenTrial | None, folder: Path, *, held: bool = False) -> bool:
        """Whether nobody works on a running trial; `held` says that this process holds the folder's lock."""
        if trial is None:
            return False
        lease = trial.user_attrs.get("lease", {})
        if lease.get("machine") == list(_machine()) and lease.get("lock") == _identity(folder / "cell.lock"):
            return held or _free(folder / "cell.lock")
        beat = lease.get("beat")
        last, since = self._seen.get(trial.number, (None, 0.0))
        if trial.number not in self._seen or last != beat:
            self._seen[trial.number] = (beat, self._clock())
            return False
        return self._clock() - since > self._lease

    @contextmanager
    def _beating(self, claim: Claim, lock: list[int] | None) -> Iterator[None]:
        """Say regularly that the worker lives, while this lasts."""
        ended, trial = threading.Event(), self._trial_id(claim.trial)
        lease = {"worker": self.worker, "machine": list(_machine()), "lock": lock}

        def beat(number: int) -> None:
            self._storage.set_trial_user_attr(trial, "lease", {**lease, "beat": number})

        def keep_beating() -> None:
            number = 1
            while not ended.wait(self._beat):
                try:
                    beat(number)
                except finished_error():
                    claim.lost.set()  # ended, or taken for dead: then somebody else has the cell now
                    return
                except Exception as error:  # whatever a database's driver raises: the next beat may get through
                    _log.warning("a beat of %s was not heard (%s)", claim.cell.folder, type(error).__name__)
                number += 1

        beat(0)
        thread = threading.Thread(target=keep_beating, name="stillroom-beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _trial_id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._id, number))


def _current(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that stands for a cell: the first that has not failed."""
    return next((trial for trial in trials if trial.state.name != "FAIL"), None)


def _state(trials: Sequence[FrozenTrial]) -> State:
    current = _current(trials)
    done = next((trial for trial in trials if trial.state.name == "COMPLETE"), None)
    if done is not None:
        return State("done", result=done.user_attrs["result"])
    if current is not None and current.state.name == "RUNNING":
        return State("running", worker=current.user_attrs.get("lease", {}).get("worker", ""))
    if current is not None or not trials:
        return State("waiting")
    last = trials[-1].user_attrs
    if "error" in last:
        return State("failed", error=last["error"])
    deaths = 0
    for trial in reversed(trials):
        deaths += "stopped" not in trial.user_attrs and "error" not in trial.user_attrs
        if trial.user_attrs.get("fresh"):
            break
    if deaths >= DEATHS:
        reason = f"{deaths} workers died on it, without a word (out of memory?)"
        return State("failed", error={"kind": "WorkerDied", "reason": reason, "again": True})
    return State("waiting")


def _machine() -> tuple[str, str]:
    """This machine since its start; containers on one host differ by their names."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return platform.node(), boot.read_text(encoding="ascii").strip() if boot.exists() else ""


def _identity(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _free(path: Path) -> bool:
    with _locked(path) as lock:
        return lock is not None


@contextmanager
def _locked(path: Path) -> Iterator[list[int] | None]:
    """Hold `path` and give its identity, or `None` if another process does; the kernel lets go when a process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        yield None
        return
    try:
        yield _identity(path)
    finally:
        os.close(handle)
