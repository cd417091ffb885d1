"""Verifiers: checks that need no model, as factories that return a named metric.

Every one is called as verifier(expected, outputs). A wrong, missing or unreadable
answer fails with a reason; a missing or unreadable *gold* value is unverified, and
so is whatever would take too long to find out.
"""

from __future__ import annotations

from .arithmetic import evaluate, expression
from .calls import tool_calls
from .choices import choice, find_choice
from .equality import exact, fields, normalised
from .figures import numeric, parse_number
from .grounding import grounded
from .ifeval import followed, ifeval, instruction
from .instructions import INSTRUCTIONS, instruction_check
from .labels import multi_label
from .languages import language, script
from .limits import length
from .logic import entailed
from .patterns import matches
from .round_trip import round_trip
from .schemas import json_schema, pydantic
from .spans import Span, bio_f1, bio_spans, span_f1
from .symbolic import symbolic

__all__ = [
    "INSTRUCTIONS",
    "Span",
    "bio_f1",
    "bio_spans",
    "choice",
    "entailed",
    "evaluate",
    "exact",
    "expression",
    "fields",
    "find_choice",
    "followed",
    "grounded",
    "ifeval",
    "instruction",
    "instruction_check",
    "json_schema",
    "language",
    "length",
    "matches",
    "multi_label",
    "normalised",
    "numeric",
    "parse_number",
    "pydantic",
    "round_trip",
    "script",
    "span_f1",
    "symbolic",
    "tool_calls",
]
