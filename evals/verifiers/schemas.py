"""Structured answers: JSON by a schema, data by a pydantic model."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier
from stillroom.values import digest

from ._asked import check_names, shown

__all__ = ["json_schema", "problems_with", "pydantic", "schema_validator"]


def json_schema(name: str, schema: Mapping[str, Any] | bool) -> Verifier:
    """Check output `name` against a JSON schema (draft 2020-12, or what `$schema` says).

    A text is read as JSON first; anything else is taken as it is. References to other
    documents are not followed. `format` is not checked. A `pattern` in the schema runs
    without a time limit: write it so that it needs none, or use `matches`.

    Raises:
        BadConfig: If `schema` is no schema.

    >>> json_schema("reply", {"type": "object", "required": ["id"]})({}, {"reply": "{}"})
    Verdict(score=0.0, why="reply: 'id' is a required property")
    """
    check_names("json_schema", (name,))
    validator = schema_validator(schema)

    def check(expected: Row, outputs: Row) -> Verdict:
        found = outputs.get(name)
        try:
            value = json.loads(found) if isinstance(found, str) else found
        except (ValueError, RecursionError) as error:
            return Verdict.fail(f"{name} is no JSON: {error}")
        if name not in outputs:
            return Verdict.fail(f"{name} is missing")
        return problems_with(name, value, validator)

    return Verifier(f"json_schema({name}, {_mark(schema)})", check)


def pydantic(name: str, model: type[BaseModel]) -> Verifier:
    """Check that output `name` is valid as pydantic `model`: JSON text, a mapping, or an instance of it.

    The name holds a digest of the model's schema; what its own validators do is not
    in it, so rename the model when you change them.

    Raises:
        BadConfig: If `model` is no pydantic model.
    """
    check_names("pydantic", (name,))
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise BadConfig(f"model must be a pydantic model, got {model!r}")

    def check(expected: Row, outputs: Row) -> Verdict:
        if name not in outputs:
            return Verdict.fail(f"{name} is missing")
        value = outputs[name]
        try:
            if isinstance(value, str | bytes):
                model.model_validate_json(value)
            else:
                model.model_validate(value)
        except ValidationError as error:
            parts = [
                f"{_place(name, e['loc'])}: {e['msg']}"
                for e in error.errors(include_url=False, include_context=False)[:5]
            ]
            return Verdict.fail("; ".join(parts))
        except RecursionError:
            return Verdict.fail(f"{name} is nested too deep")
        return Verdict.ok()

    return Verifier(f"pydantic({name}, {model.__qualname__}#{_mark(model.model_json_schema())})", check)


def schema_validator(schema: Mapping[str, Any] | bool) -> Any:
    """Make a validator that follows no reference out of `schema`.

    Raises:
        BadConfig: If `schema` is no schema.
    """
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    if not isinstance(schema, Mapping | bool):
        raise BadConfig(f"a JSON schema is a mapping or a bool, got {schema!r}")
    plain: Any = copy.deepcopy(dict(schema) if isinstance(schema, Mapping) else schema)
    kind = validator_for(plain, default=Draft202012Validator)
    try:
        kind.check_schema(plain)
    except SchemaError as error:
        raise BadConfig(f"not a JSON schema: {error.message}") from error
    return kind(plain, registry=Registry())


def problems_with(name: str, value: Any, validator: Any) -> Verdict:
    """Fail `value` with the first five problems that `validator` finds."""
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(
            validator.iter_errors(value), key=lambda error: ([*map(str, error.absolute_path)], error.message)
        )
    except Unresolvable as error:
        return Verdict.unverified(f"the schema refers to what is not in it: {error}")
    except RecursionError:
        return Verdict.fail(f"{name} is nested too deep")
    return (
        Verdict.fail("; ".join(f"{_place(name, e.absolute_path)}: {_short(e.message)}" for e in errors[:5]))
        if errors
        else Verdict.ok()
    )


def _short(message: str) -> str:
    return message if len(message) <= 160 else f"{message[:157]}..."


def _place(name: str, path: Any) -> str:
    return ".".join([name, *map(str, path)])


def _mark(schema: Any) -> str:
    try:
        return digest(schema)[:12]
    except (TypeError, ValueError) as error:
        raise BadConfig(f"a schema must be plain JSON, got {shown(schema)}") from error
