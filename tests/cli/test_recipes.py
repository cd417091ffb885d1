"""`stillroom recipes`: what there is, what it takes, and rows of it; then their export."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from proposing_world import BETTER, NAME, PRESET, Scripted, shelved

import stillroom.engines
from stillroom.programs.published import preset, presets, systems


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The small recipe on the shelf, and a scripted model in place of every other."""
    shelved(monkeypatch)
    made = Scripted(BETTER)
    made.says = None
    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: made.engine())
    return made


def test_the_list_has_every_system_with_its_status_and_imports_no_dspy(cli):
    """74 systems; one that does not run says why."""
    told = cli("recipes", "list", "--json").json
    assert told["command"] == "recipes list"
    assert [each["number"] for each in told["systems"]] == list(range(1, 75))
    assert told["counts"]["runs"] == sum(each.status == "runs" for each in systems())
    for each in told["systems"]:
        assert {"name", "paper", "defines", "presets", "by", "excluded", "status"} <= each.keys()
        assert each["status"] != "excluded" or each["excluded"]
        assert each["status"] != "runs" or each["presets"] or each["by"]
    names = {each["name"]: each for each in told["recipes"]}
    assert names.keys() == presets().keys()
    assert names["self-instruct"]["emits"] == list(preset("self-instruct").emits)
    assert "Self-Instruct" in cli("recipes", "list").out
    code = (
        "import sys; from stillroom.cli import main; main(['recipes', 'list', '--json']); print('dspy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", presets())
def test_every_recipe_can_be_shown(cli, name: str):
    """With its parameters documented, its sources, the calls it asks, and the least that a row takes."""
    told = cli("recipes", "show", name, "--json")
    assert told.code == 0, told.err
    found = told.json
    assert (found["title"], found["licence"], found["paper"]) == (
        preset(name).title,
        preset(name).licence,
        preset(name).paper,
    )
    assert [each["name"] for each in found["params"] if not each["about"]] == []
    assert {each["schema"] for each in found["emits"]} == set(preset(name).emits)
    assert found["calls_per_row"]["least"] >= 0
    for call in found["calls"]:
        assert call["signature"]["instruction"]
        assert call["decoding"]["max_tokens"] > 0


def test_what_is_shown_of_a_recipe_for_people(cli, monkeypatch: pytest.MonkeyPatch):
    """What it asks and takes, prices where a model is named; near names of one that is misspelt."""
    shelved(monkeypatch)
    out = cli("recipes", "show", NAME).out
    assert "propose: Propose(topic) -> tasks by the teacher; temperature 0.7, top-p 0.5, at most 256 tokens" in out
    assert "other" not in out  # a call that it does not ask
    assert re.search(r"novelty +0.7 +float +Largest ROUGE-L F1 with earlier tasks.", out)
    assert "sft for SFTTrainer" in out
    assert "cost: 1.00 or more calls per accepted row, by arithmetic" in out
    assert f"stillroom recipes run {NAME} --lm MODEL --source seeds=FILE (or --samples) --rows N" in out
    priced = cli("recipes", "show", NAME, "--lm", "http://localhost:1/v1#m", "--json").json
    assert priced["forecast"]["models"][0]["model"] == "http/localhost:1/m@live"
    told = cli("recipes", "show", "self-instrukt")
    assert (told.code, "Did you mean self-instruct" in told.errors[-1]) == (2, True)


def test_a_recipe_is_run_and_exported(cli, script, tmp_path: Path):
    """Funnel and cost are told; the export knows schema, columns and seed from the run; run again, it pays nothing."""
    words = ("recipes", "run", NAME, "--lm", "x", "--samples", "--rows", "6", "--seed", "3")
    told = cli(*words, "--json")
    assert told.code == 0, told.out
    found = told.json
    assert (found["recipe"], found["accepted"], found["wanted"], found["run"]) == (NAME, 6, 6, f"runs/{NAME}")
    assert any("length" in each["gate"] and each["stopped"] for each in found["funnel"])
    assert found["cost"]["off"] == 0
    assert found["cost"]["must"]["low"] <= found["cost"]["asked"] <= found["cost"]["must"]["high"]
    assert found["notes"] == ["rows of our own stood in for seeds: give your own for rows of use"]
    again = cli(*words)
    assert "6 rows accepted" in again.out
    assert "for the funnel that came arithmetic gives" in again.out
    assert cli(*words, "--json").json["spent"]["calls"] == found["spent"]["calls"]
    handed = cli("export", f"runs/{NAME}", "out", "--to", "jsonl", "--json").json
    assert (handed["schema"], handed["records"], handed["seed"]) == ("sft", 6, 3)
    record = json.loads(Path(handed["path"]).read_text().splitlines()[0])
    assert record["completion"][-1]["content"].startswith("Done: ")
    assert record["meta"]["seed"] == 3


def test_too_few_rows_end_with_6(cli, script: Scripted):
    """As an emission does; what is missing and why is said."""
    script.says = ["Short"]
    told = cli("recipes", "run", NAME, "--lm", "x", "--samples", "--rows", "4")
    assert told.code == 6
    assert "0 rows accepted" in told.out
    assert "lacks 4" in told.out


def test_a_dry_run_spends_nothing_and_a_probe_is_kept(cli, script):
    """Bounds by arithmetic; then a few rows, whose calls the run finds."""
    words = ("recipes", "run", NAME, "--lm", "x", "--samples", "--rows", "12")
    told = cli(*words, "--dry-run", "--json").json
    (found,) = told["forecasts"]
    assert (told["command"], found["wanted"], found["level"]) == ("recipes run", 12, 1.0)
    assert not Path(f"runs/{NAME}").exists()
    told = cli(*words, "--dry-run", "--probe", "4", "--json")
    assert told.code == 0, told.out
    (probed,) = told.json["forecasts"]
    assert probed["basis"] == "a probe of 4 rows"
    spent = cli(*words, "--json").json["spent"]["calls"]
    assert probed["calls"]["low"] <= spent <= probed["calls"]["high"]


def test_a_dry_run_of_compiling_a_call_says_its_bounds(cli, script):
    """Nothing is asked and no folder is made; a budget is the upper bound where there is no other."""
    words = ("compile", "--recipe", NAME, "--call", "propose", "--lm", "x", "--samples", "--rows", "40", "--dry-run")
    told = cli(*words, "--calls", "300", "--json")
    assert told.code == 0, told.err
    (found,) = told.json["forecasts"]
    assert (told.json["command"], found["phase"], found["calls"]["low"], found["calls"]["high"]) == (
        "compile", "compile", 16, 300
    )  # fmt: skip
    assert "forecast of compile from arithmetic alone" in cli(*words).out
    assert not script.asked
    assert not Path("runs").exists()
    assert cli(*words[:-1], "--call", "porpose", "--dry-run").code == 2


def test_what_was_lost_to_faults_is_taken_up_by_the_folder(
    cli, script: Scripted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """`retry RUN` knows the recipe, its sources and its settings."""
    seeds = tmp_path / "mine.jsonl"
    seeds.write_text("".join(json.dumps({"instruction": f"Tell me what {n} is good for"}) + "\n" for n in range(12)))
    script.lucky = 1
    script.fails = lambda text: text.startswith("Tell us") and text[7] in "01234567"
    first = cli("recipes", "run", NAME, "--lm", "x", "--source", f"seeds={seeds.name}", "--rows", "6", "--json").json
    assert first["fates"].get("quarantined"), first
    script.fails = lambda text: False
    monkeypatch.chdir(tmp_path.parent)
    again = cli("retry", tmp_path / "runs" / NAME, "--json")
    assert again.code == 0, again.out
    assert again.json["accepted"] >= first["accepted"]
    assert "take no --n" in cli("retry", tmp_path / "runs" / NAME, "--n", "3").err


@pytest.mark.parametrize(
    ("words", "rule", "mend"),
    [
        (["--source", "sedes=x"], "has no source 'sedes'", "Did you mean seeds?"),
        (["--source", "seeds=none.jsonl"], "the rows of 'seeds' must be a file", ""),
        (["--source", "seeds"], "--source must be NAME=FILE, got 'seeds'", ""),
        (["--param", "noveltey=0.5"], "has no parameter 'noveltey'", "Did you mean novelty?"),
        (["--param", "novelty=much"], "novelty: Input should be a valid number", ""),
        (["--plan", "porpose=x.json"], "has no call 'porpose'", "Did you mean propose"),
        (["--role", "writter=y"], "has no role 'writter'", "Did you mean writer?"),
        (["--rows", "0"], "--rows must be at least 1, got 0", ""),
        (["--probe", "4"], "--probe looks ahead", "Add --dry-run"),
        ([], "needs rows: seeds (tasks of people), with the fields instruction", "add --samples"),
    ],
)
def test_mistakes_are_found_before_anything_is_spent(cli, script, words: list[str], rule: str, mend: str):
    """With what was meant, or how rows are given."""
    told = cli("recipes", "run", NAME, "--lm", "x", *words)
    assert told.code == 2
    assert rule in told.errors[0]
    assert mend in told.errors[-1]


def test_a_gated_recipe_is_run_and_exported_only_on_request(cli, script, monkeypatch: pytest.MonkeyPatch):
    """Its reason is said; --gated is the request."""
    shelved(monkeypatch, **{NAME: replace(PRESET, gated="its rows are attacks")})
    words = ("recipes", "run", NAME, "--lm", "x", "--samples", "--rows", "3")
    told = cli(*words)
    assert (told.code, told.errors[0]) == (2, f"error: {NAME} is gated: its rows are attacks")
    assert cli(*words, "--gated").code == 0
    assert cli("export", f"runs/{NAME}", "out", "--to", "jsonl").code == 2
    assert cli("export", f"runs/{NAME}", "out", "--to", "jsonl", "--gated").code == 0


def test_a_call_is_compiled_and_its_plan_taken(cli, script: Scripted):
    """`compile --recipe` states its evidence as compile does; `run --plan` asks what it found."""
    words = ("--lm", "x", "--samples")
    told = cli(
        "compile", "--recipe", NAME, "--call", "propose", *words, "--rows", 60, "--trials", 5, "--seed", 1, "--json"
    )
    assert told.code == 0, told.out
    found = told.json
    assert (found["recipe"], found["call"], found["run"]) == (NAME, "propose", f"runs/{NAME}-propose")
    assert found["established"], found
    assert BETTER in json.loads(Path(found["plan"]).read_text())["instruction"]
    run = cli("recipes", "run", NAME, *words, "--rows", 6, "--plan", f"propose={found['plan']}", "--json")
    assert run.code == 0
    assert not any(each["stopped"] for each in run.json["funnel"] if each["gate"].startswith("length"))
    wrong = cli("recipes", "run", NAME, *words, "--plan", f"reply={found['plan']}", "--run", "other")
    assert (wrong.code, "a plan for the call 'reply' must have the fields" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ([], "compile takes a task file or --recipe NAME, got neither"),
        (["task.py", "--recipe", NAME], "compile takes a task file or --recipe NAME, got both"),
        (["task.py", "--samples"], "--samples is of a recipe, got it with a task file"),
        (["task.py", "--rows", "9"], "--rows is of a recipe, got it with a task file"),
        (["--recipe", NAME, "--dry-run"], "small needs rows: seeds"),
        (["--recipe", "alphageometry"], "alphageometry asks no model"),
        (["--recipe", NAME, "--samples", "--call", "porpose"], "small does not ask 'porpose'"),
    ],
)
def test_mistakes_of_compiling_a_call(cli, script, words: list[str], rule: str):
    """Found before anything is asked."""
    told = cli("compile", *words, "--lm", "x")
    assert (told.code, rule in told.errors[0]) == (2, True), told.err
