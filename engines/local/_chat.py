"""From DSPy's `Request` to what the local pipeline takes: a prompt and a decoding, or a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillroom.errors import EngineRefused

from ._grammar import OBJECT, grammar_of

if TYPE_CHECKING:
    from dspy.lm15 import Config, Request

__all__ = ["DEFAULT_MAX_TOKENS", "Constraint", "Decoding", "Prompt", "decoding_of", "prompt_of"]

DEFAULT_MAX_TOKENS = 1024
EXTENSIONS = {"regex": "regex", "grammar": "grammar"}


@dataclass(frozen=True)
class Constraint:
    """What the text must be. `kind` is the field of `StructuredOutputConfig` that takes `text`."""

    kind: str
    text: str


@dataclass(frozen=True)
class Decoding:
    """How to choose tokens. `temperature` 0 is greedy; `stop` texts are cut off by the engine."""

    max_tokens: int
    temperature: float
    top_p: float | None
    top_k: int | None
    seed: int
    stop: tuple[str, ...]
    logprobs: bool
    frequency_penalty: float
    presence_penalty: float
    constraint: Constraint | None


@dataclass(frozen=True)
class Prompt:
    """Messages for the chat template, and the beginning of the answer that the model goes on from."""

    messages: tuple[tuple[str, str], ...]
    prefill: str


def prompt_of(request: Request) -> Prompt:
    """Take the texts of `request`. Raises `EngineRefused` for anything but text."""
    if request.tools:
        raise _refuse("tools", [tool.name for tool in request.tools])
    turns = [("system", _text(request.system))] if request.system else []
    turns += [(_role(message.role), _text(message.parts)) for message in request.messages]
    role, last = turns[-1]
    if role == "assistant":
        return Prompt(tuple(turns[:-1]), last)
    return Prompt(tuple(turns), "")


def decoding_of(config: Config) -> Decoding:
    """Take the settings of `config`. Raises `EngineRefused` for those which cannot be honoured."""
    if config.logprobs:
        raise _refuse("log-probabilities of other than the chosen tokens", f"logprobs={config.logprobs}")
    if config.reasoning is not None or config.tool_choice is not None or config.probabilities == "required":
        raise _refuse("reasoning, tool choice or probability policies", config)
    greedy = not config.temperature or config.top_p == 0
    return Decoding(
        max_tokens=config.max_tokens or DEFAULT_MAX_TOKENS,
        temperature=0.0 if greedy else float(config.temperature),
        top_p=None if greedy else config.top_p,
        top_k=None if greedy else config.top_k,
        seed=(config.seed or 0) % 2**32,
        stop=tuple(config.stop),
        logprobs=config.logprobs is not None,
        frequency_penalty=config.frequency_penalty or 0.0,
        presence_penalty=config.presence_penalty or 0.0,
        constraint=_constraint(config),
    )


def _constraint(config: Config) -> Constraint | None:
    extensions = dict(config.extensions or {})
    unknown = sorted(extensions.keys() - EXTENSIONS.keys())
    if unknown:
        raise _refuse(f"extensions other than {' and '.join(EXTENSIONS)}", unknown)
    wanted = [Constraint(EXTENSIONS[name], text) for name, text in extensions.items() if text is not None]
    if any(not isinstance(each.text, str) or not each.text for each in wanted):
        raise _refuse("a constraint that is not a non-empty text", extensions)
    if config.response_format is not None:
        wanted.append(_of_format(config.response_format))
    if len(wanted) > 1:
        raise _refuse("more than one of response_format, regex and grammar", [each.kind for each in wanted])
    return wanted[0] if wanted else None


def _of_format(response_format: Any) -> Constraint:
    if response_format["type"] == "json_object":
        return Constraint("grammar", OBJECT)
    schema = response_format["schema"]
    grammar = grammar_of(schema)
    if grammar is not None:
        return Constraint("grammar", grammar)
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False))


def _role(role: str) -> str:
    if role not in {"user", "assistant", "developer"}:
        raise _refuse("messages of role tool", role)
    return "system" if role == "developer" else role


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    odd = [part.type for part in content if part.type != "text"]
    if odd:
        raise _refuse("parts that are not text", odd)
    return "\n".join(part.text for part in content)


def _refuse(what: str, received: object) -> EngineRefused:
    return EngineRefused(
        f"the local engine takes no {what}, got {str(received)[:200]}", mend="Leave it out, or use an http engine."
    )
