"""Engines on many machines: who gets what, and what becomes of it when machines come and go. No Ray is needed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from contracts.engine_contract import ask
from dspy.lm15 import Message
from fake_ray import NODE
from ray_world import Charged, Scripted, echo, on, until

from stillroom.engines import Engine, ScriptedEngine, open_session
from stillroom.engines.ray import _pool
from stillroom.errors import BadConfig, EngineBusy, ModelMissing
from stillroom.store import Store


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
