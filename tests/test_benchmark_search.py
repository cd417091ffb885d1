"""The search benchmark: rows are what they should be, cells resume, goals follow from cells."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripted_world as world

from stillroom.engines import ScriptedEngine

ROOT = Path(__file__).parents[1]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, as `python -m` would find it."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.search")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with one of the sets, filled from the scripted world."""
    folder = tmp_path / "data" / "news_aggregator"
    folder.mkdir(parents=True)
    labels = dict(zip(world.WORDS, ("business", "entertainment", "health"), strict=True))
    rows = [{"text": row["message"], "label": labels[row["topic"]]} for row in world.rows(120)]
    for split, part in (("train", rows[:40]), ("dev", rows[40:60]), ("test", rows[60:100])):
        lines = [json.dumps(row) for row in part]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.parent


def editor(request: Any) -> str:
    """Sort headlines by one word; as a prompt model, say something for every field."""
    last, system = request.messages[-1].text or "", str(request.system)
    if "`section`" not in system and "section" not in system:
        return "[[ ## proposed_instruction ## ]]\nSort.\n[[ ## observations ## ]]\nNews.\n[[ ## summary ## ]]\nNews.\n[[ ## program_description ## ]]\nSorts.\n[[ ## module_description ## ]]\nSorts."
    said = "business" if "invoice" in last or "refund" in last else "health"
    return json.dumps({"section": said}) if "JSON" in system else f"[[ ## section ## ]]\n{said}"


def test_rows_are_balanced_disjoint_and_of_the_sizes_asked_for(search: ModuleType, data: Path):
    """Demos from train, search from dev filled up from train, test from test."""
    task = search.load("news", data, {"demos": 24, "search": 26, "test": 30})
    assert {split: len(rows) for split, rows in task.splits.items()} == {"demos": 24, "search": 26, "test": 30}
    counts = [sum(row.outputs["section"] == label for row in task.demos) for label in ("business", "health")]
    assert counts == [8, 8]
    ids = [row.id for rows in task.splits.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_a_finished_cell_is_stored_with_its_command_and_not_run_again(search: ModuleType, data: Path, tmp_path: Path):
    """A second invocation asks the model nothing, and an absent set is skipped aloud."""
    sizes = {"demos": 24, "search": 20, "test": 30}
    bench = search.Bench("local/scripted", None, 60, 0, sizes, data, tmp_path / "out", tmp_path / "runs")
    engine = ScriptedEngine(editor, name="editor")
    search.run_all(bench, ["news", "gsm8k"], ["baseline", "random-search"], engine=engine)
    served = engine.served
    search.run_all(bench, ["news", "gsm8k"], ["baseline", "random-search"], engine=engine)
    assert engine.served == served
    found = search.cells(tmp_path / "out" / bench.slug)
    assert [(cell["task"], cell["strategy"]) for cell in found] == [("news", "baseline"), ("news", "random-search")]
    peer = found[1]
    assert peer["calls"] == 60
    assert peer["ended"] == "budget"
    assert peer["command"].startswith("python -m benchmarks.search --json --tasks news --strategies random-search")
    assert len(search.unpacked(peer["scores"])) == 30
    assert sum(search.unpacked(peer["scores"])) / 30 == pytest.approx(peer["test"]["score"], abs=1e-4)


def test_an_absent_set_is_skipped_aloud(search: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Not a crash, and not silence."""
    bench = search.Bench("local/none", None, 60, 0, search.SIZES, tmp_path, tmp_path / "out", tmp_path / "runs")
    search.run_all(bench, ["gsm8k"], ["baseline"])
    assert "SKIPPED gsm8k" in capsys.readouterr().err


def cell(task: str, strategy: str, score: float, **more: Any) -> dict[str, Any]:
    """A stored cell with the fields that the goals are computed from."""
    test = {"score": score, "low": 0, "high": 1, "start": 0.5, "gain": score - 0.5, "p": 0.01}
    spent = {"calls": 600, "tokens_in": 1, "tokens_out": 1, "seconds": 1.0, "budget": 600, "ended": "finished"}
    return {
        "task": task, "strategy": strategy, "seed": 0, "test": test, "search": 0.8, "trajectory": [], **spent, **more
    }  # fmt: skip


def test_goals_follow_from_the_cells(search: ModuleType):
    """The median counts what was not reached as infinite; a tie with a peer is no loss."""
    found = []
    for number in range(8):
        found.append(cell(f"t{number}", "miprov2", 0.7, budget=None))
        found.append(cell(f"t{number}", "gepa", 0.9 if number == 0 else 0.6))
        path = [[50, 0.5], [120, 0.8]] if number < 5 else [[50, 0.5]]
        found.append(cell(f"t{number}", "stillroom", 0.4 if number == 1 else 0.7, trajectory=path))
    figures, goals = search.summary(found)
    assert figures["ratio"]["t0.0"] == 0.2
    assert figures["ratio"]["t7.0"] is None
    assert figures["ratio_median"] == 0.2
    assert figures["at_least_all_peers"] == 6
    assert figures["at_least_peer"] == {"gepa": "6 of 8", "miprov2": "7 of 8"}
    assert figures["significantly_below_baseline"] == ["t1.0"]
    assert [goal.met for goal in goals] == [True, True, False]


def test_too_few_tasks_meet_no_goal(search: ModuleType):
    """Nothing is claimed from one task, or from none."""
    few = [cell("t0", "miprov2", 0.7, budget=None), cell("t0", "stillroom", 0.7)]
    assert search.summary([])[1][0].value is None
    assert [goal.value for goal in search.summary(few)[1]] == [None, None, None]


def test_a_crash_of_miprov2_sets_no_budget_and_no_ratio(search: ModuleType):
    """The others get what its eleven full evaluations would have taken, and the crash is named."""
    crash = cell("t0", "miprov2", 0.5, calls=28, ended="crashed: AdapterParseError: no", sizes={"search": 50})
    assert search.natural(crash) == 550
    figures, _ = search.summary([crash, cell("t0", "stillroom", 0.7)])
    assert figures["ratio"] == {}
    assert figures["crashed"] == {"t0.miprov2.0": "crashed: AdapterParseError: no"}
