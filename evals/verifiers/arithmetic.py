"""Arithmetic: an exact evaluator of sums that runs nothing, and the check of shown working."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction

from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names
from .figures import brief, check_tolerance, close, parse_number, plain_signs

__all__ = ["evaluate", "expression"]


def expression(working: str, answer: str, tolerance: float = 1e-6) -> Verifier:
    """Check that the arithmetic in output `working` evaluates to output `answer`. Needs no gold.

    `working` is one expression over + - * / ( ) and numbers, or a chain of equals
    ("6 * 7 = 42"), all sides of which must agree. A bare number shows no working and
    fails. That the sum is the right one for the question is not checked.
    """
    check_names("expression", (working, answer))
    check_tolerance(tolerance)

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
            if not close(value, claimed, tolerance):
                return Verdict.fail(f"{working} gives {brief(value)}, {answer} says {brief(claimed)}")
        return Verdict.ok()

    return Verifier(f"expression({working}, {answer}, {tolerance:g})", check)


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
    source = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain_signs(text)).strip()
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
