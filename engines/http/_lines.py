"""A line for each event loop that asks, and a loop on a thread of its own for those who have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ._gate import closed
from ._line import Line

__all__ = ["Lines", "Thread"]

T = TypeVar("T")


class Thread:
    """An event loop on a thread of its own, which starts with the first work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._runner: asyncio.Runner | None = None
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` on the loop. Raises `EngineRefused` once closed."""
        with self._guard:
            if self._closed:
                work.close()
                raise closed()
            if self._runner is None:
                # closing a runner cancels its tasks and closes its generators; the factory keeps it off this thread's loop
                self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                self._runner.get_loop()  # made here, before two threads may make one each
                self._thread = threading.Thread(target=_serve, args=(self._runner,), name=self._name, daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._runner.get_loop())

    def owns(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether `loop` is this one."""
        return self._runner is not None and self._runner.get_loop() is loop

    def close(self) -> None:
        """Cancel what is under way and end the thread; a second time does nothing."""
        with self._guard:
            runner, self._runner, self._closed = self._runner, None, True
        if runner is None or self._thread is None:
            return
        loop = runner.get_loop()
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not self._thread:  # else it was collected while its own loop ran
            self._thread.join()


def _serve(runner: asyncio.Runner) -> None:
    with runner:
        runner.get_loop().run_forever()


class Lines:
    """Lines by loop. `run` works from any thread; `here` is for code that runs on a loop."""

    def __init__(self, make: Callable[[], Line]) -> None:
        self._make = make
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}
        self._thread = Thread("stillroom-http")
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` on the background loop. Raises `EngineRefused` once closed."""
        return self._thread.run(work)

    async def here(self) -> Line:
        """The line of the running loop. Raises `EngineRefused` once closed."""
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            for ended in [each for each in self._lines if each.is_closed()]:
                del self._lines[ended]
            line = self._lines[loop] = self._make()
            await line.open()
        return line

    def close(self) -> None:
        """Close every line; a second time does nothing."""
        self._closed = True
        for loop, line in self._lines.items():
            if not loop.is_closed() and not self._thread.owns(loop):
                asyncio.run_coroutine_threadsafe(line.close(), loop)
        self._lines.clear()
        self._thread.close()
