"""Have something closed when an event loop ends, by the loop itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

__all__ = ["lodge"]


async def lodge(close: Callable[[], Awaitable[object]]) -> AsyncGenerator[None, None]:
    """Await `close` when the running loop ends or whoever holds this generator lets go of it.

    `asyncio.run` and `asyncio.Runner` close the generators that were begun on their loop. `lodge` begins
    its own before it returns.
    """

    async def guest() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await close()

    begun = guest()
    await anext(begun)
    return begun
