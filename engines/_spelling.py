"""How calls are written down: what keeps two of them apart, and how an answer is recorded and read again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from stillroom.values import altered, canonical, compact, digest, digest_text

from ._canonical import spelled
from .contract import Score
from .plain import plain_text

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "bounded",
    "call_key",
    "call_seconds",
    "dump",
    "dump_scores",
    "load",
    "load_scores",
    "score_key",
    "served_version",
    "timed",
]

DEFAULT_MAX_TOKENS = 1024
SECONDS = "stillroom_seconds"  # in the provider data of an answer, so that it is recorded and found with it
VERSION = ("model", "system_fingerprint")  # what an endpoint says there of the model that answered


def bounded(request: Request, model: str) -> Request:
    """`request` as a metered engine sends it.

    It names its longest answer, as without one no reservation would hold; and the model that
    answers it, whatever model it was written for: answers of different models are never mixed up.
    """
    if request.config.max_tokens is None:
        request = replace(request, config=replace(request.config, max_tokens=DEFAULT_MAX_TOKENS))
    return request if request.model == model else replace(request, model=model)


def call_key(request: Request) -> tuple[str, str]:
    """The key a request is recorded under, and its canonical spelling: model, messages, config and seed."""
    text = spelled(request)
    return digest_text(text, 32), text


def score_key(request: Request, continuations: Sequence[str]) -> tuple[str, str]:
    """The same for scoring `continuations` as answers to `request`."""
    key, text = call_key(request)
    asked = canonical({"score": list(continuations), "of": json.loads(text)})
    return digest({"score": key, "continuations": list(continuations)}, 32), asked


def call_seconds(response: Response) -> float:
    """Seconds from asking to answer, among the calls under way beside it, as recorded when it was made.

    0 for an answer that was not metered.
    """
    return float((response.provider_data or {}).get(SECONDS, 0.0))


def served_version(response: Response) -> str:
    """The version that an endpoint says it answered with: its model and fingerprint; "" where it says nothing."""
    told = response.provider_data or {}
    return " ".join(str(told[name]) for name in VERSION if told.get(name))


def timed(response: Response, seconds: float) -> Response:
    """`response` with the seconds it took."""
    return altered(response, provider_data={**(response.provider_data or {}), SECONDS: round(seconds, 6)})


def dump(response: Response) -> str:
    """An answer as it is recorded."""
    # of the provider's data only what is ours and what tells its version: the rest may be long, and nobody reads it again
    told = response.provider_data or {}
    kept: dict[str, Any] = {name: str(told[name]) for name in VERSION if told.get(name)}
    kept[SECONDS] = call_seconds(response)
    value = _fields(response)
    value["provider_data"] = kept
    text = compact(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape and a database cannot hold
        text = json.dumps(value)
    return text


def _fields(response: Response) -> dict[str, Any]:
    """What lm15's serialiser gives, by the short way for an answer that is one text and nothing else."""
    text = plain_text(response.message)
    if text is None or response.logprobs or response.adaptations or not response.logprobs_complete:
        from dspy._vendor.lm15.serde import response_to_dict

        return response_to_dict(response)
    usage, counts = response.usage, _counts(type(response.usage))  # type: ignore[arg-type]  # a class is hashable
    value: dict[str, Any] = {
        "model": response.model,
        "message": {"role": response.message.role, "parts": [{"type": "text", "text": text}]},
        "finish_reason": response.finish_reason,
    }
    if response.id:
        value["id"] = response.id
    used = {name: count for name in counts if (count := getattr(usage, name)) is not None}
    if used:
        value["usage"] = used
    return value


@cache
def _counts(kind: Any) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def load(recorded: str) -> Response:
    """The answer that `dump` wrote."""
    from dspy._vendor.lm15.serde import response_from_dict

    return response_from_dict(json.loads(recorded))


def dump_scores(scores: Sequence[Score]) -> str:
    """Scores as they are recorded."""
    return canonical([list(astuple(score)) for score in scores])


def load_scores(recorded: str) -> list[Score]:
    """The scores that `dump_scores` wrote."""
    return [Score(*values) for values in json.loads(recorded)]
