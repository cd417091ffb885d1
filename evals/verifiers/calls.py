"""Tool calls checked against the schemas of the tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier
from stillroom.values import digest

from ._asked import check_names, shown
from .schemas import problems_with, schema_validator

__all__ = ["tool_calls"]


def tool_calls(
    name: str,
    tools: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]],
    *,
    least: int = 1,
    most: int = 32,
    extra: bool = False,
) -> Verifier:
    """Check that the calls in output `name` go to known tools with arguments that fit.

    A call is `{"name": ..., "arguments": {...}}`, or as OpenAI writes it, with the
    arguments as a JSON text and all of it under `function`. One call or a list; JSON
    text is read first. Whether the call is the right one for the request is not checked.

    Args:
        name: The output field.
        tools: Each tool's JSON schema of arguments by its name, or OpenAI's list of tools.
        least: Fewest calls.
        most: Most calls.
        extra: Whether arguments that a schema does not name are let pass.

    Raises:
        BadConfig: If a schema is none, or the limits cannot be met.

    >>> add = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    >>> tool_calls("call", {"add": add})({}, {"call": {"name": "add", "arguments": {"b": 1}}}).why
    "call 1 (add): 'a' is a required property; call 1 (add): Additional properties are not allowed ('b' was unexpected)"
    """
    check_names("tool_calls", (name,))
    if not 0 <= least <= most:
        raise BadConfig(f"limits must be 0 <= least <= most, got {least} and {most}")
    schemas = _schemas(tools)
    validators = {tool: schema_validator(schema if extra else _closed(schema)) for tool, schema in schemas.items()}

    def check(expected: Row, outputs: Row) -> Verdict:
        calls = _calls(outputs.get(name))
        if calls is None:
            return Verdict.fail(f"{name} is no tool call: {shown(outputs.get(name))}")
        if not least <= len(calls) <= most:
            return Verdict.fail(f"{name} has {len(calls)} calls, wanted {least} to {most}")
        found = [_check(at, call, validators) for at, call in enumerate(calls, 1)]
        wrong = [verdict for verdict in found if not verdict.passed]
        open_ = [verdict for verdict in wrong if not verdict.verified]
        if not wrong:
            return Verdict.ok()
        why = "; ".join(verdict.why for verdict in (wrong if len(open_) < len(wrong) else open_))
        return Verdict.fail(why) if len(open_) < len(wrong) else Verdict.unverified(why)

    marks = digest({"tools": schemas})[:12]
    return Verifier(
        f"tool_calls({name}, {len(schemas)} tools #{marks}, {least}..{most}{', extra' if extra else ''})", check
    )


def _check(at: int, call: Mapping[str, Any], validators: Mapping[str, Any]) -> Verdict:
    call = call["function"] if isinstance(call.get("function"), Mapping) else call
    tool, arguments = call.get("name"), call.get("arguments", call.get("args", {}))
    place = f"call {at}"
    if not isinstance(tool, str) or tool not in validators:
        return Verdict.fail(f"{place}: there is no tool {shown(tool)}")
    if isinstance(arguments, str):
        arguments = _read(arguments)
    if not isinstance(arguments, Mapping):
        return Verdict.fail(f"{place} ({tool}): arguments are no JSON object")
    return problems_with(f"{place} ({tool})", dict(arguments), validators[tool])


def _calls(value: Any) -> list[Mapping[str, Any]] | None:
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, Mapping) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(call, Mapping) for call in listed):
        return None
    return list(listed)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _schemas(tools: Any) -> dict[str, dict[str, Any]]:
    if isinstance(tools, Mapping):
        found = {name: dict(schema) for name, schema in tools.items()}
    else:
        listed = [tool.get("function", tool) for tool in tools]
        found = {tool.get("name"): dict(tool.get("parameters") or {"type": "object"}) for tool in listed}
        if len(found) < len(listed):
            raise BadConfig(f"tools must have distinct names, got {[tool.get('name') for tool in listed]!r}")
    if not found or not all(isinstance(name, str) and name for name in found):
        raise BadConfig(f"tools must have names, got {list(found)!r}")
    return found


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    # a schema that says itself what may be added keeps its word
    said = {"additionalProperties", "unevaluatedProperties", "patternProperties"} & schema.keys()
    key = "unevaluatedProperties" if {"allOf", "anyOf", "oneOf", "$ref"} & schema.keys() else "additionalProperties"
    return dict(schema) if said else {**schema, key: False}
