"""The verbs, one after the other, with a scripted model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_cli import write_task

pytestmark = pytest.mark.usefixtures("model")


def test_compile_says_what_was_found_and_saves_the_plan(cli, task: Path):
    """Verdict, scores, format, demos and the plan's place, for people."""
    told = cli("compile", task)
    assert told.code == 0, told.err
    assert "winner confirmed" in told.out or "baseline is kept" in told.out
    assert "baseline" in told.out
    assert "chosen" in told.out
    assert f"plan: {Path('runs/topics/plan.json')}" in told.out
    assert Path("runs/topics/plan.json").is_file()


def test_few_rows_are_noted_in_one_line(cli, task: Path):
    """A DataWarning is a note, not a warning with a source line."""
    told = cli("compile", task, "--trials", 1)
    assert [line for line in told.err.splitlines() if line.startswith("note: topics: the search split has")]
    assert "DataWarning" not in told.err


def test_options_lie_over_the_task_file(cli, task: Path, calls):
    """`--trials 1` races the baseline alone; the run folder is the one given."""
    told = cli("compile", task, "--trials", 1, "--run", "elsewhere", "--json")
    assert told.json["trials"] == 1
    assert told.json["run"] == "elsewhere"
    assert Path("elsewhere/plan.json").is_file()
    assert told.json["spent"]["calls"] == len(calls())


def test_json_is_one_object_and_nothing_else(cli, task: Path):
    """With --json standard output is one line of JSON; notes are in it."""
    told = cli("compile", task, "--json")
    assert len(told.out.splitlines()) == 1
    assert told.json["command"] == "compile"
    assert told.json["plan"] == "runs/topics/plan.json"
    assert any("search split" in note for note in told.json["notes"])
    assert told.err == ""


def test_a_second_compile_pays_for_nothing(cli, task: Path, calls):
    """All calls are found in the run."""
    first, paid = cli("compile", task, "--json").json, len(calls())
    second = cli("compile", task, "--json").json
    assert len(calls()) == paid
    assert second["spent"]["calls"] == first["spent"]["calls"] == paid
    assert second["verdict"] == first["verdict"]


def test_emit_fills_the_quotas_and_shows_the_funnel(cli, task: Path):
    """Every gate stands in the table; accepted rows lie in the run."""
    cli("compile", task)
    told = cli("emit", task)
    assert told.code == 0, told.err
    assert "12 rows accepted" in told.out
    assert all(gate in told.out for gate in ("schema", "whole", "exact", "near", "decontaminated"))
    assert len(Path("runs/topics/rows.jsonl").read_text().splitlines()) == 12


def test_the_funnel_adds_up(cli, task: Path):
    """Written is accepted plus all that a gate stopped."""
    cli("compile", task)
    told = cli("emit", task, "--per-label", 6, "--json").json
    assert told["written"] == told["accepted"] + sum(gate["stopped"] for gate in told["funnel"])
    assert told["accepted"] == 18


def test_an_unfilled_quota_ends_with_6(cli, tmp_path: Path):
    """A gate that stops one label leaves its quota short: said in words, by label, with exit code 6."""
    gate = """
class NoBilling(type(gates[1])):
    def check(self, batch):
        return [st.Verdict.fail("not billing") if row.target["topic"] == "billing" else st.Verdict.ok() for row in batch]

gates = [gates[0], NoBilling(name="strict")]
"""
    task = write_task(tmp_path, gate)
    cli("compile", task)
    told = cli("emit", task)
    assert told.code == 6
    assert "not filled: billing lacks 4: strict 16 (not billing)" in told.out
    assert cli("emit", task, "--json").json["shortfall"] == {"billing": 4}


def test_emit_needs_a_compiled_program(cli, task: Path, calls):
    """Without plan.json nothing is called and no folder is made."""
    told = cli("emit", task)
    assert told.code == 2
    assert told.errors[0] == "error: a run folder must hold plan.json, got 'runs/topics'"
    assert "stillroom compile" in told.errors[-1]
    assert not calls()
    assert not Path("runs").exists()


def test_a_recipe_is_asked_for_in_its_own_terms(cli, task: Path):
    """--n does not fit a recipe by label."""
    cli("compile", task)
    told = cli("emit", task, "--n", 5)
    assert told.code == 2
    assert "--per-label" in told.errors[-1]


def test_prove_shows_the_table_and_saves_it(cli, task: Path):
    """Baseline and program on the test split; what was not established is said."""
    cli("compile", task)
    told = cli("prove", task)
    assert told.code == 0, told.err
    assert "baseline" in told.out
    assert "would usually not be seen" in told.out
    assert "note: no student was distilled" in told.err
    saved = json.loads(Path("runs/topics/proof.json").read_text())
    assert saved["results"][0]["name"] == "baseline"
    for result in saved["results"]:
        said = f"Optimism of {result['name']}: {result['optimism']:+.3f}, from"
        assert said in told.out
        assert cli("report", "runs/topics").code == 0
        assert said in Path("runs/topics/report.html").read_text(encoding="utf-8")
    assert "Seconds a row" in Path("runs/topics/report.html").read_text(encoding="utf-8")
    assert cli("prove", task, "--json").json["results"] == saved["results"]


def test_a_second_look_at_the_run_with_another_task_is_refused(cli, task: Path, tmp_path: Path):
    """The fingerprint names what changed; exit code 3."""
    cli("compile", task)
    write_task(tmp_path, "task = st.Task(Topic, data=task.data, metric=st.exact('topic'), name='topics', seed=4)\n")
    told = cli("compile", task)
    assert told.code == 3
    assert "split seed was 3, is 4" in told.errors[0]


def test_a_bug_keeps_its_traceback(cli, tmp_path: Path):
    """An error nobody foresaw, here in the user's metric, is told in full and ends with 70."""
    task = write_task(
        tmp_path,
        "def broken(expected, outputs):\n    raise ZeroDivisionError('oh')\n"
        "task = st.Task(Topic, data=task.data, metric=broken, name='topics')\n",
    )
    told = cli("compile", task)
    assert told.code == 70
    assert "Traceback" in told.err
    assert "ZeroDivisionError: oh" in told.err
    told = cli("compile", task, "--json")
    assert told.json["error"]["type"] == "ZeroDivisionError"
    assert told.code == 70


def test_report_needs_a_run(cli):
    """A folder without a store is no run."""
    told = cli("report", "nowhere")
    assert told.code == 2
    assert "run.db" in told.errors[0]


def test_prints_of_a_task_file_do_not_reach_standard_output(cli, tmp_path: Path):
    """Standard output is the command's own."""
    task = write_task(tmp_path, "print('hello')\n")
    told = cli("compile", task, "--trials", 1, "--json")
    assert told.json["command"] == "compile"
    assert "hello" in told.err


def test_models_prices_says_what_models_cost(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The user's own prices; those of models that are named, known or not; with --all the public list too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("STILLROOM_PRICES", raising=False)
    assert "no prices of your own" in cli("models", "prices").out
    (tmp_path / "stillroom").mkdir()
    (tmp_path / "stillroom/prices.toml").write_text("date = 2026-11-01\n'http/box/m' = [1, 2.5]\n")
    told = cli("models", "prices")
    assert [line.split()[:6] for line in told.out.splitlines()[2:]] == [
        ["http/box/m", "1", "2.500", "0.500", "2026-11-01", str(tmp_path / "stillroom/prices.toml")]
    ]
    told = cli("models", "prices", "openai/gpt-4o-mini", "http/other/m", "local/any", "--json")
    found = {each["model"]: each for each in told.json["prices"]}
    assert found["openai/gpt-4o-mini"]["input"] == pytest.approx(0.15)
    assert (found["local/any"]["input"], found["http/other/m"]) == (0.0, {"model": "http/other/m", "known": False})
    assert "no price known" in cli("models", "prices", "http/other/m").out
    assert len(cli("models", "prices", "--all", "--json").json["prices"]) > 1000
    (tmp_path / "stillroom/prices.toml").write_text("'m' = 3\n")
    told = cli("models", "prices", "local/any")
    assert (told.code, "prices.toml" in told.errors[0]) == (2, True)


def test_prices_of_the_task_file_are_what_is_charged(cli, tmp_path: Path):
    """On the bill of the run, and in the words about it; a bad table is found before anything is called."""
    told = cli("compile", write_task(tmp_path, "prices = {'scripted/world': (1000, 1000)}\n"), "--trials", 1, "--json")
    spent = told.json["spent"]
    assert spent["usd"] == pytest.approx((spent["tokens_in"] + spent["tokens_out"]) / 1000)
    assert "$" in cli("compile", tmp_path / "topics.py", "--trials", 1).out
    told = cli("compile", write_task(tmp_path, "prices = [st.Price('scripted/world', 1, -1)]\n"), "--trials", 1)
    assert (told.code, "numbers >= 0" in told.errors[0]) == (2, True)
    told = cli("compile", write_task(tmp_path, "prices = {'world': (1, 1)}\n"), "--trials", 1)
    assert (told.code, "topics.py" in told.errors[0]) == (2, True)
