"""Typed tasks and fields, labelled sets and their splits, prompt formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .data import read_rows
from .formats import FORMATS, Format, Unparsed
from .shape import Field, Shape, shape_of
from .task import DataWarning, Example, Split, Task, inputs_text

if TYPE_CHECKING:
    from dspy import InputField as Input
    from dspy import OutputField as Output
    from dspy import Signature

__all__ = [
    "FORMATS",
    "DataWarning",
    "Example",
    "Field",
    "Format",
    "Input",
    "Output",
    "Shape",
    "Signature",
    "Split",
    "Task",
    "Unparsed",
    "inputs_text",
    "read_rows",
    "shape_of",
]

_DSPY = {"Input": "InputField", "Output": "OutputField", "Signature": "Signature"}


def __getattr__(name: str) -> Any:
    """DSPy's own signature and fields, imported when first asked for."""
    if name in _DSPY:
        import dspy

        return getattr(dspy, _DSPY[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
