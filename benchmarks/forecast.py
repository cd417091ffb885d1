"""Are forecasts right as often as they say? Runs with known shares, forecast from a probe and then played to their end.

    python -m benchmarks.forecast --json [--reps 200]

Each run has cells whose shares of passing rows are drawn from a Beta distribution, and a
variety: how soon rows repeat themselves. A probe of some rows is drawn, the rows that the run
will begin are forecast from it, and the run is played through the real schedule. No model is asked.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillroom.programs.flow import Quotas, Wanted
from stillroom.programs.flow.schedule import Schedule
from stillroom.programs.forecast.quotas import Cells, play_quotas
from stillroom.programs.forecast.shares import share_draws, variety_draws
from stillroom.programs.forecast.some import share_out

from ._result import Goal, emit

__all__ = ["ENDLESS", "Setting", "held", "play"]

ENDLESS = 1e12  # a variety that no run comes to the end of
LEVEL = 0.9


@dataclass(frozen=True)
class Setting:
    """What is wanted and how a model would do at it.

    Attributes:
        cells, quota: So many accepted rows of each of so many cells.
        share: Mean share of the rows that pass, if they repeat no other.
        alike: How alike cells are; the higher, the more.
        variety: The row after n others of its cell is new with chance v / (v + n).
        probe: Rows seen beforehand.
    """

    cells: int
    quota: int
    share: float
    probe: int = 16
    alike: float = 20.0
    variety: float = ENDLESS


SETTINGS = (
    Setting(3, 50, 0.8),
    Setting(3, 50, 0.8, variety=300),
    Setting(3, 50, 0.8, variety=60),
    Setting(3, 50, 0.8, probe=64),
    Setting(10, 20, 0.5),
    Setting(77, 4, 0.7, probe=32),
    Setting(77, 4, 0.7, probe=32, variety=300),
    Setting(1, 200, 0.6),
    Setting(1, 200, 0.6, probe=100, variety=300),
)
SHAPE = {"attempts": 4, "window": 256, "block": 32, "together": 16}


def play(
    quotas: Mapping[str, int],
    shares: Mapping[str, float],
    rng: random.Random,
    *,
    variety: float = ENDLESS,
    attempts: int,
    window: int,
    block: int,
    together: int,
) -> tuple[int, int]:
    """Rows that the real schedule begins, and those accepted, where rows pass by these shares."""
    schedule = Schedule(Quotas(quotas, lambda cell, slot: Wanted(cell, slot, {}), together), attempts)
    blocks: deque[list[Wanted]] = deque()
    open_: list[Wanted] = []
    before: Counter[str] = Counter()
    under_way = 0
    while True:
        for wanted in schedule.begin(window - under_way):
            under_way += 1
            open_.append(wanted)
            if len(open_) == block:
                blocks.append(open_)
                open_ = []
        if open_ and not blocks:
            blocks.append(open_)
            open_ = []
        if not blocks:
            return before.total(), schedule.accepted
        for wanted in blocks.popleft():
            good = rng.random() < shares[wanted.cell] * variety / (variety + before[wanted.cell])
            before[wanted.cell] += 1
            under_way -= 1
            if good:
                schedule.admit(wanted.cell)
            schedule.end(wanted, int(good), lost=False)


def held(setting: Setting, seed: int, draws: int = 400) -> tuple[bool, float, float]:
    """One run: whether it was held, the width of the forecast and its mean, as shares of the rows that were begun."""
    rng, own = np.random.default_rng(seed), random.Random(seed)
    quotas = {f"cell {number}": setting.quota for number in range(setting.cells)}
    shares = rng.beta(setting.alike * setting.share, setting.alike * (1 - setting.share), setting.cells)
    probed = share_out(quotas, setting.probe)
    seen, pools = [], []
    for name, share in zip(quotas, shares, strict=True):
        rows = probed.get(name, 0)
        again = sum(own.random() > setting.variety / (setting.variety + row) for row in range(rows))
        seen.append((rows - again, int(rng.binomial(rows - again, share))))
        pools.append((rows, again))
    begun = play_quotas(
        Cells.of(quotas, {}),
        share_draws(seen, draws, rng),
        rng,
        variety=variety_draws(pools, draws, rng),
        **SHAPE,
    ).begun.sum(1)
    low, high = np.quantile(begun, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    came, _ = play(quotas, dict(zip(quotas, shares.tolist(), strict=True)), own, variety=setting.variety, **SHAPE)
    return bool(low <= came <= high), float((high - low) / came), float(begun.mean() / came)


def main() -> None:
    """Simulate; print a table, or one JSON object with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    found: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        runs = [held(setting, seed) for seed in range(options.reps)]
        name = f"{setting.cells} x {setting.quota}, share {setting.share}, probe {setting.probe}"
        if setting.variety < ENDLESS:
            name += f", variety {setting.variety:g}"
        inside, width, mean = (float(np.mean([run[at] for run in runs])) for at in range(3))
        found[name] = {"held": round(inside, 3), "width": round(width, 2), "mean": round(mean, 2)}
        if not options.json:
            print(f"{name:44}", "  ".join(f"{key} {value:.2f}" for key, value in found[name].items()), flush=True)
    worst = min(each["held"] for each in found.values())
    if options.json:
        emit({"reps": options.reps, "runs": found}, [Goal("held at the least", worst, 0.8)], started)


if __name__ == "__main__":
    main()
