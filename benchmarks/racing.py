"""Replay racing strategies on the published response tables.

    python -m benchmarks.racing --json [--seeds 40] [--tables FOLDER]

For each table and seed the candidates arrive in another order and the search rows
are shuffled; every strategy sees the same. See docs/racing.md for what is measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ._result import Goal, emit
from ._strategies import STRATEGIES, mipro
from ._world import Done, Strategy, World
from .tables import FOLDER, Table, load, shipped

__all__ = ["compare", "replay"]

BUDGETS = (100, 200, 400, 800)
SIZES = {"light": 10, "medium": 18, "heavy": 27}  # trials of MIPROv2 for one predictor, by its `auto`
MIPRO, FULL, RACE = "MIPROv2", "full", "race: opened, chance .25, balanced, TPE"


def replay(table: Table, strategy: Strategy, seed: int, most: int = 4000) -> World:
    """Play one strategy on one table until it ends or `most` calls are spent."""
    world = World(table, seed, most)
    try:
        strategy(world)
    except Done:
        world.calls = most
    return world


def reached(world: World, means: np.ndarray, target: float) -> float:
    """Calls until the incumbent's mean by `means` is at least `target`; infinity if never."""
    return next((calls for calls, who in world.crowned if means[who] >= target - 1e-9), float("inf"))


def at(world: World, budget: int) -> int:
    """The incumbent when `budget` calls are spent; the baseline while there is none."""
    return next((who for calls, who in reversed(world.crowned) if calls <= budget), 0)


def compare(table: Table, names: Sequence[str], seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Figures of each strategy on one table, one number a seed; NaN where a question makes no sense there."""
    truth = table.test.mean(axis=1)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for seed in seeds:
        peers = {size: replay(table, partial(mipro, trials=count), seed) for size, count in SIZES.items()}
        plain = replay(table, STRATEGIES[FULL], seed)
        for name in names:
            world = replay(table, STRATEGIES[name], seed)
            row = {f"of_{size}": _share(world, peer, size) for size, peer in peers.items()}
            final = peers["light"].marks["end"][1]
            row["of_light_test"] = _share(world, peers["light"], "light", truth)
            row["of_full"] = _least(world, world.means, world.means[final]) / _least(
                plain, world.means, world.means[final]
            )
            best = int(world.means.argmax())
            row["calls_near"] = _least(world, truth, truth[0] + 0.9 * (truth[best] - truth[0]))
            for budget in BUDGETS:
                who = at(world, budget)
                row[f"test_{budget}"] = float(truth[who])
                row[f"regret_{budget}"] = float(truth.max() - truth[who])
                row[f"optimism_{budget}"] = float(world.means[who] - truth[who])
            row["calls_all"] = float(world.calls)
            for key, value in row.items():
                found[name].setdefault(key, []).append(value)
    return found


def _share(world: World, peer: World, size: str, means: np.ndarray | None = None) -> float:
    """Calls to the mean of MIPROv2's final incumbent, as a share of all its calls; NaN where it found nothing."""
    means = world.means if means is None else means
    if "end" not in peer.marks or peer.marks["end"][1] == 0:
        return float("nan")
    calls, final = peer.marks["end"]
    return _least(world, means, means[final]) / calls


def _least(world: World, means: np.ndarray, target: float) -> float:
    """Calls until the incumbent's mean is at least `target`; the whole table's where that never happens."""
    return min(reached(world, means, target), world.size * world.n)


def summary(found: Mapping[str, Mapping[str, Mapping[str, list[float]]]], names: Sequence[str]) -> dict[str, Any]:
    """Over tables and seeds: medians of ratios, means of scores."""
    rows: dict[str, Any] = {}
    for name in names:
        keys = next(iter(found.values()))[name]
        pooled = {key: np.concatenate([np.asarray(each[name][key]) for each in found.values()]) for key in keys}
        rows[name] = {
            key: round(float((np.median if key.startswith(("of_", "calls")) else np.mean)(values)), 4)
            for key, values in ((key, values[~np.isnan(values)]) for key, values in pooled.items())
            if len(values)
        }
    return rows


def main() -> None:
    """Replay everything; print a table, or one JSON object with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--only", nargs="*", help="strategies whose name holds one of these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.monotonic()
    names = [name for name in STRATEGIES if not options.only or any(part in name for part in options.only)]
    tables = [load(path) for path in shipped(options.tables)]
    found = {table.name: compare(table, names, range(options.seeds)) for table in tables}
    figures = {"all": summary(found, names), **{name: summary({name: each}, names) for name, each in found.items()}}
    if options.json:
        goals = []
        if RACE in names:
            goals = [
                Goal(
                    "median share of MIPROv2 light's calls to its final search score",
                    figures["all"][RACE].get("of_light"),
                    0.25,
                    "<=",
                ),
                Goal("the same, MIPROv2 heavy", figures["all"][RACE].get("of_heavy"), 0.25, "<="),
            ]
        emit({"seeds": options.seeds, "strategies": figures}, goals, started)
        return
    heads = (
        "of_light",
        "of_light_test",
        "of_medium",
        "of_heavy",
        "of_full",
        "calls_near",
        *(f"test_{each}" for each in BUDGETS),
        "optimism_400",
        "calls_all",
    )
    print(" " * 42 + " ".join(f"{head:>13}" for head in heads))
    for name, row in figures["all"].items():
        print(f"{name:42}" + " ".join(f"{row.get(head, float('nan')):13.3f}" for head in heads))


if __name__ == "__main__":
    main()
