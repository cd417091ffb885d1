"""`--dry-run`: what a command will take and give, said before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_cli import write_task

pytestmark = pytest.mark.usefixtures("model")

QUANTITIES = {"calls", "tokens_in", "tokens_out", "usd", "seconds", "rows"}


def only(told) -> dict:
    """The one forecast of a command."""
    assert told.code == 0, told.err
    (forecast,) = told.json["forecasts"]
    return forecast


def test_a_dry_run_spends_and_leaves_nothing(cli, task: Path, calls):
    """No call, no folder, no claim on the run."""
    for verb in ("compile", "run"):
        told = cli(verb, task, "--dry-run")
        assert told.code == 0, told.err
        assert "from arithmetic alone, nothing was run (bounds)" in told.out
    assert not calls()
    assert not Path("runs").exists()
    cli("compile", task)
    paid, before = len(calls()), sorted(Path("runs/topics").iterdir())
    assert cli("emit", task, "--dry-run").code == 0
    assert len(calls()) == paid
    assert [path.name for path in sorted(Path("runs/topics").iterdir())] == [path.name for path in before]
    assert cli("emit", task, "--per-label", 3).code == 0


def test_what_compile_takes_lies_between_its_bounds(cli, task: Path):
    """Calls and tokens of the search that follows."""
    said = only(cli("compile", task, "--dry-run", "--json"))
    spent = cli("compile", task, "--json").json["spent"]
    assert said["phase"] == "compile"
    assert said["calls"]["low"] <= spent["calls"] <= said["calls"]["high"]
    assert said["tokens_in"]["low"] <= spent["tokens_in"]
    assert said["rows"] is None
    assert only(cli("compile", task, "--dry-run", "--calls", 50, "--json"))["calls"]["high"] == 50


def test_the_table_says_what_is_known(cli, task: Path):
    """A line for each quantity, columns from low to high, and what is not known as a question mark."""
    cli("compile", task)
    told = cli("emit", task, "--dry-run")
    lines = {line.strip().split("  ")[0]: line.split() for line in told.out.splitlines()}
    assert lines["model calls"][-3:] == ["12", "?", "96"]
    assert lines["accepted rows of 12"][-3:] == ["0", "?", "12"]
    assert lines["time"][-3:] == ["?", "?", "?"]
    assert lines["US dollars"][-3:] == ["0.0000", "?", "0.0000"]


def test_the_json_holds_the_whole_forecast(cli, task: Path):
    """One object, every quantity with low, mean and high."""
    cli("compile", task)
    told = cli("emit", task, "--dry-run", "--probe", 6, "--json")
    said = only(told)
    assert told.json["dry_run"] is True
    assert told.json["command"] == "emit"
    assert said.keys() >= QUANTITIES | {"phase", "basis", "level", "spent", "strata", "limits", "warnings", "per_row"}
    assert all(said[name].keys() == {"low", "mean", "high"} for name in QUANTITIES)
    assert all(said[name]["low"] <= said[name]["mean"] <= said[name]["high"] for name in QUANTITIES)
    assert [each["cell"] for each in said["strata"]] == ["billing", "delivery", "account"]
    assert (said["basis"], said["level"], said["spent"]["calls"]) == ("a probe of 6 rows", 0.9, 6)


def test_a_probe_is_paid_once(cli, task: Path, calls, tmp_path: Path):
    """Dry run with a probe, the same again, emission: as many calls as an emission alone, and the same rows."""
    cli("compile", task)
    for name in ("alone", "probed"):
        Path(name).mkdir()
        for file in ("plan.json", "baseline.json"):
            (Path(name) / file).write_bytes((Path("runs/topics") / file).read_bytes())
    paid = len(calls())
    cli("emit", task, "--run", "alone")
    alone = len(calls()) - paid
    assert cli("emit", task, "--run", "probed", "--dry-run", "--probe", 6).code == 0
    assert len(calls()) - paid - alone == 6
    assert "from a probe of 6 rows (90% between low and high)" in cli("emit", task, "--run", "probed", "--dry-run").out
    cli("emit", task, "--run", "probed")
    assert len(calls()) - paid == 2 * alone
    assert Path("probed/rows.jsonl").read_bytes() == Path("alone/rows.jsonl").read_bytes()


def test_emission_ends_with_forecast_and_outcome_side_by_side(cli, task: Path):
    """In words, in JSON and on the page of the run."""
    cli("compile", task)
    cli("emit", task, "--dry-run", "--probe", 6)
    told = cli("emit", task)
    (line,) = [line for line in told.out.splitlines() if "cost of an accepted row" in line]
    assert "from a probe of 6 rows; for the funnel that came it gives" in line
    cost = cli("emit", task, "--json").json["cost"]
    assert cost["close"] is True
    assert cost["at_funnel"] == pytest.approx(cost["observed"]["calls"])
    assert cli("report", "runs/topics").code == 0
    page = Path("runs/topics/report.html").read_text(encoding="utf-8")
    assert f"C{line.strip()[1:]}." in page


def test_a_budget_that_is_too_small_is_a_warning(cli, task: Path, calls):
    """Which limit ends the run and at how many rows; exit code 0, as nothing has gone wrong yet."""
    cli("compile", task)
    paid = len(calls())
    told = cli("emit", task, "--dry-run", "--calls", 6)
    assert told.code == 0
    assert "note: emit: the budget of 6 calls would end the run at 0 to 6 rows" in told.err
    assert len(calls()) == paid
    said = only(cli("emit", task, "--dry-run", "--calls", 6, "--json"))
    assert said["limits"][0]["name"] == "calls"
    assert cli("compile", task, "--run", "new", "--dry-run", "--calls", 5).err.count("would end the run") == 1


def test_cells_that_cannot_be_filled_are_named(cli, tmp_path: Path):
    """Before their tries are paid for."""
    gate = """
class NoBilling(type(gates[1])):
    def check(self, batch):
        return [st.Verdict.fail("not billing") if row.target["topic"] == "billing" else st.Verdict.ok() for row in batch]

gates = [gates[0], NoBilling(name="strict")]
recipe = st.recipes.labelled(per_label=20)
"""
    task = write_task(tmp_path, gate)
    cli("compile", task)
    told = cli("emit", task, "--dry-run", "--probe", 18)
    assert "note: emit: billing: 0 of 6 rows passed" in told.err
    assert "strict stopped 6" in told.err


def test_another_run_can_be_looked_at(cli, task: Path, calls):
    """Its rows tell of a run that does not exist yet."""
    cli("compile", task)
    cli("emit", task)
    paid = len(calls())
    for file in ("plan.json", "baseline.json"):
        Path("other").mkdir(exist_ok=True)
        (Path("other") / file).write_bytes((Path("runs/topics") / file).read_bytes())
    said = only(cli("emit", task, "--run", "other", "--per-label", 30, "--dry-run", "--like", "runs/topics", "--json"))
    assert said["basis"].endswith("rows of runs/topics")
    assert "runs/topics had another recipe: the less alike they are, the less it tells" in said["notes"]
    assert said["calls"]["low"] >= 90
    assert len(calls()) == paid
    said = cli("run", task, "--dry-run", "--run", "third", "--like", "runs/topics", "--json").json["forecasts"]
    assert [each["phase"] for each in said] == ["compile", "emit", "prove"]
    assert [each["level"] for each in said] == [1.0, 0.9, 1.0]
    told = cli("emit", task, "--dry-run", "--like", "nowhere")
    assert (told.code, "must hold run.db" in told.errors[0]) == (3, True)


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--probe", 16), "--probe looks ahead"),
        (("--like", "runs/topics"), "--like looks ahead"),
        (("--dry-run", "--probe", 1), "at least 2 rows"),
        (("--dry-run", "--probe", 4, "--like", "runs/topics"), "a probe or on another run"),
    ],
)
def test_options_that_do_not_fit_are_refused(cli, task: Path, calls, words: tuple, rule: str):
    """Before anything is asked."""
    cli("compile", task)
    paid = len(calls())
    told = cli("emit", task, *words)
    assert (told.code, rule in told.errors[0]) == (2, True), told.err
    assert len(calls()) == paid
    told = cli("run", task, "--like", "runs/topics")
    assert (told.code, "--like looks ahead" in told.errors[0]) == (2, True)


def test_a_run_that_would_be_refused_is_refused_now(cli, task: Path):
    """Another recipe than the one that the run was begun with; and no program to emit with."""
    assert cli("emit", task, "--dry-run").code == 2
    cli("compile", task)
    cli("emit", task)
    told = cli("emit", task, "--per-label", 9, "--dry-run")
    assert (told.code, "recipe was" in told.errors[0]) == (3, True)


def test_a_budget_in_dollars_needs_a_price(cli, task: Path, model, monkeypatch: pytest.MonkeyPatch):
    """A model that nobody has priced is unknown, never free."""
    import stillroom.engines

    made = stillroom.engines.open_engine

    def unpriced(spec, **settings):
        engine = made(spec, **settings)
        engine.model = "http/box/m@live"
        return engine

    monkeypatch.setattr(stillroom.engines, "open_engine", unpriced)
    told = cli("compile", task, "--dry-run")
    assert [cell.strip() for cell in told.out.split("US dollars")[1].split("\n")[0].split("  ") if cell.strip()] == ["no price", "known"]  # fmt: skip
    told = cli("compile", task, "--dry-run", "--usd", 1)
    assert (told.code, "needs a price, got none for 'http/box/m@live'" in told.errors[0]) == (2, True)
    assert json.loads(cli("compile", task, "--dry-run", "--json").out)["forecasts"][0]["usd"] is None
