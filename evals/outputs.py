"""What a function gives for inputs, whatever language it is written in: the evidence that a translation is right.

Three languages can be run in the sandbox: Python; Tcl, where Python has tkinter; and SQL, as one SELECT of SQLite
whose named parameters are the function's. Inputs are drawn from the annotations of a Python function.
"""

from __future__ import annotations

import ast
import json
import math
import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, EngineRefused

from .sandbox import Limits, Sandbox, shared_sandbox

__all__ = ["LANGUAGES", "Language", "Outputs", "agree", "arguments", "difference", "outputs", "parameters", "usable"]

_SCRIPTS = Path(__file__).parent / "sandbox"
_USUAL = Limits()
_OWN_TYPES = ("int", "float", "bool", "str")


@dataclass(frozen=True)
class Language:
    """A language that can be run here.

    Attributes:
        title: As people call it.
        tag: Of its fenced blocks.
        script: What runs it, in the sandbox.
        form: What a program must look like to be run, for whoever writes one.
    """

    title: str
    tag: str
    script: str
    form: str


LANGUAGES: Mapping[str, Language] = {
    "python": Language("Python", "python", "called.py", "a function of the same name and parameters"),
    "tcl": Language(
        "Tcl", "tcl", "tcl.py",
        "Tcl 8.6: a procedure (proc) of the same name and parameters, which returns its result; true and false are 1 and 0, lists are Tcl lists",
    ),
    "sql": Language(
        "SQL", "sql", "scalar.py",
        "SQLite: one SELECT that gives one row with one column, the result; parameters are written with a colon, as in :name; lists are JSON text, so use json_each and json_group_array; true and false are 1 and 0",
    ),
}  # fmt: skip
"""By the name that is written in settings."""


@dataclass(frozen=True)
class Outputs:
    """What a program gave.

    Attributes:
        values: For each input, a JSON value.
        errors: By number of an input for which it gave none, why.
        fault: Why it gave nothing at all: it does not parse, or lacks its function; or "".
    """

    values: tuple[Any, ...] = ()
    errors: Mapping[int, str] = ()  # type: ignore[assignment]
    fault: str = ""


def outputs(
    code: str,
    entry: str,
    inputs: Sequence[Sequence[Any]],
    *,
    language: str = "python",
    names: Sequence[str] = (),
    like: Sequence[Any] = (),
    limits: Limits = _USUAL,
    sandbox: Sandbox | None = None,
) -> Outputs:
    """Run a function on each of the inputs, in one fresh process.

    Args:
        code: The program.
        entry: The function's name.
        inputs: The arguments of each call, JSON values.
        language: One of `LANGUAGES`.
        names: The parameters' names, where the language goes by names.
        like: For each input a value of the kind that is expected: what a Tcl text or an SQL number stands for.
        limits: Of all calls together.
        sandbox: Where; the shared one by default.

    Raises:
        BadConfig: If there is no such language.
        EngineError: If there is no sandbox, or it lacks the language.
    """
    if language not in LANGUAGES:
        raise BadConfig(f"a language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    script = LANGUAGES[language].script
    parts = [(script, (_SCRIPTS / script).read_text(encoding="utf-8"))]
    job = {"code": code, "entry": entry, "inputs": inputs, "names": list(names), "like": list(like)}
    try:
        ran = (sandbox or shared_sandbox()).run(
            parts, files={"job.json": json.dumps(job)}, limits=limits, returns="found"
        )
    except BadConfig as error:  # more text than fits
        return Outputs(fault=str(error))
    if not ran.finished or not isinstance(ran.value, dict):
        return Outputs(fault=ran.why or "it ended early")
    told = ran.value.get("outputs", [])
    errors = {at: str(each["error"]) for at, each in enumerate(told) if "value" not in each}
    return Outputs(tuple(each.get("value") for each in told), errors, str(ran.value.get("fault", "")))


def usable(language: str) -> None:
    """Try whether a language can be run here.

    Raises:
        BadConfig: If there is no such language.
        EngineRefused: If it cannot be run, with the reason.
    """
    _tried(language)


@cache
def _tried(language: str) -> None:
    program = {"tcl": "proc one {} { return 1 }", "sql": "SELECT 1"}.get(language, "def one(): return 1")
    found = outputs(program, "one", [[]], language=language, like=[1])
    if found.values != (1,):
        raise EngineRefused(
            f"{LANGUAGES[language].title} must be run to be checked, and cannot be: {found.fault or found.errors}",
            mend="Install Python with tkinter (Debian: python3-tk), or leave the language out."
            if language == "tcl"
            else "",
        )


def agree(left: Any, right: Any) -> bool:
    """Whether two outputs are the same: of one kind, numbers to nine digits."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(agree, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(agree(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def difference(inputs: Sequence[Sequence[Any]], wanted: Sequence[Any], got: Outputs) -> str:
    """The first input for which a program gives something else than `wanted`, or why it gives nothing; "" for none."""
    if got.fault:
        return got.fault
    for at, (each, right) in enumerate(zip(inputs, wanted, strict=True)):
        if at in got.errors:
            return f"for {_told(each)}: {got.errors[at]}, not {right!r:.100}"
        if not agree(right, got.values[at]):
            return f"for {_told(each)}: {got.values[at]!r:.100}, not {right!r:.100}"
    return ""


def _told(each: Sequence[Any]) -> str:
    return ", ".join(map(repr, each))[:150]


# -- inputs -----------------------------------------------------------------------------


def parameters(code: str, entry: str) -> dict[str, str]:
    """The parameters of a Python function with their annotations, as they are written; "" where there is none.

    Raises:
        ValueError: If the code does not parse or does not define the function.
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, RecursionError) as error:
        raise ValueError(f"the code does not parse: {error}") from error
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == entry:
            given = [*node.args.posonlyargs, *node.args.args]
            return {each.arg: ast.unparse(each.annotation) if each.annotation else "" for each in given}
    raise ValueError(f"the code defines no function {entry!r}")


def arguments(code: str, entry: str, n: int, rng: random.Random) -> list[list[Any]]:
    """Draw `n` inputs for a Python function by its annotations: int, float, bool, str, and lists of these.

    Small and large, empty and long ones are mixed, and what stands in the code itself, one more and one less: a
    changed constant shows at its own edge. Inputs differ as far as the types allow.

    Raises:
        ValueError: If the function is not there, or a parameter has another annotation or none.
    """
    kinds = parameters(code, entry)
    odd = {name: kind for name, kind in kinds.items() if _inner(kind) not in _OWN_TYPES}
    if odd or not kinds:
        raise ValueError(
            f"inputs can be drawn for parameters of {', '.join(_OWN_TYPES)} and lists of them, got {odd or 'none'}"
        )
    own = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    numbers = list(dict.fromkeys(each + step for step in (0, -1, 1) for each in own if type(each) is int))
    texts = sorted({each for each in own if isinstance(each, str) and len(each) < 40 and each.strip()})
    whole = [at for at, kind in enumerate(kinds.values()) if kind == "int"]
    drawn: dict[str, list[Any]] = {}
    for draw in range(20 * n):
        each: list[Any] = []
        for kind in kinds.values():
            before = [value for value in each if isinstance(value, str) and value]
            if kind == "str" and before and rng.random() < 0.5:  # texts that have something in common
                each.append(before[-1][: rng.randint(1, len(before[-1]))] + rng.choice(("", _text(rng, texts))))
            else:
                each.append(_value(kind, rng, numbers, texts))
        if whole and numbers and draw % 2:
            each[rng.choice(whole)] = numbers[draw // 2 % len(numbers)]
        drawn.setdefault(json.dumps(each), each)
        if len(drawn) == n:
            break
    return list(drawn.values())


def _inner(kind: str) -> str:
    bare = kind.removeprefix("typing.")
    for start in ("list[", "List["):
        if bare.startswith(start) and bare.endswith("]"):
            return _inner(bare[len(start) : -1])
    return bare


def _value(kind: str, rng: random.Random, numbers: Sequence[int], texts: Sequence[str]) -> Any:
    if _inner(kind) != kind.removeprefix("typing."):
        inner = kind[kind.index("[") + 1 : -1]
        return [_value(inner, rng, numbers, texts) for _ in range(rng.choice((0, 1, 2, 3, 5, 8)))]
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "float":
        return round(rng.uniform(-50, 50), 2)
    if kind == "int":
        usual = (rng.randint(-3, 3), rng.randint(-20, 20), rng.randint(1, 30), rng.randint(-500, 2500))
        return rng.choice((*usual, *(rng.choices(numbers, k=3) if numbers else ())))
    return _text(rng, texts)


def _text(rng: random.Random, texts: Sequence[str]) -> str:
    """Words, digits, brackets and other signs, so that most functions of texts have something to do."""
    kinds = (
        lambda: "".join(rng.choices(string.ascii_letters, k=rng.randint(1, 8))),
        lambda: rng.choice(("the", "of", "a", "and", "Anna", "LEVEL", "aab", "noon", *texts)),
        lambda: "".join(rng.choices(string.digits, k=rng.choice((1, 3, 8)))),
        lambda: rng.choice(("()", "[]", "([])", "(]", ")(", "[()", "()[]")),
        lambda: rng.choice((".", "!", "xx-yy", "Zz", "3a")),
    )
    return " ".join(rng.choice(kinds)() for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 5))))
