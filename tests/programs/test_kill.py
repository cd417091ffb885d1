"""kill -9 at any point: nothing finished is done again, and the end is the same to the byte."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.engines.files import find
from stillroom.errors import ModelMissing

CHILD = Path(__file__).parents[1] / "killed_run.py"


def session(run: Path, log: Path, *model: str, phase: str = "", kill_at: int = 0) -> subprocess.CompletedProcess:
    """One session of the job; it gets SIGKILL in the middle of serving call number `kill_at`."""
    environment = {**os.environ, "PYTHONPATH": str(CHILD.parent), "KILL_IN": phase, "KILL_AT": str(kill_at)}
    command = [sys.executable, str(CHILD), str(run), str(log), *model]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8").split() if log.exists() else []


def recorded(run: Path) -> set[str]:
    """Keys of the calls that the run has on record as finished."""
    with sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True) as database:
        return {key for (key,) in database.execute("SELECT key FROM calls WHERE status = 'done'")}


def finish(run: Path, log: Path, *model: str) -> list[str]:
    """Let the job end; the keys it served."""
    ended = session(run, log, *model)
    assert ended.returncode == 0, ended.stderr
    return lines(log)


def kill_and_go_on(tmp_path: Path, points: list[tuple[str, int]], *model: str) -> Path:
    """Kill the job at each (phase, calls served in it), then let it end; no session may serve a finished call."""
    run = tmp_path / "killed"
    done: set[str] = set()
    for number, (phase, point) in enumerate(points):
        log = tmp_path / f"log-{number}"
        ended = session(run, log, *model, phase=phase, kill_at=point)
        assert ended.returncode == -signal.SIGKILL, f"the job was not killed in {phase}: {ended.stderr}"
        assert not done & set(lines(log)), "a finished call was made again"
        done = recorded(run)
        assert done, "nothing was recorded before the kill"
    last = finish(run, tmp_path / "log-last", *model)
    assert not done & set(last), "a finished call was made again"
    return run


@pytest.mark.parametrize(("phase", "least", "most"), [("compile", 20, 60), ("emit", 4, 8)])
def test_killed_at_five_random_points(tmp_path: Path, phase: str, least: int, most: int):
    """With the scripted engine, in compile and in emit: zero repeated calls, the same plan, the same rows."""
    whole = tmp_path / "whole"
    finish(whole, tmp_path / "log-whole")
    rng = random.Random(11)
    killed = kill_and_go_on(tmp_path, [(phase, rng.randint(least, most)) for _ in range(5)])
    for name in ("plan.json", "baseline.json", "rows.jsonl", "rejects.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.model
def test_the_local_engine_repeats_no_finished_call(tmp_path: Path):
    """With a real model, five kills in compile and five in emit: what was answered is not asked again."""
    try:
        find("smollm2-135m")
    except ModelMissing as error:
        pytest.skip(f"no local model: {error}")
    rng = random.Random(11)
    points = [("compile", rng.randint(5, 12)) for _ in range(5)] + [("emit", 3)] * 5
    kill_and_go_on(tmp_path, points, "smollm2-135m")
