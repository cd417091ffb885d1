"""The batch engine, against an API on this machine that expires, fails and forgets."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from batch_server import BatchServer, serving
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Request

from stillroom.engines import BatchEngine, HttpEngine, open_engine
from stillroom.engines.contract import Engine
from stillroom.errors import BadConfig, EngineBusy, EngineRefused

SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with serving() as server:
        yield server


def engine_at(server: BatchServer, **settings: Any) -> BatchEngine:
    live = {name: settings.pop(name) for name in ("api_key", "serves", "timeout") if name in settings}
    return BatchEngine(HttpEngine(server.url, "tiny", **live), **{"linger": 0.02, "poll": 0.01, **settings})


@pytest.fixture
def engine(server: BatchServer) -> Iterator[BatchEngine]:
    engine = engine_at(server)
    yield engine
    engine.close()


class TestBatchContract(EngineContract):
    """The laws of every engine."""

    @pytest.fixture
    def engine(self, server: BatchServer) -> Iterator[Engine]:
        engine = engine_at(server)
        yield engine
        engine.close()

    @pytest.fixture
    def refused(self, server: BatchServer) -> Request:
        server.failing["refuse this"].extend([(400, {"error": {"message": "this is not allowed"}})] * 2)
        return ask("refuse this")


def texts(answers: list[Any]) -> list[str | None]:
    return [answer.text for answer in answers]


def test_many_requests_are_one_batch(server: BatchServer, engine: BatchEngine) -> None:
    """One file, one batch, answers in the order they were asked for."""
    answers = engine.complete_many([ask(str(i)) for i in range(100)])
    assert texts(answers) == [f"echo: {i}" for i in range(100)]
    (batch,) = server.batches.values()
    lines = server.lines(batch)
    assert [line["body"]["messages"][-1]["content"] for line in lines] == [str(i) for i in range(100)]
    assert {(line["method"], line["url"], line["body"]["model"]) for line in lines} == {
        ("POST", "/v1/chat/completions", "tiny")
    }
    assert len({line["custom_id"] for line in lines}) == 100
    assert all(len(line["custom_id"]) <= 64 for line in lines)
    assert [state.status for state in engine.batches] == ["completed"]


def test_requests_that_come_together_are_gathered(server: BatchServer) -> None:
    """Whoever comes within the linger is in; nobody has to say when it is enough."""
    engine = engine_at(server, linger=0.2)
    futures = [engine.submit(ask(str(i))) for i in range(20)]
    assert texts([future.result(10) for future in futures]) == [f"echo: {i}" for i in range(20)]
    assert len(server.batches) == 1
    engine.close()


def test_a_batch_keeps_to_its_sizes(server: BatchServer) -> None:
    """By lines and by bytes; what is over is a batch of its own."""
    engine = engine_at(server, max_lines=3)
    engine.complete_many([ask(str(i)) for i in range(8)])
    assert sorted(len(server.lines(batch)) for batch in server.batches.values()) == [2, 3, 3]  # made side by side
    engine.close()
    engine = engine_at(server, max_bytes=2000)
    engine.complete_many([ask("x" * 500) for _ in range(5)])
    sizes = [len(server.files[batch.file]) for batch in list(server.batches.values())[3:]]
    assert len(sizes) == 3
    assert max(sizes) <= 2000
    with pytest.raises(EngineRefused, match="at most 2000 bytes"):
        engine.complete(ask("x" * 3000))
    engine.close()


def test_equal_requests_are_lines_of_their_own(server: BatchServer, engine: BatchEngine) -> None:
    """Two samples were asked for: two are paid for and given."""
    engine.complete_many([ask("same"), ask("same"), ask("other")])
    assert server.answered == {"same": 2, "other": 1}
    engine.complete(ask("same"))
    assert server.answered["same"] == 3


def test_a_line_that_the_endpoint_refuses_fails_alone(server: BatchServer, engine: BatchEngine) -> None:
    """With the endpoint's words, and not sent again."""
    server.failing["bad"].append((400, {"error": {"message": "too rude"}}))
    first, bad, last = engine.complete_many([ask("a"), ask("bad"), ask("b")])
    assert isinstance(bad, EngineRefused)
    assert "too rude" in str(bad)
    assert texts([first, last]) == ["echo: a", "echo: b"]
    assert len(server.batches) == 1


def test_a_line_that_failed_by_chance_is_sent_again(server: BatchServer, engine: BatchEngine) -> None:
    """In a further batch, alone; its neighbours are not paid for twice."""
    server.failing["late"].append((500, {"error": {"message": "boom"}}))
    assert texts(engine.complete_many([ask("a"), ask("late"), ask("b")])) == ["echo: a", "echo: late", "echo: b"]
    assert [len(server.lines(batch)) for batch in server.batches.values()] == [3, 1]
    assert set(server.answered.values()) == {1}


def test_a_line_that_always_fails_is_given_up(server: BatchServer, engine: BatchEngine) -> None:
    """After so many batches it is an outage, never text."""
    server.failing["never"].extend([(503, {"error": {"message": "boom"}})] * 3)
    answers = engine.complete_many([ask("a"), ask("never")])
    assert isinstance(answers[1], EngineBusy)
    assert "boom" in str(answers[1])
    assert len(server.batches) == 3


def test_an_answer_that_cannot_be_used_was_paid_for(server: BatchServer, engine: BatchEngine) -> None:
    """The answer that came in its place says so."""
    server.failing["half"].append((200, {"choices": []}))
    assert engine.complete(ask("half")).provider_data["unanswered_tries"] == 1


def test_an_expired_batch_gives_what_it_has(server: BatchServer, engine: BatchEngine) -> None:
    """The lines that are there are answers; the others go into a further batch."""
    server.ends.append("expired")
    server.done = 6
    assert texts(engine.complete_many([ask(str(i)) for i in range(10)])) == [f"echo: {i}" for i in range(10)]
    assert [len(server.lines(batch)) for batch in server.batches.values()] == [10, 4]
    assert set(server.answered.values()) == {1}


def test_lines_that_no_file_speaks_of_are_sent_again(server: BatchServer, engine: BatchEngine) -> None:
    """A batch may end with holes."""
    server.dropped.add("gap")
    pending = engine.submit(ask("gap"))
    while len(server.batches) < 2:
        assert not pending.done()
    server.dropped.clear()
    assert pending.result(10).text == "echo: gap"


def test_a_cancelled_batch_is_not_made_again(server: BatchServer, engine: BatchEngine) -> None:
    """Somebody wanted it so. What was answered before is kept."""
    server.ends.append("cancelled")
    server.done = 2
    answers = engine.complete_many([ask(str(i)) for i in range(4)])
    assert texts(answers[:2]) == ["echo: 0", "echo: 1"]
    assert all(isinstance(answer, EngineBusy) and "cancelled" in str(answer) for answer in answers[2:])
    assert len(server.batches) == 1


def test_a_failed_validation_names_the_lines_and_sends_the_others(server: BatchServer, engine: BatchEngine) -> None:
    """Nothing was asked or paid: those that are not to blame go again without the others."""
    server.broken.add("wrong")
    first, wrong, last = engine.complete_many([ask("a"), ask("wrong"), ask("b")])
    assert isinstance(wrong, EngineRefused)
    assert "invalid_request: that line is wrong" in str(wrong)
    assert texts([first, last]) == ["echo: a", "echo: b"]
    assert server.answered == {"a": 1, "b": 1}


@pytest.mark.parametrize(("code", "kind"), [("empty_file", EngineRefused), ("token_limit_exceeded", EngineBusy)])
def test_a_validation_that_blames_no_line_fails_all(
    server: BatchServer, engine: BatchEngine, code: str, kind: type[Exception]
) -> None:
    """A full queue over there is worth another try later; a file that is refused is not."""
    server.general = {"code": code, "message": "it cannot be", "line": None}
    answers = engine.complete_many([ask("a"), ask("b")])
    assert [type(answer) for answer in answers] == [kind, kind]
    assert f"{code}: it cannot be" in str(answers[0])
    server.general = None
    assert engine.complete(ask("a")).text == "echo: a"


@pytest.mark.parametrize(
    "where", ["POST /v1/files", "POST /v1/batches", "GET /v1/batches/{batch}", "GET /v1/files/{file}/content"]
)
@pytest.mark.parametrize("fault", [500, 429, "drop"])
def test_faults_on_the_way_are_put_up_with(server: BatchServer, where: str, fault: int | str) -> None:
    """And no batch is made, or paid for, twice: not even if the reply to making it is lost."""
    engine = engine_at(server)
    engine._desk._api._backoff = type(engine._desk._api._backoff)(base=0.001)
    engine._desk._watcher._backoff = engine._desk._api._backoff
    server.faults["POST /v1/files"].append(500)  # something answered once: from here on it is tried again
    server.faults[where].extend([fault, fault])
    assert engine.complete(ask("hi")).text == "echo: hi"
    assert len(server.batches) == 1
    assert server.answered == {"hi": 1}
    engine.close()


def test_an_endpoint_that_is_gone_while_a_batch_runs(server: BatchServer) -> None:
    """After patience its rows fail, the batch goes on, and whoever asks again has its answer."""
    engine = engine_at(server, patience=0.1)
    server.faults["GET /v1/batches/{batch}"].extend([500] * 40)
    with pytest.raises(EngineBusy, match="got 500") as caught:
        engine.complete(ask("hi"))
    assert any("batch_1 goes on" in note for note in caught.value.__notes__)
    server.faults.clear()
    assert engine.complete(ask("hi")).text == "echo: hi"
    assert len(server.batches) == 1
    engine.close()


def test_a_wrong_key_is_refused_without_showing_it(server: BatchServer) -> None:
    """Nothing is uploaded."""
    server.key = "the right one"
    engine = engine_at(server, api_key=SECRET)
    with pytest.raises(EngineRefused, match="must accept the key") as caught:
        engine.complete(ask("hi"))
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(engine)
    assert server.files == {}
    engine.close()


def test_another_model_in_the_answers_is_refused(server: BatchServer, engine: BatchEngine) -> None:
    """As from the live endpoint."""
    engine.complete(ask("hi"))
    server.name = "tiny-2027"
    with pytest.raises(EngineRefused, match="'tiny-2026', got an answer of 'tiny-2027'"):
        engine.complete(ask("ho"))


def test_nobody_there_is_said_at_once() -> None:
    """Not after all the tries."""
    engine = BatchEngine(HttpEngine("http://127.0.0.1:9/v1", "tiny"), linger=0.0)
    with pytest.raises(EngineBusy, match="got no connection"):
        engine.complete(ask("hi"))
    engine.close()


def test_close_leaves_no_thread_and_lets_go_of_those_who_wait(server: BatchServer) -> None:
    """Batches go on without us."""
    server.looks = 10**6
    engine = engine_at(server)
    waiting = engine.submit(ask("hi"))
    while not server.batches:
        pass
    engine.close()
    with pytest.raises(CancelledError):
        waiting.result(10)
    with pytest.raises(EngineRefused, match="closed"):
        engine.complete(ask("hi"))
    assert not [thread for thread in threading.enumerate() if thread.name == "stillroom-batch"]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_lines": 0}, "max_lines"),
        ({"max_lines": 50_001}, "max_lines"),
        ({"max_bytes": 10**9}, "max_bytes"),
        ({"linger": -1}, "linger"),
        ({"poll": -1}, "poll"),
        ({"retries": -1}, "retries"),
        ({"path": "chat/completions"}, "path"),
    ],
)
def test_bad_settings_fail_before_anything_is_sent(settings: dict[str, Any], match: str) -> None:
    """At construction."""
    with pytest.raises(BadConfig, match=match):
        BatchEngine(HttpEngine("http://127.0.0.1:9/v1", "tiny"), **settings)


@pytest.mark.parametrize("spec", ["batch+https://host/v1#tiny", "batch+https/host/tiny@live"])
def test_it_is_opened_by_name(spec: str) -> None:
    """Settings go to the batch, or to the endpoint behind it."""
    engine = open_engine(spec, api_key=SECRET, linger=0.5, licence="MIT", serves=["tiny"])
    assert isinstance(engine, BatchEngine)
    assert engine.model == "batch+https/host/tiny@live"
    assert engine.licence == "MIT"
    engine.close()
    with pytest.raises(BadConfig, match="takes no temperature"):
        open_engine(spec, temperature=1.0)
    with pytest.raises(BadConfig, match="batch must be of an http endpoint"):
        open_engine("batch+local/smollm2-135m")


def test_check_is_free(endpoint: Any) -> None:
    """It lists the models, and makes no batch."""
    engine = BatchEngine(HttpEngine(endpoint.url, "tiny"))
    assert engine.check() == ("tiny",)
    engine.close()


def test_without_a_folder_nothing_is_left_behind(server: BatchServer) -> None:
    """Notes are temporary, and the lines that were uploaded are removed."""
    engine = engine_at(server)
    engine.complete(ask("hi"))
    folder = engine._notes.folder
    assert [path.suffix for path in Path(folder).iterdir()] == [".json"]
    engine.close()
    assert not Path(folder).exists()
