"""Awaited on the caller's own loop: no threads, and nothing left open when the loop ends."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines.http import HttpEngine
from stillroom.errors import EngineRefused

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "stillroom-http"]


def test_no_thread_is_started(engine: HttpEngine) -> None:
    """`acomplete` runs where it is awaited."""

    async def main() -> list[str | None]:
        answers = await asyncio.gather(*(engine.acomplete(ask(str(i))) for i in range(40)))
        return [answer.text for answer in answers]

    assert asyncio.run(main()) == [f"echo: {i}" for i in range(40)]
    assert ours() == []


def test_loops_one_after_the_other_leave_nothing_open(engine: HttpEngine) -> None:
    """Each has connections of its own, which ends with it."""
    for i in range(3):
        assert asyncio.run(engine.acomplete(ask(str(i)))).text == f"echo: {i}"
    gc.collect()
    assert len(engine._lines._lines) == 1  # those of ended loops are forgotten


def test_loops_on_several_threads_and_blocking_calls_together(engine: HttpEngine) -> None:
    """One engine serves all of them."""
    found: list[str | None] = []

    def elsewhere(i: int) -> None:
        found.append(asyncio.run(engine.acomplete(ask(f"loop {i}"))).text)

    threads = [threading.Thread(target=elsewhere, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    found += [engine.complete(ask("blocking")).text]
    for thread in threads:
        thread.join()
    assert sorted(map(str, found)) == sorted([*(f"echo: loop {i}" for i in range(4)), "echo: blocking"])


def test_closed_while_a_loop_waits(endpoint: Any, engine: HttpEngine) -> None:
    """Whoever waits, for an answer or for a place, hears that the engine is closed."""
    endpoint.delay = 30.0

    async def main() -> list[BaseException]:
        waiting = [asyncio.ensure_future(engine.acomplete(ask(str(i)))) for i in range(30)]
        while len(endpoint.sent) < 10:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.close)
        return await asyncio.gather(*waiting, return_exceptions=True)  # type: ignore[return-value]

    began = time.monotonic()
    errors = asyncio.run(main())
    assert {type(error) for error in errors} == {EngineRefused}
    assert all("closed" in str(error) for error in errors)
    assert time.monotonic() - began < 20  # not the thirty seconds of an answer


def test_a_closed_engine_refuses_on_every_loop(engine: HttpEngine) -> None:
    """Also on one it has not seen."""
    engine.close()
    with pytest.raises(EngineRefused, match="closed"):
        asyncio.run(engine.acomplete(ask("hi")))


def test_a_cancelled_call_gives_its_place_back(endpoint: Any) -> None:
    """And those in line move up, whether it was sent already or waited itself."""
    engine = HttpEngine(endpoint.url, "tiny", max_concurrency=1)
    endpoint.delays.extend([30.0])

    async def main() -> str | None:
        sent = asyncio.ensure_future(engine.acomplete(ask("sent")))
        while not endpoint.sent:
            await asyncio.sleep(0.01)
        queued = asyncio.ensure_future(engine.acomplete(ask("queued")))
        last = asyncio.ensure_future(engine.acomplete(ask("last")))
        await asyncio.sleep(0)
        queued.cancel()
        sent.cancel()
        return (await last).text

    assert asyncio.run(main()) == "echo: last"
    assert [body["messages"][-1]["content"] for body in endpoint.sent] == ["sent", "last"]
    engine.close()


def test_forgotten_on_a_running_loop(endpoint: Any) -> None:
    """An engine that nobody holds any more closes its connections, also without `close`."""

    async def main() -> None:
        engine = HttpEngine(endpoint.url, "tiny")
        await engine.acomplete(ask("hi"))
        posting = next(iter(engine._lines._lines.values())).posting
        del engine
        gc.collect()
        for _ in range(100):
            if posting.closed:
                break
            await asyncio.sleep(0.01)
        assert posting.closed

    asyncio.run(main())
