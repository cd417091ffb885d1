"""Provider strings that `dspy.LM` understands: openai/..., anthropic/..., ollama_chat/..."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, EngineBusy, EngineError, EngineRefused

from .contract import Engine

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["ProviderEngine"]

# of the settings of dspy.LM, those that say how to reach the provider; the others belong in each request
CONNECTION = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "custom_llm_provider",
        "extra_headers",
        "headers",
        "model_type",
        "organization",
        "project",
        "timeout",
    }
)
CONSTRAINTS = ("regex", "grammar")


class ProviderEngine(Engine):
    """Answer requests through `dspy.LM(model)`, whichever backend it picks.

    DSPy's own cache is off (the run's store is the memory) and its retries are on. What may
    pass is `EngineBusy`, what will not is `EngineRefused`. `provider_data` of an answer
    holds the provider's own `model` and, where the price is known, `cost_usd` at list price.

    Args:
        model: As for `dspy.LM`, `provider/name`.
        num_retries: Further tries after the first, with exponential backoff.
        max_concurrency: Requests under way at once, each on a thread.
        licence: Of the model's weights, for the passports of rows.
        connection: `api_key`, `api_base`, `timeout` and the like, as for `dspy.LM`.

    Raises:
        BadConfig: If a setting is not about the connection, or DSPy cannot use it.
    """

    def __init__(
        self,
        model: str,
        *,
        num_retries: int = 5,
        max_concurrency: int = 32,
        licence: str = "unknown",
        **connection: Any,
    ) -> None:
        import dspy

        extra = sorted(set(connection) - CONNECTION)
        if extra:
            raise BadConfig(
                f"a provider takes settings of its connection, got {', '.join(extra)}",
                mend="Put the others in the config of each request.",
            )
        try:
            self._lm = dspy.LM(model, cache=False, num_retries=num_retries, **connection)
        except (TypeError, ValueError, dspy.LMConfigurationError) as error:
            raise BadConfig(f"{model!r} with these settings cannot be used by DSPy: {error}") from error
        self.model = f"{model}@live"
        self.max_concurrency = max_concurrency
        self.licence = licence
        self._key = connection.get("api_key") or None
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="stillroom-provider")
        self._guard = threading.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"ProviderEngine({self.model!r})"

    # asked of DSPy when needed: the answer may take reading a catalogue
    @property
    def supports_response_schema(self) -> bool:  # type: ignore[override]
        """Whether the model takes a JSON schema."""
        return bool(self._lm.supports_response_schema)

    @property
    def supports_function_calling(self) -> bool:  # type: ignore[override]
        """Whether the model takes tools."""
        return bool(self._lm.supports_function_calling)

    @property
    def supported_params(self) -> frozenset[str]:  # type: ignore[override]
        """The sampling settings that the provider takes."""
        return frozenset(self._lm.supported_params)

    def submit(self, request: Request) -> Future[Response]:
        """Send `request` from a thread. A request already sent cannot be cancelled."""
        with self._guard:
            if not self._closed:
                return self._threads.submit(self._answer, request)
        failed: Future[Response] = Future()
        failed.set_exception(EngineRefused("a closed engine cannot be used again", mend="Open a new one."))
        return failed

    def close(self) -> None:
        """Drop what has not been sent, wait for what has, and close the connections."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._threads.shutdown(cancel_futures=True)
        self._lm.close()

    def _answer(self, request: Request) -> Response:
        import dspy

        asked = [name for name in CONSTRAINTS if name in (request.config.extensions or {})]
        if asked:
            raise EngineRefused(
                f"{self.model} takes no {asked[0]}", mend="Use a local engine or an http one with guided=."
            )
        try:
            with dspy.context(disable_history=True, usage_tracker=None, send_stream=None):
                answer: Response = self._lm(request=replace(request, model=self._lm.model))
        except (dspy.LMError, TypeError, ValueError) as error:
            raise self._translated(error) from error
        return self._told(answer, request)

    def _told(self, answer: Response, request: Request) -> Response:
        from dspy.lm15 import Usage

        told: dict[str, Any] = {"model": answer.model}
        usage = answer.usage
        if usage.input_tokens is None or usage.output_tokens is None:
            told["usage_estimated"] = True
            usage = Usage(
                input_tokens=self.count_tokens(request), output_tokens=len((answer.message.text or "").encode())
            )
        cost = self.cost(usage.input_tokens or 0, usage.output_tokens or 0)
        if cost is not None:
            told["cost_usd"] = cost
        return replace(answer, model=self.model, usage=usage, provider_data=told)

    def _translated(self, error: Exception) -> EngineError:
        """Sort DSPy's public errors; an answer that is not JSON is the infrastructure's doing."""
        from dspy.utils.exceptions import is_retryable_lm_error

        words = " ".join(str(getattr(error, "message", "") or error).split())[:300]
        if self._key:
            words = words.replace(self._key, "***")
        garbled = any(isinstance(cause, json.JSONDecodeError) for cause in _causes(error))
        if garbled or is_retryable_lm_error(error):
            return EngineBusy(
                f"{self.model} must answer, got {type(error).__name__}: {words}",
                retry_after=getattr(error, "retry_after", None),
            )
        return EngineRefused(f"{self.model} must accept the request, got {type(error).__name__}: {words}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
