"""The child process that does algebra: reads one request a line, writes one answer a line, as JSON.

Algebra on text from a model may not end, so it runs where it can be killed. Nothing
is evaluated as Python: LaTeX goes through a grammar (latex2sympy2-extended, ANTLR),
and SymPy's own reader of strings, which calls `eval`, is switched off.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ._formulas import Reading, TooLarge, read, unit_registry

__all__ = ["answer", "main"]

_MEMORY = 2 * 2**30
_SAME_UNIT = {"usd": "dollar", "eur": "euro", "°": "deg", "degrees": "deg", "degree": "deg"}


def main() -> None:
    """Serve requests until the input ends. Writes `ready` once everything is imported."""
    _forbid_eval()
    _limit_memory()
    sys.setrecursionlimit(3_000)
    answer("1 cm", "10 mm", "optional")  # imports all of it
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        _alarm(request["seconds"])
        found = answer(request["gold"], request["got"], request["units"])
        if _memory_was_short():
            return  # libraries take a MemoryError for "not equal"; no answer is better than that one
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        _alarm(0)


def answer(gold: str, got: str, units: str) -> Mapping[str, str]:
    """Compare two texts: `same`, `differs`, `unread` (the answer) or `open` (could not be told), and why."""
    try:
        wanted = read(gold)
    except Exception as error:  # a library of many ways to fail; every one means the same here
        return _said("open", f"gold cannot be read: {_short(error)}")
    try:
        found = read(got)
    except (TooLarge, RecursionError, MemoryError) as error:
        return _said("open", _short(error))
    except Exception as error:
        return _said("unread", _short(error))
    try:
        said = _compare(wanted, found, units)
        if said["state"] == "differs" and (wanted.unit or found.unit) and units != "required":
            # 5m is five metres or five times m: let it be either
            plain = _equal(read(gold, units=False).value, read(got, units=False).value)
            return plain if plain["state"] == "same" else said
        return said
    except Exception as error:
        return _said("open", f"cannot be compared: {_short(error)}")


# --- comparing ---------------------------------------------------------------------


def _compare(wanted: Reading, found: Reading, units: str) -> Mapping[str, str]:
    import sympy

    if wanted.unit and not found.unit and units == "required":
        return _said("differs", f"has no unit, wanted {wanted.unit}")
    if not (wanted.unit and found.unit) or units == "ignored":
        return _equal(wanted.value, found.value)
    steps = _steps(found.unit, wanted.unit)
    if isinstance(steps, str):
        return _said("open", steps)
    if steps is None:
        return _said("differs", f"is in {found.unit}, not {wanted.unit}")
    if steps == (Fraction(1), Fraction(0)):
        return _equal(wanted.value, found.value)
    factor, offset = (sympy.Rational(step.numerator, step.denominator) for step in map(Fraction, steps))
    return _equal(wanted.value, sympy.N(found.value * factor + offset))  # a float: factors are measured


def _equal(gold: Any, got: Any) -> Mapping[str, str]:
    from math_verify import verify

    if verify(gold, got, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True):
        return _said("same", "")
    near = _near(gold, got)
    if near is None and _alike_at_points(gold, got):
        return _said("open", "agrees wherever it was tried, but could not be proved equal")
    return _said("same" if near else "differs", "")


def _near(gold: Any, got: Any) -> bool | None:
    """Compare two constants by value: 1e-6 apart where one is a float, else 1e-30. None if they are not constants."""
    import sympy

    if not all(isinstance(value, sympy.Expr) and not value.free_symbols for value in (gold, got)):
        return None
    left, right = sympy.N(gold.doit(), 40), sympy.N(got.doit(), 40)
    if not (left.is_number and right.is_number) or left.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return False
    tolerance = "1e-6" if gold.has(sympy.Float) or got.has(sympy.Float) else "1e-30"
    return bool(abs(left - right) <= sympy.Float(tolerance) * sympy.Max(1, abs(left)))


def _alike_at_points(gold: Any, got: Any) -> bool:
    """Say whether two formulas in symbols agree at random points, where `simplify` gave up on them."""
    import sympy

    if not (isinstance(gold, sympy.Expr) and isinstance(got, sympy.Expr)):
        return False
    symbols = sorted(gold.free_symbols | got.free_symbols, key=str)
    rng, tried = random.Random(0), 0
    for _ in range(12):
        point = {symbol: sympy.Rational(rng.choice((-1, 1)) * rng.randint(10, 300), 97) for symbol in symbols}
        near = _near(gold.subs(point), got.subs(point))
        if near is False and not sympy.N(gold.subs(point)).has(sympy.nan, sympy.zoo, sympy.oo):
            return False
        tried += bool(near)
    return tried > 1


def _steps(unit: str, into: str) -> tuple[Fraction, Fraction] | str | None:
    """Read `unit` in `into` as factor and offset; None where they measure different things; a text if unknown."""
    import pint

    if _folded(unit) == _folded(into):
        return Fraction(1), Fraction(0)
    registry = unit_registry()
    try:
        one, other = registry.parse_units(unit), registry.parse_units(into)
        offset = registry.Quantity(Fraction(0), one).to(other).magnitude
        return registry.Quantity(Fraction(1), one).to(other).magnitude - offset, Fraction(offset)
    except pint.DimensionalityError:
        return None
    except pint.UndefinedUnitError:  # things that are counted: apples are not oranges
        return None
    except Exception as error:  # pint lets its parser's errors through as they come
        return f"units {unit} and {into} cannot be compared: {_short(error)}"


def _folded(unit: str) -> str:
    unit = re.sub(r"(?<=[a-z]{2})s\b", "", unit.casefold())
    return _SAME_UNIT.get(unit, unit)


# --- safety ------------------------------------------------------------------------


def _forbid_eval() -> None:
    """Put a reader of plain numbers in the place of SymPy's reader of strings, which calls `eval`.

    The grammar hands its number tokens to `sympy.Number(text)`, which asks that reader.
    """
    import logging

    import sympy
    import sympy.parsing.sympy_parser as reader

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # warns that it has no timeout: this process has
    x = sympy.Symbol("x", real=True)
    (
        sympy.simplify((x + 1) ** 2 - x),
        (x > 2).as_set(),
        sympy.solve(x**2 > 4, x),
    )  # imports what reads strings of its own

    def read_number(text: Any, *_: Any, **__: Any) -> Any:
        text = text.strip() if isinstance(text, str) else ""
        if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,4})?", text, re.ASCII):
            raise ValueError("text is never evaluated as Python here")
        return sympy.Integer(int(text)) if re.fullmatch(r"[-+]?\d+", text) else sympy.Float(text)

    reader.parse_expr = reader.eval_expr = read_number


def _alarm(seconds: float) -> None:
    # ends this process from within, should nobody be left to kill it
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds * 2)


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _memory_was_short() -> bool:
    return _most_memory() > _MEMORY // 2


def _most_memory() -> int:
    """The most memory this process has held, in bytes; 0 where nobody tells.

    Linux carries `ru_maxrss` over from the process that started this one, which may be large.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _said(state: str, why: str) -> Mapping[str, str]:
    return {"state": state, "why": why}


def _short(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:100]


if __name__ == "__main__":
    main()
