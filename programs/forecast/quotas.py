"""How many rows a run will begin to fill its quotas: `Schedule`, played many times at once.

The rule of what to begin is that of `stillroom.programs.flow.schedule`, which a test holds
beside this one. Here it is followed for all cells of many runs together, a block of rows at
a time; and by halves while a quota is far from full, when nothing depends on the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stillroom.programs.flow.schedule import PRIOR

from .seen import Cell

__all__ = ["Cells", "Played", "play_input", "play_quotas"]

Counts = npt.NDArray[np.int64]
PARTS = 32
"""Parts of an input in each of which all rows are as likely to be new."""


@dataclass(frozen=True)
class Cells:
    """The cells of a run, in their order, and how far each is.

    Attributes:
        wanted: Accepted rows wanted of each.
        begun: Rows begun and committed so far.
        passed: Rows that came through all gates, surplus ones included.
        accepted: Those that count for the quota.
    """

    wanted: Counts
    begun: Counts
    passed: Counts
    accepted: Counts

    @classmethod
    def of(cls, quotas: Mapping[str, int], so_far: Mapping[str, Cell]) -> Cells:
        """`quotas` by cell, and what became of the rows of those cells so far."""
        cells = [so_far.get(name, Cell()) for name in quotas]
        counts = (
            quotas.values(),
            *([getattr(cell, name) for cell in cells] for name in ("begun", "passed", "accepted")),
        )
        return cls(*(np.array(list(each), dtype=np.int64) for each in counts))


@dataclass(frozen=True)
class Played:
    """How runs ended, each (runs, cells).

    Attributes:
        begun: Rows begun.
        passed: Rows that came through all gates, surplus ones included.
        accepted: Those that count for the quota.
        repeated: Of the rows begun since the start, how many are to be expected to repeat another.
    """

    begun: Counts
    passed: Counts
    accepted: Counts
    repeated: npt.NDArray[np.float64]


def play_quotas(
    cells: Cells,
    shares: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    attempts: int,
    window: int,
    block: int,
    together: int,
    most: Mapping[str, int] | None = None,
    variety: npt.NDArray[np.float64] | None = None,
    size: float = 1.0,
) -> Played:
    """Go on from where `cells` stand until every quota is full or all that may be begun was.

    Args:
        cells: Where the run stands.
        shares: Which share of the rows passes that repeat no other, in each run and cell: (runs, cells).
        rng: Decides which.
        attempts: Rows that may be begun for each one wanted.
        window: Rows under way at once.
        block: Rows that are committed together.
        together: Rows of a cell that are begun one after the other.
        most: Rows that may be begun of each cell, where `attempts` does not say.
        variety: Of each run, (runs, 1): the row after n others of its cell is new with chance t / (t + n). None where
            rows that repeat others pass as well.
        size: Rows that one becomes which passes.
    """
    runs, count = shares.shape
    begun, passed, accepted = (np.tile(each, (runs, 1)) for each in (cells.begun, cells.passed, cells.accepted))
    repeated = np.zeros(shares.shape)
    if not count:
        return Played(begun, passed, accepted, repeated)
    flying = np.zeros_like(begun)
    cap = attempts * cells.wanted if most is None else np.array(list(most.values()), dtype=np.int64)
    room_each = max(window // count, 1)
    turn = max(min(together, block) if count > 1 else block, room_each // 8)
    place = 0
    while True:
        left = cells.wanted - accepted
        done = begun - flying
        overall = (passed.sum(1, keepdims=True) + 1) / (done.sum(1, keepdims=True) + 1)
        expected = (passed + PRIOR * overall) / (done + PRIOR)
        # as many as keep those under way, as far as they are expected to pass, half a row from what is left
        needed = np.where(left > 0, np.floor((left - 0.5) / expected).astype(np.int64) + 1 - flying, 0)
        needed = np.clip(needed, 0, np.maximum(cap - begun, 0))
        started = _as_far_as_there_is_room(needed, window - flying.sum(1, keepdims=True))
        begun += started
        flying += started
        if not flying.any():
            return Played(begun, passed, accepted, repeated)
        # far from the end: half of what is left, at once
        far = np.where(left > 4 * size * room_each, np.clip(cap - begun, 0, (left / (2 * size)).astype(np.int64)), 0)
        far = np.minimum(far, done + window)
        begun += far
        committed, place = _block(flying, turn, block, place)
        flying -= committed
        committed += far
        new = _new(variety, done + committed / 2)
        repeated += committed * (1 - new)
        good = rng.binomial(committed, shares * new)
        came = good if size == 1.0 else np.rint(good * size).astype(np.int64)
        passed += came
        accepted += np.minimum(came, left)


def play_input(
    cells: Cells,
    shares: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    attempts: int,
    variety: npt.NDArray[np.float64] | None = None,
) -> Played:
    """Go on through an input, which is the one cell; each of its rows has its tries.

    Args:
        cells, shares, rng, attempts, variety: As `play_quotas` takes them.
    """
    runs = len(shares)
    begun, passed = (np.tile(each, (runs, 1)) for each in (cells.begun, cells.passed))
    repeated = np.zeros(shares.shape)
    failed = np.tile(np.maximum(cells.wanted - cells.begun, 0), (runs, 1))
    for _ in range(attempts):
        waiting, failed = failed, np.zeros_like(failed)
        for part in range(PARTS):
            some = waiting * (part + 1) // PARTS - waiting * part // PARTS
            new = _new(variety, begun + some / 2)
            good = rng.binomial(some, shares * new)
            begun, passed, failed = begun + some, passed + good, failed + some - good
            repeated += some * (1 - new)
    return Played(begun, passed, passed.copy(), repeated)


def _new(variety: npt.NDArray[np.float64] | None, others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The chance of a row to be new after so many others."""
    return np.ones_like(others) if variety is None else variety / (variety + others)


def _as_far_as_there_is_room(needed: Counts, room: Counts) -> Counts:
    """What may be begun of what is needed, shared out where the window has no room for all."""
    total = needed.sum(1, keepdims=True)
    share = np.clip(room, 0, None) / np.maximum(total, 1)
    return np.where(total > room, np.ceil(needed * share).astype(np.int64), needed)


def _block(flying: Counts, turn: int, block: int, place: int) -> tuple[Counts, int]:
    """Which rows under way are committed next: of some cells, as many as make a block; and where the next block begins."""
    each = np.minimum(flying, turn)
    cells = np.flatnonzero(flying.any(0))
    many = max(1, round(block / each[:, cells].mean()))
    first = int(np.searchsorted(cells, place))
    chosen = np.roll(cells, -first)[:many]
    committed = np.zeros_like(flying)
    committed[:, chosen] = each[:, chosen]
    return committed, int(chosen[-1]) + 1
