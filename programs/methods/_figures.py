"""Figures in running text: the numbers it names, and whether the sums it shows come out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from stillroom.evals.verifiers import evaluate, parse_number

__all__ = ["NUMBER", "false_sum", "names", "numbers"]

NUMBER = re.compile(r"(?<![\w.,/])\d+(?:,\d{3})*(?:\.\d+)?(?![\d/]|[.,]\d|[A-Za-z_])")
"""A number that stands for itself: no part of a word, a date, a fraction or a longer number."""
_ANY = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![A-Za-z_])")
_RUN = re.compile(r"[\d.,()+\-*/=% \t]*=[\d.,()+\-*/=% \t]*")
_BEGINS = re.compile(r"^\s*(?:[-*]|\d+[.)]|step \d+[.:)])\s+", re.IGNORECASE)


def numbers(text: str) -> list[Fraction]:
    """All numbers of a text, in order."""
    return [Fraction(each.replace(",", "")) for each in _ANY.findall(text)]


def names(text: str, value: Fraction) -> bool:
    """Whether a text names a number, as it is or rounded to the digits it writes (two at least).

    >>> names("about 3.33 each", Fraction(10, 3)), names("3 each", Fraction(10, 3))
    (True, False)
    """
    for each in _ANY.findall(text):
        found = Fraction(each.replace(",", ""))
        decimals = len(each.partition(".")[2]) if "e" not in each.lower() else 0
        if found == value or (decimals >= 2 and abs(found - value) <= Fraction(1, 10**decimals)):
            return True
    return False


def false_sum(steps: Sequence[str]) -> str:
    """The first sum shown in the steps that does not come out, or "".

    Looked at is plain arithmetic around equals signs ("3 * 4 + 2 = 14"); what has letters in it is left alone.
    The result of a division may be rounded, or cut off, to the decimals it is written with, if it has any.

    >>> false_sum(["She has 12 - 5 = 7 left.", "Half of it is 7 / 2 = 3.5, so 2x = 7."])
    ''
    >>> false_sum(["That makes 12 - 5 = 8."])
    '12 - 5 = 8'
    """
    for line in (line for step in steps for line in step.splitlines()):
        text = _plain(_BEGINS.sub("", line))
        for match in _RUN.finditer(text):
            sides = match[0].split("=")
            if re.match(r"[A-Za-z_^]", text[match.end() :]) and not match[0].endswith((" ", "\t")):
                sides = sides[:-1]  # 3y: the last number is a factor of something unknown
            if re.search(r"[A-Za-z_^\])}]$", text[: match.start()]) and re.match(r"[-+*/\s]*[-+*/]|\S", match[0]):
                sides = sides[1:]  # "2 apples + 3 = 5", "f(2) = 3": the first side goes further to the left
            for left, right in pairwise(sides):
                if not _agree(left, right):
                    return f"{left.strip()} = {right.strip().rstrip('.,')}"
    return ""


def _plain(line: str) -> str:
    """Arithmetic as school books and LaTeX write it, with one sign for each operation."""
    line = line.replace("−", "-").replace("×", "*").replace("÷", "/").replace("$", "").replace("\\", " \\")
    line = re.sub(r"\\(?:times|cdot)\b", "*", line).replace("\\div", "/").replace("\\%", "%")
    line = re.sub(r"\\d?frac\s*\{([^{}]+)\}\s*\{([^{}]+)\}", r"((\1)/(\2))", line)
    line = re.sub(r"[€£¥]|\\[()\[\] ,;!]", "", line)
    return re.sub(r"(?<=\d)\s*[xX]\s*(?=\d)", " * ", line)


def _agree(left: str, right: str) -> bool:
    """Whether two sides of an equals sign agree; sides that are no arithmetic are not looked at."""
    first, second = _value(left), _value(right)
    if first is None or second is None or not (_works(left) or _works(right)):
        return True
    if first == second or ("%" in left + right and (first * 100 == second or first == second * 100)):
        return True
    bare, other, works = (second, first, left) if not _works(right) else (first, second, right)
    written = right if bare is second else left
    if _works(left) and _works(right):
        return False
    decimals = len(written.strip().rstrip("., \t").partition(".")[2])
    if not decimals or "/" not in works:
        return False  # 100 / 3 is 33.33 and not 33
    unit = Fraction(1, 10**decimals)
    rounded, cut = abs(bare - other) <= unit / 2, 0 <= abs(other) - abs(bare) < unit
    return bare * other > 0 and (rounded or cut)


def _works(side: str) -> bool:
    return re.search(r"[\d)%]\s*[-+*/]", side) is not None


def _value(side: str) -> Fraction | None:
    text = side.strip().rstrip("., \t")
    if not re.match(r"[-(\d]", text) or not re.search(r"[\d)%]$", text):
        return None
    if not _works(text):
        return parse_number(text.rstrip("%")) if text.count("(") == text.count(")") else None
    try:
        return evaluate(re.sub(r"(\d+(?:\.\d+)?)\s*%", r"(\1/100)", text))
    except ValueError:
        return None
