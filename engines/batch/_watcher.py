"""Watching a batch until it has ended, and reading what came of it; an endpoint may be away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from time import monotonic

from stillroom.engines.http import Backoff, NoSuchPath
from stillroom.errors import EngineBusy

from ._api import ENDED, BatchApi, State
from ._results import Result, result

__all__ = ["Watcher"]

FIRST_LOOK = 1.0
GROWTH = 1.5


class Watcher:
    """Look at batches every `poll` seconds at the most, and put up with an endpoint's absence for `patience` seconds.

    Attributes:
        states: How far each batch was when it was last looked at.
    """

    def __init__(self, api: BatchApi, poll: float, patience: float) -> None:
        self.states: dict[str, State] = {}
        self._api, self._poll, self._patience = api, poll, patience
        self._backoff, self._rng = Backoff(), Random()

    async def ended(self, batch: str, *, fresh: bool) -> State:
        """Wait until `batch` has ended.

        Args:
            batch: Its id.
            fresh: It was made just now, and need not be known everywhere at once.

        Raises:
            EngineBusy: If the endpoint tells nothing of it for too long.
            EngineRefused: If it may not be looked at, or (unless fresh, at once) is not there.
        """
        failing: float | None = None
        pause = min(self._poll, FIRST_LOOK)
        while True:
            try:
                state = self.states[batch] = await self._api.look(batch)
            except (EngineBusy, NoSuchPath) as error:
                failing = monotonic() if failing is None else failing
                if monotonic() - failing > self._patience or (isinstance(error, NoSuchPath) and not fresh):
                    error.add_note(f"Batch {batch} goes on without us: run again to have its answers.")
                    raise
            else:
                failing = None
                if state.status in ENDED:
                    return state
            await asyncio.sleep(pause)
            pause = min(self._poll, pause * GROWTH)

    async def results(self, state: State) -> AsyncIterator[tuple[str, Result]]:
        """The lines of a batch that has ended, by id; some may come twice, and some not at all.

        Raises:
            EngineBusy: If they cannot be read.
            EngineRefused: If they are kept no more.
        """
        for file in (state.output, state.errors):
            attempt = 0
            while file is not None:
                try:
                    async for raw in self._api.lines(file):
                        found = result(raw)
                        if found is not None:
                            yield found
                except EngineBusy as error:
                    wait = self._backoff.wait(attempt, error.retry_after, self._rng)
                    if wait is None:
                        raise
                    attempt += 1
                    await asyncio.sleep(wait)
                else:
                    break
