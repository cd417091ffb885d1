"""Response tables hold what they say, and the race that is kept needs fewer calls on them than its rivals."""

from __future__ import annotations

import argparse
import importlib
import json
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import stillroom.engines
from stillroom.engines import ScriptedEngine

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "benchmarks" / "tables").glob("*.npz"))


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, as `python -m` would find it."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.tables")


@pytest.fixture
def racing(tables: ModuleType) -> ModuleType:
    """The replay."""
    return importlib.import_module("benchmarks.racing")


def test_tables_are_published():
    """Real responses, small enough to clone."""
    assert len(SHIPPED) >= 4
    for path in SHIPPED:
        assert path.stat().st_size + path.with_suffix(".json").stat().st_size < 300_000


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_table_is_what_it_says(tables: ModuleType, path: Path):
    """Every candidate on every row, the baseline first, half of the rows held out and none in both halves."""
    table = tables.load(path)
    assert table.name == path.stem
    assert table.scores.min() >= 0
    assert table.scores.max() <= 1
    assert len({json.dumps(each) for each in table.candidates}) == len(table.candidates)
    baseline = table.candidates[0]
    assert (baseline["instruction"], baseline["demos"], baseline["format"]) == (0, [], "json")
    assert len(set(table.meta["rows"])) == table.scores.shape[1] == len(table.meta["gold"])
    assert table.search.shape[1] + table.test.shape[1] == table.scores.shape[1]
    assert abs(table.search.shape[1] - table.test.shape[1]) <= 1
    assert not {demo for each in table.candidates for demo in each["demos"]} & set(table.meta["rows"])
    assert (table.cost > 0).all()
    assert table.cost[0] < table.cost.max()
    assert table.meta["command"].startswith("python -m benchmarks.tables make --task")
    assert len({tuple(row) for row in table.scores.tolist()}) > len(table.candidates) / 2


def test_a_table_survives_writing_and_reading(tables: ModuleType, tmp_path: Path):
    """Thirds and eighths come back as they went; a score that the file cannot hold is refused."""
    first = tables.load(SHIPPED[0])
    scores = np.tile([0, 1 / 3, 3 / 8, 1], (len(first.candidates), len(first.meta["rows"]) // 4))
    table = tables.Table("copy", scores, first.cost, first.held_out, first.candidates, first.meta)
    back = tables.load(tables.save(table, tmp_path / "copy.npz"))
    assert np.array_equal(back.scores, scores)
    assert back.meta == first.meta
    with pytest.raises(ValueError, match="multiples"):
        tables.save(
            tables.Table("copy", scores / 7, first.cost, first.held_out, first.candidates, first.meta),
            tmp_path / "copy.npz",
        )


def test_making_a_table_again_asks_nothing_again(tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run folder that holds the calls gives the same table for nothing."""
    folder = tmp_path / "data" / "subj"
    folder.mkdir(parents=True)
    for split, count in (("train", 70), ("dev", 20), ("test", 20)):
        rows = [{"text": f"{split} sentence {i}", "label": ["subjective", "objective"][i % 2]} for i in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    asked: list[str] = []

    def answer(request: object) -> str:
        asked.append("")
        label = ["subjective", "objective"][len(str(request)) % 2]
        return json.dumps({"label": label})

    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec: ScriptedEngine(answer, name="table"))
    options = argparse.Namespace(
        task="subj",
        model="scripted",
        candidates=6,
        rows=32,
        seed=0,
        data=tmp_path / "data",
        run=tmp_path / "run",
        out=tmp_path / "t.npz",
    )
    first = tables.make(options)
    calls = len(asked)
    second = tables.make(options)
    assert first.scores.shape == (6, 32)
    assert 0 < calls <= 6 * 32
    assert len(asked) == calls
    assert np.array_equal(first.scores, second.scores)
    assert first.candidates == second.candidates


def test_the_race_that_is_kept_is_cheaper_than_its_rivals(tables: ModuleType, racing: ModuleType):
    """On the published tables: MIPROv2's final search score for well under its calls, and no worse held out."""
    kept, peer, plain = racing.RACE, racing.MIPRO, racing.FULL
    names = (kept, peer, plain)
    wide = [table for table in map(tables.load, SHIPPED) if len(table.candidates) >= 24]
    found = {table.name: racing.compare(table, names, range(12)) for table in wide}
    rows = racing.summary(found, names)
    assert rows[kept]["of_light"] <= 0.5
    assert rows[kept]["of_light"] < 0.8 * rows[peer]["of_light"]
    assert rows[kept]["test_400"] >= rows[peer]["test_400"] + 0.01
    assert rows[kept]["test_400"] >= rows[plain]["test_400"] + 0.01
    assert rows[kept]["calls_near"] < rows[peer]["calls_near"]


def test_a_replay_is_a_function_of_its_seed(tables: ModuleType, racing: ModuleType):
    """Same table, strategy and seed: the same crowns after the same calls; and no cell is paid for twice."""
    table = tables.load(SHIPPED[0])
    first, again, other = (racing.replay(table, racing.STRATEGIES[racing.RACE], seed) for seed in (1, 1, 2))
    assert first.crowned == again.crowned
    assert first.crowned != other.crowned
    assert first.calls == first.seen.sum() <= first.scores.size


def test_easy_rows_do_not_flatter(tables: ModuleType):
    """Of two candidates with the same mean, the one that saw the harder rows is the better one."""
    adjusted_means = importlib.import_module("benchmarks._world").adjusted_means
    others = [{row: float(row < 4) for row in range(8)} for _ in range(6)]
    means, counts = adjusted_means([*others, {0: 1.0, 4: 0.0}, {4: 1.0, 5: 0.0}, {}])
    assert counts == [8] * 6 + [2, 2, 0]
    assert means[7] > means[6]
    assert means[8] == pytest.approx(sum(sum(each.values()) for each in others) / 48, abs=0.05)


def test_candidates_borrow_from_those_with_the_same_features(tables: ModuleType):
    """An untried candidate is expected to do as those that share its demos; the more was seen, the surer."""
    expected_means = importlib.import_module("benchmarks._world").expected_means
    features = [{"demos": demos, "format": form} for demos in ("none", "good") for form in ("json", "chat", "tags")]
    mean, sd = expected_means(features, [0.3, 0.32, 0.0, 0.7, 0.72, 0.0], [40, 40, 0, 40, 5, 0])
    assert mean[5] > mean[2] + 0.1
    assert mean[3] == pytest.approx(0.7, abs=0.08)
    assert sd[3] < sd[4] < sd[5]
    assert expected_means(features, [0.0] * 6, [0] * 6)[0] == [0.5] * 6


def test_rows_that_tell_candidates_apart_come_first(racing: ModuleType):
    """A row that only good candidates get right, before rows that all or none get right."""
    scores = [[1, 1, 0, 1, 0], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]]
    order = importlib.import_module("benchmarks._strategies").informative_order(scores, random.Random(0))
    assert sorted(order) == list(range(5))
    assert set(order[:2]) == {1, 3}
