"""What methods share: the source that ends, shares in whole rows, the order that runs begin with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import flow_world as world
import pytest
from flow_world import Model, plan
from hypothesis import given
from hypothesis import strategies as some
from proposing_world import PRESET, Scripted

from stillroom.errors import BadConfig, BadData
from stillroom.evals.gates import Schema
from stillroom.programs.flow import Ask, Emitted
from stillroom.programs.published import Once, Order, foresee_preset, made_from, prepare, run_preset
from stillroom.programs.published.shares import spread
from stillroom.values import digest

PARTS = (Ask("write", plan()), Schema(plan().shape))


def run(folder: Path, most: int | None, *, bad: int = 0, rows: int = 40, attempts: int = 1) -> tuple[Emitted, Model]:
    """Rows of which the first `bad` are answered with nothing that can be read."""
    starts = [made_from({"id": each}, {"q": f"{'bad' if each < bad else 'good'} {each}"}) for each in range(rows)]
    engine = Model(lambda request: "none" if "bad" in request.messages[0].text else '{"a": "so it is"}')
    flow = world.flow(source=Once(lambda: starts, most), parts=PARTS, attempts=attempts, block=8, window=32)
    return world.run(folder, flow, engine), engine


def test_of_what_is_given_no_more_is_begun_than_is_needed(tmp_path: Path):
    """Each once, in its order, with the hash of what it comes from; all of it where no number is enough."""
    emitted, engine = run(tmp_path / "few", 5)
    assert [row.values["q"] for row in emitted.rows] == [f"good {each}" for each in range(5)]
    assert [row.passport.parents for row in emitted.rows] == [(digest({"id": each}),) for each in range(5)]
    assert engine.asked.total() == 5
    assert emitted.shortfall == {}
    assert len(run(tmp_path / "all", None)[0].rows) == 40


def test_it_goes_on_behind_what_is_refused_to_the_end_and_says_what_is_missing(tmp_path: Path):
    """However many are refused: a source that ends has no other limit than its end."""
    emitted, _ = run(tmp_path / "enough", 3, bad=36)
    assert len(emitted.rows) == 3
    short, _ = run(tmp_path / "short", 9, bad=36)
    assert len(short.rows) == 4
    assert short.shortfall == {"rows": 5}
    assert len(short.rows) + len(short.rejects) == 40


def test_what_is_refused_is_tried_again_where_tries_are_asked_for(tmp_path: Path):
    """Each of the rows has its own tries, and no row more than those."""
    emitted, _ = run(tmp_path, 9, bad=5, rows=8, attempts=3)
    assert (len(emitted.rows), len(emitted.rejects)) == (3, 15)


def test_a_run_that_was_ended_begins_nothing_anew(tmp_path: Path):
    """Called again, nothing is asked."""
    run(tmp_path, 5, bad=2)
    emitted, engine = run(tmp_path, 5, bad=2)
    assert (len(emitted.rows), engine.asked.total()) == (5, 0)


@given(some.integers(0, 200), some.dictionaries(some.text(max_size=3), some.integers(1, 99), min_size=1, max_size=6))
def test_rows_are_spread_in_proportion(rows: int, cells: dict[str, int]):
    """Shares are kept to a row, and the counts add up."""
    counts = spread(rows, cells)
    assert sum(counts.values()) == rows
    assert all(abs(counts.get(cell, 0) - rows * share / sum(cells.values())) < 1 for cell, share in cells.items())


@pytest.mark.parametrize(
    ("rows", "cells", "counts"),
    [
        (10, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 7, "b": 2, "c": 1}),
        (8, {"a": 1, "b": 1, "c": 1}, {"a": 3, "b": 3, "c": 2}),
        (2, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1}),
        (3, {}, {}),
    ],
)
def test_shares_count_as_they_are_written(rows: int, cells: dict[str, float], counts: dict[str, int]):
    """A tenth of ten is one, and of equal claims the first are served."""
    assert spread(rows, cells) == counts


def test_one_order_is_run_forecast_and_changed(tmp_path: Path):
    """By an order or by keywords it is the same run; a keyword changes what an order says."""
    script = Scripted()
    order = Order.of(PRESET, lm=script.engine(), samples=True, rows=6, seed=3)
    told = foresee_preset(order, tmp_path / "a")
    assert (told.wanted, script.asked) == (6, [])
    ordered = run_preset(order, tmp_path / "a")
    said = run_preset(PRESET, tmp_path / "b", lm=script.engine(), samples=True, rows=6, seed=3)
    assert [row.id for row in ordered.rows] == [row.id for row in said.rows]
    assert len(ordered.rows) == 6
    assert foresee_preset(order, rows=9).wanted == 9
    assert Order.of(order, rows=9) == replace(order, rows=9)
    with pytest.raises(TypeError, match="sampels"):
        run_preset(PRESET, tmp_path / "c", sampels=True)
    assert not (tmp_path / "c").exists()


def test_fields_that_rows_may_lack_are_said_to_be_optional(tmp_path: Path):
    """Where rows are missing, and where a row lacks what it must have."""
    engines = {"teacher": Scripted().engine()}
    with pytest.raises(BadConfig) as caught:
        prepare("orca", engines).source("tasks")
    assert "instruction, input (optional), family (optional)" in caught.value.mend
    with pytest.raises(BadData, match=r"must have instruction, input \(optional\).*row 1 lacks \['instruction'\]"):
        prepare("orca", engines, given={"tasks": [{"input": "x"}]}).source("tasks")
