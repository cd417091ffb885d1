"""What runs on each machine of the cluster: an engine, and the letters that reach it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import astuple
from typing import Any

from stillroom.engines.contract import Engine
from stillroom.errors import EngineError

from ._mail import MOST, failure, read, write

__all__ = ["Worker"]

LINGER = 0.002  # seconds that an answer waits for others to go with it


class Worker:
    """An engine inside a Ray actor. Letters are begun as they come, and answered many at a time."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._answers: list[tuple[int, Any, Any]] = []
        self._some = asyncio.Event()

    async def here(self) -> None:
        """Answer once it runs."""

    async def open(self, opener: Callable[[], Engine]) -> bytes:
        """Open the engine. What it says of itself, or why it cannot be opened."""
        try:
            # takes a while where a model is prepared; a cluster that asks whether the actor lives must hear of it
            engine = self._engine = await asyncio.to_thread(opener)
            facts = {name: getattr(engine, name) for name in Engine.__annotations__}
            return write({"facts": {**facts, "supported_params": sorted(facts["supported_params"])}})
        except Exception as error:
            return write({"failure": failure(error)})

    async def take(self, mail: bytes) -> None:
        """Begin what the letters ask for; `drop` ends what an earlier one began."""
        for number, what, value in read(mail):
            if what == "drop":
                if number in self._under_way:
                    self._under_way[number].cancel()
            else:
                self._under_way[number] = asyncio.ensure_future(self._answer(number, what, value))

    async def answers(self) -> bytes:
        """Wait until something is answered; what was answered since the last time."""
        await self._some.wait()
        await asyncio.sleep(LINGER)
        answers = self._answers[:MOST]
        del self._answers[:MOST]
        if not self._answers:
            self._some.clear()
        return write(answers)

    async def _answer(self, number: int, what: str, value: Any) -> None:
        work: Callable[[Any], Awaitable[Any]] = getattr(self, f"_{what}")
        answer, failed = None, None
        try:
            answer = await work(value)
        except Exception as error:
            failed = failure(error)
        finally:
            del self._under_way[number]
        self._answers.append((number, answer, failed))
        self._some.set()

    # -- what a letter may ask for -----------------------------------------------------

    @property
    def _opened(self) -> Engine:
        assert self._engine is not None, "letters come after `open`"
        return self._engine

    async def _complete(self, request: Any) -> Any:
        from dspy._vendor.lm15.serde import request_from_dict, response_to_dict

        answer = await self._opened.acomplete(request_from_dict(request))
        return response_to_dict(answer, include_provider_data=True)

    async def _score(self, asked: Any) -> Any:
        from dspy._vendor.lm15.serde import request_from_dict

        requests = [request_from_dict(request) for request in asked["requests"]]
        found = await asyncio.to_thread(self._opened.score_many, requests, asked["continuations"])
        return [
            failure(each) if isinstance(each, EngineError) else [list(astuple(score)) for score in each]
            for each in found
        ]

    async def _check(self, _: Any) -> Any:
        check = getattr(self._opened, "check", None)
        return list(await asyncio.to_thread(check) or ()) if callable(check) else []
