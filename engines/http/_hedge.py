"""Hedged requests: a straggler is sent a second time, and the first answer counts.

Dean and Barroso, "The Tail at Scale", CACM 56(2), 2013.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from stillroom.errors import BadConfig

__all__ = ["Straggling", "hedged"]

T = TypeVar("T")

SEEN = 200  # latencies that a quantile is taken of
ENOUGH = 20


class Straggling:
    """When a request is late: after a fixed time, or after a quantile of the latencies of late.

    Args:
        after: Seconds, or "p95" and the like: the 95th percentile.

    Raises:
        BadConfig: If it is neither.
    """

    def __init__(self, after: float | str) -> None:
        quantile = re.fullmatch(r"p(\d\d?(?:\.\d+)?)", after) if isinstance(after, str) else None
        if quantile is None and (isinstance(after, (str, bool)) or not after > 0):
            raise BadConfig(f"hedge_after must be seconds above 0 or a percentile such as 'p95', got {after!r}")
        self._seconds: float | None = None if quantile else float(after)
        self._share = float(quantile[1]) / 100 if quantile else None
        self._seen: deque[float] = deque(maxlen=SEEN)
        self._fresh = 0

    @property
    def seconds(self) -> float | None:
        """How long to wait for an answer before asking again; `None` while too little is known."""
        return self._seconds

    def answered(self, seconds: float) -> None:
        """Count the latency of an answer."""
        if self._share is None:
            return
        self._seen.append(seconds)
        self._fresh += 1
        if self._fresh >= ENOUGH:
            self._fresh = 0
            self._seconds = sorted(self._seen)[min(int(self._share * len(self._seen)), len(self._seen) - 1)]


async def hedged(
    once: Callable[[], Coroutine[Any, Any, T]], after: float, spare: Callable[[], bool], leave: Callable[[], None]
) -> T:
    """Do `once`; if that takes longer than `after` seconds, do it again beside it. The first result counts.

    The other one is cancelled, and has ended when this returns.

    Args:
        once: The work; called a second time at most.
        after: Seconds.
        spare: Takes a place for the second one, if there is one to spare.
        leave: Gives that place back.

    Raises:
        Exception: What the first one raised, if neither has a result.
    """
    tasks = [asyncio.ensure_future(once())]
    try:
        done, under_way = await asyncio.wait(tasks, timeout=after)
        if under_way and spare():
            tasks.append(asyncio.ensure_future(once()))
            tasks[1].add_done_callback(lambda _: leave())
            under_way.add(tasks[1])
        while True:
            for task in done:
                if task.exception() is None:
                    return task.result()
            if not under_way:
                return tasks[0].result()
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
