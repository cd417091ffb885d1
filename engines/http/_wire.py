"""Chat Completions JSON: canonical requests out, canonical responses back.

The mapping itself is lm15's (`dspy.lm15.OpenAIChatLM`); here stands only what an
endpoint of unknown make needs on top: nothing asked for is dropped silently,
and nothing that is not an answer is taken for one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from stillroom.engines.plain import plain_answer
from stillroom.errors import BadConfig, EngineRefused

from ._failures import Unanswered

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["GUIDES", "ChatWire", "filtered", "parse"]

CONSTRAINTS = ("regex", "grammar")
FINISHED = ("stop", "length", "content_filter")  # of lm15's reasons those that mean the same over there
BESIDE = ("reasoning_content", "reasoning", "refusal", "tool_calls")  # a text that has one of these is not plain
DETAILS = ("prompt_tokens_details", "completion_tokens_details")
TOLD = ("id", "model", "system_fingerprint", "service_tier")
SPELLING = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME  # what is no JSON value is an error

# how a server of each make takes a regex or a grammar beside OpenAI's own fields
GUIDES: Mapping[str, str] = {
    "vllm": "structured_outputs={'regex'|'grammar': ...}, vLLM 0.12 and later",
    "vllm-guided": "guided_regex and guided_grammar, vLLM before 0.12",
}


class ChatWire:
    """Translate between canonical requests and one endpoint's JSON.

    Args:
        model: What the endpoint calls the model.
        dialect: Name of an lm15 preset ("openai", "vllm", "groq", ...): which role carries
            the instructions, what the token limit is called.
        guided: How the endpoint takes a regex, a grammar and `top_k` (a key of `GUIDES`); `None` if it does not.
        schema: Whether the endpoint takes a JSON schema.
        tools: Whether it takes tools.

    Raises:
        BadConfig: If `dialect` or `guided` is unknown.
    """

    def __init__(self, model: str, *, dialect: str, guided: str | None, schema: bool, tools: bool) -> None:
        from dspy.lm15 import OpenAIChatCompat, OpenAIChatLM

        if guided is not None and guided not in GUIDES:
            raise BadConfig(f"guided must be one of {sorted(GUIDES)} or None, got {guided!r}")
        try:
            compat = OpenAIChatCompat.preset(dialect)
        except ValueError:
            raise BadConfig(f"dialect must name an OpenAI-compatible server that lm15 knows, got {dialect!r}") from None
        self._model, self._guided, self._schema, self._tools = model, guided, schema, tools
        # it writes bodies and never sends them: the key and the transport are not the real ones
        self._dialect = OpenAIChatLM(
            api_key="unused", base_url="http://unused", compat=compat, transport=_NoTransport()
        )
        self._by_model = bool(compat.model_overrides)  # whether the model's name decides how a field is called
        self._last: tuple[object, bytes] = (None, b"")

    def fields(self, request: Request) -> dict[str, Any]:
        """Write `request` as the fields of a Chat Completions body.

        Raises:
            EngineRefused: If the endpoint was not declared to take all that it asks for.
        """
        from dspy.clients.engines.base import validate_request
        from dspy.lm15 import LM15Error

        try:
            if request.config.extensions:  # all that it looks at
                validate_request(request)
            request = self._declared(replace(request, model=self._model) if self._by_model else request)
            config = request.config
            if config.reasoning or config.cache or config.probabilities or config.tool_choice:
                self._dialect.plan(request, policy="refuse")  # these are what lm15 would drop or bend
            # what `build_request` writes as its body; it would go on to sign a request that is never sent
            written: dict[str, Any] = self._dialect._payload(request, stream=False)
        except (LM15Error, TypeError, ValueError) as error:
            raise EngineRefused(f"the request cannot be written for this endpoint: {error}") from error
        written["model"] = self._model
        return written

    def body(self, request: Request) -> bytes:
        """Write `request` as a JSON body. Raises `EngineRefused` as `fields` does."""
        last, body = self._last  # a call is counted for its reservation, then sent: written once
        if last is request:
            return body
        try:
            body = orjson.dumps(self.fields(request), option=SPELLING)
        except (TypeError, ValueError) as error:  # a lone surrogate, a value that is no JSON
            raise EngineRefused(f"the request cannot be written as JSON: {error}") from error
        self._last = (request, body)
        return body

    def response(self, data: dict[str, Any], request: Request, model: str, most_tokens_in: int) -> Response:
        """Read what `parse` gave as the answer to `request`, of `model`.

        Usage that the server does not report is estimated from above (bytes) and flagged
        `usage_estimated` in `provider_data`, beside the server's own `model`, `system_fingerprint`,
        `service_tier` and `id`.

        Raises:
            Unanswered: If it is not a complete answer.
        """
        from dspy.lm15 import LM15Error, Usage, response_from_openai_chat

        told = {name: data[name] for name in TOLD if data.get(name)}
        plain = _plain(data, model, told)
        if plain is not None:
            return plain
        try:
            # without the schema: with it lm15 turns an answer made of labels into data that plans and DSPy cannot read
            answer = response_from_openai_chat({**data, "model": model}, choice=0)
        except (LM15Error, TypeError, ValueError, AttributeError, KeyError) as error:
            raise Unanswered(
                f"the endpoint must answer with a chat completion, got one that cannot be read ({error})"
            ) from error
        kept = answer.provider_data  # a copy of the whole body; making another `Response` to replace it costs 4 us
        kept.clear()
        kept.update(told)
        usage = answer.usage
        if usage.input_tokens is not None and usage.output_tokens is not None:
            return answer
        kept["usage_estimated"] = True
        usage = Usage(input_tokens=most_tokens_in, output_tokens=_most_tokens_out(answer, request))
        return replace(answer, usage=usage)

    def _declared(self, request: Request) -> Request:
        """Hand constraints and `top_k` to the fields this server has for them, or refuse."""
        config = request.config
        kind = (config.response_format or {}).get("type")
        if kind == "json_schema" and not self._schema:
            raise EngineRefused(
                "this endpoint was not declared to take a JSON schema",
                mend="Pass supports_response_schema=True if it does.",
            )
        if request.tools and not self._tools:
            raise EngineRefused(
                "this endpoint was not declared to take tools", mend="Pass supports_function_calling=True if it does."
            )
        extensions = dict(config.extensions or {})
        asked = {name: extensions.pop(name) for name in CONSTRAINTS if name in extensions}
        if config.top_k is not None:
            asked["top_k"] = config.top_k
        if not asked:
            return request
        if self._guided is None:
            raise EngineRefused(
                f"this endpoint was not declared to take a {next(iter(asked))}",
                mend=f"Pass guided= one of {sorted(GUIDES)} if the server is of that make.",
            )
        if "top_k" in asked:
            extensions["top_k"] = asked.pop("top_k")
        if asked and self._guided == "vllm":
            extensions["structured_outputs"] = asked
        else:
            extensions.update({f"guided_{name}": value for name, value in asked.items()})
        return replace(request, config=replace(config, top_k=None, extensions=extensions))


class _NoTransport:
    def stream(self, request: object) -> Any:
        raise RuntimeError("the wire writes and reads; it never sends")


def parse(raw: bytes) -> dict[str, Any]:
    """Parse a body and check that it holds a choice; drop a usage that is not one.

    Raises:
        Unanswered: If it does not.
    """
    try:
        data = orjson.loads(raw)
    except ValueError as error:
        what = "an HTML page" if raw.lstrip()[:1] == b"<" else f"{len(raw)} bytes that are not"
        raise Unanswered(f"the endpoint must answer with JSON, got {what}", mend="Does the URL end in /v1?") from error
    choices = data.get("choices") if isinstance(data, dict) else None
    if not (
        isinstance(choices, list)
        and choices
        and isinstance(choices[0], dict)
        and isinstance(choices[0].get("message"), dict)
    ):
        raise Unanswered("the endpoint must answer with a chat completion, got JSON without a choice")
    if choices[0].get("finish_reason") == "error":  # OpenRouter, when the provider behind it failed half way
        raise Unanswered("the endpoint must answer in full, got an answer that an error cut short")
    usage = data.get("usage")
    if not (
        isinstance(usage, dict) and _is_count(usage.get("prompt_tokens")) and _is_count(usage.get("completion_tokens"))
    ):
        data["usage"] = None
    return data


def filtered(words: str) -> dict[str, Any]:
    """The answer that an endpoint's filter gave by refusing the prompt (a 400 of code `content_filter`): none, unpaid."""
    message = {"role": "assistant", "content": None, "refusal": words}
    choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
    return {"choices": [choice], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _plain(data: dict[str, Any], model: str, told: dict[str, Any]) -> Response | None:
    """The answer in `data` if it is a text and nothing else, as most are; `None` where lm15 has more to read."""
    choice = data["choices"][0]
    message, usage, finish = choice["message"], data["usage"], choice.get("finish_reason")
    text = message.get("content")
    if finish not in FINISHED or not (type(text) is str and text) or usage is None or data.get("error"):
        return None
    if choice.get("logprobs") or any(map(message.get, BESIDE)) or any(map(usage.get, DETAILS)):
        return None
    tokens_in, tokens_out, total = usage["prompt_tokens"], usage["completion_tokens"], usage.get("total_tokens")
    if total is None:
        total = tokens_in + tokens_out
    elif type(total) is not int or total < 0:
        return None
    id = data.get("id")
    return plain_answer(str(id) if id else None, model, text, finish, (tokens_in, tokens_out, total), told)


def _most_tokens_out(answer: Response, request: Request) -> int:
    """An upper bound of the tokens written: the log-probabilities count them, else no token is under a byte."""
    if answer.logprobs:
        return len(answer.logprobs)
    written = sum(
        len((getattr(part, "text", None) or json.dumps(getattr(part, "input", ""))).encode())
        for part in answer.message.parts
    )
    limit = request.config.max_tokens
    return written if limit is None else min(written, limit)
