"""From a table's cells to a row's typed values, and every rule that they break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .data import Cell
from .shape import Field

__all__ = ["converted", "settled"]


def settled(
    raw: Mapping[str, Any],
    inputs: Sequence[Field],
    outputs: Sequence[Field] = (),
    columns: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Take the values of the fields out of a raw row, with all (field, rule broken) pairs.

    Args:
        raw: A row as `read_rows` gives it.
        inputs: Fields that must be there and not empty, unless they are optional.
        outputs: Fields that must be there, unless they are optional.
        columns: The column of each field whose column is called otherwise.
    """
    values: dict[str, Any] = {}
    missing: list[tuple[str, str]] = []
    for each in (*inputs, *outputs):
        column = columns.get(each.name, each.name) if columns else each.name
        if column in raw:
            values[each.name] = converted(raw[column], each)
        elif each.optional:
            values[each.name] = None
        else:
            missing.append((each.name, f"column {column!r} is missing, the row has {sorted(raw)}"))
    empty = [
        (each.name, "must not be empty, got ''")
        for each in inputs
        if isinstance(values.get(each.name), str) and not values[each.name].strip()
    ]
    broken = [
        (each.name, problem)
        for each in (*inputs, *outputs)
        if each.name in values and (problem := each.problem(values[each.name])) is not None
    ]
    return values, missing + empty + broken


def converted(value: Any, field: Field) -> Any:
    """Bring a table's cell to the field's JSON type where that loses nothing; leave the rest for the check."""
    kinds = {branch.get("type") for branch in field.schema.get("anyOf", [field.schema])}
    if isinstance(value, Cell):
        if value == "" and "null" in kinds:
            return None
        for kind, parse in (
            ("integer", int),
            ("number", float),
            ("boolean", lambda text: {"true": True, "false": False}[text.lower()]),
        ):
            if kind in kinds:
                try:
                    return parse(value)
                except (ValueError, KeyError):
                    continue
        return str(value)
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return int(value)
    return value
