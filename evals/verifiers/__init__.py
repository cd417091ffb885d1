"""Verifiers: checks that need no model, as factories that return a named metric.

Every one is called as verifier(expected, outputs). A wrong, missing or unreadable
answer fails with a reason; a missing or unreadable *gold* value is unverified.
"""

from __future__ import annotations

from .arithmetic import evaluate, expression
from .equality import exact, fields, normalised
from .figures import numeric, parse_number

__all__ = ["evaluate", "exact", "expression", "fields", "normalised", "numeric", "parse_number"]
