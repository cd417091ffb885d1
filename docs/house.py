"""Write down the house as it stands: the type shims, and the module tables of ARCHITECTURE.md.

python docs/house.py        (a test fails when either is out of date)
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "engines", "signatures", "evals", "programs", "optimizers", "cli")
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
SHIMS = ROOT / "typings" / "stillroom"


def modules(folder: str) -> list[Path]:
    """All modules of a folder, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))


def shims() -> dict[Path, str]:
    """One line for each public module, by its path below the shims' folder."""
    wanted = {}
    for path in (path for folder in FOLDERS for path in modules(folder)):
        if path.name.startswith("_") and path.name != "__init__.py":
            continue
        source = ".".join(part for part in path.with_suffix("").parts if part != "__init__")
        inside = path.parts[1:] if path.parts[0] == "core" else path.parts
        wanted[Path(*inside).with_suffix(".pyi")] = f"from {source} import *\n"
    return wanted


def table(folder: str) -> str:
    """A row for each public module of a folder: its path and the first line of its docstring."""
    lines = ["| module | what it is |", "| --- | --- |"]
    for path in modules(folder):
        if not path.name.startswith("_"):
            doc = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
            lines.append(f"| `{path.as_posix()}` | {doc.splitlines()[0] if doc else ''} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with every folder's table as it should be."""
    for folder in FOLDERS:
        fence = rf"(<!-- modules: {folder} -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(
            fence, lambda found, folder=folder: found[1] + table(folder) + found[2], text, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"ARCHITECTURE.md must have one place for the modules of {folder}, got {count}")
    return text


def main() -> None:
    """Write shims and page."""
    shutil.rmtree(SHIMS, ignore_errors=True)
    for path, text in shims().items():
        (SHIMS / path).parent.mkdir(parents=True, exist_ok=True)
        (SHIMS / path).write_text(text, encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
