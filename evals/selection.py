"""Selection-aware tests: is the best of many candidates better than the baseline, or only the luckiest?

The paired test of a winner on the rows it won on is too bold: with 20 equal
candidates it announces a gain several times as often as it says. `max_t_p` compares
the winner with the best of all candidates in worlds where none is better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stillroom.errors import BadConfig

__all__ = ["max_t_p"]

GUESS = 8  # how many rows the pooled difference counts for in a candidate that was stopped early
CELLS = 4_000_000  # flips x candidates held in memory at a time


def max_t_p(
    candidates: Sequence[Sequence[float | None]],
    baseline: Sequence[float],
    chosen: int,
    *,
    seed: int,
    n: int = 10_000,
) -> float:
    """One-sided p of "no candidate is better than the baseline", for the one that was chosen.

    Max-T by joint sign flips (Westfall and Young 1993; Nichols and Holmes 2002): in each of `n`
    worlds the differences to the baseline change sign row by row, the same rows for all candidates,
    so that what candidates have in common stays common. The statistic is the sum of the differences,
    what the race itself goes by. A row that a candidate did not see is filled, in each world, with a
    normal deviate as large as its differences usually are: had it survived it could have won, and it
    counts as such (to count only what was seen is too bold: docs/racing.md). p counts the real world
    as one of the `n` + 1 and is never 0 (Phipson and Smyth 2010). With one candidate and scores of
    0 and 1 it is McNemar's exact p, but for the flips.

    It holds however the winner was picked from candidates that were there from the start. A
    candidate made from one that was ahead inherits that one's luck, and then p is too small: by
    a factor of up to 2 at 0.05 (docs/racing.md); Fisher's combination with the p of a few fresh rows
    mends that. Nothing mends candidates that were written with a view of these very rows.

    Args:
        candidates: For each, a score a row, 0..1, in the order of `baseline`; None (or NaN, or a
            list that ends early) where it was not scored. Without the baseline.
        baseline: Its score on every row.
        chosen: Which candidate; it must be scored on every row.
        seed: Of the flips.
        n: Flips.

    Raises:
        BadConfig: If shapes do not fit or the chosen candidate was not scored on every row.
    """
    gaps = _differences(candidates, baseline)
    if not 0 <= chosen < len(gaps) or np.isnan(gaps[chosen]).any() or n < 1:
        raise BadConfig(
            f"the chosen candidate must be scored on every row and n must be >= 1, got {chosen} of {len(gaps)}, n={n}"
        )
    gain = float(gaps[chosen].sum())
    if gain <= 0:
        return 1.0
    seen = ~np.isnan(gaps)
    known = np.where(seen, gaps, 0.0).astype(np.float32)
    squares, counts = (known**2).sum(axis=1), seen.sum(axis=1)
    usual = (squares + GUESS * squares.sum() / counts.sum()) / (counts + GUESS)
    missing = np.sqrt(usual * (gaps.shape[1] - counts)).astype(np.float32)
    rng = np.random.default_rng(seed)
    beaten, size = 0, max(1, CELLS // max(gaps.shape))
    for begun in range(0, n, size):
        worlds = min(size, n - begun)
        signs = rng.integers(0, 2, (worlds, gaps.shape[1]), dtype=np.int8).astype(np.float32) * 2 - 1
        sums = signs @ known.T
        sums += rng.standard_normal(sums.shape, dtype=np.float32) * missing
        beaten += int((sums.max(axis=1) >= gain - 1e-4).sum())
    return (1 + beaten) / (1 + n)


def _differences(candidates: Sequence[Sequence[float | None]], baseline: Sequence[float]) -> np.ndarray:
    """Candidates x rows, NaN where not scored."""
    base = np.asarray(baseline, dtype=np.float64)
    if base.ndim != 1 or not len(base) or not np.isfinite(base).all():
        raise BadConfig(f"the baseline must have one finite score a row, got shape {base.shape}")
    if any(len(each) > len(base) for each in candidates):
        raise BadConfig(
            f"a candidate has at most one score a row, got {max(map(len, candidates))} for {len(base)} rows"
        )
    table = np.full((len(candidates), len(base)), np.nan)
    for row, scores in zip(table, candidates, strict=True):
        row[: len(scores)] = np.asarray(scores, dtype=np.float64)
    return table - base
