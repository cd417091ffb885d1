"""`stillroom sweep`: what it lists, runs, stops and tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import sweep_world
from report_world import Page

from stillroom.cli.sweep_page import render_page
from stillroom.ledger import Budget
from stillroom.optimizers.sweep import Cell, Sweep, differences, read_sweep_toml, summary, table
from stillroom.optimizers.sweep.queue import State
from stillroom.signatures import DataWarning

NASTY = "<script>alert(1)</script>\u202e$x$"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """The scripted model and strategies in this process."""
    import types

    import stillroom.engines

    module = types.ModuleType("stillroom.optimizers.strategies")
    module.STRATEGIES, module.run_strategy = sweep_world.STRATEGIES, sweep_world.run_strategy
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: sweep_world.engine(log))


def test_the_example_can_be_run():
    """Its tasks are there."""
    found = read_sweep_toml(Path(__file__).parents[2] / "examples" / "sweep.toml")
    assert all(Path(str(task)).is_file() for task in found.tasks)
    assert found.options["stillroom"]["trials"] == 12


@pytest.mark.usefixtures("here")
def test_a_dry_run_lists_the_cells_and_touches_nothing(cli, tmp_path: Path, calls):
    """Each with its worst case."""
    spec = sweep_world.spec(tmp_path)
    told = cli("sweep", spec, "--dry-run", "--json")
    assert told.code == 0, told.err
    assert [(cell["strategy"], cell["seed"]) for cell in told.json["cells"]] == [
        ("baseline", 0),
        ("steps", 0),
        ("baseline", 1),
        ("steps", 1),
    ]
    assert told.json["worst_calls"] == sum(cell["worst_calls"] for cell in told.json["cells"])
    assert "at most" in cli("sweep", spec, "--dry-run").out
    assert calls() == []
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.usefixtures("here")
def test_a_sweep_runs_tells_and_runs_no_more(cli, tmp_path: Path, calls):
    """A failed cell gives exit code 6 and its reason; the others are in the table; the second run makes no call."""
    spec = sweep_world.spec(tmp_path, strategies='["baseline", "steps", "crash"]', seeds="[0]")
    told = cli("sweep", spec, "--json")
    assert told.code == 6, told.err
    value = told.json
    assert (value["done"], value["failed"]) == (2, 1)
    assert value["failures"][0]["reason"] == "the peer divided by <b>zero</b>"
    assert [row["strategy"] for row in value["differences"]] == ["steps", "steps"]
    page = (tmp_path / value["page"]).read_text(encoding="utf-8")
    assert "divided by &lt;b&gt;zero" in page
    assert "<b>zero" not in page
    made = len(calls())
    assert made
    again = cli("sweep", spec)
    assert (again.code, len(calls())) == (6, made)
    assert "failed: topics, local/world, crash, 200 calls, seed 0: ZeroDivisionError" in again.out


@pytest.mark.usefixtures("here")
def test_a_python_spec_and_bad_specs(cli, tmp_path: Path):
    """SPEC.py defines `sweep`; what is no spec is told so, with exit code 2."""
    sweep_world.spec(tmp_path)
    path = tmp_path / "spec.py"
    path.write_text(
        "from topics import task\nfrom stillroom import Budget\nfrom stillroom.optimizers.sweep import Sweep\n"
        "sweep = Sweep(name='py', tasks=[task], models=['local/world'], strategies=['steps'], budgets=[Budget(calls=5)])\n"
    )
    assert len(cli("sweep", path, "--dry-run", "--json").json["cells"]) == 1
    path.write_text("sweep = 3\n")
    (tmp_path / "spec.txt").touch()
    unknown = sweep_world.spec(tmp_path, strategies='["nonsense"]').rename(tmp_path / "unknown.toml")
    good = sweep_world.spec(tmp_path)
    for words, said in (
        (("missing.toml",), "a sweep must be a file, got 'missing.toml'"),
        ((tmp_path / "spec.txt",), "must end in .toml or .py"),
        ((path,), "must define `sweep` as a Sweep, got int"),
        ((unknown,), "a strategy must be known, got 'nonsense'"),
        ((good, "--workers", 0), "workers must be at least 1, got 0"),
        ((good, "--worker", "--workers", 2), "one of --worker and --workers"),
        ((good, "--storage", "x"), "a storage must be an address, got 'x'"),
    ):
        told = cli("sweep", *words)
        assert told.code == 2
        assert said in told.errors[0]


def test_two_processes_are_stopped_by_ctrl_c_and_the_rest_goes_on(here, cli, tmp_path: Path, log: Path, calls):
    """Exit code 130; what was answered is on record, so that both sessions together make each call of a cell once."""
    spec = sweep_world.spec(tmp_path)
    command = [sys.executable, sweep_world.__file__, str(log), "0.05", "sweep", str(spec), "--workers", "2"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(sweep_world.__file__).parent), *sys.path]),
    }
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    while len(calls()) < 20 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    stopped = len(calls())
    assert stopped == sum(sweep_world.recorded(tmp_path / "sweeps" / "topics").values())
    told = cli("sweep", spec, "--json")
    assert told.code == 0, told.err
    assert told.json["done"] == 4
    assert len(calls()) == sum(sweep_world.recorded(tmp_path / "sweeps" / "topics").values())


def test_the_page_shows_every_text_and_obeys_none():
    """Names of tasks, models and strategies, and errors, are text; plots are parsed SVG."""
    from dataclasses import replace as changed

    import scripted_world as world

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        task = changed(world.task(60), name=NASTY)
    sweep = Sweep("s", [task], [f"local/{NASTY}"], ["baseline", NASTY], [Budget(calls=9)])
    cells = [Cell(task, sweep.models[0], name, sweep.budgets[0], 0) for name in sweep.strategies]
    numbers = {
        "baseline": 0.5,
        "test": 0.4,
        "low": 0.3,
        "high": 0.5,
        "calls": 9,
        "tokens": 9,
        "usd": 0.0,
        "seconds": 1.0,
    }
    result = {**numbers, "search": 0.6, "ended": f"crashed: {NASTY}", "trajectory": [[1, 0.2], [5, 0.6]]}
    states = {cells[0].digest: State("done", result=result), cells[1].digest: State("done", result=result)}
    frame = table(cells, states)
    text = render_page(sweep, cells, states, (frame, summary(frame), differences(frame)))
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 6
    page = Page(text)
    assert len(page.tables["All cells"]) == 3
    assert len(page.tables["Strategy minus baseline, paired"]) == 3
    assert json.dumps(text)  # no lone surrogates


def test_a_page_without_results_is_a_page():
    """Nothing done, nothing drawn."""
    import scripted_world as world

    sweep = Sweep("s", [world.task(60)], ["local/x"], ["baseline"], [Budget(calls=9)])
    cells = [Cell(sweep.tasks[0], "local/x", "baseline", sweep.budgets[0], 0)]
    states = {cells[0].digest: State("waiting")}
    frame = table(cells, states)
    text = render_page(sweep, cells, states, (frame, summary(frame), differences(frame)))
    assert "No cell is done yet." in text
    assert "<svg" not in text
