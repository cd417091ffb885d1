"""What crosses between an engine here and the engines on many machines: requests, answers, scores, errors, and the end."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import Config, FunctionTool, Message, Request, Response, TokenLogprob, Usage
from fake_ray import NODE
from ray_world import Scripted, echo, until

from stillroom.engines import Score, ScriptedEngine, open_engine
from stillroom.engines.http import Unanswered
from stillroom.engines.ray import RayEngine
from stillroom.engines.ray._mail import failure, raised, read, write
from stillroom.errors import BadConfig, BadData, BudgetExceeded, EngineBusy, EngineError, EngineRefused, ModelMissing


class TestLaws(EngineContract):
    """What holds of every engine holds of one on several machines."""

    @pytest.fixture
    def engine(self, opened) -> RayEngine:
        return opened(lambda: ScriptedEngine(echo))

    @pytest.fixture
    def refused(self):
        return ask("nonsense")


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
