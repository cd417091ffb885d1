"""How a task is written as a prompt and how an answer is read back.

A format is a value with four parts: the rule it states, how one answer is
written (for demos), what constrains decoding, and how text is parsed. The rest
of the prompt is the same for all: instruction, fields, labels and meanings in
the system message, then one user and assistant turn per demo, so that all
requests of a program share their longest possible prefix.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .shape import Field, Shape

__all__ = ["FORMATS", "Format", "Unparsed", "system_text", "user_text"]


class Unparsed(ValueError):
    """A model's answer that is not an answer in the asked format: a rate on the report, not an outage."""


@dataclass(frozen=True)
class Format:
    """One way to ask for and read an answer.

    Attributes:
        name: As plans store it.
        rule: The sentence that states the format, for a shape.
        write: The text of a right answer, for demos.
        read: Raw values from a model's text; raises `Unparsed`.
        constrain: `response_format` and `extensions` for a request's config.
        fits: Whether a shape can be asked this way.
    """

    name: str
    rule: Callable[[Shape], str]
    write: Callable[[Shape, Mapping[str, Any]], str]
    read: Callable[[Shape, str], dict[str, Any]]
    constrain: Callable[[Shape], dict[str, Any]]
    fits: Callable[[Shape], bool] = lambda shape: True

    def parse(self, shape: Shape, text: str) -> dict[str, Any]:
        """Typed outputs from a model's `text`.

        Raises:
            Unparsed: If the text is not in the format, or a value breaks its field's type.
        """
        raw = self.read(shape, text)
        values = {each.name: _coerce(raw[each.name], each) for each in shape.outputs if each.name in raw}
        problems = shape.problems(values, shape.outputs)
        if problems:
            raise Unparsed("; ".join(f"{name}: {rule}" for name, rule in problems))
        return values


def system_text(shape: Shape, instruction: str, format: Format) -> str:
    """The system message: what is asked, of which fields, in which form."""
    parts = [instruction.strip()]
    described = [f"- {each.name}: {each.description}" for each in shape.inputs if each.description]
    if described or len(shape.inputs) > 1:
        parts.append("You are given:\n" + "\n".join(described or [f"- {each.name}" for each in shape.inputs]))
    parts += [_describe(each, shape.definitions) for each in shape.outputs]
    parts.append(format.rule(shape))
    return "\n\n".join(parts)


def user_text(shape: Shape, inputs: Mapping[str, Any]) -> str:
    """The user message of one row: the bare text of a single text input, else `name: value` lines."""
    if len(shape.inputs) == 1 and isinstance(inputs[shape.inputs[0].name], str):
        return str(inputs[shape.inputs[0].name])
    return "\n".join(f"{each.name}: {_plain(inputs[each.name])}" for each in shape.inputs)


def _describe(field: Field, definitions: Mapping[str, str]) -> str:
    head = f"Give {field.name}" + (f" ({field.description})" if field.description else "")
    if not field.labels:
        return f"{head}, {_type_text(field.schema)}."
    if any(label in definitions for label in field.labels):
        return f"{head}, one of:\n" + "\n".join(
            f"- {label}: {definitions.get(label, '')}".rstrip(": ") for label in field.labels
        )
    return f"{head}, one of: {', '.join(field.labels)}."


def _type_text(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = [_type_text(branch) for branch in schema["anyOf"] if branch.get("type") != "null"]
        return " or ".join(kinds) + (", or null if not said" if len(kinds) < len(schema["anyOf"]) else "")
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = {"string": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}.get(
        str(schema.get("type"))
    )
    pattern = f" matching {schema['pattern']}" if "pattern" in schema else ""
    return (kind or f"a JSON {schema.get('type', 'value')}") + pattern


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# -- json: one object with all outputs -----------------------------------------------


def _json_write(shape: Shape, outputs: Mapping[str, Any]) -> str:
    return json.dumps({each.name: outputs.get(each.name) for each in shape.outputs}, ensure_ascii=False)


def _json_read(shape: Shape, text: str) -> dict[str, Any]:
    import json_repair

    try:
        value = json.loads(text)
    except ValueError:
        found = re.search(r"\{.*", text, re.DOTALL)
        value = json_repair.loads(found[0] if found else text)
    if not isinstance(value, dict):
        raise Unparsed(f"answer must be a JSON object, got {text[:80]!r}")
    return value


def _json_constrain(shape: Shape) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "name": shape.name, "schema": shape.output_schema(), "strict": True}
    }


# -- chat: DSPy's field markers ----------------------------------------------------------


def _chat_rule(shape: Shape) -> str:
    blocks = "\n".join(f"[[ ## {each.name} ## ]]\n{{{each.name}}}" for each in shape.outputs)
    return f"Answer in this form:\n{blocks}\n[[ ## completed ## ]]"


def _chat_write(shape: Shape, outputs: Mapping[str, Any]) -> str:
    blocks = [f"[[ ## {each.name} ## ]]\n{_plain(outputs.get(each.name))}" for each in shape.outputs]
    return "\n".join([*blocks, "[[ ## completed ## ]]"])


def _chat_read(shape: Shape, text: str) -> dict[str, Any]:
    pieces = re.split(r"\[\[ ## (\w+) ## \]\]", text)
    values = {name: body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    if not values.keys() & {each.name for each in shape.outputs}:
        raise Unparsed(f"answer must have [[ ## {shape.outputs[0].name} ## ]], got {text[:80]!r}")
    return values


# -- tags: one element per output -----------------------------------------------------------


def _tags_rule(shape: Shape) -> str:
    return "Answer in this form:\n" + "\n".join(f"<{each.name}>...</{each.name}>" for each in shape.outputs)


def _tags_write(shape: Shape, outputs: Mapping[str, Any]) -> str:
    return "\n".join(f"<{each.name}>{_plain(outputs.get(each.name))}</{each.name}>" for each in shape.outputs)


def _tags_read(shape: Shape, text: str) -> dict[str, Any]:
    values = {}
    for each in shape.outputs:
        found = re.search(rf"<{each.name}>(.*?)(?:</{each.name}>|\Z)", text, re.DOTALL)
        if found:
            values[each.name] = found[1].strip()
    if not values:
        raise Unparsed(f"answer must have <{shape.outputs[0].name}>, got {text[:80]!r}")
    return values


# -- bare: the value of the only output -------------------------------------------------------


def _bare_fits(shape: Shape) -> bool:
    return len(shape.outputs) == 1 and shape.outputs[0].schema.get("type") in ("string", "integer", "number")


def _bare_constrain(shape: Shape) -> dict[str, Any]:
    output = shape.outputs[0]
    if output.labels:
        # longest first: a label that begins another must not end it early
        return {
            "extensions": {
                "regex": "|".join(re.escape(label) for label in sorted(output.labels, key=len, reverse=True))
            }
        }
    patterns = {"integer": r"-?[0-9]{1,18}", "number": r"-?[0-9]{1,18}(\.[0-9]{1,12})?"}
    kind = str(output.schema.get("type"))
    return {"extensions": {"regex": patterns[kind]}} if kind in patterns else {}


def _nothing(shape: Shape) -> dict[str, Any]:
    return {}


FORMATS: Mapping[str, Format] = {
    "json": Format(
        "json",
        lambda shape: (
            "Answer with one JSON object with the keys " + ", ".join(f'"{each.name}"' for each in shape.outputs) + "."
        ),
        _json_write,
        _json_read,
        _json_constrain,
    ),
    "chat": Format("chat", _chat_rule, _chat_write, _chat_read, _nothing),
    "tags": Format("tags", _tags_rule, _tags_write, _tags_read, _nothing),
    "bare": Format(
        "bare",
        lambda shape: f"Answer with the {shape.outputs[0].name} and nothing else.",
        lambda shape, outputs: _plain(outputs[shape.outputs[0].name]),
        lambda shape, text: {shape.outputs[0].name: text.strip()},
        _bare_constrain,
        _bare_fits,
    ),
}
"""All formats by name."""


def _coerce(value: Any, field: Field) -> Any:
    """Read the plain spellings a model may give a typed value; leave the rest for the type check."""
    if field.optional and isinstance(value, str) and value.strip().lower() in ("", "null", "none", "n/a"):
        return None
    if field.problem(value) is None:
        return value
    branches = field.schema.get("anyOf", [field.schema])
    kinds = {str(branch.get("type")) for branch in branches}
    if isinstance(value, str):
        text = value.strip()
        for choice in (choice for branch in branches for choice in branch.get("enum", [])):
            if str(choice).casefold() == re.sub(r"[\s-]+", "_", text).casefold() or str(
                choice
            ).casefold() == text.casefold().strip("\"'."):
                return choice
        if kinds & {"integer", "number", "boolean", "array", "object"}:
            try:
                value = json.loads(
                    text.replace(",", "")
                    if re.fullmatch(r"-?[\d,]+(\.\d+)?", text)
                    else text.lower()
                    if text in ("True", "False")
                    else text
                )
            except ValueError:
                return value
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and kinds <= {"string", "null"}:
        return str(value)
    return value
