"""The house keeps its shape: packages as declared, arrows that run down, pages that tell the truth."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "engines", "signatures", "evals", "programs", "optimizers", "cli")
# what each folder may import, by the name after `stillroom.`; core is everything directly under it
BELOW = {
    "core": set(),
    "engines": {"core"},
    "signatures": {"core"},
    "evals": {"core", "engines", "signatures"},
    "programs": {"core", "engines", "signatures", "evals"},
    "optimizers": {"core", "engines", "signatures", "evals", "programs"},
    "cli": {"core", "engines", "signatures", "evals", "programs", "optimizers"},
}
MODULES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int, int]]:
    """(module, level, line) of every import of a file, at whatever depth it stands."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((name.name, 0, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level, node.lineno


def test_packages_are_the_folders_on_disk():
    """A folder that is forgotten in pyproject.toml would be missing from the wheel."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {path.parent for path in MODULES if path.name == "__init__.py"}
    names = {Path("core"): "stillroom"} | {
        path: "stillroom." + ".".join(path.parts) for path in found if path != Path("core")
    }
    assert sorted(declared["packages"]) == sorted(names.values())
    assert declared["package-dir"] == {name: path.as_posix() for path, name in names.items()}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_run_down(path: Path):
    """A file imports its own folder with one dot, and folders below it by their full name."""
    home = path.parts[0]
    if path == Path("core/__init__.py"):
        return  # the front door looks into every room, lazily; nothing imports it
    for module, level, line in imports(path):
        where = f"{path}:{line} imports {'.' * level}{module}"
        assert level <= 1, f"{where}: never two dots"
        first, _, rest = module.partition(".")
        if level == 0 and first in FOLDERS:
            pytest.fail(f"{where}: never a bare folder name")
        if level == 0 and first == "stillroom":
            # examples and users import `stillroom` itself; nothing inside the house does, but its type-checking front door
            assert rest, f"{where}: name the folder"
            folder = rest.split(".")[0] if rest.split(".")[0] in FOLDERS else "core"
            assert folder == home or folder in BELOW[home], f"{where}: arrows run down"
            assert folder != home or path.parts[1:-1] != tuple(rest.split(".")[1:-1]), (
                f"{where}: one dot inside a folder"
            )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_files_stay_small(path: Path):
    """One idea, at most 400 lines."""
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 400


HOUSE = runpy.run_path(str(ROOT / "docs" / "house.py"))


def test_type_shims_match_the_modules():
    """Type checkers see every public module under its installed name; `python docs/house.py` mends it."""
    shims = HOUSE["SHIMS"]
    assert {path.relative_to(shims): path.read_text(encoding="utf-8") for path in shims.rglob("*.pyi")} == HOUSE[
        "shims"
    ]()


def test_the_architecture_page_lists_the_modules():
    """docs/ARCHITECTURE.md names every public module with what it is; `python docs/house.py` mends it."""
    page = HOUSE["PAGE"].read_text(encoding="utf-8")
    assert page == HOUSE["page"](page)
    listed = re.findall(r"^\| `([a-z_/]+\.py)` \| .+ \|$", page, re.MULTILINE)
    assert sorted(listed) == [path.as_posix() for path in MODULES if not path.name.startswith("_")]


def test_nothing_names_this_machine():
    """No path of a machine, no address of a package index."""
    shown = re.compile(r"/wor[k]/[a-z.]|/home/[a-z]+/|https?://[a-z.]*(pyp[i]|pythonhoste[d])\.")
    files = [
        path
        for pattern in ("*.py", "*.md", "*.toml", "*.jinja", "Makefile")
        for path in ROOT.rglob(pattern)
        if not set(path.relative_to(ROOT).parts) & {".venv", "runs", "build", ".git"}
    ]
    assert len(files) > 50
    assert [str(path) for path in files if shown.search(path.read_text(encoding="utf-8"))] == []
