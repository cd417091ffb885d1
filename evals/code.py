"""Verifiers that run what a model wrote: unit tests, SQL, predicates. Always in the sandbox, or not at all.

A program that breaks a limit is wrong, with the limit as the reason. Without a
sandbox, or where it failed, the answer is unverified.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from stillroom.errors import BadConfig, EngineError

from .sandbox import Limits, Ran, Sandbox, shared_sandbox
from .verdict import Row, Verdict, Verifier

__all__ = ["extract_code", "lints", "predicate", "python_parses", "sql", "unit_tests"]

Parts: TypeAlias = Sequence[tuple[str, str]]

_USUAL = Limits()
_LONGEST = 100_000  # characters of code that are looked at
_FENCE = re.compile(
    r"^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<tag>[\w+#.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=mark)|\Z)", re.M | re.S
)
_TAGS = {"python": ("python", "py", "python3"), "sql": ("sql", "sqlite", "sqlite3")}


def extract_code(text: str, language: str = "python", *, defines: str = "") -> str:
    r"""Take the code out of an answer: its fenced block, or all of it where there is none.

    Of several blocks the first that defines `defines` (a function's name) counts, else the
    first in the language, else the first without one. A block that is cut off goes to the end of the text.

    >>> extract_code("Sure:\n```python\nprint(1)\n```\nDone.")
    'print(1)\n'
    """
    blocks = [(match["tag"].lower(), match["code"]) for match in _FENCE.finditer(text)]
    if not blocks:
        return text
    tags = _TAGS.get(language, (language,))
    fitting = [code for tag, code in blocks if tag in tags] or [code for tag, code in blocks if not tag]
    fitting = fitting or [code for _, code in blocks]
    definition = re.compile(rf"^[ \t]*(?:async +)?def +{re.escape(defines)}\b", re.M)
    return next((code for code in fitting if defines and definition.search(code)), fitting[0])


# --- unit tests ------------------------------------------------------------------

# the program is imported, not started: what stands under `if __name__ == "__main__"` is left out
AS_MODULE = """
import sys
sys.modules["program"] = sys.modules["__main__"]
__name__ = "program"
del sys
"""


def unit_tests(
    name: str,
    *,
    tests: str = "tests",
    entry_point: str = "",
    prompt: str = "",
    limits: Limits = _USUAL,
    sandbox: Sandbox | None = None,
) -> Verifier:
    """Run the program in output `name` against the unit tests of its row.

    Args:
        name: The output field with the program, in a fence or bare.
        tests: The field with the tests: a list of statements, such as asserts, or one source text.
        entry_point: The field with the name of the function under test. If the tests define
            `check(candidate)`, it is called with that function, as in HumanEval (Chen et al. 2021, arXiv 2107.03374).
        prompt: The field with the code that the program continues, or whose helpers it needs.
        limits: What program and tests may use together.
        sandbox: Where to run them; the shared one by default.

    The tests run in the program's own process, after it. A program that ends the process early fails,
    but one that is written to deceive its tests (an object that equals everything) can do so: where
    a model is trained against this check, look at what it writes.

    Raises:
        BadConfig: If a name of a field is empty.
    """
    _check_names("unit_tests", name, tests)

    def check(expected: Row, outputs: Row) -> Verdict:
        source = _test_source(expected.get(tests))
        called = expected.get(entry_point) if entry_point else ""
        before = expected.get(prompt) if prompt else ""
        if source is None or not isinstance(called, str) or not isinstance(before, str):
            return Verdict.unverified(f"the row has no {tests} that can be run")
        if called and _defines(source, "check"):
            source += f"\n\ncheck({called})\n"
        if (fault := _fault(source)) or (called and not called.isidentifier()):
            return Verdict.unverified(f"the tests of the row cannot be run: {fault or called}")
        code, problem = _code(name, outputs, defines=called)
        if problem:
            return Verdict.fail(problem)
        parts = [("module.py", AS_MODULE), *_programs(before, code, called), ("tests.py", source)]
        ran = _run(sandbox, parts, limits)
        if isinstance(ran, Verdict):
            return ran
        return Verdict.ok() if ran.finished else Verdict.fail(f"{name}: {_why(ran)}")

    settings = _settings(
        name,
        f"tests={tests}",
        entry_point and f"entry_point={entry_point}",
        prompt and f"prompt={prompt}",
        limits.label,
    )
    return Verifier(f"unit_tests({settings})", check)


def _test_source(found: Any) -> str | None:
    lines = found if isinstance(found, list | tuple) else [found]
    if not lines or not all(isinstance(line, str) and line.strip() for line in lines):
        return None
    return "\n".join(lines)


def _programs(before: str, code: str, called: str) -> list[tuple[str, str]]:
    """The prompt and the program: one text where it only continues the prompt, else one after the other."""
    if not before:
        return [("program.py", code)]
    if called and _defines(code, called) and not _fault(before):
        return [("prompt.py", before), ("program.py", code)]
    return [("program.py", before + code)]


def _defines(source: str, name: str) -> bool:
    try:
        body = _parsed(source).body
    except (SyntaxError, ValueError):
        return False
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name for node in body
    )


# --- predicates ------------------------------------------------------------------

_PREDICATE_END = """
import json as _json
with open("row.json", encoding="utf-8") as _file:
    _row = _json.load(_file)
_said = check(_row["inputs"], _row["outputs"])
_said = _said if isinstance(_said, (bool, int, float)) else [type(_said).__name__]
"""


def predicate(source: str, *, name: str = "", limits: Limits = _USUAL, sandbox: Sandbox | None = None) -> Verifier:
    """Check rows by a predicate that a model wrote: `def check(inputs, outputs) -> bool`.

    It sees the inputs and gold outputs of the row, and what the program answered, as JSON
    values; a number from 0 to 1 is partial credit. If it fails, or breaks a limit, it is
    the predicate that is at fault, and the answer is unverified.

    Args:
        source: Python code, in a fence or bare.
        name: What to call it in reasons; a digest of the source always follows.
        limits: What it may use.
        sandbox: Where to run it; the shared one by default.

    Raises:
        BadConfig: If `source` is not Python, or defines no `check`.
    """
    code = extract_code(source, defines="check")
    if (fault := _fault(code)) or not _defines(code, "check"):
        raise BadConfig(f"a predicate is Python that defines check(inputs, outputs): {fault or 'it defines no check'}")
    label = f"{name or 'predicate'}#{hashlib.sha256(code.encode()).hexdigest()[:12]}"

    def check(expected: Row, outputs: Row) -> Verdict:
        try:
            row = json.dumps({"inputs": dict(expected), "outputs": dict(outputs)})
        except (TypeError, ValueError, RecursionError) as error:
            return Verdict.unverified(f"{label} sees JSON values only: {error}")
        ran = _run(sandbox, [("predicate.py", code), ("end.py", _PREDICATE_END)], limits, {"row.json": row}, "_said")
        if isinstance(ran, Verdict):
            return ran
        if not ran.finished:
            return Verdict.unverified(f"{label} failed: {_why(ran)}")
        if not isinstance(ran.value, bool | int | float) or not 0 <= ran.value <= 1:
            return Verdict.unverified(f"{label} gave neither a bool nor a number from 0 to 1: {ran.value!r:.80}")
        return Verdict(float(ran.value), "" if ran.value == 1 else f"{label} says {ran.value}")

    return Verifier(f"predicate({_settings(label, limits.label)})", check)


# --- SQL -------------------------------------------------------------------------

_SQL_SCRIPT = Path(__file__).parent / "sandbox" / "sql.py"


def sql(
    name: str,
    *,
    gold: str = "",
    schema: str = "schema",
    limits: Limits = _USUAL,
    sandbox: Sandbox | None = None,
) -> Verifier:
    """Check that the query in output `name` gives the same rows as the gold query, on SQLite.

    Both run on the database that the script in the row's field `schema` builds, in memory,
    read-only. The order of rows counts only if the gold query itself orders them; the names of
    columns never do; numbers are compared to nine digits. Equal results on one small database do
    not prove two queries equal (Zhong et al. 2020, arXiv 2010.02840): fill it so that likely mistakes show.

    Args:
        name: The output field with the query, in a fence or bare.
        gold: The field with the gold query; `name` by default.
        schema: The field with the script: CREATE TABLE and INSERT statements.
        limits: What building and both queries may use together.
        sandbox: Where to run them; the shared one by default.

    Raises:
        BadConfig: If a name of a field is empty.
    """
    gold = gold or name
    _check_names("sql", name, gold, schema)

    def check(expected: Row, outputs: Row) -> Verdict:
        script, right = expected.get(schema), expected.get(gold)
        if not isinstance(script, str) or not isinstance(right, str):
            return Verdict.unverified(f"the row has no {schema} or no gold {gold}")
        code, problem = _code(name, outputs, language="sql")
        if problem:
            return Verdict.fail(problem)
        job = json.dumps({"schema": script, "gold": right, "query": code, "seconds": limits.seconds * 0.4})
        ran = _run(sandbox, [("sql.py", _SQL_SCRIPT.read_text())], limits, {"job.json": job}, "found")
        if isinstance(ran, Verdict):
            return ran
        return _compared(ran, name)

    return Verifier(f"sql({_settings(name, f'gold={gold}', f'schema={schema}', limits.label)})", check)


def _compared(ran: Ran, name: str) -> Verdict:
    if ran.killed_by is None and not ran.finished:  # the queries' own faults are all reported
        return Verdict.unverified(f"SQLite could not be used: {_why(ran)}")
    found = ran.value if isinstance(ran.value, dict) else {"stage": "query", "error": _why(ran)}
    if found.get("same"):
        return Verdict.ok()
    if found.get("stage") in ("schema", "gold"):
        return Verdict.unverified(f"the row's own {found['stage']} fails: {found['error']}")
    return Verdict.fail(f"{name}: {found.get('error')}")


# --- reading only ----------------------------------------------------------------


def python_parses(name: str) -> Verifier:
    """Check that output `name` is Python that compiles. Nothing is run, no sandbox is needed.

    >>> python_parses("code")({}, {"code": "print(1"})
    Verdict(score=0.0, why="code does not compile: line 1: '(' was never closed")
    """
    _check_names("python_parses", name)

    def check(expected: Row, outputs: Row) -> Verdict:
        code, problem = _code(name, outputs)
        fault = problem or (_fault(code) and f"{name} does not compile: {_fault(code)}")
        return Verdict.fail(fault) if fault else Verdict.ok()

    return Verifier(f"python_parses({name})", check)


def lints(name: str) -> Verifier:
    r"""Check that pyflakes finds nothing in output `name`: no undefined names, no unused imports or variables.

    Nothing is run, no sandbox is needed.

    >>> lints("code")({}, {"code": "def f(x):\n    return y\n"})
    Verdict(score=0.0, why="line 2: undefined name 'y'")
    """
    _check_names("lints", name)

    def check(expected: Row, outputs: Row) -> Verdict:
        code, problem = _code(name, outputs)
        if fault := problem or (_fault(code) and f"{name} does not compile: {_fault(code)}"):
            return Verdict.fail(fault)
        found = _flakes(code)
        return Verdict.fail("; ".join(found[:5])) if found else Verdict.ok()

    return Verifier(f"lints({name})", check)


def _flakes(code: str) -> list[str]:
    from pyflakes.checker import Checker  # type: ignore[import-untyped]

    try:
        found = Checker(_parsed(code), filename="program.py").messages
    except RecursionError:
        return ["it is nested too deeply"]
    return [
        f"line {each.lineno}: {each.message % each.message_args}"
        for each in sorted(found, key=lambda each: each.lineno)
    ]


def _fault(code: str) -> str:
    """Say why `code` does not compile, or ""."""
    try:
        tree = _parsed(code)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "program.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""


def _parsed(code: str) -> ast.Module:
    """Parse, or raise SyntaxError or ValueError."""
    if len(code) > _LONGEST:
        raise ValueError(f"is longer than {_LONGEST} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model's odd escapes are not our warnings
            return ast.parse(code)
    except (RecursionError, MemoryError) as error:
        raise ValueError("is nested too deeply") from error


# --- running ---------------------------------------------------------------------


def _run(
    sandbox: Sandbox | None, parts: Parts, limits: Limits, files: dict[str, str] | None = None, returns: str = ""
) -> Ran | Verdict:
    """Run `parts`; unverified where it could not be done, which is nobody's wrong answer."""
    try:
        return (sandbox or shared_sandbox()).run(parts, files=files or {}, limits=limits, returns=returns)
    except (EngineError, BadConfig) as error:  # no sandbox, or more input than the limits allow
        return Verdict.unverified(str(error))


def _why(ran: Ran) -> str:
    return ran.why or "it ended before its tests did"


def _code(name: str, outputs: Row, *, language: str = "python", defines: str = "") -> tuple[str, str]:
    """Give the code of an answer, and what is wrong with it where there is none."""
    value = outputs.get(name)
    if not isinstance(value, str) or not value.strip():
        return "", f"{name} holds no code"
    code = extract_code(value, language, defines=defines)
    if len(code) > _LONGEST:
        return "", f"{name} is longer than {_LONGEST} characters"
    return code, ""


def _settings(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _check_names(kind: str, *names: str) -> None:
    if not all(isinstance(name, str) and name for name in names):
        raise BadConfig(f"{kind} needs names of fields, got {names!r}")
