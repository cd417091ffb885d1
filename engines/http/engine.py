"""Any OpenAI-compatible endpoint, asked from the caller's own event loop."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from stillroom.engines.contract import Engine
from stillroom.errors import BadConfig, EngineError

from ._endpoint import Endpoint
from ._hedge import Straggling
from ._line import Line, Manners
from ._lines import Lines
from ._rates import Rates
from ._reading import Reader
from ._retry import Backoff
from ._served import Served, first_told
from ._wire import ChatWire

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["HttpEngine"]


class HttpEngine(Engine):
    """Answer requests at `base_url` + "/chat/completions".

    As many requests are under way as the endpoint takes, up to `max_concurrency`: fewer when it
    refuses, fails or slows down. Failures worth another try (429, 5xx, lost connections, timeouts,
    answers that are not chat completions) are tried again with growing, jittered waits that
    honour Retry-After; then they are `EngineBusy`. While an endpoint that has answered before is down, rows
    wait for it and one at a time asks whether it is back. What will not change is `EngineRefused` at
    once. The key appears in no message, repr or log.

    `provider_data` of an answer holds what the endpoint says of itself (`model`, `id`,
    `system_fingerprint`, `service_tier`), `usage_estimated` where it keeps no count, and
    `unanswered_tries`: how many requests were sent for this answer on top of the one that was
    answered (timeouts, lost connections, hedges). Each may be on the bill as well.

    Args:
        base_url: Up to and with the version, `http://host:port/v1`. A query is sent
            along (`?api-version=...`) and shown nowhere.
        model_name: What the endpoint calls the model.
        api_key: Sent as a bearer token; `None` sends none.
        timeout: Seconds for one try.
        retries: Further tries after the first.
        patience: Seconds that a request waits for an endpoint that was up and is down.
        max_concurrency: Requests under way at once, at the most.
        requests_per_minute: Sent evenly at this rate; `None`: as fast as it takes them.
        tokens_per_minute: Prompt and answer, likewise.
        hedge_after: Ask a second time when an answer is later than so many seconds, or than a
            percentile of the latencies of late ("p95"); `None`: never. The first answer counts,
            the other is paid for all the same.
        serves: Ids the endpoint may answer under, `*` standing for anything; none: the
            one it answers under first, in the run that it answers for. Another one is `EngineRefused`, and so is all after it.
        backoff: Ceiling of the first wait between tries, in seconds.
        digest: What the model string ends in. An endpoint may change what it serves
            without notice, hence `live`; name a revision that you pin yourself to
            keep answers of different revisions apart.
        guided: How the endpoint takes a regex, a grammar and `top_k`: "vllm",
            "vllm-guided" (before 0.12), or `None`: it does not.
        dialect: An lm15 preset for its other habits; guessed from the host.
        supports_response_schema: Whether it takes a JSON schema.
        supports_function_calling: Whether it takes tools.
        licence: Of the model's weights, for the passports of rows.
        rng: Where the jitter comes from.

    Attributes:
        endpoint: Where requests go.
        wire: How they are written.
        reader: How replies are read.

    Raises:
        BadConfig: If a setting cannot work.
    """

    def __init__(
        self,
        base_url: str,
        model_name: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        patience: float = 600.0,
        max_concurrency: int = 64,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        hedge_after: float | str | None = None,
        serves: Sequence[str] = (),
        backoff: float = 0.5,
        digest: str = "live",
        guided: str | None = None,
        dialect: str | None = None,
        supports_response_schema: bool = True,
        supports_function_calling: bool = True,
        licence: str = "unknown",
        rng: Random | None = None,
    ) -> None:
        endpoint = Endpoint(base_url, api_key, timeout)
        _check(model_name, serves, retries=retries, slots=max_concurrency)
        _check_seconds(patience=patience, backoff=backoff)
        _check_rates(requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
        self.host = endpoint.host
        self.model = f"{endpoint.scheme}/{self.host}/{model_name}@{digest}"
        self.model_name = model_name
        self.max_concurrency = max_concurrency
        self.calls_per_request = 1 if hedge_after is None else 2
        self.supports_response_schema = supports_response_schema
        self.supports_function_calling = supports_function_calling
        self.supports_regex = guided is not None
        self.licence = licence
        self.supported_params = _params(guided is not None, supports_function_calling)
        wire = ChatWire(
            model_name,
            dialect=dialect or ("openai" if endpoint.name == "api.openai.com" else "vllm"),
            guided=guided,
            schema=supports_response_schema,
            tools=supports_function_calling,
        )
        reader = Reader(endpoint, wire, Served(self.host, serves), self.model)
        manners = Manners(
            most=max_concurrency,
            backoff=Backoff(retries, backoff),
            patience=patience,
            rates=Rates(requests_per_minute, tokens_per_minute),
            straggling=None if hedge_after is None else Straggling(hedge_after),
            rng=rng or Random(),
        )
        self.endpoint, self.wire, self.reader, self._manners = endpoint, wire, reader, manners
        self._lines = Lines(lambda: Line(endpoint, wire, reader, manners))
        self._end = weakref.finalize(self, self._lines.close)

    def __repr__(self) -> str:
        return f"HttpEngine({self.model!r})"

    @property
    def served(self) -> str | None:
        """The model id that the endpoint answers under; `None` before the first answer that has one."""
        return self.reader.served.first

    async def acomplete(self, request: Request) -> Response:
        """Answer `request` on the running loop. Raises `EngineError`."""
        return await (await self._lines.here()).ask(request)

    def submit(self, request: Request) -> Future[Response]:
        """Send `request` from a background loop; cancelling the future drops the connection."""
        try:
            self.wire.body(request)  # what cannot be written fails before anything starts
            return self._lines.run(self.acomplete(request))
        except EngineError as error:
            failed: Future[Response] = Future()
            failed.set_exception(error)
            return failed

    def check(self) -> tuple[str, ...]:
        """Ask the endpoint, once and for free, what it serves; call this before money is spent.

        Returns:
            The model names it lists; empty if it keeps no list.

        Raises:
            EngineBusy: If it cannot be reached or does not answer in JSON.
            EngineRefused: If it does not accept the key, or lists models without this one.
        """
        return self._lines.run(self._check()).result()

    def resume_in(self, folder: Path) -> None:
        """Hold the endpoint to the model id that it answered under in this run before.

        Raises:
            EngineRefused: If that is not among the ids it may answer under now.
        """
        self.reader.served.check(first_told(folder / "run.db", self.model))

    def count_tokens(self, request: Request) -> int:
        """An upper bound of the prompt's tokens: the bytes of all that is sent, tools and schema with it."""
        return len(self.wire.body(request))

    def close(self) -> None:
        """Drop what is under way, close the connections and end the background thread."""
        self._end()

    async def _check(self) -> tuple[str, ...]:
        async with self.endpoint.session() as session:
            return await self.endpoint.models(session, self.model_name)


def _check(model_name: str, serves: Sequence[str], *, retries: int, slots: int) -> None:
    if not model_name:
        mend = "Write it after a #, as in http://localhost:8000/v1#qwen2.5."
        raise BadConfig(f"an endpoint needs a model name, got {model_name!r}", mend=mend)
    if isinstance(serves, str) or not all(isinstance(each, str) and each for each in serves):
        raise BadConfig(f"serves must be a list of model ids, got {serves!r}")
    if not (isinstance(retries, int) and retries >= 0 and isinstance(slots, int) and slots >= 1):
        raise BadConfig(f"retries must be at least 0 and max_concurrency at least 1, got {retries!r} and {slots!r}")


def _check_seconds(**settings: float) -> None:
    for name, value in settings.items():
        if not value >= 0:
            raise BadConfig(f"{name} must be at least 0 seconds, got {value!r}")


def _check_rates(**settings: float | None) -> None:
    for name, value in settings.items():
        if value is not None and not value > 0:
            raise BadConfig(f"{name} must be above 0, got {value!r}", mend="Leave it out for no limit.")


def _params(guided: bool, tools: bool) -> frozenset[str]:
    known = Engine.supported_params - {"top_k"} | {"top_logprobs", "frequency_penalty", "presence_penalty"}
    return (
        known | ({"top_k"} if guided else set()) | ({"tools", "tool_choice", "parallel_tool_calls"} if tools else set())
    )
