"""Tables: every value comes back, whatever stands beside it in its column and in whichever chunk."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from stillroom.programs import table


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(table, "CHUNK", 3)


def written(tmp_path: Path, rows: list) -> list:
    table.write_table(tmp_path / "rows.parquet", lambda: iter(rows))
    return parquet.read_table(tmp_path / "rows.parquet").to_pylist()


def test_rows_come_back(tmp_path: Path):
    """Texts, numbers, lists, mappings, missing values; the columns in the order they are met."""
    rows = [
        {"text": f"row {n}", "n": n, "tags": ["a"] * (n % 3), "who": {"name": "x", "age": n}, "maybe": None}
        for n in range(10)
    ]
    assert written(tmp_path, rows) == rows
    assert list(pd.read_parquet(tmp_path / "rows.parquet").columns) == ["text", "n", "tags", "who", "maybe"]


def test_types_are_joined_over_chunks(tmp_path: Path):
    """What is known late holds for the whole column."""
    rows = [{"x": None}, {"x": None}, {"x": None}, {"x": 1}, {"x": 2}, {"x": 3}, {"x": 2.5}, {"late": "here", "x": 1}]
    found = written(tmp_path, rows)
    assert [row["x"] for row in found] == [None, None, None, 1.0, 2.0, 3.0, 2.5, 1.0]
    assert [row["late"] for row in found] == [None] * 7 + ["here"]


@pytest.mark.parametrize(
    "values", [["a", 1, None, 2.5], [1, 2, 3, 4, "a"], [[1], "a"], [{"a": 1}, [2]], [2**70, 1], [True, "no"]]
)
def test_what_has_no_type_in_common_is_json_text(tmp_path: Path, values: list):
    """No row is lost or refused for it."""
    found = [row["x"] for row in written(tmp_path, [{"x": value} for value in values])]
    assert [json.loads(text) for text in found] == values


def test_no_rows_are_an_empty_table(tmp_path: Path):
    """And a file all the same."""
    assert written(tmp_path, []) == []


def test_a_failure_leaves_what_was_there(tmp_path: Path):
    """The file is whole or not there."""
    written(tmp_path, [{"x": 1}])

    def breaks():
        yield {"x": 2}
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        table.write_table(tmp_path / "rows.parquet", breaks)
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist() == [{"x": 1}]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
