"""Each recipe has its page, as `python docs/recipes.py` writes it; what models wrote stays data on it."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from stillroom.cli.parser import make_parser
from stillroom.programs.published import preset, presets

ROOT = Path(__file__).parents[1]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recipe_pages", ROOT / "docs" / "recipes.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


recipes = _load()
NAMES = list(presets())


def test_there_is_a_page_for_each_recipe_and_no_other():
    """And the index names them all."""
    assert {path.stem for path in recipes.PAGES.glob("*.md")} == {"README", *NAMES}
    text = (recipes.PAGES / "README.md").read_text(encoding="utf-8")
    assert text == recipes.index(), "python docs/recipes.py"
    assert all(f"]({name}.md)" in text for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_as_it_would_be_written_now(name: str):
    """From preset, method and stored run; its commands are such as the command line takes."""
    text = recipes.page(preset(name))
    lines = [line for line in text.splitlines() if line.startswith("stillroom ")]
    assert len(lines) >= 2
    for line in lines:
        args = make_parser().parse_args(shlex.split(line)[1:])
        assert args.verb in ("recipes_run", "export", "compile")
    path = recipes.PAGES / f"{name}.md"
    assert path.is_file(), "python docs/recipes.py"
    assert path.read_text(encoding="utf-8") == text, "python docs/recipes.py"


HOSTILE = 'a ```` fence\n# heading | cell <script>alert("x")</script> [link](javascript:x) \u202e\x1b[31m `code`'


def test_what_a_model_wrote_cannot_leave_its_place():
    """Neither a fence, nor a table, nor what the eye does not see; and long values are cut."""
    run = {
        "model": "local/x|y",
        "wanted": 2,
        "ended": HOSTILE,
        "rows": [{"values": {"text": HOSTILE, "long": "x" * 5_000, "list": list(range(20))}}],
        "rejected": [{"gate": "len`gth|", "why": HOSTILE, "values": {"text": "y"}}],
        "funnel": [[HOSTILE, 3, 1]],
        "cost": {"calls": 3, "tokens_in": 10, "tokens_out": 5, "calls_per_row": 1.5},
    }
    parts = list(recipes.stored(preset(NAMES[0]), run))
    text = "\n\n".join(parts)
    assert "\u202e" not in text
    assert "\x1b" not in text
    (block,) = [part for part in parts if part.startswith("`````json")]
    assert block.count("`````") == 2
    assert "3800 more characters" in block
    assert "12 more" in block
    outside = re.sub(r"(`{3,})json\n.*?\n\1", "", text, flags=re.DOTALL)
    assert "<script>" not in outside.replace("\\<", "")
    assert not re.search(r"(?<!\\)\[link", outside)
    funnel = next(part for part in parts if part.startswith("| gate"))
    assert [len(re.findall(r"(?<!\\)\|", line)) for line in funnel.splitlines()] == [4, 4, 4]


def test_without_a_stored_run_the_page_says_so():
    """And how one is made; the rows of a gated recipe are never shown."""
    from dataclasses import replace

    assert next(iter(recipes.stored(preset(NAMES[0]), None))) == "No run is stored yet."
    run = {
        "model": "m", "wanted": 1, "ended": "", "rows": [{"values": {"text": "secret"}}], "rejected": [], "funnel": [["g", 1, 0]],
        "cost": {"calls": 1, "tokens_in": 1, "tokens_out": 1, "calls_per_row": 1.0},
    }  # fmt: skip
    told = "\n".join(recipes.stored(replace(preset(NAMES[0]), gated="attacks"), run))
    assert "secret" not in told
