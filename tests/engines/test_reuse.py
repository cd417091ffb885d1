"""Answers found again: within a run whenever nothing changed, between runs only where somebody said so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from dspy.lm15 import Config, Message, Request

from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import BadConfig, BudgetExceeded, RunDamaged, RunError
from stillroom.ledger import Budget
from stillroom.store import Store

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
ASKED = Request(
    model="any",
    system="Be brief.",
    messages=(Message.user("hello"),),
    config=Config(temperature=0.5, max_tokens=10, seed=1),
)
CHANGED = {
    "prompt": replace(ASKED, messages=(Message.user("hello!"),)),
    "system": replace(ASKED, system="Be long."),
    "an earlier turn": replace(ASKED, messages=(Message.user("x"), Message.assistant("y"), *ASKED.messages)),
    "seed": replace(ASKED, config=replace(ASKED.config, seed=2)),
    "no seed": replace(ASKED, config=replace(ASKED.config, seed=None)),
    "temperature": replace(ASKED, config=replace(ASKED.config, temperature=0.6)),
    "top_p": replace(ASKED, config=replace(ASKED.config, top_p=0.9)),
    "max_tokens": replace(ASKED, config=replace(ASKED.config, max_tokens=11)),
    "stop": replace(ASKED, config=replace(ASKED.config, stop=("x",))),
    "schema": replace(ASKED, config=replace(ASKED.config, response_format={"type": "json_schema", "schema": SCHEMA})),
}


def engine(*, version: str = "0", name: str = "scripted", live: bool = False) -> ScriptedEngine:
    """Says how often it was asked."""
    made = ScriptedEngine([f"{name} {version} answer {number}" for number in range(20)], name=name, version=version)
    if live:
        made.model = "http/host/model@live"
    return made


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_changes_is_asked_anew(tmp_path: Path, what: str):
    """And what did not change is found, also by a later session."""
    for _ in range(2):
        with open_session(engine(), tmp_path, "emit", {}) as session:
            first = session.engine.complete(ASKED)
            changed = session.engine.complete(CHANGED[what])
            assert first.text != changed.text
            assert session.engine.complete(ASKED) == first
            assert session.ledger.spent.calls == 2


def test_another_model_never_gives_the_answer(tmp_path: Path):
    """Even to a request that was written for the first one, in the same store and the same phase."""
    with open_session(engine(), tmp_path, "emit", {}) as session:
        beside = session.beside(engine(name="other"))
        newer = session.beside(engine(version="1"))
        texts = {each.complete(ASKED).text for each in (session.engine, beside, newer)}
        assert texts == {"scripted 0 answer 0", "other 0 answer 0", "scripted 1 answer 0"}
        assert session.ledger.spent.calls == 3


def run_of(folder: Path, made: ScriptedEngine, *requests: Request, **options) -> tuple[list[str], int]:
    """Ask in a run: the answers, and the calls paid for in it so far."""
    with open_session(made, folder, "emit", {}, **options) as session:
        texts = [session.engine.complete(request).text for request in requests]
        return texts, session.ledger.spent.calls


@pytest.mark.parametrize("live", [False, True], ids=["digest", "live"])
def test_runs_share_answers_only_when_told_to(tmp_path: Path, live: bool):
    """Naming the other run is the consent, and the only one: also for a model that may change without notice."""
    first, _ = run_of(tmp_path / "a", engine(live=live), ASKED)
    other = engine(live=live)
    other.submit(ASKED)  # so that it says something else
    assert run_of(tmp_path / "b", other, ASKED) == (["scripted 0 answer 1"], 1)
    assert run_of(tmp_path / "c", other, ASKED, reuse=[tmp_path / "a"]) == (first, 0)


def test_what_was_taken_over_is_kept_with_its_origin(tmp_path: Path):
    """The other run is no longer needed, nothing is on the bill, and the origin stays the first one."""
    run_of(tmp_path / "a", engine(), ASKED, CHANGED["seed"])
    before = (tmp_path / "a" / "run.db").read_bytes()
    texts, spent = run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "a"], budget=Budget(calls=0))
    assert (texts, spent) == (["scripted 0 answer 0"], 0)
    assert (tmp_path / "a" / "run.db").read_bytes() == before
    assert run_of(tmp_path / "c", engine(), ASKED, reuse=[tmp_path / "b"]) == (texts, 0)
    (tmp_path / "a" / "run.db").unlink()
    assert run_of(tmp_path / "b", engine(), ASKED) == (texts, 0)
    for name in ("b", "c"):
        with Store(tmp_path / name) as store:
            assert store.reuse_counts() == {str(tmp_path / "a"): 1}
            assert store.call_counts() == {"twice": 0}
            assert store.spent().tokens == 0
    with pytest.raises(BudgetExceeded):
        run_of(tmp_path / "b", engine(), CHANGED["seed"], budget=Budget(calls=0))


def test_a_changed_request_takes_nothing_over(tmp_path: Path):
    """Keys are as strict between runs as within one."""
    run_of(tmp_path / "a", engine(), *CHANGED.values())
    assert run_of(tmp_path / "b", engine(version="1"), *CHANGED.values(), reuse=[tmp_path / "a"])[1] == len(CHANGED)
    assert run_of(tmp_path / "c", engine(), ASKED, reuse=[tmp_path / "a"])[1] == 1


def test_a_run_that_is_under_way_can_be_read(tmp_path: Path):
    """What it has on disk is taken over; its lock is left alone."""
    with open_session(engine(), tmp_path / "a", "emit", {}) as session:
        text = session.engine.complete(ASKED).text
        session.store.flush()
        assert run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "a"]) == ([text], 0)
        session.engine.complete(CHANGED["seed"])


def test_a_failed_call_is_not_taken_over(tmp_path: Path):
    """Only answers are."""
    with Store(tmp_path / "a") as store:
        store.fail_call("k", "emit", "m", "status 500")
        store.open_call("k", "emit", "m", 5, 0.0)
    with Store(tmp_path / "b", [tmp_path / "a"]) as store:
        assert store.find_call("k") is None


def test_a_run_of_the_first_version_can_be_read(tmp_path: Path):
    """It has no checksums, and took over nothing itself."""
    texts, _ = run_of(tmp_path / "a", engine(), ASKED)
    with closing(sqlite3.connect(tmp_path / "a" / "run.db", isolation_level=None)) as database:
        database.execute("ALTER TABLE calls DROP COLUMN seal")
        database.execute("DROP TABLE reused")
    assert run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "a"]) == (texts, 0)


def test_a_run_that_cannot_be_read_is_refused_before_anything_is_spent(tmp_path: Path):
    """No folder, no store, itself, or a record that is not what was recorded."""
    with pytest.raises(RunError, match=r"must hold run\.db"):
        run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "nothing"])
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "run.db").write_text("not a database at all" * 100)
    with pytest.raises(RunError, match="must be readable"):
        run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "text"])
    with pytest.raises(BadConfig, match="got itself"):
        run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "b"])
    run_of(tmp_path / "a", engine(), ASKED)
    with closing(sqlite3.connect(tmp_path / "a" / "run.db", isolation_level=None)) as database:
        database.execute("UPDATE calls SET response = replace(response, 'answer', 'lie')")
    with pytest.raises(RunDamaged):
        run_of(tmp_path / "b", engine(), ASKED, reuse=[tmp_path / "a"])
    with Store(tmp_path / "b") as store:
        assert store.spent().calls == 0
