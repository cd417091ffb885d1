"""How many requests an endpoint is sent at once: as many as it takes."""

from __future__ import annotations

import asyncio

__all__ = ["Slots"]


class Slots:
    """A semaphore that shrinks while an endpoint turns callers away and grows back while it serves.

    It looks at as many answers as there are slots: when over half were refusals it gives
    up a quarter of its slots, when over a fifth one slot; else it wins one. (Additive
    increase, multiplicative decrease: Chiu and Jain 1989. The fifth is there for
    endpoints that refuse by chance, not for want of room.) Not thread-safe: it belongs
    to one event loop.
    """

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self._free = asyncio.Semaphore(most)
        self._owed = 0  # slots to be taken away when those who hold them come back
        self._seen = self._refused = 0

    async def __aenter__(self) -> Slots:
        await self._free.acquire()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._give()

    def answered(self, *, refused: bool) -> None:
        """Count one answer; `refused` means: too many at once."""
        self._seen += 1
        self._refused += refused
        if self._seen < self.limit:
            return
        share, self._seen, self._refused = self._refused / self._seen, 0, 0
        if share > 0.2 and self.limit > 1:
            cut = max(1, self.limit // 4) if share > 0.5 else 1
            self.limit -= cut
            self._owed += cut
        elif share <= 0.2 and self.limit < self.most:
            self.limit += 1
            self._give()

    def _give(self) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()
