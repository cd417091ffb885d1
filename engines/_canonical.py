"""The canonical spelling of a request, which its key is the hash of, without taking it all apart for each row.

`spelled(request) == canonical(request_to_dict(request))` for every request; what is
common to the requests of a plan takes the short way, everything else the long one.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from json.encoder import encode_basestring as quoted
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from stillroom.values import canonical

if TYPE_CHECKING:
    from dspy.lm15 import Config, Message, Request

__all__ = ["spelled"]

USUAL = ("frequency_penalty", "max_tokens", "presence_penalty", "response_format", "seed", "temperature", "top_p")
HEADS = tuple(f'"{name}":' for name in USUAL)
MOST = 256

_usual = attrgetter(*USUAL)
_schemas: dict[int, tuple[object, dict[str, Any], str]] = {}


def spelled(request: Request) -> str:
    """Spell `request` canonically: sorted keys, no spaces, nothing that is empty."""
    from dspy._vendor.lm15.serde import request_to_dict  # the public module has no serialiser

    config = _config(request.config)
    if request.tools or isinstance(request.system, tuple) or not config:
        return canonical(request_to_dict(request))
    system = f',"system":{quoted(request.system)}' if request.system else ""
    messages = ",".join(map(_message, request.messages))
    return f'{{"config":{config},"messages":[{messages}],"model":{quoted(request.model)}{system}}}'


def _config(config: Config) -> str:
    """Its spelling, or nothing where it has no settings or rare ones."""
    rare, nothing = _rare(type(config))  # type: ignore[arg-type]  # a class is hashable
    if rare(config) != nothing:
        return ""
    values = zip(HEADS, _usual(config), strict=True)
    parts = [head + _value(value) for head, value in values if value is not None and value != {}]
    return "{" + ",".join(parts) + "}" if parts else ""


def _value(value: Any) -> str:
    if type(value) is int or (type(value) is float and isfinite(value)):
        return repr(value)
    return _schema(value) if type(value) is dict else canonical(value)


def _schema(schema: dict[str, Any]) -> str:
    """The spelling of an answer's schema, which all rows of a plan share; taken anew if somebody changed it in place."""
    known = _schemas.get(id(schema))
    if known is not None and known[1] == schema:
        return known[2]
    if len(_schemas) >= MOST:
        _schemas.clear()
    text = canonical(schema)
    _schemas[id(schema)] = (schema, deepcopy(schema), text)  # held, so that nothing else gets its id
    return text


def _message(message: Message) -> str:
    part = message.parts[0]
    if len(message.parts) == 1 and part.type == "text" and not (part.continuation or message.continuation):
        return f'{{"parts":[{{"text":{quoted(part.text)},"type":"text"}}],"role":"{message.role}"}}'
    from dspy._vendor.lm15.serde import message_to_dict

    return canonical(message_to_dict(message))


@cache
def _rare(kind: Any) -> tuple[attrgetter[Any], tuple[Any, ...]]:
    """The settings that few requests have, and what they are where they are not set."""
    from dataclasses import fields

    names = [each.name for each in fields(kind) if each.name not in USUAL]
    return attrgetter(*names), attrgetter(*names)(kind())
