"""Answers of plans that score their labels: what is asked in the same moment is scored in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from stillroom.engines import Engine
from stillroom.errors import EngineError, Interrupted
from stillroom.programs.answers import Answer, answer_many
from stillroom.programs.plan import Plan

__all__ = ["Scorer"]


class Scorer:
    """Gathers askings of one engine. Scoring blocks, so each batch has a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, list[tuple[Mapping[str, Any], asyncio.Future[Answer]]]] = {}
        self._batches: set[asyncio.Task[None]] = set()

    async def answer(self, plan: Plan, inputs: Mapping[str, Any]) -> Answer:
        """Answer `inputs`, together with whatever else is asked of `plan` before the event loop comes round.

        Raises:
            EngineError: If it could not be scored.
            BudgetExceeded: From a metered engine, when the batch does not fit.
        """
        loop = asyncio.get_running_loop()
        asked = loop.create_future()
        batch = self._waiting.setdefault(plan.digest, [])
        batch.append((inputs, asked))
        if len(batch) == 1:
            loop.call_soon(self._begin, plan)
        return await asked

    def _begin(self, plan: Plan) -> None:
        task = asyncio.ensure_future(self._score(plan, self._waiting.pop(plan.digest)))
        self._batches.add(task)  # a task that nobody holds may be collected
        task.add_done_callback(self._batches.discard)

    async def _score(self, plan: Plan, batch: list[tuple[Mapping[str, Any], asyncio.Future[Answer]]]) -> None:
        try:
            answers = await asyncio.to_thread(answer_many, plan, self._engine, [inputs for inputs, _ in batch])
        except KeyboardInterrupt:  # from the thread: nothing further is begun
            answers = [Interrupted("no call is begun after Ctrl-C") for _ in batch]
        except Exception as error:
            for _, asked in batch:
                asked.set_exception(error)
            return
        for (_, asked), answer in zip(batch, answers, strict=True):
            if isinstance(answer, EngineError):
                asked.set_exception(answer)
            else:
                asked.set_result(answer)
