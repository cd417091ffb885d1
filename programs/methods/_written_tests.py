"""Tests as a model writes them, taken apart: one assert statement each, with what it stands on."""

from __future__ import annotations

import ast

from stillroom.evals.code import extract_code
from stillroom.evals.execution import static_fault

__all__ = ["single_tests"]


def single_tests(text: str, entry: str) -> list[str]:
    r"""The tests of a function in what a model wrote, each once: what cannot be read or does not call it is left out.

    Asserts stand alone or in functions called test_something; imports and values named before one go with it. Where the
    whole does not parse, as where it was cut off, its lines that do are taken.

    Args:
        text: Python, in a fence or bare.
        entry: Name of the function.

    >>> single_tests("import math\nassert root(4) == math.sqrt(4)\nassert root(", "root")
    ['import math\nassert root(4) == math.sqrt(4)']
    >>> single_tests("def test_root():\n    four = 4\n    assert root(four) == 2\n    assert True", "root")
    ['four = 4\nassert root(four) == 2']
    """
    code = extract_code(text).strip()
    if static_fault(code, lint=False):
        code = "\n".join(line for line in map(str.strip, code.splitlines()) if not static_fault(line, lint=False))
    return list(dict.fromkeys(_tests(ast.parse(code).body, entry, [])))


def _tests(body: list[ast.stmt], entry: str, before: list[str]) -> list[str]:
    """One source a test; `before` is what stands in front of all of them."""
    before, found = list(before), []
    for node in body:
        if isinstance(node, ast.Assert) and _names(node, entry):
            found.append("\n".join([*before, ast.unparse(node)]))
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
            found += _tests(node.body, entry, before)
        elif isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign) and not _imports(node, entry):
            before.append(ast.unparse(node))
    return found


def _names(node: ast.AST, entry: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == entry for each in ast.walk(node))


def _imports(node: ast.stmt, entry: str) -> bool:
    """Whether the function is imported from somewhere that only the model knows of."""
    return isinstance(node, ast.Import | ast.ImportFrom) and any(
        (each.asname or each.name) == entry for each in node.names
    )
