"""What went wrong at an endpoint, sorted into what a retry may mend and what it will not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stillroom.errors import EngineBusy, EngineError, EngineRefused

from ._retry import RETRIED

__all__ = [
    "Down",
    "Filtered",
    "NoSuchPath",
    "Said",
    "TurnedAway",
    "Unanswered",
    "Unreachable",
    "carries_error",
    "failure",
    "reason",
]

# asked for in these words by OpenAI, vLLM and llama.cpp
TOO_LONG = re.compile(r"context_length_exceeded|context (length|window|size)", re.IGNORECASE)


class Unanswered(EngineBusy):
    """It was sent, and no answer that could be read came back: it may have been charged."""


class Down(EngineBusy):
    """The endpoint serves nobody just now, whatever was asked of it."""


class Unreachable(Down):
    """No connection came about: nothing was sent and nothing charged."""


class TurnedAway(Down):
    """429, 503 or 529: the endpoint has more than it can do."""


class Filtered(EngineRefused):
    """Its filter refused the prompt: an answer of a kind, and not a fault of the endpoint."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the endpoint's filter refused the prompt: {words}")
        self.words = words


class NoSuchPath(EngineRefused):
    """404 or 405: for `/models` that is an answer too."""


@dataclass(frozen=True)
class Said:
    """The words of an error body, in one line of at most 300 characters, and its code."""

    words: str
    code: object = None

    @classmethod
    def read(cls, raw: bytes, key: str | None) -> Said:
        """Read an error body in any of the usual shapes, striking out the `key`."""
        code = None
        try:
            said = json.loads(raw)
        except ValueError:
            text = raw.decode("utf-8", "replace")
            said = "an HTML page" if text.lstrip().startswith("<") else text
        if isinstance(said, dict):
            said = said.get("error") or said
        if isinstance(said, dict):
            code = said.get("code") or said.get("type")
            said = said.get("message") or said.get("detail") or said
        line = " ".join(str(said).split())
        return cls((line.replace(key, "***") if key else line)[:300], code)


# the statuses that speak of the endpoint and not of the one request; 529 is Anthropic's "overloaded"
KINDS: Mapping[int, type[EngineBusy]] = {429: TurnedAway, 503: TurnedAway, 529: TurnedAway, 502: Down}


def carries_error(raw: bytes) -> bool:
    """Tell whether a 200 is an error in an envelope of success, as gateways send it."""
    if b'"error"' not in raw or b'"choices"' in raw:
        return False
    try:
        data = json.loads(raw)
    except ValueError:
        return False
    return isinstance(data, dict) and bool(data.get("error"))


def failure(host: str, status: int, said: Said, wish: float | None, *, with_key: bool) -> EngineError:
    """Sort an answer that is not a chat completion into its error.

    `wish` is the wait that it asks for, in seconds.
    """
    if status == 200:
        status = said.code if isinstance(said.code, int) and 400 <= said.code < 600 else 500
    got = f"got {status}{f': {said.words}' if said.words else ''}"
    if status in (401, 403):
        whose = "the key" if with_key else "a request without a key"
        return EngineRefused(
            f"{host} must accept {whose}, {got}",
            mend="Set STILLROOM_HTTP_KEY, or pass api_key=, to a key of this endpoint.",
        )
    if status == 402 or said.code == "insufficient_quota":
        return EngineRefused(f"{host} must have credit left, {got}", mend="Pay, or use another key.")
    if status == 400 and said.code == "content_filter":
        return Filtered(said.words)
    if status in RETRIED:
        return KINDS.get(status, EngineBusy)(f"{host} must answer, {got}", retry_after=wish)
    if status in (404, 405):
        mend = "Check the model name, and that the URL ends in /v1."
        return NoSuchPath(f"{host} must serve the model at this address, {got}", mend=mend)
    if 300 <= status < 400:
        mend = "Use the address that it points to."
        return EngineRefused(f"{host} must answer itself, got a redirect ({status})", mend=mend)
    refused = EngineRefused(f"{host} must accept the request, {got}")
    if TOO_LONG.search(f"{said.code} {said.words}"):
        from dspy.lm15 import ContextLengthError

        refused.__cause__ = ContextLengthError(said.words)  # DSPy's agents shorten their history when they see it
    return refused


def reason(error: OSError) -> str:
    """Say in a few words why no connection came about."""
    return getattr(error, "strerror", None) or type(error).__name__
