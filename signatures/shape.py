"""The shape of a task: its fields as JSON schemas, so that a saved plan needs no Python class.

A `Shape` is read off a `dspy.Signature` once; rows, prompts, parsers and saved
plans all work from it. `to_signature` goes the other way.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from stillroom.errors import BadConfig
from stillroom.values import digest

if TYPE_CHECKING:
    import dspy

__all__ = ["Field", "Shape", "shape_of"]

_PLAIN = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": type(None),
    "array": list,
    "object": dict,
}


@dataclass(frozen=True)
class Field:
    """One typed field: its name, JSON schema (draft 2020-12) and what it means.

    Attributes:
        name: As prompts and rows have it.
        schema: What a value must be.
        description: What it means.
        asked: A narrower schema that decoding is constrained by, where whoever reads the value is to tell, in words
            of its own, what is wrong with one that an engine without constraints gave.
    """

    name: str
    schema: Mapping[str, Any]
    description: str = ""
    asked: Mapping[str, Any] | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The allowed values of a categorical text field; empty for any other."""
        values = self.schema.get("enum", [self.schema["const"]] if "const" in self.schema else [])
        return tuple(values) if values and all(isinstance(value, str) for value in values) else ()

    @property
    def optional(self) -> bool:
        """Whether `null` is a value."""
        return any(branch.get("type") == "null" for branch in self.schema.get("anyOf", ()))

    @property
    def is_text(self) -> bool:
        """Whether the value is free text."""
        return self.schema.get("type") == "string" and not self.labels

    @cached_property
    def validator(self) -> Any:
        """The field's jsonschema validator."""
        from jsonschema import Draft202012Validator

        return Draft202012Validator(dict(self.schema))

    @cached_property
    def _texts(self) -> frozenset[str] | None:
        """The texts that the schema allows, empty for all of them; None where it is about more than that."""
        if self.schema == {"type": "string"}:
            return frozenset()
        if self.schema.keys() == {"type", "enum"} and self.schema["type"] == "string":
            return frozenset(each for each in self.schema["enum"] if isinstance(each, str)) or None
        return None

    def problem(self, value: Any) -> str | None:
        """The rule that `value` breaks, as text with the value in it, or `None`."""
        if self._texts is not None and isinstance(value, str) and (not self._texts or value in self._texts):
            return None  # what nearly every answer is: the validator would take ten times as long to say so
        error = next(self.validator.iter_errors(value), None)
        if error is None:
            return None
        message = str(error.message)
        if "anyOf" in self.schema and error.validator == "anyOf":
            message = f"{value!r} is none of: {', '.join(_kind(branch) for branch in self.schema['anyOf'])}"
        return message if len(message) <= 300 else f"{message[:300]}..."

    def as_json(self) -> dict[str, Any]:
        """The field as a plain JSON value."""
        asked = {} if self.asked is None else {"asked": dict(self.asked)}
        return {"name": self.name, "schema": dict(self.schema), "description": self.description, **asked}


@dataclass(frozen=True)
class Shape:
    """The fields of a task and what is asked: `inputs -> outputs` under an `instruction`."""

    name: str
    instruction: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    definitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Inputs, then outputs."""
        return (*self.inputs, *self.outputs)

    @property
    def label_field(self) -> Field | None:
        """The one categorical output, when the task is a classification."""
        return self.outputs[0] if len(self.outputs) == 1 and self.outputs[0].labels else None

    @property
    def digest(self) -> str:
        """Content hash of the shape."""
        return digest(self.as_json())

    def output_schema(self) -> dict[str, Any]:
        """The JSON schema of one answer: an object with all outputs, in order, and nothing else."""
        definitions: dict[str, Any] = {}
        properties = {}
        for output in self.outputs:
            schema = dict(output.schema if output.asked is None else output.asked)
            definitions.update(schema.pop("$defs", {}))
            properties[output.name] = schema
        whole = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {**whole, "$defs": definitions} if definitions else whole

    def asking(self, **schemas: Mapping[str, Any]) -> Shape:
        """The same shape, with decoding constrained to narrower schemas of these outputs (`Field.asked`)."""
        outputs = (replace(each, asked=schemas.get(each.name, each.asked)) for each in self.outputs)
        return replace(self, outputs=tuple(outputs))

    def problems(self, values: Mapping[str, Any], fields: tuple[Field, ...] | None = None) -> list[tuple[str, str]]:
        """All (field, rule broken) pairs of `values`; missing fields included."""
        found = []
        for each in self.fields if fields is None else fields:
            if each.name not in values:
                found.append((each.name, "is missing"))
            elif (problem := each.problem(values[each.name])) is not None:
                found.append((each.name, problem))
        return found

    def as_json(self) -> dict[str, Any]:
        """The shape as a plain JSON value."""
        return {
            "name": self.name,
            "instruction": self.instruction,
            "inputs": [each.as_json() for each in self.inputs],
            "outputs": [each.as_json() for each in self.outputs],
            "definitions": dict(self.definitions),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Shape:
        """Read back what `as_json` wrote."""
        inputs, outputs = (tuple(Field(**each) for each in value[side]) for side in ("inputs", "outputs"))
        return cls(value["name"], value["instruction"], inputs, outputs, value.get("definitions", {}))

    def to_signature(self, instruction: str | None = None) -> type[dspy.Signature]:
        """A DSPy signature of this shape. Nested objects become plain `dict`s."""
        import dspy

        fields: dict[str, Any] = {}
        for each in self.inputs:
            fields[each.name] = (_annotation(each.schema), dspy.InputField(desc=each.description))
        for each in self.outputs:
            fields[each.name] = (_annotation(each.schema), dspy.OutputField(desc=each.description))
        return dspy.make_signature(fields, instruction or self.instruction, self.name)


def shape_of(signature: type[dspy.Signature], definitions: Mapping[str, str] | None = None) -> Shape:
    """Read the shape off a DSPy signature.

    Args:
        signature: Any `dspy.Signature` with at least one input and one output.
        definitions: What each label of a categorical output means, by label.

    Raises:
        BadConfig: If a side is empty, a type has no JSON schema, or a definition names no label.
    """
    import dspy

    if not (isinstance(signature, type) and issubclass(signature, dspy.Signature)):
        raise BadConfig(f"a task needs a dspy.Signature class, got {signature!r}")
    inputs = tuple(_field(name, info) for name, info in signature.input_fields.items())
    outputs = tuple(_field(name, info) for name, info in signature.output_fields.items())
    if not inputs or not outputs:
        raise BadConfig(
            f"a signature needs an input and an output, got {len(inputs)} and {len(outputs)} in {signature.__name__}"
        )
    labels = {label for output in outputs for label in output.labels}
    unknown = sorted(set(definitions or {}) - labels)
    if unknown:
        raise BadConfig(f"definitions must name labels of {signature.__name__}, got {unknown}")
    return Shape(signature.__name__, signature.instructions, inputs, outputs, dict(definitions or {}))


def _field(name: str, info: Any) -> Field:
    from typing import Annotated

    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    annotation: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    try:
        schema = TypeAdapter(annotation).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError) as error:
        raise BadConfig(f"field {name!r} needs a type with a JSON schema, got {info.annotation!r}") from error
    description = (info.json_schema_extra or {}).get("desc") or ""
    return Field(name, schema, "" if description == f"${{{name}}}" else description)


def _annotation(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    if "const" in schema:
        return Literal[schema["const"]]
    if "anyOf" in schema:
        return functools.reduce(operator.or_, (_annotation(branch) for branch in schema["anyOf"]))
    kind = _PLAIN.get(str(schema.get("type")), dict)
    return list[_annotation(schema["items"])] if kind is list and "items" in schema else kind  # type: ignore[misc]


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return f"one of {schema['enum']}"
    return " ".join(str(schema[key]) for key in ("type", "pattern", "minimum", "maximum") if key in schema) or "object"
