"""Verifiers: checks that need no model, as factories that return a named metric.

Every one is called as verifier(expected, outputs). A wrong, missing or unreadable
answer fails with a reason; a missing or unreadable *gold* value is unverified.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from stillroom.errors import BadConfig

from .duplicates import plain
from .verdict import Row, Verdict, Verifier

__all__ = ["evaluate", "exact", "expression", "fields", "normalised", "numeric", "parse_number"]


def exact(*names: str) -> Verifier:
    """Check that every named output equals its gold value, unchanged and of the same kind.

    >>> exact("intent")({"intent": "card_lost"}, {"intent": "Card lost"})
    Verdict(score=0.0, why="intent is 'Card lost', not 'card_lost'")
    """
    return _every("exact", names, _same)


def normalised(*names: str) -> Verifier:
    """Check that every named output equals its gold value after folding.

    NFKC, case, white space and punctuation do not count, and 3 equals "3"; lists and
    mappings are compared part by part. An amount keeps its point and sign.
    """
    return _every("normalised", names, _alike)


def fields(*names: str, strict: bool = False) -> Verifier:
    """Score the share of named outputs that equal their gold values, for extraction.

    Compared as `normalised` does, or as `exact` with `strict`. None, "" and a missing
    output all mean "nothing there" unless `strict`; inventing a value where gold has
    none is as wrong as missing one.
    """
    _check_names("fields", names)
    same = _same if strict else _alike_or_empty

    def check(expected: Row, outputs: Row) -> Verdict:
        missing = [name for name in names if name not in expected]
        if missing:
            return Verdict.unverified(f"the row has no gold {', '.join(missing)}")
        wrong = [name for name in names if not same(expected[name], outputs.get(name))]
        why = "; ".join(_differs(name, expected, outputs) for name in wrong)
        return Verdict((len(names) - len(wrong)) / len(names), why)

    return Verifier(f"fields({', '.join(names)}{', strict' if strict else ''})", check)


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
    _check_names("numeric", (name,))
    _check_tolerance(tolerance)

    def check(expected: Row, outputs: Row) -> Verdict:
        gold = parse_number(expected.get(name))
        if gold is None:
            return Verdict.unverified(f"gold {name} is not one number: {expected.get(name)!r}")
        got = parse_number(outputs.get(name))
        if got is None:
            return Verdict.fail(f"{name} is not one number: {outputs.get(name)!r}")
        if _close(got, gold, tolerance):
            return Verdict.ok()
        return Verdict.fail(f"{name} is {_brief(got)}, not {_brief(gold)}")

    return Verifier(f"numeric({name}, {tolerance:g})", check)


def expression(working: str, answer: str, tolerance: float = 1e-6) -> Verifier:
    """Check that the arithmetic in output `working` evaluates to output `answer`. Needs no gold.

    `working` is one expression over + - * / ( ) and numbers, or a chain of equals
    ("6 * 7 = 42"), all sides of which must agree. A bare number shows no working and
    fails. That the sum is the right one for the question is not checked.
    """
    _check_names("expression", (working, answer))
    _check_tolerance(tolerance)

    def check(expected: Row, outputs: Row) -> Verdict:
        claimed = parse_number(outputs.get(answer))
        if claimed is None:
            return Verdict.fail(f"{answer} is not one number: {outputs.get(answer)!r}")
        text = outputs.get(working)
        if not isinstance(text, str):
            return Verdict.fail(f"{working} is not text: {text!r}")
        try:
            sides = [evaluate(side) for side in text.split("=")]
        except ValueError as error:
            return Verdict.fail(f"{working} {error}")
        if not re.search(r"[\d)]\s*[-+*/×÷−]", text):
            return Verdict.fail(f"{working} is a bare number, not an expression: {text!r}")
        for value in sides:
            if not _close(value, claimed, tolerance):
                return Verdict.fail(f"{working} gives {_brief(value)}, {answer} says {_brief(claimed)}")
        return Verdict.ok()

    return Verifier(f"expression({working}, {answer}, {tolerance:g})", check)


# --- numbers ---------------------------------------------------------------------

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
    text = _plain_signs(value).rsplit("=", 1)[-1].lower()
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


def _plain_signs(text: str) -> str:
    # "1½" would fold to "11/2": part the fraction from the whole first
    text = "".join(f" {c}" if unicodedata.decomposition(c).startswith("<fraction>") else c for c in text)
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    return text.translate({0x2212: "-", 0x2013: "-", 0xD7: "*", 0xF7: "/"})


# --- arithmetic ------------------------------------------------------------------

_LONGEST, _DEEPEST = 400, 20
_BINARY: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(text: str) -> Fraction:
    """Evaluate arithmetic exactly: + - * / ( ) and numbers, at most 400 characters, 20 deep.

    Parsed, then walked over a closed list of node types; nothing is executed. No
    powers, so a short text cannot ask for a number that fills the memory.

    Raises:
        ValueError: If `text` is anything else; the message says what.

    >>> evaluate("($1,200 - 200) / 3")
    Fraction(1000, 3)
    """
    if len(text) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    source = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", _plain_signs(text)).strip()
    source = re.sub(r"[$€£¥]\s?(?=[\d.])", "", source)
    if not re.fullmatch(r"[\d.+\-*/() \t]+", source) or "**" in source or "//" in source or not source.isascii():
        raise ValueError(f"is not plain arithmetic: {text!r}")
    if max(_depths(source)) > _DEEPEST or re.search(r"[-+]\s*[-+]\s*[-+]", source):
        raise ValueError(f"is nested deeper than {_DEEPEST}: {text!r}")
    try:
        # Python refuses 007, people write it
        return _walk(ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", source), mode="eval").body)
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"is not plain arithmetic: {text!r}") from error
    except ZeroDivisionError as error:
        raise ValueError(f"divides by zero: {text!r}") from error


def _depths(source: str) -> list[int]:
    depth, depths = 0, [0]
    for letter in source:
        depth += (letter == "(") - (letter == ")")
        depths.append(depth)
    return depths


def _walk(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(repr(node.value))  # 0.1 is one tenth here
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _walk(node.operand)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_walk(node.left), _walk(node.right))
    raise SyntaxError(f"{type(node).__name__} is not arithmetic")


def _close(got: Fraction, gold: Fraction, tolerance: float) -> bool:
    scale = max(Fraction(1), abs(gold))
    return abs(got - gold) <= Fraction(tolerance) * scale


def _brief(number: Fraction) -> str:
    # floats end at 1e308, a model's digits do not
    return f"{float(number):.10g}" if abs(number) < 10**300 else "over 1e+300"


# --- equality --------------------------------------------------------------------


def _every(kind: str, names: tuple[str, ...], same: Callable[[Any, Any], bool]) -> Verifier:
    _check_names(kind, names)

    def check(expected: Row, outputs: Row) -> Verdict:
        missing = [name for name in names if name not in expected]
        if missing:
            return Verdict.unverified(f"the row has no gold {', '.join(missing)}")
        wrong = [name for name in names if name not in outputs or not same(expected[name], outputs[name])]
        if not wrong:
            return Verdict.ok()
        return Verdict.fail("; ".join(_differs(name, expected, outputs) for name in wrong))

    return Verifier(f"{kind}({', '.join(names)})", check)


def _differs(name: str, expected: Row, outputs: Row) -> str:
    if name not in outputs:
        return f"{name} is missing"
    return f"{name} is {_shown(outputs[name])}, not {_shown(expected[name])}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _same(gold: Any, got: Any) -> bool:
    # True == 1 in Python; as answers they differ
    return isinstance(gold, bool) == isinstance(got, bool) and bool(gold == got)


def _alike(gold: Any, got: Any) -> bool:
    if isinstance(gold, list | tuple) and isinstance(got, list | tuple):
        return len(gold) == len(got) and all(_alike(a, b) for a, b in zip(gold, got, strict=True))
    if isinstance(gold, Mapping) and isinstance(got, Mapping):
        return gold.keys() == got.keys() and all(_alike(gold[key], got[key]) for key in gold)
    if isinstance(gold, str) or isinstance(got, str):
        return _scalar(gold) and _scalar(got) and plain(str(gold)) == plain(str(got))
    return _same(gold, got)


def _alike_or_empty(gold: Any, got: Any) -> bool:
    empty = (None, "")
    gold, got = (None if isinstance(v, str) and not v.strip() else v for v in (gold, got))
    return (gold in empty and got in empty) or _alike(gold, got)


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _check_names(kind: str, names: tuple[str, ...]) -> None:
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise BadConfig(f"{kind} needs the names of distinct output fields, got {names!r}")


def _check_tolerance(tolerance: float) -> None:
    if not 0 <= tolerance < math.inf:
        raise BadConfig(f"tolerance must be >= 0 and finite, got {tolerance!r}")
