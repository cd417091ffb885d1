"""Recording in batches: what kill -9 and a full disk may cost, and what they may not."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from stillroom.store import Store

CHILD = Path(__file__).parents[1] / "recorded_run.py"
AT_ONCE, MOST = 32, 64  # as in the child: calls under way, records that may wait
WINDOW = 2 * MOST + AT_ONCE  # a batch on its way to the disk, one that fills meanwhile, and what is under way


def start(run: Path, log: Path, count: int, *options: str) -> subprocess.Popen:
    command = [sys.executable, str(CHILD), str(run), str(log), str(count), *options]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(CHILD.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(run: Path, log: Path, count: int, *options: str) -> tuple[int, str, list[str]]:
    """Let a child end by itself: exit code, what it said, the keys it answered."""
    with start(run, log, count, *options) as child:
        said, _ = child.communicate(timeout=120)
    return child.returncode, said, answered(log)


def answered(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def asked(run: Path, query: str) -> list[str]:
    with closing(sqlite3.connect(run / "run.db")) as database:
        return [value for (value,) in database.execute(query)]


def done(run: Path) -> set[str]:
    return set(asked(run, "SELECT key FROM calls WHERE status = 'done'"))


@pytest.mark.parametrize("options", [[], ["--charged"]], ids=["free", "charged"])
def test_a_kill_costs_at_most_the_window(tmp_path: Path, options: list[str]):
    """Killed five times between and in the middle of commits: what was recorded is never asked again, little else is."""
    run, count, rng = tmp_path / "run", 1500, random.Random(7)
    recorded: set[str] = set()
    total, repeated = 0, 0
    for number in range(5):
        log = tmp_path / f"log-{number}"
        goal = rng.randint(100, 250)
        with start(run, log, count, *options) as child:
            while len(answered(log)) < goal and child.poll() is None:
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL, "the child ended before it was killed"
        served = answered(log)
        assert len(set(served)) == len(served)
        assert not recorded & set(served), "a recorded call was made again"
        recorded = done(run)
        assert len(set(served) - recorded) <= WINDOW
        assert set(asked(run, "SELECT json_extract(row, '$.values.key') FROM rows")) <= recorded
        total, repeated = total + len(served), repeated + len(set(served) - recorded)
    code, said, served = finish(run, tmp_path / "log-last", count, *options)
    assert code == 0, said
    assert not recorded & set(served)
    assert total + len(served) == count + repeated
    with Store(run) as store:
        counts = store.call_counts()
        assert (counts["done"], counts["twice"], store.row_totals("r")) == (count, 0, {"accepted": count})
        assert ("lost" in counts) == bool(options), "only an endpoint that may charge for them leaves lost calls"
        assert counts.get("lost", 0) <= 5 * AT_ONCE + repeated


def limited() -> bool:
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    except (OSError, ValueError):
        return False
    return True


@pytest.mark.skipif(not limited(), reason="no limit on the size of files can be set here")
def test_a_full_disk_stops_the_spending(tmp_path: Path):
    """The error says what to do; what was recorded before is not paid for again once there is room."""
    run = tmp_path / "run"
    code, said, first = finish(run, tmp_path / "log-1", 1500, "--room", "1000000")
    assert code == 3, said
    assert "what is paid for must be recorded" in said
    assert "Nothing more is spent." in said
    recorded = done(run)
    assert 50 < len(recorded) <= len(first) < 1500
    assert len(set(first) - recorded) <= WINDOW
    code, said, second = finish(run, tmp_path / "log-2", 1500)
    assert code == 0, said
    assert not recorded & set(second)
    assert len(done(run)) == 1500


@pytest.mark.skipif(not limited(), reason="no limit on the size of files can be set here")
def test_room_that_comes_back_is_used(tmp_path: Path):
    """What waited in memory is written: nothing at all is asked twice."""
    run = tmp_path / "run"
    code, said, served = finish(run, tmp_path / "log", 1500, "--room", "1000000", "--mend")
    assert code == 0, said
    assert "what is paid for must be recorded" in said
    assert sorted(served) == sorted(done(run))
    assert len(served) == 1500
