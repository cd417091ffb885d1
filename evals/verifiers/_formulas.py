"""Texts as mathematics: find the answer, part the unit from it, read the rest as LaTeX through a grammar."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

__all__ = ["Reading", "TooLarge", "read", "unit_registry"]

_LARGEST_POWER, _LONGEST, _DEEPEST = 10_000, 2_000, 50
_SCALES = "hundred|thousand|million|billion|trillion"
_UNDOTTED = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|pi|theta|alpha|beta|gamma|lambda|mu"
_CURRENCY = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}


class TooLarge(ValueError):
    """An expression that would fill the memory if it were worked out."""


@dataclass(frozen=True)
class Reading:
    """A text as mathematics: the expression, and the unit written after it ("" for none)."""

    value: Any
    unit: str


def read(text: str, *, units: bool = True) -> Reading:
    """Read `text`; with `units` a unit after a number is parted from it.

    Raises:
        TooLarge: If it would take too much to work out.
        Exception: Whatever the grammar raises for what is no formula.
    """
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, latex2sympy, normalize_latex
    from math_verify.grader import should_treat_as_complex

    if len(text) > _LONGEST:
        raise TooLarge(f"longer than {_LONGEST} characters")
    source, unit = _part_unit(_final(text)) if units else (_final(text), "")
    source = normalize_latex(
        _as_latex(source), NormalizationConfig(units=False, malformed_operators=True, nits=True, boxed="none")
    )
    value = latex2sympy(
        source, is_real=not should_treat_as_complex(source), convert_degrees=False, normalization_config=None
    )
    if value is None:
        raise ValueError("no expression")
    _bound(value)
    return Reading(value, unit)


def _final(text: str) -> str:
    """Find the answer in a text that shows its work: the last box, else the last formula, else all of it."""
    boxed = text.rfind("\\boxed{")
    if boxed >= 0:
        return text[boxed + 7 : _closing(text, boxed + 6)]
    text = text.strip()
    formulas = re.findall(
        r"\$\$(.+?)\$\$|(?<![\\\d])\$(?=[^\s$])([^$\n]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", text, re.DOTALL
    )
    if formulas:
        return next(part for part in formulas[-1] if part).strip()
    said = re.split(r"(?i)\banswer(?:\s+is|\s*:|\s*=)\s*:?", text)
    return said[-1].strip().rstrip(".").strip()


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at
    return len(text)


def _as_latex(text: str) -> str:
    if max(_depths(text)) > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    text = re.sub(r"(\d)\s*(hundred|thousand|million|billion|trillion)\b", _scaled, text)
    text = re.sub(r"(?<![\w.])(\d+)\s+(\d+)\s*/\s*(\d+)(?![\w.])", r"(\1+\2/\3)", text)  # 2 3/4
    text = re.sub(r"(?<=\d)[eE]([-+]?\d+)(?!\w)", r"*10^{\1}", text)
    text = re.sub(r"([\])}])\s*(?:U|or|and)\s*(?=[\[({\\])", r"\1\\cup ", text)
    text = text.replace("**", "^").replace("×", r"\times ").replace("÷", "/").replace("−", "-").replace("·", r"\cdot ")
    text = text.replace("π", r"\pi ").replace("∞", r"\infty ").replace("≤", r"\le ").replace("≥", r"\ge ")
    text = text.replace("∪", r"\cup ").replace("√", "sqrt").replace("<=", r"\le ").replace(">=", r"\ge ")
    text = re.sub(r"(?<![\\a-zA-Z])(?:infinity|inf|oo)(?![a-zA-Z])", r"\\infty ", text)
    text = re.sub(rf"(?<![\\a-zA-Z])({_UNDOTTED})(?![a-zA-Z])", r"\\\1 ", text)
    text = _braced(text, r"(?<![\\a-zA-Z])sqrt\s*\(", r"\sqrt{")
    text = re.sub(r"(?<![\\a-zA-Z])sqrt\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}", text)
    text = _braced(text, r"\^\s*\(", "^{")
    if re.fullmatch(r"\{.*\}", text, re.DOTALL):  # a set, not a group
        text = rf"\{{{text[1:-1]}\}}"
    text = re.sub(r"\s*\b(?:percent|pct|per cent)\b", "%", text)
    if (share := re.fullmatch(r"(.*?[^\d.,\s\\].*?)\s*\\?%", text)) and "%" not in share[1]:
        return rf"\frac{{{share[1]}}}{{100}}"  # 1/2 % is a half of a percent, not one over two percent
    return re.sub(r"(?<!\\)%", r"\\%", text)


def _scaled(found: re.Match[str]) -> str:
    powers = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
    return rf"{found[1]} \cdot 10^{{{powers[found[2]]}}}"


def _depths(text: str) -> list[int]:
    depth, depths = 0, [0]
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        depths.append(depth)
    return depths


def _braced(text: str, opening: str, instead: str) -> str:
    while found := re.search(opening, text):
        end = len(text)
        depth = 0
        for at in range(found.end() - 1, len(text)):
            depth += (text[at] == "(") - (text[at] == ")")
            if depth == 0:
                end = at
                break
        text = f"{text[: found.start()]}{instead}{text[found.end() : end]}}}{text[end + 1 :]}"
    return text


def _bound(value: Any) -> None:
    import sympy

    for node in sympy.preorder_traversal(value) if isinstance(value, sympy.Basic) else ():
        if isinstance(node, sympy.Pow) and _size(node.exp) > _LARGEST_POWER:
            raise TooLarge(f"a power over {_LARGEST_POWER} is not worked out")
        if isinstance(node, sympy.factorial | sympy.gamma) and _size(node.args[0]) > _LARGEST_POWER:
            raise TooLarge(f"a factorial over {_LARGEST_POWER} is not worked out")


def _size(value: Any) -> float:
    """Bound the absolute value of an expression from above; a symbol counts as one."""
    import sympy

    parts = [_size(part) for part in value.args]
    try:
        if isinstance(value, sympy.Number):
            return abs(float(value))
        if isinstance(value, sympy.Pow):
            return float(max(parts[0], 1.0) ** parts[1])
        if isinstance(value, sympy.factorial):
            return math.gamma(parts[0] + 1)
        return math.prod(parts) if isinstance(value, sympy.Mul) else max(math.fsum(parts), 1.0)
    except (OverflowError, TypeError):
        return math.inf


# --- units -------------------------------------------------------------------------

_TEXT = r"\\(?:text|mathrm|textrm|rm|mbox|operatorname)\s*\{([^{}]*)\}"
_NUMERIC = re.compile(
    r"[-+\d.,/*^(){}\s]|\\(?:d?frac|tfrac|sqrt|cdot|times|pi|left|right|,|;|!|\s)|sqrt|pi(?![a-zA-Z])|[π√×½]"
)


def _part_unit(text: str) -> tuple[str, str]:
    """Part a number from the unit after it. Only a number has a unit: `3x` is a product."""
    text = text.strip().replace("\\$", "$").replace("~", " ")
    if text[:1] in _CURRENCY and text[1:2].strip():
        return text[1:], _CURRENCY[text[0]]
    text = re.sub(r"\^\s*\{?\\circ\}?|°", r" \\text{deg} ", text).strip()
    text = re.sub(r"\\text\{deg\}\s*([CFK])\b", r"\\text{deg\1}", text)
    at = 0
    while found := _NUMERIC.match(text, at):
        at = found.end()
    head, tail = text[:at], text[at:]
    if not tail or not re.search(r"\d|\\pi|π|pi", head) or head.rstrip()[-1:] in "+*^/({":
        return text, ""
    plain = re.sub(r"\\[,;! ]", " ", re.sub(_TEXT, r" \1 ", tail))
    plain = re.sub(r"\s+", " ", plain.replace("{", "").replace("}", "").replace("\\cdot", "*")).strip(" .\\")
    plain = re.sub(r"\bper\b", "/", plain.translate({0xB2: "^2", 0xB3: "^3"}))
    if not re.fullmatch(r"[a-zA-Zµμ][\w\s*/^.µμ-]*", plain) or re.match(
        rf"(?:{_UNDOTTED}|sqrt|and|or|{_SCALES})\b", plain
    ):
        return text, ""
    in_text = re.match(_TEXT, tail.lstrip()) is not None
    return (head.strip(), plain) if in_text or all(map(_is_unit, re.findall(r"[^\W\d]+", plain))) else (text, "")


def _is_unit(word: str) -> bool:
    # one letter is a unit if it is one that people use; otherwise it is a variable
    if len(word) == 1:
        return word in "mgshlLANVWJKCF"
    return len(word) > 2 or word in unit_registry()


@cache
def unit_registry() -> Any:
    """All units that pint knows, with exact factors."""
    import pint

    return pint.UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)
