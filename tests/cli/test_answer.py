"""`stillroom answer`: a file of the user's own rows in, a file of answers out."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import scripted_world as world

from stillroom.errors import EngineBusy, EngineRefused
from stillroom.programs import Plan

pytestmark = pytest.mark.usefixtures("model")
ROWS = world.rows(50)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Messages without their topics."""
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"message": row["message"], "id": n}) + "\n" for n, row in enumerate(ROWS)))
    return path


@pytest.fixture
def compiled(cli, task: Path) -> Path:
    """The run folder of a compiled program."""
    assert cli("compile", task).code == 0
    return Path("runs/topics")


def test_a_plan_a_run_folder_and_a_task_file_are_one_program(cli, compiled: Path, task: Path, rows: Path, calls):
    """Every row is answered once, in order, with its columns; the same run finds what it has paid for."""
    paid = len(calls())
    told = cli("answer", compiled / "plan.json", rows, "--json")
    assert told.code == 0, told.out
    assert (told.json["command"], told.json["accepted"], told.json["shortfall"]) == ("answer", len(ROWS), {})
    assert told.json["rows"] == "runs/topics/answers/rows.jsonl"
    assert told.json["spent"]["calls"] == len(calls()) - paid == len(ROWS)
    made = [json.loads(line) for line in Path(told.json["rows"]).read_text().splitlines()]
    assert [(row["id"], row["message"]) for row in made] == [(n, row["message"]) for n, row in enumerate(ROWS)]
    assert {row["meta"]["passport"]["plan"] for row in made} == {Plan.load(compiled / "plan.json").digest}
    for program in (compiled, task):
        again = cli("answer", program, rows, "--json").json
        assert (again["run"], again["accepted"]) == ("runs/topics/answers", len(ROWS))
    assert len(calls()) - paid == len(ROWS)
    assert f"mine.jsonl: {len(ROWS)} rows answered, 0 without an answer" in cli("answer", compiled, rows).out


def test_columns_of_other_names_and_a_run_of_its_own(cli, compiled: Path, tmp_path: Path):
    """A CSV file whose text stands in another column."""
    table = tmp_path / "mine.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "id"), *((row["message"], n) for n, row in enumerate(ROWS[:7]))])
    told = cli("answer", compiled, table, "--column", "message=text", "--run", "runs/mine", "--json")
    assert (told.code, told.json["run"], told.json["accepted"]) == (0, "runs/mine", 7)
    told = cli("answer", compiled, table, "--column", "topic=text", "--run", "runs/other")
    assert (told.code, "an input of the program (message), got 'topic'" in told.errors[0]) == (2, True)
    told = cli("answer", compiled, table, "--run", "runs/other")
    assert (told.code, "column 'message' is missing" in told.err) == (2, True)


def test_rows_without_an_answer_end_with_6_and_are_taken_up_by_the_run(
    cli, model, compiled: Path, task: Path, rows: Path, calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """What failed for good is quarantined; `retry RUN` asks for it alone, wherever it is called."""
    bad = {ROWS[3]["message"], ROWS[5]["message"]}
    model(fail=lambda request: EngineRefused("too long") if request.messages[-1].text in bad else None)
    told = cli("answer", task, rows)
    assert told.code == 6
    assert "48 rows answered, 2 without an answer" in told.out
    assert "2 lost to faults (`stillroom retry RUN` tries them again)" in told.out
    run = Path("runs/topics/answers").absolute()
    model()
    paid = len(calls())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    told = cli("retry", run, "--per-label", 3)
    assert (told.code, "take no --per-label" in told.errors[0]) == (2, True)
    told = cli("retry", run, "--json")
    assert (told.code, told.json.get("accepted"), told.json.get("command")) == (0, len(ROWS), "retry"), told.out
    assert len(calls()) == paid + 2
    rows.unlink()
    told = cli("retry", run)
    assert (told.code, f"got no {rows}" in told.errors[0]) == (2, True)


def test_a_full_budget_and_an_outage_have_codes_of_their_own(cli, model, compiled: Path, rows: Path, calls):
    """4 and 5; what was answered is kept."""
    paid = len(calls())
    model(fail=lambda request: EngineBusy("no"))
    assert cli("answer", compiled, rows).code == 5
    model()
    assert cli("answer", compiled, rows, "--calls", 20).code == 4
    assert len(calls()) == paid + 20
    assert cli("answer", compiled, rows, "--json").json["spent"]["calls"] == len(ROWS)


def test_what_cannot_be_answered_costs_nothing(cli, compiled: Path, rows: Path, tmp_path: Path, calls):
    """No plan, no rows, a plan for another model."""
    paid = len(calls())
    told = cli("answer", tmp_path, rows)
    assert (told.code, "folder that holds plan.json" in told.errors[0]) == (2, True)
    told = cli("answer", compiled, tmp_path / "none.jsonl")
    assert (told.code, "none.jsonl" in told.errors[0]) == (2, True)
    told = cli("answer", compiled, rows, "--probe", 4)
    assert (told.code, "without --dry-run" in told.errors[0]) == (2, True)
    other = replace(Plan.load(compiled / "plan.json"), model="local/other@1").save(tmp_path / "other.json")
    told = cli("answer", other, rows)
    assert (told.code, "was made for local/other@1" in told.errors[0]) == (2, True)
    assert len(calls()) == paid
    assert not (tmp_path / "answers").exists()


def test_a_dry_run_says_what_it_takes(cli, compiled: Path, rows: Path, calls):
    """By arithmetic, or from some of the rows, whose calls the run then finds."""
    paid = len(calls())
    (made,) = cli("answer", compiled, rows, "--dry-run", "--json").json["forecasts"]
    assert (made["phase"], made["rows"]["high"]) == ("answer", len(ROWS))
    assert made["calls"]["low"] <= len(ROWS) <= made["calls"]["high"]
    assert len(calls()) == paid
    assert not (compiled / "answers").exists()
    (made,) = cli("answer", compiled, rows, "--dry-run", "--probe", 10, "--json").json["forecasts"]
    assert made["basis"] == "a probe of 10 rows"
    assert len(calls()) == paid + 10
    assert cli("answer", compiled, rows).code == 0
    assert len(calls()) == paid + len(ROWS)


def test_calls_of_other_runs_are_taken_over(cli, compiled: Path, task: Path, rows: Path, calls):
    """Named, they cost nothing, for answers and for emission; a folder without a run is refused."""
    cli("answer", compiled, rows, "--run", "first")
    paid = len(calls())
    told = cli("answer", compiled, rows, "--run", "second", "--reuse", "first", "--json").json
    assert (told["accepted"], told["spent"]["calls"], len(calls())) == (len(ROWS), 0, paid)
    assert cli("answer", compiled, rows, "--run", "third", "--reuse", "nowhere").code == 3
    cli("emit", task)
    paid = len(calls())
    Path("fresh").mkdir()
    for name in ("plan.json", "baseline.json"):
        (Path("fresh") / name).write_bytes((compiled / name).read_bytes())
    told = cli("emit", task, "--run", "fresh", "--reuse", compiled, "--json").json
    assert (told["accepted"], told["spent"]["calls"], len(calls())) == (12, 0, paid)
