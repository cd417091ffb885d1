"""How often a winner is announced that is none, and how often one that is: max-T, fresh rows, and no correction.

    python -m benchmarks.selection --json [--reps 1000]

Made-up worlds, because only there the truth is known: rows of different difficulty,
a baseline and candidates that agree with one another more than by chance, a race
with early stopping by `stillroom.optimizers.rules`, and candidates that are made
from the best so far (a child keeps most of its parent's answers) or not.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from stillroom.evals.selection import max_t_p
from stillroom.optimizers.rules import drop, looks

from ._result import emit

__all__ = ["Search", "rates", "search"]

SHARED = 0.3  # share of rows that a candidate answers as all do: with it two differ on about 30% of the rows


@dataclass(frozen=True)
class Search:
    """What a search left behind. `good` tells whether the chosen one has the true gain."""

    candidates: list[list[float]]
    parents: list[int | None]
    baseline: np.ndarray
    chosen: int
    best: np.ndarray
    good: bool
    fresh: tuple[np.ndarray, np.ndarray]


def search(
    rng: np.random.Generator,
    rows: int,
    count: int,
    gain: float = 0.0,
    fresh: int = 0,
    bred: str = "no",
    drops: bool = True,
) -> Search | None:
    """Race `count` candidates, one of them truly better by `gain`; None if none beat the baseline.

    Args:
        fresh: Further rows, which nothing is picked on.
        bred: "no"; "generations": from each quarter on from the best so far; "climb": after the first quarter each from the best so far.
        drops: Whether candidates are stopped early.
    """
    total = rows + fresh
    ease = rng.beta(1.2, 0.8, total)
    common = rng.random(total) < ease
    luck = gain / max(float(1 - ease.mean()), 1e-9)

    def answers(parent: np.ndarray | None, better: bool) -> np.ndarray:
        keep = rng.random(total) < (SHARED if parent is None else 0.7)
        found = np.where(keep, common if parent is None else parent, rng.random(total) < ease)
        return found | (better & (rng.random(total) < luck))

    base = answers(None, False)
    full, scores, parents = [], [], []
    best, best_at, above = base, -1, None
    star = int(rng.integers(max(1, count // 4)))
    for at in range(count):
        if at >= count // 4 and (bred == "climb" or (bred == "generations" and at % (count // 4) == 0)):
            above = best_at if best_at >= 0 else None
        mine = answers(None if above is None else full[above], at == star and gain > 0)
        seen = rows
        for end in looks(rows)[:-1] if drops else ():
            if drop(mine[:end].astype(float), best[:end].astype(float), rows - end):
                seen = end
                break
        full.append(mine)
        scores.append(mine[:seen].astype(float).tolist())
        parents.append(above)
        if seen == rows and mine[:rows].sum() > best[:rows].sum():
            best, best_at = mine, at
    if best_at < 0:
        return None
    line: int | None = best_at
    while line is not None and line != star:
        line = parents[line]
    return Search(
        scores,
        parents,
        base[:rows].astype(float),
        best_at,
        best[:rows].astype(float),
        line == star,
        (best[rows:], base[rows:]),
    )


@lru_cache(maxsize=100_000)
def _tail(wins: int, count: int) -> float:
    return sum(math.comb(count, k) for k in range(wins, count + 1)) / 2**count


def paired_p(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Exact one-sided McNemar p."""
    wins, losses = int((mine > theirs).sum()), int((mine < theirs).sum())
    return _tail(wins, wins + losses)


def rates(
    reps: int,
    rows: int,
    count: int = 20,
    gain: float = 0.0,
    bred: str = "no",
    seed: int = 0,
    flips: int = 400,
    drops: bool = True,
) -> dict[str, float]:
    """Share of searches that announce a winner at 0.05; with a `gain`, one that has it.

    `fresh third` searches on two thirds of the rows and tests on the last third; all others search on all. `with
    fresh rows` combines (Fisher 1932) max-T with the exact test on a quarter as many rows of another split.
    """
    rng = np.random.default_rng(seed)
    said = dict.fromkeys(
        ("uncorrected", "Bonferroni", "max-T", "max-T at .025", "max-T with fresh rows", "fresh third"), 0
    )
    for _ in range(reps):
        end = search(rng, rows, count, gain, rows // 4, bred, drops)
        if end is not None and (end.good or not gain):
            p = paired_p(end.best, end.baseline)
            said["uncorrected"] += p <= 0.05
            said["Bonferroni"] += p * count <= 0.05
            p = max_t_p(end.candidates, end.baseline, end.chosen, seed=int(rng.integers(2**31)), n=flips)
            said["max-T"] += p <= 0.05
            said["max-T at .025"] += p <= 0.025
            both = p * paired_p(*end.fresh)
            said["max-T with fresh rows"] += both * (1 - math.log(both)) <= 0.05  # chi-square with 4 degrees of freedom
        end = search(rng, rows - rows // 3, count, gain, rows // 3, bred, drops)
        if end is not None and (end.good or not gain):
            said["fresh third"] += paired_p(*end.fresh) <= 0.05
    return {name: round(hits / reps, 4) for name, hits in said.items()}


def main() -> None:
    """Simulate; print a table, or one JSON object with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reps", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started, found = time.monotonic(), {}
    cells: list[tuple[str, dict[str, Any]]] = [
        (f"null, {count} candidates, {rows} rows, bred: {bred}", {"rows": rows, "count": count, "bred": bred})
        for bred in ("no", "generations", "climb")
        for count, rows in ((20, 50), (20, 80), (20, 150), (40, 80))
    ]
    cells.append(("null, 20 candidates, 80 rows, nobody stopped early", {"rows": 80, "drops": False}))
    cells += [
        (f"gain {gain}, 20 candidates, {rows} rows, bred: {bred}", {"rows": rows, "gain": gain, "bred": bred})
        for bred in ("no", "generations")
        for gain in (0.1, 0.15, 0.2)
        for rows in (50, 80, 150)
    ]
    for name, settings in cells:
        found[name] = rates(options.reps, **settings)
        if not options.json:
            print(f"{name:58}", "  ".join(f"{key} {value:.3f}" for key, value in found[name].items()), flush=True)
    if options.json:
        emit({"reps": options.reps, "announced at 0.05": found}, [], started)


if __name__ == "__main__":
    main()
