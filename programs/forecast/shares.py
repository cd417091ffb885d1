"""What may turn out to pass, after some rows were seen: which share of each cell, and how soon rows repeat themselves.

Cells are alike, but not equal: their shares are taken to come from one Beta distribution
that is learnt from all of them (Gelman et al., Bayesian Data Analysis, 3rd ed., section
5.3). So a cell of which little was seen leans on the others, and one of which much was
seen does not.

A model that writes row after row comes back to what it wrote before, the more so the more
there is: the row after n others is new with chance t / (t + n), as species are in Ewens'
sampling formula (Ewens 1972, Theor. Popul. Biol. 3), where `t`, the variety, says how many
different rows there are to write, so to speak.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["share_draws", "variety_draws"]

MEANS = (np.arange(200) + 0.5) / 200
LIKENESS = np.geomspace(2.0, 500.0, 24)
"""How alike cells may be, as rows that the others count for in each of them; every size is as likely beforehand."""
VARIETY = np.geomspace(30.0, 100_000.0, 81)
"""How much variety there may be; likewise."""


def share_draws(seen: Sequence[tuple[int, int]], draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw what the shares of all cells may be, given what was seen of each.

    Args:
        seen: For each cell, rows begun and how many of them passed; (0, 0) for a cell of which none was seen.
        draws: How many.
        rng: Draws.

    Returns:
        Shares in 0..1, (draws, cells).
    """
    from scipy.special import betaln

    begun, passed = (np.array(side, dtype=np.float64) for side in zip(*seen, strict=True))
    kinds, counts = np.unique(np.stack([passed, begun - passed]), axis=1, return_counts=True)
    mean, likeness = (side.ravel() for side in np.meshgrid(MEANS, LIKENESS))
    a, b = likeness * mean, likeness * (1 - mean)
    fit = np.zeros_like(mean)
    for (good, bad), count in zip(kinds.T, counts, strict=True):
        fit += count * (betaln(a + good, b + bad) - betaln(a, b))
    weights = np.exp(fit - fit.max())
    at = rng.choice(len(weights), draws, p=weights / weights.sum())
    drawn = rng.beta(a[at, None] + passed, b[at, None] + begun - passed)
    return np.asarray(drawn, dtype=np.float64)


def variety_draws(seen: Sequence[tuple[int, int]], draws: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw what the variety of a cell may be, the same for all.

    Args:
        seen: For each cell, rows begun and how many of them repeated another.
        draws: How many.
        rng: Draws.

    Returns:
        (draws, 1).
    """
    from scipy.special import gammaln

    begun, repeated = (np.array(side, dtype=np.float64) for side in zip(*seen, strict=True))
    new = float((begun - repeated).sum())
    fit = new * np.log(VARIETY) + sum(gammaln(VARIETY) - gammaln(VARIETY + count) for count in begun)
    weights = np.exp(fit - fit.max())
    drawn = rng.choice(VARIETY, draws, p=weights / weights.sum())
    return np.asarray(drawn[:, None], dtype=np.float64)
