"""Tasks: rows are checked in full before anything is spent, and splits hold still."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Literal

import dspy
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig, BadData
from stillroom.signatures import DataWarning, Task


class Mood(dspy.Signature):
    """Name the mood of a remark."""

    remark: str = dspy.InputField()
    mood: Literal["glad", "sad"] = dspy.OutputField()


class Order(dspy.Signature):
    """Read an order."""

    text: str = dspy.InputField()
    count: int | None = dspy.OutputField(ge=1)
    paid: bool = dspy.OutputField()
    price: float = dspy.OutputField()


def metric(expected, outputs):
    return None


def rows(n: int, start: int = 0) -> list[dict]:
    return [{"remark": f"remark number {i}", "mood": "glad" if i % 2 else "sad"} for i in range(start, start + n)]


def quiet_task(data, signature=Mood, **settings) -> Task:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return Task(signature, data=data, metric=metric, **settings)


def ids(task: Task) -> dict[str, set[str]]:
    return {split: {example.id for example in examples} for split, examples in task.splits.items()}


def test_rows_keep_their_split_when_others_are_appended():
    """Appending never moves a row that was there."""
    before, after = ids(quiet_task(rows(200))), ids(quiet_task(rows(500)))
    for split, there in before.items():
        assert there <= after[split]


@settings(max_examples=25, deadline=None)
@given(some.randoms(use_true_random=False), some.integers(0, 1000))
def test_no_row_is_in_two_splits_and_order_does_not_matter(rng: random.Random, seed: int):
    """Whatever the file's order, copies and seed, splits are disjoint and the same."""
    data = rows(120) + [{"remark": f"  REMARK   number {i} ", "mood": "sad"} for i in range(0, 60, 2)]
    first = ids(quiet_task(data, seed=seed))
    rng.shuffle(data)
    assert ids(quiet_task(data, seed=seed)) == first
    assert sum(map(len, first.values())) == 120 == len(set().union(*first.values()))


def test_all_problems_of_all_rows_are_listed_at_once():
    """Row number, field, rule and value of everything that is wrong."""
    data = [*rows(30), {"remark": "", "mood": "glad"}, {"remark": "x", "mood": "furious"}, {"remark": 7, "mood": "sad"}]
    with pytest.raises(BadData) as caught:
        quiet_task(data)
    assert caught.value.problems == (
        "row 31, field 'remark': must not be empty, got ''",
        "row 32, field 'mood': 'furious' is not one of ['glad', 'sad']",
        "row 33, field 'remark': 7 is not of type 'string'",
    )


def test_a_wrong_column_says_which_there_are():
    """The mend names the fields and the option."""
    with pytest.raises(BadData, match=r"column 'remark' is missing, the row has \['mood', 'text'\]") as caught:
        quiet_task([{"text": "a", "mood": "sad"}] * 30)
    assert "columns=" in caught.value.mend
    assert (
        len(
            quiet_task(
                [{"text": row["remark"], "mood": row["mood"]} for row in rows(60)], columns={"remark": "text"}
            ).demos
        )
        > 5
    )


@pytest.mark.parametrize("count", [1, 3, 12])
def test_too_few_rows_are_refused(count: int):
    """Three rows cannot be split into anything that shows something."""
    with pytest.raises(BadData, match="split needs at least"):
        quiet_task(rows(count))


def test_few_rows_warn():
    """A small test split is said to be weak."""
    with pytest.warns(DataWarning, match="only differences above about 17 points"):
        Task(Mood, data=rows(80), metric=metric)


def test_given_splits_win_over_copies_elsewhere():
    """A test row that also stands in train is a test row only."""
    with pytest.warns(DataWarning, match="5 train rows are also rows of a split given before"):
        task = Task(Mood, data={"train": rows(100), "test": rows(80, start=95)}, metric=metric)
    assert len(task.held_out) == 80
    assert not ids(task)["test"] & (ids(task)["demos"] | ids(task)["search"])
    assert len(task.demos) + len(task.search) == 95


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "frame", "folder"])
def test_every_kind_of_source_gives_the_same_rows(tmp_path: Path, kind: str):
    """Types survive JSONL, CSV, Parquet, DataFrame and dataset folder alike."""
    data = [
        {"text": f"order {i}", "count": None if i % 5 == 0 else i, "paid": i % 2 == 0, "price": i / 4}
        for i in range(1, 61)
    ]
    frame = pd.DataFrame(data)
    if kind == "jsonl":
        source = tmp_path / "rows.jsonl"
        source.write_text("\n".join(map(json.dumps, data)), encoding="utf-8")
    elif kind == "csv":
        source = tmp_path / "rows.csv"
        frame.assign(count=frame["count"].astype("Int64")).to_csv(source, index=False)
    elif kind == "parquet":
        source = tmp_path / "rows.parquet"
        frame.to_parquet(source)
    elif kind == "folder":
        import datasets

        source = tmp_path / "folder"
        datasets.Dataset.from_list(data).save_to_disk(str(source))
    else:
        source = frame
    task = quiet_task(source, Order)
    assert task.digest == quiet_task(data, Order).digest


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("empty.jsonl", b"", "must hold rows, got the empty file"),
        ("blank.jsonl", b"\n\n", "must hold rows, got none"),
        (
            "latin.jsonl",
            '{"remark": "grün", "mood": "sad"}'.encode("latin1"),
            "must be UTF-8, got byte 0xfc at line 1, column 15",
        ),
        (
            "long.jsonl",
            b'{"remark": "' + b"x" * 50_000_000,
            "a line may have 10,000,000 bytes, got a longer one at line 1",
        ),
        ("broken.jsonl", b'{"remark": "a", "mood"\n', "line 1 of broken.jsonl must be one JSON object"),
        ("list.jsonl", b"[1, 2]\n", "must be a JSON object, got list"),
        ("ragged.csv", b"remark,mood\na,glad,7\n", "must have 2 columns"),
        ("not.parquet", b"PAR1 no", "must be Parquet"),
    ],
)
def test_broken_files_are_refused_with_rule_and_value(tmp_path: Path, name: str, content: bytes, rule: str):
    """Each broken file gets a line that says what is wrong and where."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        quiet_task(path)
    assert rule in str(caught.value)


def test_missing_and_unknown_files_are_refused(tmp_path: Path):
    """A path that is not there, or of a kind nobody reads."""
    with pytest.raises(BadConfig, match="data file must exist"):
        quiet_task(tmp_path / "none.jsonl")
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(BadConfig, match=r"must be one of .*\.jsonl.*, got 'rows.xlsx'"):
        quiet_task(tmp_path / "rows.xlsx")


@pytest.mark.parametrize(
    "settings_", [{"shares": (0.5, 0.5, 0.5)}, {"definitions": {"angry": "x"}}, {"data": {"dev": []}}]
)
def test_settings_that_cannot_work_are_refused(settings_: dict):
    """Shares that do not sum to one, definitions of no label, unknown splits."""
    with pytest.raises(BadConfig):
        quiet_task(settings_.pop("data", rows(80)), **settings_)
