"""The report of a run: complete, and honest about what is missing."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import report_world as world

from stillroom import database
from stillroom.cli import facts as facts_module
from stillroom.cli.facts import read_facts
from stillroom.cli.report import render_report, write_report
from stillroom.errors import RunError, RunReadOnly
from stillroom.store import Store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make_run(tmp_path_factory.mktemp("runs") / "intents")


@pytest.fixture(scope="module")
def page(run: Path) -> world.Page:
    return world.Page(write_report(run).read_text(encoding="utf-8"))


# -- what it tells ---------------------------------------------------------------------


def test_the_report_lies_in_the_run_folder_unless_told_otherwise(run: Path, tmp_path: Path) -> None:
    """The default is report.html in the run; both are the same page."""
    assert write_report(run) == run / "report.html"
    elsewhere = write_report(run, tmp_path / "deep" / "page.html")
    assert elsewhere.read_bytes() == (run / "report.html").read_bytes()


def test_the_header_names_task_model_and_spend_of_each_phase(page: world.Page) -> None:
    """Answered, failed and lost calls, tokens and dollars stand by phase, with their sum."""
    table = page.tables["Model calls by phase"]
    assert "Intent" in page.text
    assert world.MODEL in page.text
    assert [row[:8] for row in table[1:]] == [
        ["compile", "1", "0", "0", "0", "100", "10", "$0.5000"],
        ["emit", "1", "1", "0", "0", "1,000", "20", "0"],
        ["together", "2", "1", "0", "0", "1,100", "30", "$0.5000"],
    ]


def test_every_candidate_has_its_row_and_the_one_in_the_plan_is_marked(page: world.Page) -> None:
    """Score, rows seen, state, format and demos stand in the order tried."""
    table = page.tables["Candidates in the order tried"]
    assert [row[:4] for row in table[1:]] == [
        ["1", "0.600", "40", "complete baseline"],
        ["2", "0.300", "8", "dropped"],
        ["3", "0.800", "40", "complete in the plan"],
    ]
    assert "winner confirmed: 0.800 against 0.600" in page.text.replace("Winner", "winner")


def test_the_plan_stands_beside_the_baseline_with_the_changes_marked(page: world.Page, run: Path) -> None:
    """Words that the winner added are marked as new, settings that differ are shown twice."""
    text = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r"<ins>intent of the message\.</ins>", text)
    assert ["demos", "0", "1"] in page.tables["Settings, changed ones shaded"]


def test_the_funnel_on_the_page_adds_up(page: world.Page) -> None:
    """Written rows are the accepted ones and those stopped by each gate, and each gate's table row is consistent."""
    table = [[row[0], *map(int, row[1:])] for row in page.tables["Rows through the gates, in their order"][1:]]
    *gates, (_, written, stopped, accepted) = table
    assert written == accepted + stopped == accepted + sum(gate[2] for gate in gates) == len(world.ROWS)
    assert all(reached == out + passed for _, reached, out, passed in gates)
    assert [gate[1] for gate in gates[1:]] == [gate[3] for gate in gates[:-1]]
    assert "32 written = 20 accepted + 12 stopped by a gate, 3 of them for a person to look at" in page.text
    assert page.tables["Accepted rows of each label or cell"][1][:4] == ["lost", "20", "4", "12"]


def test_stopped_rows_are_shown_with_gate_and_reason_up_to_five_a_gate(page: world.Page) -> None:
    """Examples of rejects name what stopped them."""
    assert "Stopped by near: 5 of 9" in page.text
    assert "Stopped by agreement: 3 of 3" in page.text
    assert len(re.findall(r"near 0\.9\d", page.text)) == 5
    assert page.text.count("read as other") == 3


def test_the_proof_has_its_table_its_words_and_some_misses(page: world.Page) -> None:
    """Scores with intervals, what was established, the limit of the test, and wrong answers."""
    table = page.tables["Each system on the test split"]
    assert table[1] == ["baseline", "0.600", "0.500 to 0.900", "2.5 %", "40", "900", "2.0", "20.0"]
    assert table[2][-1] == "–"
    assert "differences under about 22 points" in page.text
    assert "baseline: the first 6" in page.text
    assert "compiled: none" in page.text


def test_every_plot_has_a_title_a_description_and_a_table(page: world.Page) -> None:
    """Four plots, each in a wide and a narrow drawing, named for readers who listen."""
    drawings = [attrs for tag, attrs in page.tags if tag == "svg"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(drawings) == 8
    assert len(ids) == len(set(ids))
    for attrs in drawings:
        assert attrs["role"] == "img"
        assert set(attrs["aria-labelledby"].split()) <= set(ids)
    used = {value[1:] for _, attrs in page.tags for name, value in attrs.items() if name == "href"}
    assert used <= set(ids)


def test_the_page_is_small_and_fetches_nothing(run: Path) -> None:
    """One file far under a megabyte without scripts, images, fonts or links to elsewhere."""
    text = write_report(run).read_text(encoding="utf-8")
    assert len(text.encode()) < 300_000
    world.check_inert(world.Page(text), text)


def test_equal_facts_give_equal_bytes_in_any_process(run: Path, tmp_path: Path) -> None:
    """Neither the clock nor the order of hashes reaches the page."""
    here = write_report(run, tmp_path / "here.html").read_bytes()
    code = "import sys; from pathlib import Path; from stillroom.cli.report import write_report; write_report(Path(sys.argv[1]), Path(sys.argv[2]))"
    there = tmp_path / "there.html"
    subprocess.run(
        [sys.executable, "-c", code, str(run), str(there)], check=True, env={**os.environ, "PYTHONHASHSEED": "77"}
    )
    assert there.read_bytes() == here


# -- what is missing ---------------------------------------------------------------------


def test_an_empty_run_says_what_is_missing(tmp_path: Path) -> None:
    """No section vanishes for want of facts."""
    Store(tmp_path / "run").close()
    text = world.Page(write_report(tmp_path / "run").read_text(encoding="utf-8")).text
    for sentence in (
        "No model was called yet.",
        "Nothing was spent in this run yet.",
        "No candidate was tried in this run yet.",
        "No plan was saved in this run yet.",
        "Nothing was emitted in this run yet.",
        "Nothing was proved in this run yet.",
    ):
        assert sentence in text


def test_a_run_under_way_is_told_as_it_stands_and_left_alone(tmp_path: Path) -> None:
    """With the store open elsewhere the report is written, its lock and its open calls stay."""
    with Store(tmp_path / "run") as store:
        store.claim("emit", {"model": world.MODEL})
        store.open_call("x", "emit", world.MODEL, 500, 0.0)
        store.put_note("trial", "0001", world.trial_of(world.plan_of(), 0.6))
        store.put_rows("r", world.ROWS[:25])
        store.flush()
        page = world.Page(write_report(tmp_path / "run").read_text(encoding="utf-8"))
        assert store.call_counts()["open"] == 1
    assert "The search has not ended." in page.text
    assert "The emission has not ended." in page.text
    assert page.tables["Model calls by phase"][1][4] == "1"
    assert page.tables["Rows through the gates, in their order"][-1][1:] == ["25", "5", "20"]


def test_a_kept_baseline_is_not_called_a_winner(tmp_path: Path) -> None:
    """When nothing was established the page says that the baseline is kept."""
    base = world.plan_of()
    with Store(tmp_path) as store:
        store.put_note("trial", "0001", world.trial_of(base, 0.6))
        noted = {
            "established": False,
            "verdict": "not established at p <= 0.05: 0.650 against 0.600; the baseline is kept",
        }
        store.put_note("compile", "latest", {**noted, "best": 0.65, "baseline": 0.6, "trials": 1, "ended": "full"})
    base.save(tmp_path / "plan.json")
    base.save(tmp_path / "baseline.json")
    text = world.Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "The baseline is kept at 0.600" in text
    assert "The plan is the baseline: the task as declared." in text
    assert "in the plan" not in text


def test_an_unreadable_plan_is_said_and_the_rest_is_shown(tmp_path: Path) -> None:
    """A plan edited by hand costs its own section only."""
    folder = world.make_run(tmp_path / "run")
    (folder / "plan.json").write_text("{}", encoding="utf-8")
    page = world.Page(write_report(folder).read_text(encoding="utf-8"))
    assert "The saved plan cannot be read: a plan must have kind 'plan'" in page.text
    assert "Each system on the test split" in page.tables


def test_counts_that_contradict_each_other_are_said(tmp_path: Path) -> None:
    """When the emission noted other counts than its rows give, the page does not choose in silence."""
    with Store(tmp_path) as store:
        store.put_rows("r", world.ROWS)
        store.put_note("funnel", "r", {**world.FUNNEL, "written": 33, "shortfall": {}})
    text = world.Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    assert "The emission noted 33 written and 20 accepted rows, the run holds 32 and 20" in text
    assert "Every wanted row was filled." in text


@pytest.mark.parametrize("ended", [True, False])
def test_rows_lost_to_faults_and_surplus_ones_are_told_apart(tmp_path: Path, ended: bool) -> None:
    """A run of the row runner: the funnel adds up with steps and quotas in it, also while the run is not noted as ended."""
    import json

    import flow_world as flows

    from stillroom.errors import EngineRefused

    def reply(request):
        number = int(flows.said(request).split()[1]) if len(request.messages) == 1 else 0
        if number == 3:
            return EngineRefused("no such row")
        return '{"a": "mended",}' if number == 5 else json.dumps({"a": f"row {number}"})

    emitted = flows.run(tmp_path, flows.flow({"x": 12, "y": 6}), flows.Model(reply))
    if not ended:
        with sqlite3.connect(tmp_path / "run.db") as db:
            db.execute("DELETE FROM notes WHERE kind = 'funnel'")
    text = world.Page(write_report(tmp_path).read_text(encoding="utf-8")).text
    lost, surplus = emitted.fates["quarantined"], emitted.fates.get("surplus", 0)
    assert lost
    assert f"{lost} lost to faults" in text
    assert ("because their quota was full" in text) == bool(surplus)
    assert "rows were left before gate" not in text
    assert "The emission noted" not in text
    mended = f"{emitted.counts['repaired']} answers were mended JSON, 0 had to be asked for a second time"
    assert (mended in text) == ended


def test_samples_do_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    """Which rows are shown follows from the rows alone."""
    for name, rows in (("one", world.ROWS), ("two", world.ROWS[::-1])):
        with Store(tmp_path / name) as store:
            store.put_rows("r", rows)
    one, two = (read_facts(tmp_path / name).emissions[0] for name in ("one", "two"))
    assert (one.kept, one.stopped) == (two.kept, two.stopped)
    assert len(one.kept) == facts_module.KEPT


# -- what it refuses ---------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, b"", b"no database at all, but long enough to look like one" * 9])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """Nothing there, an empty file or another file: one error, and no report."""
    if content is not None:
        (tmp_path / "run.db").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.db"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_note_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    """What the report would look up and not find is named."""
    with Store(tmp_path) as store:
        store.put_note("trial", "0001", {"mean": 0.5})
    with pytest.raises(RunError, match="note trial 0001 lacks demos, format"):
        write_report(tmp_path)


def test_a_place_that_cannot_be_written_is_refused(run: Path, tmp_path: Path) -> None:
    """The mend is to write elsewhere."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunReadOnly, match="must be writable") as caught:
        write_report(run, tmp_path / "file" / "report.html")
    assert "--out" in caught.value.mend


def test_a_store_that_cannot_be_opened_in_place_is_read_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite refuses a write-ahead store in a folder that it cannot write; what is in its log counts all the same."""
    with Store(tmp_path / "live") as store:
        store.put_note("trial", "0001", world.trial_of(world.plan_of(), 0.6))
        shutil.copytree(tmp_path / "live", tmp_path / "kept", ignore=shutil.ignore_patterns("*-shm"))
    assert (tmp_path / "kept" / "run.db-wal").stat().st_size
    before = sorted(path.name for path in (tmp_path / "kept").iterdir())
    opened = database.open_to_read

    def refuse(path: Path) -> sqlite3.Connection:
        if path.parent == tmp_path / "kept":
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return opened(path)

    monkeypatch.setattr(database, "open_to_read", refuse)
    assert len(read_facts(tmp_path / "kept").trials) == 1
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == before


def test_rendering_needs_no_folder(run: Path) -> None:
    """Facts once read are enough: the page is a function of them."""
    facts = read_facts(run)
    assert render_report(facts) == render_report(facts) == write_report(run).read_text(encoding="utf-8")
