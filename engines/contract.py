"""The one engine contract.

An engine takes DSPy 3.4's canonical `Request` and gives a `Response`
(`dspy.clients.engines.base`). It implements one method, `submit`; the blocking,
awaitable and batch faces follow from it. An engine makes one attempt that may
hide its own retries; it raises `EngineBusy` or `EngineRefused` and nothing else
for failures outside the text itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import EngineError

from .prices import NO_PRICES, Price, price_of

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Engine", "Score", "outcomes", "resending"]

resending: ContextVar[Callable[[int], None] | None] = ContextVar("resending", default=None)
"""What an engine calls, where there is something, before it sends a request again of which so many tries may be charged
without an answer. It raises `BudgetExceeded` where another one does not fit: then the request is given up."""


@dataclass(frozen=True)
class Score:
    """The log-probability of one continuation: `total` nats over `tokens` tokens.

    `seconds` are those of the whole call, which scored its other continuations too; 0 where nobody took the time.
    """

    continuation: str
    total: float
    tokens: int
    seconds: float = field(default=0.0, compare=False)

    @property
    def mean(self) -> float:
        """Nats per token, the length-normalised score."""
        return self.total / max(self.tokens, 1)


class Engine(ABC):
    """Where text comes from.

    Attributes:
        model: `provider/name@digest`. The digest is the first 12 hex digits of the
            model file's sha256, or `live` where an endpoint keeps its own counsel.
        licence: Of the model's weights, as an SPDX name, or `unknown`.
        max_concurrency: How many requests are worth having under way at once.
        copies: On how many machines the model answers side by side; `max_concurrency` is that of all together.
        supports_response_schema: Whether a JSON schema constrains decoding; DSPy asks before it sends one.
        supports_function_calling: Whether native tool calls work; DSPy asks before it sends tools.
        supports_regex: Whether `config.extensions` may hold a `regex` or `grammar` that constrains decoding.
        supports_scores: Whether `score` works.
        supported_params: Sampling settings that are honoured; DSPy asks.
        charges_unanswered: Whether a request whose answer was never seen may still be billed.
        calls_per_request: As how many calls one request may be billed while nothing fails: 2 where
            stragglers are asked a second time. What an answer took on top of its own call stands
            in its `provider_data` as `unanswered_tries`.
        prices: What the user says that models cost, before all other tables; see `stillroom.engines.prices`.
    """

    model: str
    licence: str = "unknown"
    max_concurrency: int = 32
    copies: int = 1
    charges_unanswered: bool = True
    calls_per_request: int = 1
    supports_response_schema: bool = True
    supports_regex: bool = False
    supports_scores: bool = False
    supports_function_calling: bool = False
    supported_params: frozenset[str] = frozenset(
        {"temperature", "max_tokens", "top_p", "top_k", "stop", "seed", "logprobs", "response_format"}
    )
    prices = NO_PRICES  # not annotated: what is annotated is what an engine says of itself

    @abstractmethod
    def submit(self, request: Request) -> Future[Response]:
        """Start `request` and return at once. Cancelling the future stops the work where possible."""

    def complete(self, request: Request) -> Response:
        """Answer `request`, blocking. Raises `EngineError`."""
        return self.submit(request).result()

    async def acomplete(self, request: Request) -> Response:
        """Answer `request` without blocking the event loop. Raises `EngineError`."""
        return await asyncio.wrap_future(self.submit(request))

    def complete_many(self, requests: Sequence[Request]) -> list[Response | EngineError]:
        """Answer all `requests`, in their order. One failure does not cost the others."""
        return outcomes([self.submit(request) for request in requests])

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """Log-probabilities of each of the `continuations` as the answer to `request`.

        Raises:
            NotImplementedError: If this engine cannot see log-probabilities of given text.
        """
        raise NotImplementedError(f"{self.model} cannot score given continuations")

    def score_many(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[Score] | EngineError]:
        """Score the same `continuations` for all `requests`, in their order. One failure does not cost the others.

        Raises:
            NotImplementedError: As `score` does.
        """
        found: list[list[Score] | EngineError] = []
        for request in requests:
            try:
                found.append(self.score(request, continuations))
            except EngineError as error:
                found.append(error)
        return found

    def count_tokens(self, request: Request) -> int:
        """An upper bound of the prompt's tokens: a byte-level vocabulary has no token under one byte."""
        texts = [request.system if isinstance(request.system, str) else ""]
        texts += [message.text or "" for message in request.messages]
        return sum(len(text.encode()) for text in texts) + 8 * (len(texts) + 1)

    @cached_property
    def price(self) -> Price | None:
        """What its tokens cost; None where nobody knows. Looked up once."""
        return price_of(self.model, self.prices)

    def cost(self, tokens_in: float, tokens_out: float, cached: float = 0) -> float | None:
        """US dollars of so many tokens, of which so many of the prompt's came from a cache; None where no price is known."""
        return None if self.price is None else self.price.usd(tokens_in, tokens_out, cached)

    def resume_in(self, folder: Path) -> None:  # noqa: B027 - most engines end with their process
        """Be told of the folder of the run that begins: what outlives this process is noted, and found, there."""

    def close(self) -> None:  # noqa: B027 - most engines hold nothing
        """Give back threads, connections and memory. A closed engine is not used again."""


def outcomes(futures: Sequence[Future[Response]]) -> list[Response | EngineError]:
    """Wait for all `futures`; each gives its answer or, in its place, the engine's error."""
    found: list[Response | EngineError] = []
    for future in futures:
        try:
            found.append(future.result())
        except EngineError as error:
            found.append(error)
    return found
