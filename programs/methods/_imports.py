"""Who imports whom among the files of a repository: Python files, read and never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

__all__ = ["dependants"]


def dependants(files: Mapping[str, str]) -> dict[str, list[str]]:
    """For each file those that import it, sorted.

    Args:
        files: Text of each file by its path from the repository's root. A folder `src` at the front does not count
            in names of modules. Files that are no Python or do not parse import nothing.
    """
    modules = {_module(path): path for path in files if path.endswith(".py")}
    found: dict[str, set[str]] = {path: set() for path in files}
    for path, text in files.items():
        for name in _imported(path, text):
            target = modules.get(name)
            if target is not None and target != path:
                found[target].add(path)
    return {path: sorted(users) for path, users in found.items()}


def _module(path: str) -> str:
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "src" and len(parts) > 1:
        parts = parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: str, text: str) -> Iterator[str]:
    """Full names of everything a file may import: `from a import b` names both `a` and `a.b`."""
    if not path.endswith(".py"):
        return
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    package = _module(path).split(".")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{each.name}" if base else each.name for each in node.names)
