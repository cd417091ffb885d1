"""Round trips: what is read and written again must come out as it went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["round_trip"]


def round_trip(
    name: str,
    parse: Callable[[Any], Any],
    write: Callable[[Any], Any],
    *,
    kind: str,
    errors: tuple[type[Exception], ...] = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError),
) -> Verifier:
    """Check that `write(parse(x)) == x` for output `name`: it is readable, and in canonical form.

    Args:
        name: The output field.
        parse: Reads the value. It is given what a model wrote: it must not run it.
        write: Writes what was read.
        kind: Says what both do, with a version; it stands in the verifier's name in their place.
        errors: What `parse` and `write` raise for a value they cannot take; anything else is a
            fault of theirs and goes through.

    Raises:
        BadConfig: If `kind` is empty.

    >>> import datetime
    >>> date = round_trip("day", datetime.date.fromisoformat, str, kind="iso-date")
    >>> date({}, {"day": "20240301"}).why
    "day '20240301' comes back as '2024-03-01'"
    """
    check_names("round_trip", (name,))
    if not kind or "\n" in kind:
        raise BadConfig(f"kind must be one line that names the two functions, got {kind!r}")

    def check(expected: Row, outputs: Row) -> Verdict:
        if name not in outputs:
            return Verdict.fail(f"{name} is missing")
        value = outputs[name]
        try:
            back = write(parse(value))
        except errors as error:
            return Verdict.fail(f"{name} {shown(value)} cannot be read as {kind}: {error}")
        same = type(back) is type(value) and bool(back == value)
        return Verdict.ok() if same else Verdict.fail(f"{name} {shown(value)} comes back as {shown(back)}")

    return Verifier(f"round_trip({name}, {kind})", check)
