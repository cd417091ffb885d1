"""What is shown runs: docstring examples, and the program of README.md."""

from __future__ import annotations

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest
import scripted_world as world

import stillroom
import stillroom.optimizers.program as verbs
from stillroom.engines.files import find
from stillroom.errors import ModelMissing

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "engines", "signatures", "evals", "programs", "optimizers")


def names() -> list[str]:
    """Installed names of the modules whose source has an example."""
    found = []
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
                found.append(".".join(["stillroom", *(parts[1:] if folder == "core" else parts)]))
    return found


@pytest.mark.parametrize("name", names())
def test_examples_in_docstrings_hold(name: str):
    """Each example prints what it says, through the installed name."""
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_public_name_opens():
    """The front door knows every room it names, and nothing else."""
    for name in stillroom.__all__:
        assert getattr(stillroom, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = stillroom.nonsense


@pytest.mark.model
def test_the_program_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Word for word, with a scripted model in the place of the local one."""
    try:
        find("minilm")
    except ModelMissing as error:
        pytest.skip(f"no embedder: {error}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verbs, "open_engine", lambda spec: world.engine())
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, world.rows(300))), encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    # the world's texts look alike, so fewer of them are new than of a real model's
    exec(compile(program.replace("per_label=50", "per_label=8"), "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "Established: compiled scores above baseline" in said
    assert "student" in said
