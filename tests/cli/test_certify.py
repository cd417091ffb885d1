"""`stillroom certify`: certificates of files and run folders, weak ones, canaries, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import stillroom.engines
from stillroom.engines import Score, ScriptedEngine
from stillroom.programs.judging import Certificate, pairwise

JUDGE = """
import certify_world

judge = certify_world.judge()
"""
WORLD = """
from stillroom.engines import Score, ScriptedEngine
from stillroom.programs.judging import pairwise

SKILL = {skill}


def score(request, continuations):
    text = request.messages[-1].text
    first, second = text.split("first: ")[1].split("second: ")
    gap = SKILL * (first.count("good") - second.count("good"))
    return [Score(each, gap if at == 0 else 0.0, 3) for at, each in enumerate(continuations)]


def engine():
    return ScriptedEngine(lambda request: "?", name="certify", score=score)


def judge():
    return pairwise(engine())
"""


def labels(folder: Path, count: int = 40) -> Path:
    """Pairs whose good answer people prefer."""
    rows = [
        {
            "instruction": f"task {at}",
            "first": "good" if at % 2 else "plain",
            "second": "plain" if at % 2 else "good",
            "label": 1 if at % 2 else 2,
            "first_system": "certify-7b" if at % 2 else "opt-1b",
            "second_system": "opt-1b" if at % 2 else "certify-7b",
        }
        for at in range(count)
    ]
    path = folder / "labels.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def scripted(skill: float = 3.0) -> ScriptedEngine:
    """The model of these tests."""

    def score(request, continuations):
        first, second = request.messages[-1].text.split("first: ")[1].split("second: ")
        gap = skill * (first.count("good") - second.count("good"))
        return [Score(each, gap if at == 0 else 0.0, 3) for at, each in enumerate(continuations)]

    return ScriptedEngine(lambda request: "?", name="certify", score=score)


@pytest.fixture
def lm(monkeypatch: pytest.MonkeyPatch):
    """Put the scripted model in place of every other, as good as wanted."""

    def put(skill: float = 3.0) -> None:
        monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: scripted(skill))

    put()
    return put


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a compiled judge."""
    folder = tmp_path / "run"
    pairwise(scripted()).plan.save(folder / "plan.json")
    return folder


@pytest.mark.usefixtures("lm")
def test_a_compiled_judge_is_certified_in_its_run_folder(cli, tmp_path: Path, run: Path):
    """A table for people, a file for gates, exit code 0 for a strong one."""
    told = cli("certify", run, "--against", labels(tmp_path))
    assert told.code == 0, told.err
    for word in (
        "accuracy",
        "kappa",
        "spearman",
        "kendall",
        "swap consistency",
        "P(first)",
        "ECE",
        "own family",
        "strong",
    ):
        assert word in told.out
    found = Certificate.load(run / "certificate.json")
    assert found.labels["source"] == "labels.jsonl"
    assert found.doubt(pairwise(scripted())) == ""


@pytest.mark.usefixtures("lm")
def test_certifying_again_asks_nothing_again(cli, tmp_path: Path, run: Path):
    """Answers are in the run's store, and the certificate is the same byte for byte."""
    marks = labels(tmp_path)
    first = cli("certify", run, "--against", marks, "--json").json
    before = (run / "certificate.json").read_bytes()
    assert first["strong"]
    assert first["found"]["agreement"]["n"] == 40
    assert cli("certify", run, "--against", marks, "--json", "--calls", "80").code == 0
    assert (run / "certificate.json").read_bytes() == before


def test_a_weak_judge_gets_its_certificate_and_exit_code_seven(cli, tmp_path: Path, run: Path, lm):
    """Gates built on it widen to review."""
    lm(skill=0.0)
    told = cli("certify", run, "--against", labels(tmp_path), "--json")
    assert told.code == 7
    assert not told.json["strong"]
    assert "kappa" in told.json["weakness"]
    assert told.json["warnings"]
    assert (run / "certificate.json").is_file()


def test_a_canary_tells_when_the_model_has_changed(cli, tmp_path: Path, run: Path, lm):
    """Exit code 7; nothing is taken from the store."""
    cli("certify", run, "--against", labels(tmp_path))
    steady = cli("certify", run, "--canary", run / "certificate.json")
    assert steady.code == 0, steady.err
    assert "steady" in steady.out
    lm(skill=-3.0)
    drifted = cli("certify", run, "--canary", run / "certificate.json", "--json")
    assert drifted.code == 7
    assert drifted.json["canary"]["drifted"]
    assert len(drifted.json["canary"]["changed"]) == 20


def test_a_file_of_the_users_own_defines_a_judge(cli, tmp_path: Path):
    """The certificate lies in the runs folder, or where --out says."""
    (tmp_path / "certify_world.py").write_text(WORLD.format(skill=3), encoding="utf-8")
    (tmp_path / "mine.py").write_text(JUDGE, encoding="utf-8")
    told = cli("certify", "mine.py", "--against", labels(tmp_path), "--out", "found.json")
    assert told.code == 0, told.err
    assert Certificate.load(tmp_path / "found.json").judge["kind"] == "pairwise"
    assert (tmp_path / "runs" / "certify-mine" / "certify").is_dir()


@pytest.mark.usefixtures("lm")
def test_a_budget_that_is_too_small_keeps_what_was_asked(cli, tmp_path: Path, run: Path):
    """Exit code 4; a bigger one goes on."""
    marks = labels(tmp_path)
    assert cli("certify", run, "--against", marks, "--calls", "30").code == 4
    assert cli("certify", run, "--against", marks, "--calls", "80").code == 0


@pytest.mark.usefixtures("lm")
def test_what_cannot_work_is_refused_in_one_line(cli, tmp_path: Path, run: Path):
    """Before anything is asked."""
    marks = labels(tmp_path)
    (tmp_path / "empty.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "bad.jsonl").write_text('{"instruction": "x", "first": "a", "second": "b", "label": "maybe"}\n')
    for words, said in (
        ((run,), "--against or --canary"),
        ((run, "--against", marks, "--canary", marks), "both"),
        (("nothing.py", "--against", marks), "must be a Python file"),
        (("empty.py", "--against", marks), "must define `judge`"),
        ((run, "--against", "bad.jsonl"), "problems"),
        ((run, "--against", "none.jsonl"), "must exist"),
        ((run, "--canary", marks), "not a certificate"),
        ((run, "--against", marks, "--kappa", "2"), "--kappa"),
    ):
        told = cli("certify", *words)
        assert told.code == 2, told.err
        assert said in told.errors[0]
