"""One event loop on a thread of its own, with one HTTP session."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult

from stillroom.errors import EngineRefused

from ._slots import Slots

if TYPE_CHECKING:
    import aiohttp

__all__ = ["LOOPBACK", "Pool"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Pool:
    """The connections to one endpoint; thread and session start at the first request."""

    def __init__(self, parts: SplitResult, key: str | None, timeout: float, slots: int) -> None:
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._session: aiohttp.ClientSession | None = None
        self._guard = threading.Lock()
        self._closed = False
        self.slots = Slots(slots)
        host = parts.hostname or ""
        bypassed = host in LOOPBACK or urllib.request.proxy_bypass(host)
        self.proxy = None if bypassed else urllib.request.getproxies().get(parts.scheme)

    def run(self, work: Any) -> Future[Any]:
        """Start a coroutine on the loop. Raises `EngineRefused` once closed."""
        with self._guard:
            if self._closed:
                work.close()
                raise EngineRefused("a closed engine cannot be used again", mend="Open a new one.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="stillroom-http", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def session(self) -> aiohttp.ClientSession:
        """The one session, made on the loop."""
        import aiohttp

        if self._session is None:
            limits = aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(self._timeout, 10.0))
            # the semaphore is the limit; the connector would only queue a second time
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=limits)
        return self._session

    def close(self) -> None:
        """Cancel what is under way, close the session, end the thread; a second time does nothing."""
        with self._guard:
            loop, self._loop, self._closed = self._loop, None, True
        if loop is None or self._thread is None:
            return
        if threading.current_thread() is self._thread:  # collected while its own loop ran
            loop.create_task(self._shut()).add_done_callback(lambda _: loop.stop())
            return
        asyncio.run_coroutine_threadsafe(self._shut(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    async def _shut(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
