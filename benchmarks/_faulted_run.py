"""The world of one fault: an endpoint, rows, runs that are begun and ended, and what came of them in figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from ._answered import Settings
from ._faulty_mock import ANSWERED, REFUSAL, ROOT, Endpoint, endpoint

__all__ = ["ROWS", "WINDOW", "Found", "Told", "World", "world"]

ROWS = 300
WINDOW = 0.2
"""Seconds. An answer that left the endpoint less than so long before a run was ended counts as in flight: the writer
commits at most 0.02 s after it hears of an answer, and the rest is for it to hear of it on a busy machine."""
LATE = (
    0.3  # seconds by which the endpoint may note a request of a process that is dead; another one takes longer to begin
)
PATIENCE = 180.0  # seconds until a child that does not end is given up

Told = Mapping[str, Any]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What a fault has cost.

    Attributes:
        rows_lost: Rows that are accepted where nothing goes wrong, and are missing here.
        paid_twice: Requests sent once more although their answer had left the endpoint at least `WINDOW` before
            the run was ended, or although the run was never ended.
        stale_rows: Accepted rows that were made by another program or model, or from another input.
        bad_rows_kept: Accepted rows that are empty, cut off or a refusal.
        finished: Whether it came to its end, after the mend that it asked for where it asked for one.
        resent_in_flight: Requests that were under way or just answered when the run was ended, and were sent again.
        oldest_resent_s: How long before that end the oldest of their answers had left the endpoint.
        requests: In all.
        seconds: In all.
        note: What else was seen.
    """

    rows_lost: int
    paid_twice: int
    stale_rows: int
    bad_rows_kept: int
    finished: bool
    resent_in_flight: int
    oldest_resent_s: float
    requests: int
    seconds: float
    note: str = ""


@dataclass
class World:
    """Where one fault happens."""

    folder: Path
    endpoint: Endpoint
    began: float = field(default_factory=time.monotonic)
    ends: list[float] = field(default_factory=list)

    def settings(self, numbers: Iterable[int] = range(ROWS), **changes: Any) -> Settings:
        """A run of the rows of these numbers."""
        rows = self.folder / "rows.jsonl"
        rows.write_text("".join(f"{json.dumps(row)}\n" for row in _rows(numbers)), encoding="utf-8")
        return Settings(self.endpoint.url, str(rows), str(self.folder / "run"), **changes)

    def begin(self, settings: Settings) -> subprocess.Popen[str]:
        """Run in a child process."""
        command = [sys.executable, "-m", "benchmarks._answered", json.dumps(asdict(settings))]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=ROOT
        )

    def end(self, child: subprocess.Popen[str]) -> Told:
        """Wait until it ends by itself."""
        try:
            said, complaints = child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill(child)
            return {"error": "Hangs", "said": f"no end within {PATIENCE:g} s"}
        try:
            return dict(json.loads(said))
        except ValueError:
            last = (complaints.strip().splitlines() or ["nothing"])[-1]
            return {"error": "Crash", "said": last}

    def answer(self, settings: Settings) -> Told:
        """Run to the end."""
        return self.end(self.begin(settings))

    def kill(self, child: subprocess.Popen[str]) -> None:
        """`kill -9`."""
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        self.ends.append(time.monotonic())

    def wait(self, child: subprocess.Popen[str], more: int) -> None:
        """Until so many more requests are answered, or the child has ended."""
        goal = self.endpoint.answered() + more
        while self.endpoint.answered() < goal and child.poll() is None:
            time.sleep(0.005)

    def asked(self) -> int:
        """Requests so far."""
        return sum(line.what == "asked" for line in self.endpoint.lines())

    def found(self, settings: Settings, told: Told, note: str = "", *, finished: bool = True) -> Found:
        """Judge what lies in the run's folder."""
        wanted = _expected(
            Path(settings.rows).read_text(encoding="utf-8"),
            kind=settings.kind,
            model=settings.model,
            instruction=settings.instruction,
            temperature=settings.temperature,
        )
        got = {row["id"]: row for row in written(Path(settings.run) / "rows.jsonl")}
        wrong = [key for key, row in got.items() if row != wanted.get(key)]
        bad = sum(_bad(got[key], wanted.get(key)) for key in wrong)
        twice, in_flight, oldest = self._again()
        ended = finished and told.get("accepted") == len(wanted) and not told["short"]
        if "error" in told:
            note = f"{note} {told['error']}: {told['said']}".strip()
        lost, seconds = len(wanted.keys() - got.keys()), round(time.monotonic() - self.began, 1)
        return Found(lost, twice, len(wrong) - bad, bad, ended, in_flight, oldest, self.asked(), seconds, note)

    def _again(self) -> tuple[int, int, float]:
        """Requests sent again: those that need not have been, those in flight at an end, and the oldest answer of these."""
        last: dict[str, tuple[float, float | None]] = {}  # when a request was sent, and when it was answered
        twice = in_flight = 0
        oldest = 0.0
        for at, key, what in self.endpoint.lines():
            if what == "asked":
                sent, answered = last.get(key, (inf, None))
                ended = next((end for end in self.ends if sent <= end + LATE and end < at), None)
                if answered is not None and (ended is None or ended - answered >= WINDOW):
                    twice += 1
                elif ended is not None:
                    in_flight += 1
                    oldest = max(oldest, ended - answered if answered is not None else 0.0)
                last[key] = (at, None)
            elif what in ANSWERED:
                last[key] = (last[key][0], at)
            else:
                last.pop(key, None)  # it failed, and may be tried again
        return twice, in_flight, round(oldest, 3)


@contextmanager
def world(**faults: Any) -> Iterator[World]:
    """A world with an endpoint that misbehaves like this."""
    with tempfile.TemporaryDirectory() as folder, endpoint(Path(folder) / "log", **faults) as served:
        yield World(Path(folder), served)


def written(path: Path) -> list[Row]:
    """The rows of a file, without their papers; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [{name: value for name, value in row.items() if name != "meta"} for row in rows]


def _rows(numbers: Iterable[int]) -> list[Row]:
    return [{"id": at, "topic": f"topic {number:04}"} for at, number in enumerate(numbers)]


@cache
def _expected(rows: str, **program: Any) -> Mapping[int, Row]:
    """What the rows become where nothing goes wrong."""
    with world() as calm:
        settings = replace(calm.settings([]), **program)
        Path(settings.rows).write_text(rows, encoding="utf-8")
        told = calm.answer(settings)
        if told.get("accepted") != rows.count("\n"):
            raise RuntimeError(f"a run without faults must accept every row, got {told}")
        return {row["id"]: row for row in written(Path(settings.run) / "rows.jsonl")}


def _bad(row: Row, wanted: Row | None) -> bool:
    """Whether a row that is not what it should be is no answer at all, and not the answer to something else."""
    text = row.get("message")
    if not isinstance(text, str) or text in ("", REFUSAL) or text.lstrip().startswith("<"):
        return True
    return wanted is not None and str(wanted["message"]).startswith(text.rstrip(". "))
