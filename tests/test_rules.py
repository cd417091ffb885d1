"""The table of rules in docs/data-quality.md: what it names is there, and tests name the rules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "data-quality.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| QR-")
]


def named(cell: str, suffix: str = ".py") -> list[str]:
    """Files of the project that a cell names in backticks."""
    return [name for name in re.findall(r"`([^`:]+)(?:: [^`]*)?`", cell) if name.endswith(suffix)]


def test_the_table_is_there():
    """Every rule once, among them those on copies, licences, people, versions and accounts."""
    rules = [row[0] for row in TABLE]
    assert len(set(rules)) == len(rules)
    assert {"QR-2", "QR-6", "QR-8", "QR-14", "QR-16"} <= set(rules)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_each_rule_is_kept_somewhere_and_named_by_a_test(row: list[str]):
    """The files exist, the functions are in them, and a test's docstring in each test file begins with the rule."""
    rule, _, kept, _, tests = row
    for file, what in re.findall(r"`([^`:]+\.py): (\w+)`", kept):
        assert re.search(rf"(?:def|class) {what}\b", (ROOT / file).read_text(encoding="utf-8")), f"{file}: {what}"
    assert all((ROOT / file).is_file() for file in named(kept))
    assert named(tests)
    for file in named(tests):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        docs = [
            ast.get_docstring(node) or ""
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        ]
        assert any(rule in re.findall(r"QR-\d+", doc.split(":")[0]) for doc in docs), (
            f"{file} names no test after {rule}"
        )
