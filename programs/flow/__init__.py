"""The row runner: flows of steps and gates, with many rows under way, committed in order."""

from __future__ import annotations

from .emitted import Emitted
from .flow import Flow
from .run import run_flow
from .steps import Ask, At, Do, Part, Split, State
from .wanted import INPUTS, Inputs, Quotas, Source, Wanted

__all__ = [
    "INPUTS",
    "Ask",
    "At",
    "Do",
    "Emitted",
    "Flow",
    "Inputs",
    "Part",
    "Quotas",
    "Source",
    "Split",
    "State",
    "Wanted",
    "run_flow",
]
