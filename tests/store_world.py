"""A store's calls and rows, made short."""

from __future__ import annotations

import time
from collections.abc import Callable

from stillroom.ledger import Spent
from stillroom.rows import EmittedRow, Passport
from stillroom.store import Store

PAPERS = Passport("r", "p", "m", "Apache-2.0", (), {}, {}, 1, 20)
FOREVER = 3600.0
"""Seconds that no test takes."""


def row(number: int, status: str = "accepted", cell: str = "x") -> EmittedRow:
    """The row of a number."""
    return EmittedRow(str(number), f"{cell}/{number}/0", status, {"n": number}, PAPERS)


def finish(store: Store, number: int) -> None:
    """Record the call of a number as answered."""
    store.finish_call(f"key-{number}", "emit", "m", "{}", f"answer {number}", Spent(1, 10, 5))


def until(happens: Callable[[], object], seconds: float = 20.0) -> bool:
    """Whether it happens before the test gives up."""
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(happens())
