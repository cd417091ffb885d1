"""The line from one event loop to an endpoint: tries, until there is an answer or no sense in another try."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

from stillroom.engines.contract import resending
from stillroom.errors import EngineBusy, EngineRefused

from ._breaker import Breaker
from ._endpoint import Endpoint
from ._failures import Down, Unanswered, Unreachable
from ._gate import Gate, closed
from ._guest import lodge
from ._hedge import Straggling, hedged
from ._limit import Limit
from ._rates import Rates
from ._reading import Reader
from ._retry import Backoff
from ._wire import ChatWire

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Line", "Manners"]

BYTES_A_TOKEN = 4.0


@dataclass
class Manners:
    """How an engine treats its endpoint, and what it knows of it: shared by its lines.

    Attributes:
        most: Requests under way at once, on each loop.
        backoff: Between the tries of one request.
        patience: Seconds that a row waits for an endpoint that has answered before.
        rates: Requests and tokens a minute.
        straggling: When to ask a second time, or `None`: never.
        rng: Where the jitter comes from.
        answered: Whether it ever gave an answer.
    """

    most: int
    backoff: Backoff
    patience: float
    rates: Rates
    straggling: Straggling | None
    rng: Random
    answered: bool = False


@dataclass(eq=False)
class _Tries:
    """The tries of one request.

    Attributes:
        failed: How many failed.
        failed_at: When the first of them was over.
        unanswered: How many were sent without an answer that could be used: they may be on the bill.
        tokens: About how many it is worth, prompt and answer.
        began: When the first began.
    """

    tokens: float
    failed: int = 0
    failed_at: float = inf
    unanswered: int = 0
    began: float = field(default_factory=monotonic)


class Line:
    """The connections and the gate of one event loop. Made on that loop; closed when the loop ends."""

    def __init__(self, endpoint: Endpoint, wire: ChatWire, reader: Reader, manners: Manners) -> None:
        self.loop = asyncio.get_running_loop()
        self.posting = endpoint.posting("/chat/completions")
        limit = Limit(manners.most)
        breaker = Breaker(patience=manners.patience, base=manners.backoff.base, rng=manners.rng)
        self.gate = Gate(endpoint.host, limit, breaker)
        self._endpoint, self._wire, self._reader, self._manners = endpoint, wire, reader, manners
        self._closed = False
        self._guest: AsyncGenerator[None, None] | None = None

    async def open(self) -> None:
        """Have the loop close the connections when it ends."""
        self._guest = await lodge(self.close)

    async def close(self) -> None:
        """Send everybody away and drop the connections."""
        self._closed = True
        self.gate.close()
        await self.posting.close()

    async def ask(self, request: Request) -> Response:
        """Send `request` until it is answered.

        Raises:
            EngineBusy: If it failed so often, or the endpoint was down for so long, that it is given up.
            EngineRefused: If another try would change nothing.
            BudgetExceeded: If another try may cost more than is left (`resending`).
        """
        body = self._wire.body(request)
        tries = _Tries(len(body) / BYTES_A_TOKEN + (request.config.max_tokens or 0))
        while True:
            self._reader.served.hold()
            try:
                answer = await self._try(body, request, tries)
            except EngineBusy as error:
                if self._closed:
                    raise closed() from None
                wait = self._wait(error, tries)
                if wait is None:
                    error.unanswered_tries = tries.unanswered
                    raise
                tries.failed += 1
            else:
                if not tries.unanswered:
                    return answer
                return replace(answer, provider_data={**answer.provider_data, "unanswered_tries": tries.unanswered})
            await asyncio.sleep(wait)
            if tries.unanswered and (promise := resending.get()) is not None:
                promise(tries.unanswered)

    def _wait(self, error: EngineBusy, tries: _Tries) -> float | None:
        """Seconds until the next try, or `None` for none.

        A row waits for an endpoint that is down as long as patience lasts, if it was ever up; what
        may be the fault of the one request gets so many tries.
        """
        manners = self._manners
        if not isinstance(error, Down) or not manners.answered:
            if isinstance(error, Unreachable) and not self._endpoint.reached:
                return None  # where nothing ever answered: say so now, not after all the tries
            return manners.backoff.wait(tries.failed, error.retry_after, manners.rng)
        wait = manners.backoff.pause(tries.failed, error.retry_after, manners.rng)
        return wait if monotonic() - tries.began + wait <= manners.patience else None

    async def _try(self, body: bytes, request: Request, tries: _Tries) -> Response:
        manners = self._manners
        await self.gate.enter()
        try:
            wait = manners.rates.take(tries.tokens)
            if wait:
                await asyncio.sleep(wait)
            after = manners.straggling.seconds if manners.straggling else None
            if after is None:
                return await self._once(body, request, tries)
            return await hedged(lambda: self._once(body, request, tries), after, self.gate.try_enter, self.gate.leave)
        finally:
            self.gate.leave()

    async def _once(self, body: bytes, request: Request, tries: _Tries) -> Response:
        """One request and its answer."""
        endpoint, manners, sent = self._endpoint, self._manners, monotonic()
        try:
            reply = await endpoint.post(self.posting, body)
            manners.rates.heard(reply.headers, self.gate.busy, tries.tokens)
            answer = self._reader.read(reply, request, len(body))
        except EngineBusy as error:
            tries.unanswered += isinstance(error, Unanswered)
            # where others were answered after it had failed, this one says nothing of the endpoint
            self.gate.failed(sent, error, None if self.gate.breaker.good > tries.failed_at else tries)
            tries.failed_at = min(tries.failed_at, monotonic())
            raise
        except EngineRefused:
            self.gate.succeeded(sent)  # it answers, if not what was hoped for
            raise
        except BaseException:
            tries.unanswered += 1
            self.gate.breaker.unheard()
            raise
        manners.answered = True
        self.gate.succeeded(sent)
        manners.rates.used(tries.tokens, answer.usage.total_tokens or 0)
        if manners.straggling:
            manners.straggling.answered(monotonic() - sent)
        return answer
