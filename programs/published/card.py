"""The card of a preset: everything worth knowing of it as a plain value, for the command line and for its page."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter

from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.signatures import shape_of
from stillroom.signatures.records import TRAINERS, trl_schema

from .asked import asked_calls
from .job import TEACHER
from .method import Method
from .preset import Preset
from .run import prepare
from .shelf import systems

__all__ = ["card", "described"]

ATTRIBUTE = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8,}\S.*)*)", re.MULTILINE)


def card(preset: Preset) -> dict[str, Any]:
    """Everything worth knowing of a preset, as plain JSON values. Imports its method, and DSPy with it.

    Its calls are those that its flow over the sample rows asks.
    """
    method = preset.load()
    values, defaults = (
        TypeAdapter(method.params).dump_python(method.settle(each), mode="json") for each in (preset.params, {})
    )
    docs, asked = (
        described(method.params),
        asked_calls(prepare(preset, {TEACHER: ScriptedEngine({}, name="nobody")}, samples=True)),
    )
    return {
        "name": preset.name,
        "title": preset.title,
        "covers": {each.number: each.name for each in systems() if each.number in preset.covers},
        "about": preset.about,
        "paper": preset.paper,
        "licence": preset.licence,
        "differs": list(preset.differs),
        "gated": preset.gated,
        "rows": preset.rows,
        "method": {"name": method.name, "version": method.version, "about": _about(method)},
        "params": [
            {
                "name": each.name,
                "type": str(each.type),
                "value": values[each.name],
                "default": defaults[each.name],
                "about": docs.get(each.name, ""),
            }
            for each in fields(method.params)  # type: ignore[arg-type]
        ],
        "sources": [
            {
                "name": name,
                "about": each.about,
                "fields": dict(each.fields),
                "optional": each.optional,
                "sample": preset.sample.get(name, ""),
            }
            for name, each in method.given.items()
        ],
        "calls": [_call(preset, name) for name in method.calls if name in asked],
        "emits": [_emitted(method, name) for name in preset.emits],
    }


def described(cls: type) -> dict[str, str]:
    """What the docstring of a dataclass says of each of its fields, under `Attributes:`.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Two:
    ...     '''Two numbers.
    ...
    ...     Attributes:
    ...         one, two: From 0
    ...             to 9.
    ...     '''
    ...     one: int
    ...     two: int
    >>> described(Two)
    {'one': 'From 0 to 9.', 'two': 'From 0 to 9.'}
    """
    text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for names, about in ATTRIBUTE.findall(text):
        found |= dict.fromkeys(names.split(", "), " ".join(about.split()))
    return found


def _about(method: Method[Any]) -> str:
    """The docstring of its module."""
    return inspect.getdoc(inspect.getmodule(method.flow)) or ""


def _call(preset: Preset, name: str) -> dict[str, Any]:
    call = preset.call(name)
    shape = shape_of(call.signature)
    return {
        "name": name,
        "role": call.role,
        "signature": {
            "name": shape.name,
            "instruction": call.instruction or shape.instruction,
            "inputs": {each.name: each.description for each in shape.inputs},
            "outputs": {each.name: each.description for each in shape.outputs},
        },
        "decoding": asdict(call.decoding),
        "scored": call.scored,
        "reasoning": call.reasoning,
    }


def _emitted(method: Method[Any], schema: str) -> dict[str, Any]:
    emit = method.emits[schema]
    try:
        trainers = TRAINERS[trl_schema(schema)]
    except BadConfig:  # a schema for people
        trainers = ()
    columns = {name: list(each) for name, each in emit.columns.items()}
    return {
        "schema": schema,
        "trainers": list(trainers),
        "columns": columns,
        "field": emit.field,
        "rejects": emit.rejects,
    }
