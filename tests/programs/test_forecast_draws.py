"""What forecasts are drawn from: shares and variety as they may be, and quotas filled as the schedule fills them."""

from __future__ import annotations

import importlib
import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import flow_world as world
import numpy as np
import pytest

from stillroom.programs.flow import Quotas
from stillroom.programs.forecast.quotas import Cells, play_input, play_quotas
from stillroom.programs.forecast.seen import Cell, Moments
from stillroom.programs.forecast.shares import share_draws, variety_draws
from stillroom.programs.forecast.some import Few, share_out

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, as `python -m` would find it: it plays the real schedule."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.forecast")


@pytest.mark.parametrize(
    ("cells", "quota", "share", "settings"),
    [
        (3, 50, 0.6, {"attempts": 4, "window": 256, "block": 32, "together": 16}),
        (3, 50, 0.6, {"attempts": 4, "window": 32, "block": 32, "together": 16}),
        (40, 2, 0.7, {"attempts": 4, "window": 256, "block": 32, "together": 16}),
        (10, 40, 0.5, {"attempts": 4, "window": 512, "block": 32, "together": 1}),
        (1, 400, 0.8, {"attempts": 4, "window": 256, "block": 32, "together": 1}),
        (5, 30, 0.1, {"attempts": 3, "window": 64, "block": 8, "together": 4}),
        (4, 60, 0.9, {"attempts": 4, "window": 128, "block": 32, "together": 16, "variety": 60.0}),
    ],
)
def test_quotas_are_filled_as_the_schedule_fills_them(
    bench: ModuleType, cells: int, quota: int, share: float, settings: dict
):
    """Side by side: the rows that are begun and accepted are the same on average, to a few in a hundred."""
    quotas = {f"c{number}": quota for number in range(cells)}
    shares = dict.fromkeys(quotas, share)
    real = [bench.play(quotas, shares, random.Random(seed), **settings) for seed in range(60)]
    variety = settings.get("variety")
    settings = {name: value for name, value in settings.items() if name != "variety"}
    drawn = play_quotas(
        Cells.of(quotas, {}),
        np.full((300, cells), share),
        np.random.default_rng(1),
        variety=None if variety is None else np.full((300, 1), variety),
        **settings,
    )
    begun, accepted = (np.mean([each[at] for each in real]) for at in (0, 1))
    assert drawn.begun.sum(1).mean() == pytest.approx(begun, rel=0.05)
    assert drawn.accepted.sum(1).mean() == pytest.approx(accepted, rel=0.03)
    assert (drawn.begun <= settings["attempts"] * quota).all()
    assert (drawn.accepted <= quota).all()


def test_a_run_goes_on_from_where_it_stands():
    """Full cells begin nothing, and what was begun counts for the tries."""
    so_far = {"full": Cell(12, 10, 10, 10), "dry": Cell(30, 0, 0, 0), "half": Cell(6, 5, 5, 5)}
    cells = Cells.of({"full": 10, "dry": 10, "half": 10}, so_far)
    settings = {"attempts": 4, "window": 64, "block": 8, "together": 4}
    drawn = play_quotas(cells, np.tile([0.5, 0.0, 1.0], (50, 1)), np.random.default_rng(0), **settings)
    assert (drawn.begun[:, 0] == 12).all()
    assert (drawn.begun[:, 1] == 40).all()
    assert (drawn.accepted == [10, 0, 10]).all()


def test_rows_that_are_split_fill_quotas_sooner():
    """Of rows that become three each, a third is begun."""
    settings = {"attempts": 4, "window": 64, "block": 8, "together": 1}
    shares = np.ones((20, 1))
    drawn = play_quotas(Cells.of({"a": 300}, {}), shares, np.random.default_rng(0), size=3.0, **settings)
    assert drawn.begun.mean() == pytest.approx(100, rel=0.1)
    assert (drawn.accepted == 300).all()


def test_rows_of_an_input_have_their_tries():
    """Each is begun once, and again as often as it fails and may be."""
    cells = Cells.of({"rows": 1000}, {})
    drawn = play_input(cells, np.full((200, 1), 0.5), np.random.default_rng(0), attempts=3)
    assert drawn.begun.mean() == pytest.approx(1750, rel=0.02)
    assert drawn.accepted.mean() == pytest.approx(875, rel=0.02)
    once = play_input(Cells.of({"rows": 1000}, {"rows": Cell(400, 300, 300, 300)}), np.ones((9, 1)), np.random.default_rng(0), attempts=1)  # fmt: skip
    assert (once.begun == 1000).all()
    assert (once.accepted == 900).all()


def test_a_cell_of_which_nothing_was_seen_leans_on_the_others():
    """And one of which much was seen does not; the more cells differ, the less is known of a new one."""
    rng = np.random.default_rng(0)
    alike = share_draws([(50, 40), (50, 41), (50, 39), (0, 0), (400, 20)], 4000, rng)
    assert alike[:, 4].mean() == pytest.approx(0.05, abs=0.02)
    same = share_draws([(50, 40)] * 6 + [(0, 0)], 4000, rng)[:, 6]
    apart = share_draws([(50, 48), (50, 25), (50, 45), (50, 10), (50, 49), (50, 35), (0, 0)], 4000, rng)[:, 6]
    assert same.mean() == pytest.approx(0.8, abs=0.05)
    assert apart.std() > 2 * same.std()


def test_variety_is_learnt_from_what_repeats():
    """Rows that repeat early come from little variety; rows that never do leave it open above."""
    rng = np.random.default_rng(0)
    assert np.median(variety_draws([(60, 25)], 2000, rng)) < 60
    assert np.median(variety_draws([(60, 0)] * 3, 2000, rng)) > 1000
    few, many = (np.quantile(variety_draws([(rows, 0)], 2000, rng), 0.05) for rows in (5, 200))
    assert many > 5 * few


@pytest.mark.parametrize("variety", [None, 80.0])
def test_nine_of_ten_intervals_hold_what_comes(bench: ModuleType, variety: float | None):
    """200 runs with known shares: what the schedule begins lies between the fifth and the ninety-fifth draw, about as often."""
    setting = bench.Setting(4, 25, 0.8, probe=20, variety=variety or bench.ENDLESS)
    runs = [bench.held(setting, seed) for seed in range(200)]
    inside, width, _ = (float(np.mean([run[at] for run in runs])) for at in range(3))
    assert 0.82 <= inside <= 0.98
    assert width < 1.5  # an interval that holds everything says nothing


def test_moments_add_up():
    """Of two sets together they are those of their union."""
    one, other = Moments.of({1: 3, 2: 1}), Moments.of({4: 2})
    both = Moments.of({1: 3, 2: 1, 4: 2})
    assert one + other == both
    assert Moments() + one == one + Moments() == one
    assert (both.mean, both.variance) == (pytest.approx(13 / 6), pytest.approx(np.var([1, 1, 1, 2, 4, 4], ddof=1)))
    assert (Moments().mean, Moments.of({7: 1}).variance) == (0, 0)


@pytest.mark.parametrize(
    ("quotas", "rows", "given"),
    [
        ({"a": 5, "b": 5}, 4, {"a": 2, "b": 2}),
        ({"a": 5, "b": 1}, 4, {"a": 3, "b": 1}),
        ({"a": 2, "b": 2}, 99, {"a": 2, "b": 2}),
        (dict.fromkeys("abcdefgh", 3), 3, {"a": 1, "c": 1, "f": 1}),
        ({"a": 0}, 3, {}),
    ],
)
def test_a_few_rows_are_shared_out_over_the_cells(quotas: dict[str, int], rows: int, given: dict[str, int]):
    """As even as quotas allow; what does not go round stands at even distances."""
    assert share_out(quotas, rows) == given
    few = Few.of(Quotas(quotas, world.draw), rows)
    assert Counter(wanted.cell for wanted in few.rows) == given
    assert all(wanted == world.draw(wanted.cell, wanted.slot) for wanted in few.rows)
