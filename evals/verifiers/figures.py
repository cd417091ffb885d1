"""Numbers: read however they are written, compared exactly or within a tolerance."""

from __future__ import annotations

import math
import re
import unicodedata
from fractions import Fraction
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names

__all__ = ["brief", "check_tolerance", "close", "numeric", "parse_number", "plain_signs"]


def numeric(name: str, tolerance: float = 1e-6) -> Verifier:
    """Check that output `name` is the gold number, however it is written.

    Args:
        name: The output field.
        tolerance: Largest accepted gap, as a share of the gold value and at least
            that much in absolute terms (the larger of the two counts).

    Raises:
        BadConfig: If `tolerance` is negative or not finite.

    >>> numeric("total")({"total": 1200}, {"total": "$1,200.00 in all"}).passed
    True
    """
    check_names("numeric", (name,))
    check_tolerance(tolerance)

    def check(expected: Row, outputs: Row) -> Verdict:
        gold = parse_number(expected.get(name))
        if gold is None:
            return Verdict.unverified(f"gold {name} is not one number: {expected.get(name)!r}")
        got = parse_number(outputs.get(name))
        if got is None:
            return Verdict.fail(f"{name} is not one number: {outputs.get(name)!r}")
        if close(got, gold, tolerance):
            return Verdict.ok()
        return Verdict.fail(f"{name} is {brief(got)}, not {brief(gold)}")

    return Verifier(f"numeric({name}, {tolerance:g})", check)


_SCALES = {"k": 10**3, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?<![\w.,/])(?P<sign>[-+]?)(?:[$€£¥]\s?)?(?P<signed>-?)(?P<digits>{_DIGITS})(?P<power>e[-+]?\d{{1,3}}(?!\w))?"
    rf"(?:(?P<mixed>\s+\d+)?\s?/\s?(?P<below>\d+))?(?![\d/]|[.,]\d)(?P<scale>k\b|\s+(?:hundred|thousand|million|billion)\b)?"
)


def parse_number(value: Any) -> Fraction | None:
    """Read the one number in `value`, or None where there is none, or more than one.

    Takes "1,200", "$3.50", "12 apples", "1 3/4", "½", "2.5e3", "3 million" and
    "6 * 7 = 42" (the part after the last equals sign). A percentage is its number:
    "50%" is 50. Takes no guess: "1,20", "3/4/2020", "B12" and "3 or 4" are None.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return Fraction(value) if isinstance(value, int) or math.isfinite(value) else None
    if not isinstance(value, str) or len(value) > 1000:
        return None
    text = plain_signs(value).rsplit("=", 1)[-1].lower()
    found = list(_NUMBER.finditer(text))
    # any other digit is a number that could not be read, such as "1,20" or "B12"
    left = _NUMBER.sub(" ", text)
    if len(found) != 1 or any(c.isdigit() for c in left):
        return None
    return _value(found[0])


def _value(match: re.Match[str]) -> Fraction | None:
    digits, mixed, below = match["digits"].replace(",", ""), match["mixed"], match["below"]
    number = Fraction(digits + (match["power"] or ""))
    if below is not None:
        if int(below) == 0:
            return None
        number = number + Fraction(int(mixed), int(below)) if mixed else number / int(below)
    number *= _SCALES.get((match["scale"] or "").strip(), 1)
    return -number if "-" in match["sign"] + match["signed"] else number


def plain_signs(text: str) -> str:
    """Fold full-width digits, fraction signs, dashes and school-book operators to ASCII."""
    # "1½" would fold to "11/2": part the fraction from the whole first
    text = "".join(f" {c}" if unicodedata.decomposition(c).startswith("<fraction>") else c for c in text)
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    return text.translate({0x2212: "-", 0x2013: "-", 0xD7: "*", 0xF7: "/"})


def close(got: Fraction, gold: Fraction, tolerance: float) -> bool:
    """Say whether `got` lies within `tolerance` of `gold`: relative above one, absolute below."""
    scale = max(Fraction(1), abs(gold))
    return abs(got - gold) <= Fraction(tolerance) * scale


def brief(number: Fraction) -> str:
    """Write `number` short enough for a reason."""
    # floats end at 1e308, a model's digits do not
    return f"{float(number):.10g}" if abs(number) < 10**300 else "over 1e+300"


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is negative or not finite."""
    if not 0 <= tolerance < math.inf:
        raise BadConfig(f"tolerance must be >= 0 and finite, got {tolerance!r}")
