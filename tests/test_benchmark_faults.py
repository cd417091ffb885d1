"""The benchmark of faults counts what it says it counts, and the cheapest faults cost nothing."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, as `python -m` would find it."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.faults")


def test_requests_sent_again_are_told_apart(faults: ModuleType, tmp_path: Path):
    """Those whose answer was there, those in flight when the run was ended, and tries of what failed."""
    log = [
        (9.0, "answered long before", "asked"),
        (9.5, "answered long before", "good"),
        (9.0, "answered just before", "asked"),
        (9.9, "answered just before", "cut off"),
        (9.9, "never answered", "asked"),
        (11.0, "answered long before", "asked"),
        (11.0, "answered just before", "asked"),
        (11.0, "never answered", "asked"),
        (11.0, "failed", "asked"),
        (11.1, "failed", "error"),
        (11.2, "failed", "asked"),
        (12.0, "asked twice for nothing", "asked"),
        (12.1, "asked twice for nothing", "good"),
        (12.2, "asked twice for nothing", "asked"),
    ]
    path = tmp_path / "log"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in log))
    world = faults.World(tmp_path, importlib.import_module("benchmarks._faulty_mock").Endpoint(path), ends=[10.0])
    assert world._again() == (2, 2, 0.1)


@pytest.mark.parametrize("name", ["5% of JSON cut in half", "another model after a kill"])
def test_a_fault_costs_nothing(faults: ModuleType, name: str):
    """In rows, in calls, in rows that are stale or bad; and the run ends. The fault did happen."""
    happen, settings = faults.FAULTS[name]
    with faults.world(**settings) as at:
        found = happen(at)
        seen = {line.what for line in at.endpoint.lines()}
    assert seen & {"malformed", "other"}
    assert (found.rows_lost, found.paid_twice, found.stale_rows, found.bad_rows_kept) == (0, 0, 0, 0)
    assert found.finished, found
