"""Regular expressions under a time limit: a pattern that backtracks for ever is unverified, not a hang."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier

from ._asked import of_text, shown

__all__ = ["count", "matches"]

_SECONDS = 1.0


def matches(
    name: str, pattern: str, *, how: Literal["search", "fullmatch"] = "fullmatch", seconds: float = _SECONDS
) -> Verifier:
    r"""Check that output `name` matches `pattern` (syntax of the `regex` package, a superset of `re`).

    Args:
        name: The output field.
        pattern: Put flags inline: `(?i)` for any case, `(?s)` for dots over lines.
        how: The whole text, or anywhere in it.
        seconds: After so long one search is given up and the answer is unverified.

    Raises:
        BadConfig: If `pattern` cannot be compiled, or a setting is not one of these.

    >>> matches("code", r"[A-Z]{2}-\d+")({}, {"code": "AB-7x"})
    Verdict(score=0.0, why="code 'AB-7x' does not match [A-Z]{2}-\\d+")
    """
    if how not in ("search", "fullmatch"):
        raise BadConfig(f"how must be 'search' or 'fullmatch', got {how!r}")
    if not 0 < seconds < 3600:
        raise BadConfig(f"seconds must be in 0..3600, got {seconds!r}")
    find = getattr(_compiled(pattern), how)

    def check(text: str) -> Verdict:
        try:
            found = find(text, timeout=seconds, concurrent=True)
        except TimeoutError:
            return Verdict.unverified(f"{pattern} took more than {seconds:g} s on {name}")
        return Verdict.ok() if found else Verdict.fail(f"{name} {shown(text)} does not match {pattern}")

    return of_text(f"matches({name}, {pattern!r}, {how}, {seconds:g}s)", name, check)


def count(pattern: str, text: str) -> int:
    """Count matches of `pattern` that do not overlap.

    Raises:
        TimeoutError: After a second.
    """
    return sum(1 for _ in _compiled(pattern).finditer(text, timeout=_SECONDS, concurrent=True))


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import regex

    try:
        return regex.compile(pattern)
    except (regex.error, TypeError, RecursionError) as error:
        raise BadConfig(f"pattern must be a regular expression, got {pattern!r}: {error}") from error
