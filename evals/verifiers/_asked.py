"""What verifiers share: field names that are checked, and values shown in a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier

__all__ = ["check_names", "differs", "of_text", "shown"]


def of_text(name: str, field: str, check: Callable[[str], Verdict]) -> Verifier:
    """Make a verifier of one text output that needs no gold: missing or not a text fails."""

    def verify(expected: Row, outputs: Row) -> Verdict:
        text = outputs.get(field)
        if not isinstance(text, str):
            return Verdict.fail(f"{field} is not text: {shown(text)}")
        return check(text)

    return Verifier(name, verify)


def differs(name: str, expected: Row, outputs: Row) -> str:
    """Say how output `name` differs from its gold value."""
    if name not in outputs:
        return f"{name} is missing"
    return f"{name} is {shown(outputs[name])}, not {shown(expected[name])}"


def shown(value: Any) -> str:
    """Write a value short enough for a reason."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_names(kind: str, names: tuple[str, ...]) -> None:
    """Refuse field names that are empty, twice there, or none at all."""
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise BadConfig(f"{kind} needs the names of distinct output fields, got {names!r}")
