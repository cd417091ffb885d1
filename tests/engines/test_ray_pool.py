"""Engines on many machines: who gets what, and what becomes of it when machines come and go. No Ray is needed."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Config, FunctionTool, Message, Request, Response, TokenLogprob, Usage
from fake_ray import NODE, FakeCluster

from stillroom.engines import Engine, Score, ScriptedEngine, open_engine, open_session
from stillroom.engines.http import Unanswered
from stillroom.engines.ray import RayEngine, _pool
from stillroom.engines.ray import engine as ray_engine
from stillroom.engines.ray._mail import failure, raised, read, write
from stillroom.errors import BadConfig, BadData, BudgetExceeded, EngineBusy, EngineError, EngineRefused, ModelMissing
from stillroom.store import Store


class Scripted(ScriptedEngine):
    """On one machine: answers when it is let, and notes what it was asked and what was cancelled."""

    asked: Counter[tuple[str, str]] = Counter()
    answered: Counter[tuple[str, str]] = Counter()
    cancelled: list[str] = []
    gate = threading.Event()
    deadly: str = ""
    cluster: FakeCluster

    def __init__(self, **settings: Any) -> None:
        super().__init__(lambda request: f"so {request.messages[-1].text}", **{"max_concurrency": 4, **settings})
        self.node = NODE.get()

    async def acomplete(self, request: Any) -> Response:
        text = request.messages[-1].text
        self.asked[self.node, text] += 1
        if text == self.deadly:
            await asyncio.to_thread(self.cluster.fall, self.node)
        try:
            while not self.gate.is_set():
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.cancelled.append(text)
            raise
        self.answered[self.node, text] += 1
        return await super().acomplete(request)

    def check(self) -> list[str]:
        if self.node == self.deadly:
            raise EngineBusy("nothing answers", mend="Start it.", retry_after=3.0)
        return ["tiny"]

    def count(self, node: str) -> int:
        return sum(count for (name, _), count in self.asked.items() if name == node)


class Charged(Scripted):
    """An engine whose unseen answers may be billed."""

    charges_unanswered = True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Two machines, `a` and `b`."""
    made = FakeCluster("a", "b")
    monkeypatch.setattr(ray_engine, "join", lambda where: made)
    monkeypatch.setattr(_pool, "LOOK", 0.01)
    monkeypatch.setattr(_pool, "GRACE", 5.0)
    for name, value in {
        "asked": Counter(),
        "answered": Counter(),
        "cancelled": [],
        "deadly": "",
        "cluster": made,
    }.items():
        monkeypatch.setattr(Scripted, name, value, raising=False)
    monkeypatch.setattr(Scripted, "gate", threading.Event())
    Scripted.gate.set()
    yield made
    made.close()


@pytest.fixture
def opened(cluster: FakeCluster) -> Iterator[Callable[..., RayEngine]]:
    """Open an engine on the machines; it is closed at the end."""
    engines = []

    def make(opener: Callable[[], Engine] = Scripted, **settings: Any) -> RayEngine:
        engines.append(RayEngine(opener, "fake", **{"patience": 60.0, **settings}))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def until(true: Callable[[], Any]) -> None:
    """Wait for what must come; a minute is for ever."""
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def on(node: str) -> list[str]:
    """What was asked on a machine."""
    return [text for name, text in Scripted.asked if name == node]


class TestLaws(EngineContract):
    """What holds of every engine holds of one on several machines."""

    @pytest.fixture
    def engine(self, opened) -> RayEngine:
        return opened(lambda: ScriptedEngine(echo))

    @pytest.fixture
    def refused(self):
        return ask("nonsense")


def echo(request: Any) -> str | Exception:
    """Say what was said, but for nonsense."""
    text = request.messages[-1].text
    return EngineRefused("no nonsense") if text == "nonsense" else f"so {text}"


def test_what_it_says_of_itself_is_what_the_engine_there_says(opened):
    """Model, licence and abilities are the inner one's; room is that of all machines together."""
    engine = opened(lambda: Charged(supports_regex=True, version="7"))
    inner = ScriptedEngine([], version="7")
    assert (engine.model, engine.licence) == (inner.model, inner.licence)
    assert (engine.copies, engine.max_concurrency) == (2, 8)
    assert engine.supports_regex
    assert engine.charges_unanswered
    assert engine.supported_params == inner.supported_params


def test_every_machine_gets_its_share(opened):
    """The machine with the least to do is asked next."""
    engine = opened()
    Scripted.gate.clear()
    futures = [engine.submit(ask(f"{number}")) for number in range(10)]
    until(lambda: len(Scripted.asked) == 10)
    assert (len(on("a")), len(on("b"))) == (5, 5)
    Scripted.gate.set()
    assert [future.result(60).text for future in futures] == [f"so {number}" for number in range(10)]


def test_very_many_at_once_go_in_several_mails(opened):
    """Nothing is too much for a message, and nothing is left behind."""
    engine = opened(lambda: ScriptedEngine(echo))
    answers = engine.complete_many([ask(f"{number}") for number in range(3000)])
    assert [answer.text for answer in answers] == [f"so {number}" for number in range(3000)]


def test_requests_that_share_their_beginning_go_to_one_machine(opened):
    """Groups of sixteen rows with the same demos: each is read on one machine, and both have the same to do."""
    engine = opened(lambda: Scripted(max_concurrency=64))
    Scripted.gate.clear()
    futures = []
    for number in range(128):
        shown = (Message.user(f"demo {number // 16}"), Message.assistant("so"))
        request = ask(f"{number // 16}.{number}")
        futures.append(engine.submit(replace(request, messages=(*shown, *request.messages))))
    until(lambda: len(Scripted.asked) == 128)
    Scripted.gate.set()
    assert len([future.result(60) for future in futures]) == 128
    groups = {(node, text.partition(".")[0]) for node, text in Scripted.asked}
    assert len(groups) == 9  # the first has found both idle
    assert abs(len(on("a")) - len(on("b"))) <= 16


@pytest.mark.parametrize(("opener", "tries"), [(Scripted, None), (Charged, 1)])
def test_what_was_under_way_on_a_lost_machine_is_asked_again(cluster, opened, caplog, opener, tries):
    """Every answer comes once; what may have been charged unseen is told, for the bill."""
    engine = opened(opener)
    Scripted.gate.clear()
    futures = [engine.submit(ask(f"{number}")) for number in range(10)]
    until(lambda: len(Scripted.asked) == 10)
    lost = set(on("b"))
    with caplog.at_level(logging.WARNING, "stillroom"):
        cluster.kill("b")
        until(lambda: lost <= set(on("a")))
    Scripted.gate.set()
    answers = [future.result(60) for future in futures]
    assert [answer.text for answer in answers] == [f"so {number}" for number in range(10)]
    told = {number: (answer.provider_data or {}).get("unanswered_tries") for number, answer in enumerate(answers)}
    assert {str(number) for number, count in told.items() if count == tries} >= lost
    assert all(count is None for number, count in told.items() if str(number) not in lost)
    assert f"b of the Ray cluster was lost; {len(lost)} requests under way there are asked again" in caplog.text


def test_what_may_have_been_charged_on_a_lost_machine_is_on_the_bill(cluster, opened, tmp_path: Path):
    """As lost calls at their worst case, beside the one that was answered; in the store and in the ledger."""
    engine = opened(Charged)
    Scripted.gate.clear()

    async def work(metered: Engine) -> None:
        waiting = [asyncio.ensure_future(metered.acomplete(ask(f"{number}"))) for number in range(6)]
        while len(Scripted.asked) < 6:
            await asyncio.sleep(0.002)
        await asyncio.to_thread(cluster.kill, "b")
        Scripted.gate.set()
        await asyncio.gather(*waiting)

    with open_session(engine, tmp_path, "emit", {}) as session:
        asyncio.run(work(session.engine))
        assert session.ledger.spent.calls == 6 + 3
    with Store(tmp_path) as store:
        assert store.call_counts() == {"done": 6, "lost": 3, "twice": 0}
        assert store.spent("emit").calls == 6 + 3


def test_what_was_answered_is_not_asked_again(cluster, opened):
    """A machine that dies with nothing under way costs nothing."""
    engine = opened()
    before = [engine.complete(ask(f"{number}")).text for number in range(6)]
    cluster.kill("a")
    assert engine.complete(ask("last")).text == "so last"
    assert before == [f"so {number}" for number in range(6)]
    assert set(Scripted.asked.values()) == {1}


def test_a_request_that_ends_machines_is_given_up(opened):
    """After the third it fails alone, with its tries for the bill; workers begin again where machines stand."""
    Scripted.deadly = "poison"
    engine = opened(Charged)
    assert engine.complete(ask("fine")).text == "so fine"
    with pytest.raises(EngineBusy, match="3 machines were lost while they worked on the request") as failed:
        engine.complete(ask("poison"))
    assert failed.value.unanswered_tries == 3
    assert sum(count for (_, text), count in Scripted.asked.items() if text == "poison") == 3
    assert engine.complete(ask("fine again")).text == "so fine again"


def test_a_machine_whose_workers_fall_is_left_out(cluster, opened, caplog):
    """Three workers that fell without an answer; the others do the work."""
    engine = opened()
    with caplog.at_level(logging.WARNING, "stillroom"):
        for count in range(3):
            until(lambda count=count: len(engine._pool._seats) == 2 and engine._pool._falls["b"] == count)
            cluster.fall("b")
            until(lambda count=count: engine._pool._falls["b"] == count + 1)
    assert "b of the Ray cluster is left out: b died" in caplog.text
    assert {engine.complete(ask(f"{number}")).text for number in range(4)} == {f"so {number}" for number in range(4)}
    assert len(on("a")) == 4


def test_a_machine_that_joins_gets_its_share(cluster, opened):
    """The pool follows the cluster."""
    engine = opened()
    cluster.add("c")
    until(lambda: len(engine._pool._seats) == 3)
    Scripted.gate.clear()
    futures = [engine.submit(ask(f"{number}")) for number in range(9)]
    until(lambda: len(Scripted.asked) == 9)
    Scripted.gate.set()
    assert len([future.result(60) for future in futures]) == 9
    assert len(on("c")) == 3


def test_requests_wait_for_a_machine_when_there_is_none(cluster, opened):
    """Whoever is asked while all are gone waits for the next to come."""
    engine = opened()
    cluster.kill("a")
    cluster.kill("b")
    until(lambda: not engine._pool._seats)
    waiting = engine.submit(ask("patient"))
    cluster.add("c")
    assert waiting.result(60).text == "so patient"
    assert on("c") == ["patient"]


def test_without_a_machine_for_too_long_requests_fail(cluster, opened):
    """As an outage, which is no score."""
    engine = opened(patience=0.05)
    cluster.kill("a")
    cluster.kill("b")
    with pytest.raises(EngineBusy, match="no machine of the Ray cluster is left"):
        engine.complete(ask("late"))


def test_machines_with_different_models_are_an_error_before_anything_is_asked(cluster, opened):
    """Answers of two models are never mixed; what was begun is ended again."""
    with pytest.raises(BadConfig, match=r"must have the same model, got scripted/scripted@\w+ on [ab], scripted/"):
        opened(lambda: Scripted(version=NODE.get()))
    assert not Scripted.asked
    assert not any(actor.alive for actor in cluster.actors)
    assert cluster.left == 1


def test_a_machine_that_joins_with_another_model_is_left_out(cluster, opened, caplog):
    """The run goes on with the others."""
    engine = opened(lambda: Scripted(version="other" if NODE.get() == "c" else "0"))
    with caplog.at_level(logging.WARNING, "stillroom"):
        cluster.add("c")
        until(lambda: "c of the Ray cluster is left out: the model must be scripted/" in caplog.text)
    assert len([engine.complete(ask(f"{number}")) for number in range(6)]) == 6
    assert not on("c")


def test_an_engine_that_cannot_be_opened_somewhere_is_told_with_its_machine(cluster, opened):
    """Model files and keys are those of each machine."""

    def opener() -> Engine:
        if NODE.get() == "b":
            raise ModelMissing("the model 'tiny' is not here", mend="Run: stillroom models pull tiny")
        return Scripted()

    with pytest.raises(ModelMissing, match="on b: the model 'tiny' is not here") as failed:
        opened(opener)
    assert failed.value.mend == "Run: stillroom models pull tiny"
    assert cluster.left == 1


def test_a_machine_that_dies_while_it_is_opened_is_none(cluster, opened):
    """The others are opened; only what fails on a machine that stands is a failure."""

    def opener() -> Engine:
        if NODE.get() == "b":
            cluster.kill("b")
        return Scripted()

    engine = opened(opener)
    assert engine.copies == 1
    assert engine.complete(ask("first")).text == "so first"


def test_a_cluster_without_processors_is_told(cluster, opened):
    """Nothing waits for ever."""
    cluster.busy |= {"a", "b"}
    with pytest.raises(EngineBusy, match="must have a processor free, got none within 0 s"):
        opened(patience=0.05)
    cluster.busy.clear()


def test_a_busy_machine_does_not_hold_up_the_others(cluster, opened, monkeypatch):
    """It joins when it is free."""
    monkeypatch.setattr(_pool, "GRACE", 0.05)
    cluster.busy.add("b")
    engine = opened()
    assert engine.copies == 1
    assert engine.complete(ask("first")).text == "so first"
    cluster.busy.clear()
    until(lambda: len(engine._pool._seats) == 2)
    Scripted.gate.clear()
    futures = [engine.submit(ask(f"{number}")) for number in range(4)]
    until(lambda: len(Scripted.asked) == 5)
    Scripted.gate.set()
    assert len([future.result(60) for future in futures]) == 4
    assert len(on("b")) == 2


def test_a_cancelled_request_is_cancelled_there(opened):
    """Its neighbour is not."""
    engine = opened()
    Scripted.gate.clear()

    async def work() -> str | None:
        kept, dropped = (asyncio.ensure_future(engine.acomplete(ask(text))) for text in ("kept", "dropped"))
        while len(Scripted.asked) < 2:
            await asyncio.sleep(0.002)
        dropped.cancel()
        while not Scripted.cancelled:
            await asyncio.sleep(0.002)
        Scripted.gate.set()
        return (await kept).text

    assert asyncio.run(work()) == "so kept"
    assert Scripted.cancelled == ["dropped"]


def test_a_failure_is_the_same_failure_here(opened):
    """With how to mend it, when to come back, and what may be on the bill."""
    busy = EngineBusy("too many requests", mend="Wait.", retry_after=7.5)
    busy.unanswered_tries = 2
    engine = opened(lambda: Scripted(fail=lambda request: busy))
    with pytest.raises(EngineBusy, match="too many requests") as failed:
        engine.complete(ask("anything"))
    assert (failed.value.mend, failed.value.retry_after, failed.value.unanswered_tries) == ("Wait.", 7.5, 2)


def test_requests_and_answers_cross_unchanged(opened):
    """Schemas, tools, seeds and constraints out; log-probabilities, notes of the endpoint and half a letter back."""
    schema = {"type": "object", "properties": {"topic": {"type": "string", "enum": ["a", "b"]}}}
    config: dict[str, Any] = {"temperature": 0.7, "max_tokens": 9, "seed": 2**62 + 1, "stop": ("\n",), "logprobs": 1}
    asked = Request(
        model="any",
        system="Be kind.",
        messages=(Message.user("one \ud83d"), Message.assistant("two"), Message.user("three")),
        tools=(FunctionTool(name="look", parameters=schema),),
        config=Config(
            **config, response_format={"type": "json_schema", "schema": schema}, extensions={"regex": "[ab]+"}
        ),
    )
    given = Response(
        id="r1",
        model="scripted/scripted@5feceb66ffc8",
        message=Message.assistant("vier \ud83d \u2028"),
        finish_reason="length",
        usage=Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1),
        logprobs=(TokenLogprob("vier", -0.25, bytes=(118, 105), token_id=7),),
        provider_data={"model": "tiny-1", "system_fingerprint": "fp", "unanswered_tries": 1},
    )
    seen: list[Request] = []
    engine = opened(lambda: ScriptedEngine(lambda request: seen.append(request) or given))
    assert engine.complete(asked) == given
    assert seen == [asked]


@pytest.mark.parametrize(
    "error", [BadData("rows", ["one"]), BudgetExceeded("full"), EngineRefused("no"), ModelMissing("gone")]
)
def test_errors_cross_as_what_they_are(error: Exception):
    """By name and message, never as code."""
    back = raised(read(write(failure(error))))
    assert (type(back), str(back)) == (type(error), str(error))


def test_an_error_of_an_engine_crosses_as_the_public_one_that_it_is():
    """A user catches `EngineBusy`, not what an engine has made of it for itself."""
    assert type(raised(failure(Unanswered("cut off")))) is EngineBusy


def test_an_error_that_is_not_ours_crosses_as_its_message():
    """A bug there stops the run here, as it does in one process."""
    back = raised(read(write(failure(KeyError("x")))), "a")
    assert isinstance(back, RuntimeError)
    assert str(back) == "KeyError: on a: 'x'"


def test_every_machine_is_checked(opened):
    """An endpoint may be reached from one and not from another."""
    assert opened().check() == {"a": ["tiny"], "b": ["tiny"]}
    Scripted.deadly = "b"
    with pytest.raises(EngineBusy, match="on b: nothing answers"):
        opened().check()


def scoring(request: Any, continuations: Any) -> list[Score]:
    return [Score(text, -float(request.messages[-1].text), 1) for text in continuations]


def test_scores_come_in_their_order_from_all_machines(opened):
    """Each machine scores its share."""
    engine = opened(lambda: Scripted(score=scoring))
    found = engine.score_many([ask(f"{number}") for number in range(7)], ["yes", "no"])
    assert found == [[Score("yes", -float(number), 1), Score("no", -float(number), 1)] for number in range(7)]
    assert engine.score(ask("5"), ["yes"]) == [Score("yes", -5.0, 1)]


def test_scores_that_an_engine_does_not_have_are_not_asked_for(opened):
    """As in one process."""
    with pytest.raises(NotImplementedError, match="cannot score"):
        opened().score(ask("1"), ["yes"])


def versioned() -> ScriptedEngine:
    """An engine whose answers tell a model of their own on each machine."""
    model, plain = f"tiny-{NODE.get()}", ScriptedEngine(lambda request: "hello")
    say = lambda request: replace(plain.complete(request), provider_data={"model": model})  # noqa: E731
    return ScriptedEngine(say, latency=0.05)


def test_machines_that_are_answered_by_different_models_are_refused(opened):
    """One endpoint, one model, wherever it is asked from; nothing more is sent after that."""
    engine = opened(versioned, serves=())
    outcomes = engine.complete_many([ask(f"{number}") for number in range(2)])
    assert sorted(type(each).__name__ for each in outcomes) == ["EngineRefused", "Response"]
    with pytest.raises(EngineRefused, match=r"must go on serving 'tiny-[ab]', got an answer of 'tiny-[ab]'"):
        engine.complete(ask("more"))


def test_models_that_were_declared_the_same_are_taken(opened):
    """`serves` counts for all machines."""
    engine = opened(versioned, serves=("tiny-*",))
    assert {each.text for each in engine.complete_many([ask(f"{number}") for number in range(6)])} == {"hello"}


def test_closing_fails_what_is_under_way_and_leaves_the_cluster(cluster, opened):
    """Nobody waits for ever, and no worker stays."""
    engine = opened()
    Scripted.gate.clear()
    futures: list[Future[Response]] = [engine.submit(ask(f"{number}")) for number in range(5)]
    until(lambda: len(Scripted.asked) == 5)
    engine.close()
    for future in futures:
        with pytest.raises(EngineError, match="closed"):
            future.result(60)
    assert not any(actor.alive for actor in cluster.actors)
    assert cluster.left == 1
    with pytest.raises(EngineRefused, match="a closed engine cannot be used again"):
        engine.complete(ask("more"))


def test_tokens_are_counted_from_above(opened):
    """Whatever the tokenizer there makes of it, no token is less than a byte."""
    engine = opened()
    request = ask("ein kleines Wort für große Dinge " * 20)
    assert engine.count_tokens(request) >= len((request.messages[-1].text or "").encode())


@pytest.mark.parametrize("where", ["", "ray:", "ray://host", "host", "http://host:1", "host:port", "ray://a b:1"])
def test_an_address_that_cannot_be_one_is_told_at_once(where: str):
    """Before Ray is even loaded."""
    with pytest.raises(BadConfig, match="a Ray cluster must be an address"):
        open_engine("local/smollm2-135m", on=where)


def test_what_cannot_be_kept_on_many_machines_is_refused():
    """A rate, and a batch that the endpoint works on by itself."""
    with pytest.raises(BadConfig, match="several machines cannot keep to one rate, got requests_per_minute"):
        open_engine("http://127.0.0.1:1/v1#tiny", on="ray", requests_per_minute=5)
    with pytest.raises(BadConfig, match="a batch is worked on at the endpoint"):
        open_engine("batch+http://127.0.0.1:1/v1#tiny", on="ray")
