"""Run a coroutine from code that is not one."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["run"]

T = TypeVar("T")

WAVE = 100_000
"""Objects made and not freed before the garbage collector looks for cycles among them."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end on an event loop of its own, uvloop's where it is installed.

    Where a loop runs in this thread already (a notebook), another thread has to do it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work)
    done: list[T] = []
    failed: list[BaseException] = []
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []
    stopped, ended = threading.Event(), threading.Event()  # an interrupted `join` takes the thread for ended

    async def noted() -> T:
        begun.append((asyncio.get_running_loop(), task := asyncio.current_task()))
        if stopped.is_set() and task is not None:
            task.cancel()
        return await work

    def apart() -> None:
        try:
            done.append(_run(noted()))
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=apart, name="stillroom-flow")
    try:
        thread.start()
        ended.wait()
    except KeyboardInterrupt:  # it comes to this thread alone: let the other one end what is under way
        stopped.set()
        for loop, task in begun:
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)
        ended.wait()
        raise
    if failed:
        raise failed[0]
    return done[0]


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=_factory()) as runner, _settled_heap():
        return runner.run(work)


@contextmanager
def _settled_heap() -> Iterator[None]:
    """Keep the garbage collector from looking at what was there before, again and again: it took a quarter of the CPU.

    Hundreds of rows under way come and go in waves of more than the usual 700 objects; looking
    through them for each wave took another eighth.
    """
    if gc.get_freeze_count():  # somebody else has settled it
        yield
        return
    usual = gc.get_threshold()
    gc.freeze()
    if usual[0]:  # 0: somebody has turned it off
        gc.set_threshold(max(usual[0], WAVE), *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
