"""Where the rows come from and who checked them: in the words of emit and report, in JSON, and on the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import report_world as world
from scripted_cli import scripted, write_task

import stillroom.engines
from stillroom.cli.report import write_report
from stillroom.cli.report_origin import origin_lines
from stillroom.store import Store

JUDGE = """
from stillroom.engines import Score, ScriptedEngine
from stillroom.programs.judging import yes_no

SKILL = {skill}


def score(request, continuations):
    said = request.messages[-1].text.split("text: ")[1]
    gap = SKILL * (1 if "order" in said else -1)
    return [Score(each, gap if at == 0 else 0.0, 3) for at, each in enumerate(continuations)]


judge = yes_no(ScriptedEngine(lambda request: "?", name="sound", score=score))
"""
GATE = """
import {name}
from stillroom.programs import judging

gates = [
    *st.gates.default(task, None),
    judging.certified(
        {name}.judge,
        judging.Certificate.load(Path(__file__).parent / "{name}.json"),
        question=lambda row, outputs: "Does it speak of an order?",
        text="message",
    ),
]
"""


@pytest.fixture
def unlicensed(monkeypatch: pytest.MonkeyPatch, log: Path) -> None:
    """A model whose licence nobody knows, unless it is declared."""

    def open_engine(spec, licence="unknown", **_):
        engine = scripted(log)
        engine.licence = licence
        return engine

    monkeypatch.setattr(stillroom.engines, "open_engine", open_engine)


def certified(cli, folder: Path, name: str, skill: float) -> int:
    """Certify a judge against people's labels by the command line; give the exit code."""
    (folder / f"{name}.py").write_text(JUDGE.format(skill=skill), encoding="utf-8")
    rows = [
        {"question": "Does it speak of an order?", "text": f"{word} {at}", "label": label, "prompt": f"{word} {at}"}
        for at in range(30)
        for word, label in (("the order", "yes"), ("the weather", "no"))
    ]
    labels = folder / f"{name}-labels.jsonl"
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    words = ("--against", labels, "--prompt", "prompt", "--out", folder / f"{name}.json", "--json")
    return cli("certify", folder / f"{name}.py", *words).code


# -- judges with and without a good certificate ------------------------------------------


@pytest.mark.usefixtures("model")
def test_a_gate_on_a_strong_judge_decides_alone(cli, tmp_path: Path):
    """Certified by the command line, loaded by the task file: rows are accepted on its word, at level 4."""
    assert certified(cli, tmp_path, "strong_judge", 4.0) == 0
    task = write_task(tmp_path, GATE.format(name="strong_judge"))
    cli("compile", task)
    told = cli("emit", task, "--json")
    assert told.code == 0, told.err
    origin = told.json["provenance"]
    assert told.json["accepted"] == 12
    assert origin["doubtful"] == []
    assert origin["involvement"]["level"] == 4
    assert "evaluated on human labels" in origin["involvement"]["statement"]
    row = json.loads(Path("runs/topics/rows.jsonl").read_text().splitlines()[0])
    assert len(row["meta"]["passport"]["verdicts"][-1]["certificate"]) == 16
    assert row["meta"]["passport"]["verdicts"][-1]["by"] == "judge"


@pytest.mark.usefixtures("model")
def test_a_gate_on_a_weak_judge_widens_to_review(cli, tmp_path: Path):
    """No row is accepted or rejected on its word: all wait for a person, and emit and report say why."""
    assert certified(cli, tmp_path, "weak_judge", 0.0) == 7
    task = write_task(tmp_path, GATE.format(name="weak_judge"))
    cli("compile", task)
    told = cli("emit", task)
    assert told.code == 6
    assert "0 rows accepted" in told.out
    assert "doubtful gate: " in told.out
    assert "note: gate " in told.err
    assert "kappa" in told.err
    again = cli("emit", task, "--json").json
    (doubt,) = again["provenance"]["doubtful"]
    assert "its kappa with people may be as low as" in doubt["why"] or "its kappa is undefined" in doubt["why"]
    assert doubt["waiting"] == sum(gate["stopped"] for gate in again["funnel"] if gate["gate"] == doubt["gate"]) > 0
    assert any(note.startswith("gate ") for note in again["notes"])
    page = world.Page(write_report(Path("runs/topics")).read_text(encoding="utf-8"))
    assert page.tables["Gates that should not decide alone"][1][2] == str(doubt["waiting"])
    rejects = [json.loads(line)["meta"] for line in Path("runs/topics/rejects.jsonl").read_text().splitlines()]
    assert all(reject["status"] == "audit" for reject in rejects if reject["gate"] == doubt["gate"])


@pytest.mark.usefixtures("model")
def test_what_a_judge_is_asked_lies_in_the_run(cli, tmp_path: Path, log: Path):
    """Its calls are on the run's bill and budget, and none is made twice."""
    certified(cli, tmp_path, "strong_judge", 4.0)
    task = write_task(tmp_path, GATE.format(name="strong_judge"))
    cli("compile", task)
    first = cli("emit", task, "--json").json["spent"]["calls"]
    with Store("runs/topics") as store:
        assert store.spent("emit").calls == first
    assert cli("emit", task, "--json").json["spent"]["calls"] == first
    assert first > len([line for line in log.read_text().splitlines() if "style:" in line])
    told = cli("emit", task, "--run", "other", "--calls", 5)
    assert told.code == 2  # nothing was compiled there


# -- licences by the command line --------------------------------------------------------


@pytest.mark.usefixtures("unlicensed")
def test_an_unknown_licence_stops_run_and_emit_before_any_call(cli, task: Path, calls, monkeypatch):
    """QR-14: exit code 2, with rule and mend; a declared licence or somebody's word lets it pass."""
    monkeypatch.setattr("stillroom.cli.verbs.need", lambda models: None)  # whatever models this machine has
    told = cli("run", task)
    assert told.code == 2
    assert told.errors[0].startswith("error: rows may be emitted and students trained only where every licence allows")
    assert "--lm-licence" in told.errors[-1]
    assert not calls()
    cli("compile", task)
    paid = len(calls())
    assert cli("emit", task).code == 2
    assert len(calls()) == paid
    told = cli("emit", task, "--lm-licence", "Apache-2.0", "--json")
    assert told.code == 0, told.err
    assert told.json["provenance"]["licence"] == "Apache-2.0"


@pytest.mark.usefixtures("unlicensed")
def test_an_override_is_on_the_page_with_who_and_why(cli, task: Path):
    """QR-14: recorded in the run with the day, and noted whenever the rows are told of."""
    cli("compile", task)
    told = cli("emit", task, "--override", "unknown: R. Shah: the maker <agreed> by letter")
    assert told.code == 0, told.err
    assert "override: unknown by R. Shah: the maker <agreed> by letter" in told.out
    assert "note: licence unknown is used on the word of R. Shah" in told.err
    page = world.Page(write_report(Path("runs/topics")).read_text(encoding="utf-8"))
    licence, who, why, when = page.tables["Licences used on somebody's word"][1]
    assert (licence, who, why) == ("unknown", "R. Shah", "the maker <agreed> by letter")
    assert len(when) == len("2026-01-01")
    told = cli("emit", task, "--override", "unknown")
    assert told.code == 2
    assert "LICENCE: WHO: WHY" in told.errors[0]


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("overrides = ['unknown']", "`overrides` in"),
        ("purpose = 'research'", "must be a stillroom.Purpose"),
        ("lm_licence = 7", "must be a licence's name"),
    ],
)
def test_a_task_file_says_it_in_the_right_terms(cli, tmp_path: Path, line: str, rule: str):
    """Before anything is opened."""
    told = cli("compile", write_task(tmp_path, f"{line}\n"))
    assert told.code == 2
    assert rule in told.errors[0]


@pytest.mark.usefixtures("model")
def test_a_task_file_declares_purpose_and_words(cli, tmp_path: Path):
    """They reach emission: what the data's licence forbids is refused."""
    more = """
task = st.Task(Topic, data=task.data, metric=task.metric, name="topics", seed=3, licence="CC-BY-NC-4.0")
gates = st.gates.default(task, None)
purpose = st.Purpose(commercial=True)
"""
    task = write_task(tmp_path, more)
    cli("compile", task)
    told = cli("emit", task)
    assert told.code == 2
    assert "CC-BY-NC-4.0 (it allows no commercial use)" in told.errors[0]
    write_task(tmp_path, more + "overrides = [st.Override('CC-BY-NC-4.0', by='R. Shah', why='bought')]\n")
    assert cli("emit", task).code == 0


# -- how it is told ----------------------------------------------------------------------


@pytest.mark.usefixtures("model")
def test_emit_and_report_tell_the_same_in_words_and_json(cli, task: Path):
    """QR-6, QR-8, QR-14, QR-16: licence, people, copies and policies, a line each."""
    cli("compile", task)
    told = cli("emit", task)
    lines = [
        line for line in told.out.splitlines() if line.startswith(("  licence of", "  people:", "  copies", "  pol"))
    ]
    assert len(lines) == 4
    assert "LicenseRef-own-data" in lines[0]
    assert "Level 6 of 6" in lines[1]
    assert "accounted kept; verified kept; diverse unverified" in lines[3]
    value = cli("emit", task, "--json").json
    report = cli("report", "runs/topics", "--json").json
    assert list(report["provenance"].values()) == [value["provenance"]]
    spoken = cli("report", "runs/topics").out
    assert all(line in spoken for line in lines)


@pytest.mark.usefixtures("model")
def test_the_page_has_a_section_on_where_rows_come_from(cli, task: Path):
    """QR-6, QR-8, QR-14, QR-16: parents, ledger, people, copies and policies, each with its table or sentence."""
    cli("compile", task)
    cli("emit", task)
    page = world.Page(write_report(Path("runs/topics")).read_text(encoding="utf-8"))
    assert "Where the rows come from and who checked them" in page.text
    assert [row[:2] for row in page.tables["Parents of the rows"][1:]] == [
        ["teacher", scripted(Path("x")).model],
        ["labelled rows", "topics"],
    ]
    assert page.tables["Licence ledger of the accepted rows"][1][3] == "12"
    assert [row[:2] for row in page.tables["Rules over the whole set"][1:]] == [
        ["accounted", "kept"],
        ["verified", "kept"],
        ["diverse", "unverified"],
        ["one version", "kept"],
    ]
    assert "Level 6 of 6" in page.text


def test_students_trained_on_somebodys_word_are_on_the_page(tmp_path: Path):
    """QR-14: as their cards keep it."""
    folder = world.make_run(tmp_path / "run")
    card = folder / "students" / "minilm+logreg-seed" / "card.json"
    card.parent.mkdir(parents=True)
    word = {"licence": "unknown", "by": "R. <Shah>", "why": "asked", "when": "2026-03-01"}
    card.write_text(json.dumps({"kind": "minilm+logreg", "overrides": [word]}), encoding="utf-8")
    page = world.Page(write_report(folder).read_text(encoding="utf-8"))
    row = ["minilm+logreg-seed", "unknown", "R. <Shah>", "asked", "2026-03-01"]
    assert page.tables["Students trained on somebody's word"][1] == row


def test_a_run_under_way_has_no_provenance_yet(tmp_path: Path):
    """And says so."""
    folder = world.make_run(tmp_path / "run")
    page = world.Page(write_report(folder).read_text(encoding="utf-8"))
    assert "It is told when the emission has ended." in page.text
    assert origin_lines(None) == ["  where the rows come from: not known before the emission ends"]


def test_hostile_names_stay_text(tmp_path: Path):
    """Benchmarks, gates, models, people and reasons come from data: nothing in them is markup or moves the cursor."""
    bad = "<script>alert(1)</script>\x1b[2J\u202e"
    origin = {
        "licence": bad,
        "sources": [{"what": "teacher", "name": bad, "licence": bad, "declared": False}],
        "ledger": [
            {"model": bad, "licence": bad, "terms": bad, "rows": 3, "read": bad, "checked": bad, "notes": [bad]}
        ],
        "overrides": [{"licence": bad, "by": bad, "why": bad, "when": bad}],
        "involvement": {"level": 5, "statement": bad},
        "copies": [{"source": bad, "rule": bad, "rows": 2, "removed": True}],
        "doubtful": [{"gate": bad, "why": bad, "waiting": 1}],
        "policies": [{"name": bad, "state": "broken", "why": bad}],
        "diversity": {"columns": {"texts": {bad: 0.5}, "reference": {}}, "notes": [bad]},
        "notes": [bad],
        "warnings": [bad],
    }
    folder = world.make_run(tmp_path / "run")
    with Store(folder) as store:
        store.put_note("provenance", "r", origin)
    text = write_report(folder).read_text(encoding="utf-8")
    page = world.Page(text)
    world.check_inert(page, text)
    assert page.text.count("<script>alert(1)</script>") > 15
    assert any(bad in line for line in origin_lines(origin))
