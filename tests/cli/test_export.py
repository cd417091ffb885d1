"""`stillroom export`: the rows of a run as records, with a card, if their licences allow it."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from records_world import row

from stillroom.programs import Emitted
from stillroom.programs.export import write_rows
from stillroom.signatures.records import read_records

COLUMNS = ("--column", "prompt=q", "--column", "completion=a")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two accepted rows and three rejected ones."""
    rows = [row({"q": "two plus two", "a": "four"}, "x/0/0"), row({"q": "one plus one", "a": 2}, "x/1/0")]
    rejects = [
        row({"q": "two plus two", "a": "five"}, "x/0/1", gate="tests"),
        row({"q": "one plus one", "a": "2 or so"}, "x/1/1", gate="near duplicate", by="form"),
        row({"text": "{"}, "x/1/2", gate="schema", by="form"),
    ]
    folder = tmp_path / "run"
    write_rows(Emitted(rows, rejects, (), {}), folder)
    return folder


def test_rows_become_a_trainers_table(cli, run: Path, tmp_path: Path):
    """As TRL takes it, and beside it who wrote it under which licence."""
    told = cli(
        "export", str(run), "--schema", "sft", "--to", "trl", *COLUMNS, str(tmp_path / "out"), "--json", "--seed", "7"
    )
    assert told.code == 0, told.err
    assert (told.json["records"], told.json["trainers"]) == (2, ["SFTTrainer"])
    found = datasets.load_from_disk(told.json["path"])
    assert found["completion"][1] == [{"role": "assistant", "content": "2"}]
    assert json.loads(found["meta"][0])["rows"][0]["passport"]["parents"] == ["demo1", "demo2"]
    assert json.loads(found["meta"][0])["seed"] == 7
    card = json.loads((tmp_path / "out" / "sft-trl.card.json").read_text(encoding="utf-8"))
    assert card["licences"][0]["licence"] == "Apache-2.0"
    assert card["licences"][0]["rows"] == 2
    assert card["people"]["level"] == 5


@pytest.mark.parametrize("form", ["jsonl", "parquet", "hf"])
def test_records_come_back_from_each_form(cli, run: Path, tmp_path: Path, form: str):
    """With their papers."""
    told = cli("export", str(run), str(tmp_path / "out"), "--schema", "sft", "--to", form, *COLUMNS, "--json")
    (first, second) = read_records(Path(told.json["path"]), "sft")
    assert first.meta.rows[0]["place"] == "x/0/0"
    assert second.fields()["completion"][0]["content"] == "2"


def test_rejects_become_records(cli, run: Path, tmp_path: Path):
    """Pairs, unwanted answers, and everything for a person to look at."""
    out = str(tmp_path / "out")
    told = cli("export", str(run), out, "--schema", "pref", "--rejects", *COLUMNS, "--json")
    (pair,) = datasets.load_from_disk(told.json["path"])
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("four", "five")
    assert told.json["trainers"] == ["DPOTrainer", "RewardTrainer"]
    told = cli("export", str(run), out, "--schema", "unpaired", "--rejects", *COLUMNS, "--json")
    assert datasets.load_from_disk(told.json["path"])["label"] == [True, True, False]
    told = cli("export", str(run), out, "--schema", "audit", "--to", "jsonl", "--json")
    assert [each.status for each in read_records(Path(told.json["path"]), "audit")] == ["accepted"] * 2 + [
        "rejected"
    ] * 3


def test_people_are_told(cli, run: Path, tmp_path: Path):
    """How many, where, and how much people had to do with it; also that nothing of TRL's trains on it."""
    told = cli("export", str(run), str(tmp_path), "--schema", "sft", *COLUMNS)
    assert told.out.startswith("2 records of schema sft for SFTTrainer: ")
    assert "Level 5 of 6" in told.out
    told = cli("export", str(run), str(tmp_path), "--schema", "label", "--column", "text=q", "--column", "label=a")
    assert "note: TRL has no trainer for 'label'" in told.err


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--schema", "dpo"), "a schema must be one of sft, "),
        (("--schema", "sft", "--to", "csv"), "one of trl, hf, parquet, jsonl, got 'csv'"),
        (("--schema", "audit", "--to", "trl"), "a schema that is trained on is one of"),
        (("--schema", "sft", "--rejects"), "rejects make records of pref, unpaired and audit, got 'sft'"),
        (("--schema", "sft"), "must be a record of schema 'sft', got 2 broken rules"),
        (("--schema", "sft", "--column", "prompt"), "FIELD=COLUMN or FIELD=COLUMN,COLUMN, got 'prompt'"),
        (("--schema", "sft", "--column", "prompt=question"), "none called question"),
        (("--schema", "pref", "--rejects", "--per-prompt", "-1", *COLUMNS), "at least 1, got -1"),
        (("--schema", "sft", "--round", "-1", *COLUMNS), "counted from 0, got -1"),
        (("--schema", "rank", "--to", "jsonl", "--rank", "some"), "'all' or 'best-vs-random', got 'some'"),
    ],
)
def test_what_cannot_work_is_refused(cli, run: Path, tmp_path: Path, options: tuple, rule: str):
    """With the rule, exit code 2, and nothing written."""
    told = cli("export", str(run), str(tmp_path / "out"), *options)
    assert told.code == 2, told.err
    assert rule in told.errors[0]
    assert not (tmp_path / "out").exists()


def test_an_empty_export_is_refused(cli, tmp_path: Path):
    """Nothing to pair is told, not written; a folder without rows is no run."""
    write_rows(Emitted([row({"q": "x", "a": "y"})], [], (), {}), tmp_path / "run")
    told = cli("export", str(tmp_path / "run"), str(tmp_path / "out"), "--schema", "pref", "--rejects", *COLUMNS)
    assert told.code == 2
    assert "an export must hold records, got none" in told.errors[0]
    assert (
        "a run folder must hold rows.jsonl" in cli("export", str(tmp_path), str(tmp_path), "--schema", "sft").errors[0]
    )


def test_licences_are_asked(cli, tmp_path: Path):
    """Before anything is written; who answers for an exception is on the card."""
    run, out = tmp_path / "run", tmp_path / "out"
    write_rows(Emitted([row({"q": "x", "a": "y"}, licence="CC-BY-NC-4.0")], [], (), {}), run)
    words = ("export", str(run), str(out), "--schema", "sft", *COLUMNS)
    told = cli(*words, "--commercial")
    assert told.code == 2
    assert "records may be exported only where every licence allows it, got CC-BY-NC-4.0" in told.errors[0]
    assert not out.exists()
    told = cli(*words, "--commercial", "--override", "CC-BY-NC-4.0: R. Shah: by letter", "--json")
    assert told.code == 0, told.err
    assert told.json["overrides"][0]["by"] == "R. Shah"
    assert cli(*words, "--to", "hf").code == 0  # research needs nobody's word
