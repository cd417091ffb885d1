"""Batches outlive the process that made them: a run that was killed finds them again and pays once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer, serving
from contracts.engine_contract import ask

from stillroom.engines import BatchEngine, HttpEngine, open_session
from stillroom.engines.batch._notes import Notes
from stillroom.errors import EngineBusy, RunError
from stillroom.ledger import Budget

MODEL = "batch+http/127.0.0.1:{}/tiny@live"


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serving() as server:
        yield server


def engine_at(server: BatchServer, **settings: Any) -> BatchEngine:
    return BatchEngine(HttpEngine(server.url, "tiny"), **{"linger": 0.02, "poll": 0.01, **settings})


def asked_in(server: BatchServer, run: Path, messages: list[str], **budget: Any) -> tuple[list[str | None], int]:
    """Ask in a session of a run; the texts, and the calls paid for in all its sessions."""
    engine = engine_at(server)
    try:
        with open_session(engine, run, "emit", {"recipe": "r"}, Budget(**budget)) as session:
            answers = session.engine.complete_many([ask(message) for message in messages])
            return [answer.text for answer in answers], session.ledger.spent.calls  # type: ignore[union-attr]
    finally:
        engine.close()


CHILD = """
import sys
from contracts.engine_contract import ask
from stillroom.engines import BatchEngine, HttpEngine, open_session
engine = BatchEngine(HttpEngine(sys.argv[1], "tiny"), linger=0.02, poll=0.01)
with open_session(engine, sys.argv[2], "emit", {"recipe": "r"}) as session:
    session.engine.complete_many([ask(str(i)) for i in range(50)])
"""


def killed_at(server: BatchServer, run: Path, moment: Any) -> None:
    """Start a run of fifty requests in a process of its own, and kill it when `moment()` is true."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, server.url, str(run)], env={**os.environ, "PYTHONPATH": path}
    )
    try:
        while not moment():
            assert child.poll() is None, "the child ended before it could be killed"
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_killed_while_its_batch_is_under_way(server: BatchServer, tmp_path: Path) -> None:
    """SIGKILL, and a new process: the same batch, its answers, and every one paid for once."""
    server.looks = 10**6
    killed_at(server, tmp_path, lambda: server.asked["GET /v1/batches/{batch}"] > 3)
    for batch in server.batches.values():
        batch.looks = 0
    messages = [str(i) for i in range(50)]
    assert asked_in(server, tmp_path, messages, calls=50) == ([f"echo: {message}" for message in messages], 50)
    assert len(server.batches) == 1
    assert set(server.answered.values()) == {1}
    # and what is recorded is not asked for a third time
    server.forget_files()
    assert asked_in(server, tmp_path, messages, calls=50)[1] == 50


@pytest.mark.parametrize("where", ["POST /v1/files", "POST /v1/batches"])
def test_killed_before_it_heard_that_its_batch_was_made(server: BatchServer, tmp_path: Path, where: str) -> None:
    """Whether the endpoint had made it by then or not: it is made, and paid for, once."""
    server.looks = 0
    server.faults[where].append("hold")
    killed_at(server, tmp_path, lambda: server.files if where == "POST /v1/files" else server.batches)
    messages = [str(i) for i in range(50)]
    assert asked_in(server, tmp_path, messages)[0] == [f"echo: {message}" for message in messages]
    assert len(server.batches) == 1
    assert server.answered == dict.fromkeys(messages, 1)


def begun(server: BatchServer, folder: Path, messages: list[str]) -> None:
    """A session that sends a batch and ends before it does."""
    engine = engine_at(server, folder=folder)
    futures = [engine.submit(ask(message)) for message in messages]
    while not any("batch" in note and json.loads(note)["batch"] for note in _notes(folder)):
        time.sleep(0.002)
    engine.close()
    assert all(future.cancelled() for future in futures)


def _notes(folder: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.json"))]


def test_only_what_is_new_is_sent(server: BatchServer, tmp_path: Path) -> None:
    """Some are in the batch of before, some are not; and some of it nobody asks for any more."""
    begun(server, tmp_path, ["a", "b", "c"])
    engine = engine_at(server, folder=tmp_path)
    answers = engine.complete_many([ask("b"), ask("d"), ask("a")])
    assert [answer.text for answer in answers] == ["echo: b", "echo: d", "echo: a"]  # type: ignore[union-attr]
    assert [len(server.lines(batch)) for batch in server.batches.values()] == [3, 1]
    read = server.asked["GET /v1/files/{file}/content"]
    assert engine.complete(ask("c")).text == "echo: c"  # late, from what was read already
    assert server.asked["GET /v1/files/{file}/content"] == read
    assert server.answered == {"a": 1, "b": 1, "c": 1, "d": 1}
    engine.close()


def test_equal_requests_find_a_line_each(server: BatchServer, tmp_path: Path) -> None:
    """Three samples of one request were asked for, and three are found."""
    begun(server, tmp_path, ["same"] * 3)
    engine = engine_at(server, folder=tmp_path)
    assert len(engine.complete_many([ask("same")] * 3)) == 3
    assert server.answered == {"same": 3}
    engine.complete(ask("same"))
    assert server.answered == {"same": 4}
    engine.close()


def test_a_batch_that_is_lost_is_made_again(server: BatchServer, tmp_path: Path) -> None:
    """The endpoint knows it no more: nothing else can be done."""
    begun(server, tmp_path, ["a", "b"])
    server.batches.clear()
    engine = engine_at(server, folder=tmp_path)
    assert [answer.text for answer in engine.complete_many([ask("a"), ask("b")])] == ["echo: a", "echo: b"]  # type: ignore[union-attr]
    assert len(_notes(tmp_path)) == 1
    engine.close()


def test_answers_that_are_kept_no_more_are_asked_again(server: BatchServer, tmp_path: Path) -> None:
    """Files live for some weeks."""
    begun(server, tmp_path, ["a"])
    (batch,) = server.batches.values()
    server.end(batch)
    server.forget_files()
    engine = engine_at(server, folder=tmp_path)
    assert engine.complete(ask("a")).text == "echo: a"
    assert len(server.batches) == 2
    engine.close()


def test_a_line_that_was_sent_twice_is_looked_for_in_the_second_batch(server: BatchServer, tmp_path: Path) -> None:
    """The first one's failure is known, and not paid for again."""
    server.looks = 0
    server.failing["b"].append((500, {"error": {"message": "boom"}}))
    engine = engine_at(server, folder=tmp_path)
    engine.complete_many([ask("a"), ask("b")])
    engine.close()
    second = list(server.batches.values())[1]
    second.status, second.looks = "in_progress", 5  # the first one's files are read long before it ends
    engine = engine_at(server, folder=tmp_path)
    assert engine.complete_many([ask("a"), ask("b")])[1].text == "echo: b"  # type: ignore[union-attr]
    assert len(server.batches) == 2
    engine.close()


def test_a_cancelled_call_is_still_in_its_batch(server: BatchServer, tmp_path: Path) -> None:
    """Whoever asks again waits for that line, and no second one is made."""
    server.looks = 10**6
    engine = engine_at(server, folder=tmp_path)
    lost = engine.submit(ask("a"))
    while not server.batches:
        time.sleep(0.002)
    lost.cancel()
    again = engine.submit(ask("a"))
    for batch in server.batches.values():
        batch.looks = 0
    assert again.result(10).text == "echo: a"
    assert server.answered == {"a": 1}
    engine.close()


def test_cancelled_before_it_was_sent(server: BatchServer) -> None:
    """Then it is not sent."""
    engine = engine_at(server, linger=0.3)
    lost, kept = engine.submit(ask("lost")), engine.submit(ask("kept"))
    lost.cancel()
    assert kept.result(10).text == "echo: kept"
    assert server.answered == {"kept": 1}
    engine.close()


def test_notes_of_another_model_are_left_alone(server: BatchServer, tmp_path: Path) -> None:
    """Two engines may share a run."""
    begun(server, tmp_path, ["a"])
    other = BatchEngine(HttpEngine(server.url, "other"), linger=0.02, poll=0.01, folder=tmp_path)
    assert other.complete(ask("a")).text == "echo: a"
    assert server.answered["a"] >= 1
    assert len(_notes(tmp_path)) == 2
    other.close()


def test_a_note_that_cannot_be_read_stops_the_run(server: BatchServer, tmp_path: Path) -> None:
    """Its batch may be paid for."""
    (tmp_path / "00001-abc.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="note of a batch must be readable"):
        engine_at(server, folder=tmp_path)


def test_notes_count_on_from_those_there_are(tmp_path: Path) -> None:
    """Their order is that of the batches."""
    notes = Notes(tmp_path)
    names = [notes.begin("m", [str(i)]).name for i in range(3)]
    assert names == sorted(names)
    assert [note.ids for note in Notes(tmp_path).all("m")] == [("0",), ("1",), ("2",)]


def test_a_failed_session_leaves_its_notes(server: BatchServer, tmp_path: Path) -> None:
    """Patience ended before the batch did; the next session has its answers."""
    server.looks = 0
    server.faults["GET /v1/batches/{batch}"].extend([500] * 30)
    engine = engine_at(server, folder=tmp_path, patience=0.05)
    with pytest.raises(EngineBusy):
        engine.complete(ask("a"))
    engine.close()
    server.faults.clear()
    engine = engine_at(server, folder=tmp_path)
    assert engine.complete(ask("a")).text == "echo: a"
    assert len(server.batches) == 1
    engine.close()
