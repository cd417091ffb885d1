"""Any OpenAI-compatible endpoint, through one connection pool on a background event loop."""

from __future__ import annotations

import asyncio
import json
import os
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from stillroom.engines.contract import Engine
from stillroom.errors import BadConfig, EngineBusy, EngineError, EngineRefused

from ._failures import NoSuchPath, Said, TurnedAway, Unreachable, carries_error, failure, reason
from ._pool import LOOPBACK, Pool
from ._retry import Backoff
from ._wire import ChatWire

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["HttpEngine", "key_from_environment"]


def key_from_environment(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Find the key for `url`: STILLROOM_HTTP_KEY, else OPENAI_API_KEY.

    The second was not made for this endpoint, so it travels only over https or to this machine.

    Raises:
        BadConfig: If `url` is not one of an endpoint.
    """
    parts = _endpoint(url)
    own = environ.get("STILLROOM_HTTP_KEY")
    if own or not (parts.scheme == "https" or parts.hostname in LOOPBACK):
        return own or None
    return environ.get("OPENAI_API_KEY") or None


class HttpEngine(Engine):
    """Answer requests at `base_url` + "/chat/completions".

    Failures worth another try (429, 5xx, lost connections, timeouts, answers that are
    not chat completions) are tried again with growing, jittered waits that honour
    Retry-After; then they are `EngineBusy`. What will not change is `EngineRefused`
    at once. The key appears in no message, repr or log.

    Args:
        base_url: Up to and with the version, `http://host:port/v1`. A query is sent
            along (`?api-version=...`) and shown nowhere.
        model_name: What the endpoint calls the model.
        api_key: Sent as a bearer token; `None` sends none.
        timeout: Seconds for one try.
        retries: Further tries after the first.
        max_concurrency: Requests under way at once.
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
        max_concurrency: int = 64,
        backoff: float = 0.5,
        digest: str = "live",
        guided: str | None = None,
        dialect: str | None = None,
        supports_response_schema: bool = True,
        supports_function_calling: bool = True,
        licence: str = "unknown",
        rng: Random | None = None,
    ) -> None:
        parts = _endpoint(base_url)
        _check_settings(model_name, api_key, timeout=timeout, backoff=backoff, retries=retries, slots=max_concurrency)
        self.host = parts.netloc
        self.model = f"{parts.scheme}/{self.host}/{model_name}@{digest}"
        self.model_name = model_name
        self.max_concurrency = max_concurrency
        self.supports_response_schema = supports_response_schema
        self.supports_function_calling = supports_function_calling
        self.supports_regex = guided is not None
        self.licence = licence
        self.supported_params = _params(guided is not None, supports_function_calling)
        dialect = dialect or ("openai" if parts.hostname == "api.openai.com" else "vllm")
        self._wire = ChatWire(
            model_name, dialect=dialect, guided=guided, schema=supports_response_schema, tools=supports_function_calling
        )
        self._parts = parts
        self._key = api_key or None
        self._timeout = timeout
        self._backoff = Backoff(retries, backoff)
        self._rng = rng or Random()
        self._pool = Pool(parts, self._key, timeout, max_concurrency)
        self._reached = False
        self._end = weakref.finalize(self, self._pool.close)

    def __repr__(self) -> str:
        return f"HttpEngine({self.model!r})"

    def submit(self, request: Request) -> Future[Response]:
        """Send `request` from the background loop; cancelling the future drops the connection."""
        try:
            return self._pool.run(self._answer(self._wire.body(request), request))
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
        return self._pool.run(self._check()).result()

    def count_tokens(self, request: Request) -> int:
        """An upper bound of the prompt's tokens: the bytes of all that is sent, tools and schema with it."""
        return len(self._wire.body(request))

    def close(self) -> None:
        """Drop what is under way, close the connections and end the background thread."""
        self._end()

    async def _answer(self, body: bytes, request: Request) -> Response:
        attempt = 0
        while True:
            try:
                async with self._pool.slots as slots:  # given back while waiting: others may be luckier
                    raw = await self._send("POST", "/chat/completions", body)
                    answer = self._wire.response(raw, request, self.model, len(body))
                    slots.answered(refused=False)
                    return answer
            except EngineBusy as error:
                self._pool.slots.answered(refused=isinstance(error, TurnedAway))
                if isinstance(error, Unreachable) and not self._reached:
                    raise  # where nothing ever answered: say so now, not after all the tries
                wait = self._backoff.wait(attempt, error.retry_after, self._rng)
                if wait is None:
                    raise
            await asyncio.sleep(wait)
            attempt += 1

    async def _check(self) -> tuple[str, ...]:
        try:
            raw = await self._send("GET", "/models", None)
        except NoSuchPath:
            return ()
        try:
            entries = json.loads(raw)["data"]
            names = tuple(str(entry["id"]) for entry in entries)
        except (ValueError, TypeError, KeyError) as error:
            raise EngineBusy(
                f"{self.host} must list its models as JSON, got something else", mend="Does the URL end in /v1?"
            ) from error
        if names and not {self.model_name, f"{self.model_name}:latest"} & set(names):
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise EngineRefused(f"{self.host} does not serve {self.model_name!r}", mend=f"It serves {shown}.")
        return names

    async def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        """One try: the body of a 200, or the right error."""
        import aiohttp

        try:
            async with self._pool.session().request(
                method, self._url(path), data=body, proxy=self._pool.proxy, allow_redirects=False
            ) as reply:
                raw = await reply.read()
        except aiohttp.ClientSSLError as error:
            raise EngineRefused(f"{self.host} must have a certificate that can be trusted ({reason(error)})") from error
        except aiohttp.ClientConnectorError as error:
            mend = "Start the server, or correct the URL."
            raise Unreachable(
                f"endpoint must be reachable, got no connection to {self.host} ({reason(error)})", mend=mend
            ) from error
        except TimeoutError as error:
            raise EngineBusy(
                f"{self.host} must answer within {self._timeout:g} s, got nothing", mend="Raise timeout=."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            lost = f"{self.host} must answer in full, got a lost connection ({type(error).__name__})"
            raise EngineBusy(lost) from None  # aiohttp spells out the URL, and a query may hold a secret
        self._reached = True
        if reply.status == 200 and not carries_error(raw):
            return raw
        said = Said.read(raw, self._key)
        raise failure(self.host, reply.status, said, reply.headers.get("Retry-After"), with_key=bool(self._key))

    def _url(self, path: str) -> str:
        query = f"?{self._parts.query}" if self._parts.query else ""
        return f"{self._parts.scheme}://{self.host}{self._parts.path.rstrip('/')}{path}{query}"


def _endpoint(url: str) -> SplitResult:
    mend = "For example http://localhost:8000/v1."
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is not a number, brackets that do not close
        raise BadConfig(f"an endpoint must be http(s)://host[:port]/path, got one with {error}", mend=mend) from error
    if "@" in parts.netloc:
        raise BadConfig(
            "the URL of an endpoint must not carry a password, got one that does",
            mend="Pass api_key= or set STILLROOM_HTTP_KEY.",
        )
    if not sound or parts.fragment:
        raise BadConfig(f"an endpoint must be http(s)://host[:port]/path, got {url.partition('?')[0]!r}", mend=mend)
    return parts


def _check_settings(
    model_name: str, key: str | None, *, timeout: float, backoff: float, retries: int, slots: int
) -> None:
    if not model_name:
        mend = "Write it after a #, as in http://localhost:8000/v1#qwen2.5."
        raise BadConfig(f"an endpoint needs a model name, got {model_name!r}", mend=mend)
    if not (timeout > 0 and backoff >= 0):
        raise BadConfig(f"timeout must be above 0 and backoff at least 0, got {timeout!r} and {backoff!r}")
    if not (isinstance(retries, int) and retries >= 0 and isinstance(slots, int) and slots >= 1):
        raise BadConfig(f"retries must be at least 0 and max_concurrency at least 1, got {retries!r} and {slots!r}")
    if key is not None and not (key.isascii() and key.isprintable()):
        mend = "Look for a line break or a quote in it."
        raise BadConfig("a key must be printable ASCII, got one that is not", mend=mend)


def _params(guided: bool, tools: bool) -> frozenset[str]:
    known = Engine.supported_params - {"top_k"} | {"top_logprobs", "frequency_penalty", "presence_penalty"}
    return (
        known | ({"top_k"} if guided else set()) | ({"tools", "tool_choice", "parallel_tool_calls"} if tools else set())
    )
