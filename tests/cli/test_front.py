"""The front door: help without weight, JSON errors, models and doctor, what is shown."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.cli.progress import Bars
from stillroom.cli.show import Screen, clean, table
from stillroom.engines.files import known
from stillroom.ledger import Spent

HEAVY = {
    "aiohttp", "datasets", "dspy", "jinja2", "jsonschema", "litellm", "matplotlib", "numpy", "openvino_genai",
    "optuna", "pandas", "peft", "pydantic", "scipy", "sentence_transformers", "sklearn", "torch", "tqdm", "transformers", "trl",
}  # fmt: skip


@pytest.mark.parametrize("words", [[], ["--help"], ["compile", "--help"], ["compile", "--calls", "x"]])
def test_help_and_mistakes_import_nothing_heavy(words: list[str]):
    """By what is loaded, not by the clock: a slow machine must not fail this."""
    code = (
        "import sys, stillroom.cli\n"
        f"try: stillroom.cli.main({words!r})\n"
        "except SystemExit: pass\n"
        "print('loaded', *{name.partition('.')[0] for name in sys.modules})\n"
        "print('ours', *(name for name in sys.modules if name.startswith('stillroom')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = {
        line.split()[0]: set(line.split()[1:])
        for line in done.stdout.splitlines()
        if line.startswith(("loaded", "ours"))
    }
    assert not lines["loaded"] & HEAVY
    assert lines["ours"] <= {
        "stillroom",
        "stillroom.errors",
        "stillroom.cli",
        "stillroom.cli.parser",
        "stillroom.cli.show",
    }


def test_the_module_is_the_command():
    """`python -m stillroom.cli` works like `stillroom`."""
    done = subprocess.run(
        [sys.executable, "-m", "stillroom.cli", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")}
    assert listed >= {"compile", "emit", "distil", "prove", "run", "report", "models", "doctor"}
    assert "130" in done.stdout


def test_no_verb_is_a_mistake(cli):
    """Told like all others."""
    told = cli()
    assert told.code == 2
    assert "VERB" in told.errors[0]


def test_models_list_names_them_all(cli):
    """Known names with size, licence and whether they are here."""
    told = cli("models", "list")
    assert told.code == 0, told.err
    assert all(card.name in told.out for card in known())
    value = cli("models", "list", "--json").json
    assert [each["name"] for each in value["models"]] == [card.name for card in known()]
    assert {each["state"] for each in value["models"]} <= {"here", "missing", "damaged"}


def test_models_of_an_empty_cache(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All are missing; their paths cannot be told, and how to get them is."""
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    for card in known():
        monkeypatch.delenv(card.variable, raising=False)
    assert {each["state"] for each in cli("models", "list", "--json").json["models"]} == {"missing"}
    told = cli("models", "verify", "--all")
    assert told.code == 2
    assert told.err.count("is not on this machine") == len(known())
    assert told.errors[-1].startswith('  mend: Run "stillroom models pull')


def test_models_path_and_verify_take_a_file_of_ones_own(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path is a name too."""
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own.gguf").write_bytes(b"GGUF and more")
    told = cli("models", "path", tmp_path / "own.gguf")
    assert (told.code, told.out) == (0, f"{tmp_path / 'own.gguf'}\n")
    value = cli("models", "verify", tmp_path / "own.gguf", "--json").json["models"][0]
    assert value["name"] == "own"
    assert len(value["sha256"]) == 64


@pytest.mark.parametrize(
    ("words", "part"), [(["pull"], "needs names or --all"), (["path", "qwen9"], "'qwen9'"), (["list", "x"], "'x'")]
)
def test_models_by_names_that_are_none(cli, words: list[str], part: str):
    """The known names are given."""
    told = cli("models", *words)
    assert told.code == 2
    assert part in told.errors[0]
    assert "minilm" in told.errors[-1]


def test_doctor_reports_and_is_content(cli):
    """On a machine that runs these tests everything necessary is there."""
    told = cli("doctor", "--json")
    assert told.code == 0, told.out
    found = {each["what"]: each for each in told.json["findings"]}
    assert {
        "python",
        "cores",
        "memory",
        "cache folder",
        "openvino-genai",
        "dspy-ai",
        "torch",
        "optuna",
        "sandbox",
        "gpu",
    } <= set(found)
    assert f"model {known()[0].name}" in found
    assert told.json["missing"] == []


def test_doctor_ends_with_1_when_something_necessary_is_missing(cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Here the cache folder, which lies under a file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "file" / "cache"))
    told = cli("doctor")
    assert told.code == 1
    assert "missing: cache folder" in told.out
    assert "STILLROOM_CACHE" in told.out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9 \u4f60", "plain \u00e9 \u4f60"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\u202etxt\u2066", "\\u202etxt\\u2066"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
    ],
)
def test_clean_spells_out_what_a_terminal_would_obey(text: str, shown: str):
    """Controls, escape sequences, text that runs backwards, halves of characters."""
    assert clean(text) == shown


def test_table_columns_are_as_wide_as_needed():
    """Numbers to the right, texts to the left, nothing for None."""
    assert table([("name", "n"), ("a", 1), ("long", 100)]) == ["name    n", "a       1", "long  100"]
    assert table([("x", "y"), (0.5, None)]) == ["    x  y", "0.500"]


def test_bars_show_stage_rest_and_spending(monkeypatch: pytest.MonkeyPatch):
    """On standard error when asked for; nothing otherwise."""
    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    with Screen(bars=True) as screen, Bars(screen) as bars:
        bars.spend(Spent(12, 1_000_000, 0, 0.15))
        bars.report("race", 3, 20, "best \x1b[31m0.9")
    assert "race: 3/20" in err.getvalue()
    assert "left" in err.getvalue()
    assert "12 calls, 1,000,000 tokens, $0.15" in err.getvalue()
    assert "best \\x1b[31m0.9" in err.getvalue()
    err.truncate(0)
    with Screen() as screen, Bars(screen) as bars:
        bars.report("race", 3, 20, "")
    assert err.getvalue().strip("\0") == ""
