"""From a task file to a report: students, proof and page, with a scripted model and embeddings of words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scripted_world as world
from scripted_cli import write_task

from stillroom.evals import Embedder, default_embedder


@pytest.fixture(autouse=True)
def words(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embed by counting words: no model file is read."""
    # the process shares its embedders: one that an earlier test asked for its digest would keep the real one
    default_embedder.cache_clear()
    embedder = world.WordEmbedder()
    monkeypatch.setattr(Embedder, "embed", lambda self, texts: embedder.embed(texts))
    monkeypatch.setattr(Embedder, "digest", embedder.digest)
    monkeypatch.setattr("stillroom.cli.verbs.need", lambda models: None)


def test_run_does_everything_once(cli, tmp_path: Path, calls):
    """Five verbs and a page; a second run pays for nothing and proves the same."""
    task = write_task(tmp_path, "real = Path(__file__).parent / 'rows.jsonl'\n")
    told = cli("run", task)
    assert told.code == 0, told.err
    for part in ("compiled for", "rows accepted", "3 students distilled", "test rows", "report: "):
        assert part in told.out
    folder = Path("runs/topics")
    for name in ("plan.json", "rows.jsonl", "rejects.jsonl", "proof.json", "report.html"):
        assert (folder / name).is_file()
    proof = json.loads((folder / "proof.json").read_text())
    names = [result["name"] for result in proof["results"]]
    assert names[0] == "baseline"
    assert names[-3:] == ["student (seed)", "student (seed + synthetic)", "student (real)"]
    paid = len(calls())
    again = cli("run", task, "--json").json
    assert len(calls()) == paid
    assert [result["score"] for result in again["prove"]["results"]] == [each["score"] for each in proof["results"]]
    assert again["report"] == "runs/topics/report.html"
    assert again["emit"]["accepted"] == 12


def test_distil_needs_rows_unless_seed_only(cli, task: Path):
    """Without emitted rows only the seed-only student can be trained; no teacher is needed for it."""
    told = cli("distil", task)
    assert told.code == 2
    assert "rows.jsonl" in told.errors[0]
    assert "--seed-only" in told.errors[-1]
    told = cli("distil", task, "--seed-only", "--json")
    assert told.code == 0, told.err
    (student,) = told.json["students"]
    assert student["name"] == "student (seed)"
    assert student["emitted"] == 0
    assert (Path(student["folder"]) / "card.json").is_file()


def test_prove_takes_the_students_that_are_there(cli, task: Path):
    """In the order of comparison, each against the first, the last against the program."""
    cli("compile", task)
    cli("distil", task, "--seed-only")
    told = cli("prove", task, "--json")
    assert told.code == 0, told.err
    names = [result["name"] for result in told.json["results"]]
    assert names[-1] == "student (seed)"
    assert "student (seed + synthetic)" not in names
    assert told.json["comparisons"][-1]["better"] == "student (seed)"


def test_run_goes_on_with_fewer_rows(cli, tmp_path: Path):
    """An unfilled quota is noted; the run itself has not failed."""
    gate = """
class NoBilling(type(gates[1])):
    def check(self, batch):
        return [st.Verdict.fail("not billing") if row.target["topic"] == "billing" else st.Verdict.ok() for row in batch]

gates = [gates[0], NoBilling(name="strict")]
"""
    told = cli("run", write_task(tmp_path, gate))
    assert told.code == 0, told.err
    assert "note: 4 wanted rows could not be filled" in told.err
