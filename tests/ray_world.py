"""Engines on machines that are pretended: what is asked of them, and who waits for what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from dspy.lm15 import Response
from fake_ray import NODE, FakeCluster

from stillroom.engines import ScriptedEngine
from stillroom.errors import EngineBusy, EngineRefused


class Scripted(ScriptedEngine):
    """On one machine: answers when it is let, and notes what it was asked and what was cancelled."""

    asked: Counter[tuple[str, str]] = Counter()
    answered: Counter[tuple[str, str]] = Counter()
    cancelled: list[str] = []
    gate = threading.Event()
    deadly: str = ""
    cluster: FakeCluster

    def __init__(self, **settings: Any) -> None:
        super().__init__(lambda request: f"so {request.messages[-1].text}", **{"max_concurrency": 4, **settings})
        self.node = NODE.get()

    async def acomplete(self, request: Any) -> Response:
        text = request.messages[-1].text
        self.asked[self.node, text] += 1
        if text == self.deadly:
            await asyncio.to_thread(self.cluster.fall, self.node)
        try:
            while not self.gate.is_set():
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.cancelled.append(text)
            raise
        self.answered[self.node, text] += 1
        return await super().acomplete(request)

    def check(self) -> list[str]:
        if self.node == self.deadly:
            raise EngineBusy("nothing answers", mend="Start it.", retry_after=3.0)
        return ["tiny"]

    def count(self, node: str) -> int:
        return sum(count for (name, _), count in self.asked.items() if name == node)


class Charged(Scripted):
    """An engine whose unseen answers may be billed."""

    charges_unanswered = True


def until(true: Callable[[], Any]) -> None:
    """Wait for what must come; a minute is for ever."""
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def on(node: str) -> list[str]:
    """What was asked on a machine."""
    return [text for name, text in Scripted.asked if name == node]


def echo(request: Any) -> str | Exception:
    """Say what was said, but for nonsense."""
    text = request.messages[-1].text
    return EngineRefused("no nonsense") if text == "nonsense" else f"so {text}"
