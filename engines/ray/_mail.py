"""Letters between this process and the machines of a cluster: plain JSON, no pickles, no classes."""

from __future__ import annotations

import json
from typing import Any

import stillroom.errors
from stillroom.errors import EngineError, StillroomError

__all__ = ["MOST", "failure", "raised", "read", "write"]

MOST = 256  # letters or answers in one mail


def write(value: Any) -> bytes:
    """Spell a value. What an engine put into an answer and JSON does not know becomes its text."""
    return json.dumps(value, separators=(",", ":"), default=str).encode()  # escapes half surrogate pairs too


def read(mail: bytes) -> Any:
    """The value that `write` spelt."""
    return json.loads(mail)


def failure(error: BaseException) -> dict[str, Any]:
    """What is told of an error: the name by which users may catch it, if it is one of ours."""
    public = (kind.__name__ for kind in type(error).__mro__ if kind.__module__ == stillroom.errors.__name__)
    told: dict[str, Any] = {"error": next(public, type(error).__name__), "rule": str(error)}
    for name in ("mend", "retry_after", "unanswered_tries"):
        if getattr(error, name, None):
            told[name] = getattr(error, name)
    return told


def raised(told: dict[str, Any], where: str = "") -> Exception:
    """The error that `failure` told of: one of ours as what it was, any other as a `RuntimeError`.

    Args:
        told: What was told.
        where: The machine it happened on, if the message should say so.
    """
    rule = f"on {where}: {told['rule']}" if where else told["rule"]
    kind = getattr(stillroom.errors, told["error"], None)
    if not (isinstance(kind, type) and issubclass(kind, StillroomError)):
        return RuntimeError(f"{told['error']}: {rule}")
    error = kind(rule, mend=told.get("mend", ""))
    if isinstance(error, EngineError):
        error.unanswered_tries = told.get("unanswered_tries", 0)
    if "retry_after" in told:
        error.retry_after = told["retry_after"]  # type: ignore[attr-defined]
    return error
