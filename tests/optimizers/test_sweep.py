"""Workers of a sweep: no cell is worked on twice, and none is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
import sweep_world
from sweep_world import TASK, cells

import stillroom.optimizers.sweep.queue as queue_module
from stillroom.errors import BadConfig
from stillroom.optimizers.storage import open_storage
from stillroom.optimizers.sweep import (
    Queue,
    cells_of,
    read_sweep_toml,
    work,
)
from stillroom.signatures import DataWarning


def open_queue(folder: Path, storage: str | None = None, **settings) -> Queue:
    return Queue(open_storage(storage, folder / "sweep.log"), "sweep", folder, **settings)


def run(queue: Queue, those, log: Path, latency: float = 0.0) -> int:
    """Be a worker with the scripted model."""
    return work(
        queue,
        those,
        engines=lambda name: sweep_world.engines(log, latency),
        runner=sweep_world.run_strategy,
        poll=0.03,
    )


def served(log: Path) -> list[str]:
    return [json.loads(line)["key"] for line in log.read_text().splitlines()] if log.exists() else []


def test_a_finished_sweep_runs_nothing_again(tmp_path: Path):
    """Results come from the queue, and a changed spec adds its new cells alone."""
    log, queue = tmp_path / "log", open_queue(tmp_path)
    queue.add(cells())
    assert run(queue, cells(), log) == 4
    assert {state.status for state in queue.states(cells()).values()} == {"done"}
    before = len(served(log))
    again = open_queue(tmp_path)
    again.add(cells())
    assert run(again, cells(), log) == 0
    assert len(served(log)) == before
    more = cells(seeds=[0, 1, 2])
    again.add(more, again=True, all_failed=True)
    assert run(again, more, log) == 2
    assert {state.status for state in again.states(more).values()} == {"done"}


def test_proving_later_searches_nothing_again(tmp_path: Path):
    """The cell is new, its folder is not: only the test split is asked."""
    log, queue = tmp_path / "log", open_queue(tmp_path)
    queue.add(cells(prove=False, seeds=[0], strategies=["steps"]))
    run(queue, cells(prove=False, seeds=[0], strategies=["steps"]), log)
    assert len(served(log)) == len(TASK.search)
    later = cells(seeds=[0], strategies=["steps"])
    queue.add(later)
    run(queue, later, log)
    assert len(served(log)) == len(TASK.search) + len(TASK.held_out)
    assert queue.states(later)[later[0].digest].result["test"] is not None


PROXY = """
import sys
from pathlib import Path
from optuna.storages import run_grpc_proxy_server
from stillroom.optimizers.storage import open_storage
run_grpc_proxy_server(open_storage(None, Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.mark.skipif(find_spec("grpc") is None, reason="the extra `grpc` is not installed")
def test_a_grpc_proxy_serves_a_queue(tmp_path: Path):
    """Cells are added and run through the proxy and recorded behind it; both in processes of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log, spec = tmp_path / "log", sweep_world.spec(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(sweep_world.__file__).parent), *sys.path])}
    command = [sys.executable, sweep_world.__file__, str(log), "0", "sweep", str(spec), "--folder", str(tmp_path)]
    command += ["--storage", f"grpc://127.0.0.1:{port}", "--json"]
    serving = [sys.executable, "-c", PROXY, str(tmp_path / "behind.log"), str(port)]
    with subprocess.Popen(serving, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        finally:
            server.kill()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["done"] == 4
    assert (tmp_path / "behind.log").stat().st_size > 0
    assert not (tmp_path / "sweep.log").exists()


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/sweep.db"])
def test_workers_share_a_queue_without_double_work(tmp_path: Path, storage: str | None):
    """Three workers that all add the cells at the same moment: every cell is recorded once, no call of a cell twice."""
    log, those = tmp_path / "log", cells()
    address = storage.format(tmp_path) if storage else None
    open_queue(tmp_path, address)
    counts, start = [], threading.Barrier(3)

    def worker() -> None:
        queue = open_queue(tmp_path, address)
        start.wait()
        queue.add(those)
        counts.append(run(queue, those, log, 0.002))

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 4
    assert set(sweep_world.recorded(tmp_path).values()) == {len(TASK.search) + len(TASK.held_out)}
    assert len(served(log)) == 4 * (len(TASK.search) + len(TASK.held_out))


def test_a_failed_cell_is_recorded_and_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An outage is tried again by the next invocation, a crash only when that is asked for."""
    log, queue = tmp_path / "log", open_queue(tmp_path)
    those = cells(strategies=["crash", "outage", "steps"], seeds=[0])
    queue.add(those)
    assert run(queue, those, log) == 3
    crash, outage, steps = (queue.states(those)[cell.digest] for cell in those)
    assert (crash.status, outage.status, steps.status) == ("failed", "failed", "done")
    assert crash.error["reason"] == "the peer divided by <b>zero</b>"
    assert (crash.error["again"], outage.error["again"]) == (False, True)
    assert "ZeroDivisionError" in (tmp_path / those[0].folder / "error.txt").read_text()
    queue.add(those)
    assert run(queue, those, log) == 0
    monkeypatch.setenv("SWEEP_UP", "1")
    queue.add(those, again=True)
    assert run(queue, those, log) == 1
    assert [queue.states(those)[cell.digest].status for cell in those] == ["failed", "done", "done"]
    assert not (tmp_path / those[1].folder / "error.txt").exists()
    queue.add(those, all_failed=True)
    assert run(queue, those, log) == 1


def test_a_killed_worker_leaves_its_cell_to_another(tmp_path: Path):
    """Kill -9 in the middle of a cell: on this machine it is seen at once, and no recorded call is made again."""
    log, spec = tmp_path / "log", sweep_world.spec(tmp_path)
    command = [sys.executable, sweep_world.__file__, str(log), "0", "sweep", str(spec), "--folder", str(tmp_path)]
    environment = {**os.environ, "SWEEP_KILL_AT": "60"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(sweep_world.__file__).parent), *sys.path])
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    those = cells_of(read_sweep_toml(spec), world_task)
    queue = Queue(open_storage(None, tmp_path / "sweep.log"), "stillroom sweep topics", tmp_path)
    states = [queue.states(those)[cell.digest].status for cell in those]
    assert sorted(states) == ["done", "running", "waiting", "waiting"]
    assert len(served(log)) == 59
    lost = 59 - recorded(tmp_path)  # the last milliseconds of a store may die with it
    assert 0 <= lost < 59 - len(TASK.search), "the cell that was done is on record"
    assert run(queue, those, log) == 3
    assert {state.status for state in queue.states(those).values()} == {"done"}
    assert len(served(log)) == 4 * (len(TASK.search) + len(TASK.held_out)) + lost


def recorded(folder: Path) -> int:
    """Calls that the runs below a folder have on record as finished."""
    found = 0
    for path in folder.rglob("run.db"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            found += database.execute("SELECT COUNT(*) FROM calls WHERE status = 'done'").fetchone()[0]
    return found


def world_task(path: Path):
    """The task of the child's task file."""
    from stillroom.cli.taskfile import read_task_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return read_task_file(path).task


def test_a_worker_far_away_is_dead_after_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Judged by beats and the watcher's own clock; what the dead one says later is not heard."""
    now = [0.0]
    those = cells(seeds=[0], strategies=["steps"])
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    storage = f"sqlite:///{tmp_path}/shared.db"
    far = open_queue(there, storage, beat=1000)
    near = open_queue(here, storage, lease=100, clock=lambda: now[0])
    far.add(those)
    monkeypatch.setattr(queue_module, "_machine", lambda: ("far", ""))
    with far.claim(those) as lost:
        monkeypatch.undo()
        for now[0] in (0.0, 99.0):
            with near.claim(those) as early:
                assert early is None
        now[0] = 101.0
        with near.claim(those) as taken:
            assert taken is not None
            assert taken.trial != lost.trial
            assert not far.finish(lost, {"search": 0.1}, 0.1)
            assert near.finish(taken, {"search": 0.9}, 0.9)
    assert near.states(those)[those[0].digest].result == {"search": 0.9}


def test_a_beat_keeps_a_far_worker_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """However long its cell takes."""
    now = [0.0]
    those = cells(seeds=[0], strategies=["steps"])
    far, near = open_queue(tmp_path / "a", None), open_queue(tmp_path / "a", None, lease=100, clock=lambda: now[0])
    far.add(those)
    monkeypatch.setattr(queue_module, "_machine", lambda: ("far", ""))
    with far.claim(those) as claim:
        monkeypatch.undo()
        trial = far._trial_id(claim.trial)
        for beat in range(5):
            far._storage.set_trial_user_attr(trial, "lease", {"machine": ["far", ""], "lock": None, "beat": beat})
            now[0] += 90
            assert not near._dead(near._storage.get_trial(trial), tmp_path)
        now[0] += 101
        assert near._dead(near._storage.get_trial(trial), tmp_path)


def test_a_cell_that_kills_its_workers_is_given_up(tmp_path: Path):
    """After three deaths it counts as failed, until the next invocation tries it again."""
    from optuna.trial import TrialState

    those, queue = cells(seeds=[0], strategies=["steps"]), open_queue(tmp_path)
    queue.add(those)
    for _ in range(3):
        with queue.claim(those) as claim:
            assert claim is not None
            queue._storage.set_trial_state_values(queue._trial_id(claim.trial), TrialState.FAIL)
    state = queue.states(those)[those[0].digest]
    assert (state.status, state.error["kind"]) == ("failed", "WorkerDied")
    queue.add(those, again=True)
    assert queue.states(those)[those[0].digest].status == "waiting"


def test_an_interrupted_cell_goes_back_to_the_queue(tmp_path: Path):
    """Ctrl-C is no death: it may happen any number of times."""
    those, queue = cells(seeds=[0], strategies=["steps"]), open_queue(tmp_path)
    queue.add(those)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt), queue.claim(those):
            raise KeyboardInterrupt
    assert queue.states(those)[those[0].digest].status == "waiting"


def test_half_a_line_of_a_killed_writer_breaks_nothing(tmp_path: Path):
    """The next writer cuts it off."""
    those, queue = cells(seeds=[0], strategies=["steps"]), open_queue(tmp_path)
    queue.add(those)
    with (tmp_path / "sweep.log").open("a") as file:
        file.write('{"op_code": 5, "wor')
    assert run(queue, those, tmp_path / "log") == 1
    assert open_queue(tmp_path).states(those)[those[0].digest].status == "done"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sweep.db", "a storage must be an address, got 'sweep.db'"),
        ("grpc://nowhere", "grpc://HOST:PORT"),
        ("grpc://localhost:13000", "needs the package grpcio"),
        ("nonsense://user:secret@host/db", "an address that SQLAlchemy knows, got nonsense://..."),
    ],
)
def test_a_bad_storage_is_refused(tmp_path: Path, address: str, said: str):
    """Without telling its password."""
    if "grpcio" in said and find_spec("grpc"):
        pytest.skip("grpcio is installed")
    with pytest.raises(BadConfig) as caught:
        open_storage(address, tmp_path / "sweep.log")
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
