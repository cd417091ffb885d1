"""The awaited face of a metered engine: on the caller's loop, sharing calls, giving up cleanly, never over budget."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from dspy.lm15 import Config, Message, Request, Response, Usage

from stillroom.engines import Engine, Metered, ScriptedEngine
from stillroom.errors import BudgetExceeded, EngineBusy, EngineError, RunReadOnly
from stillroom.ledger import Budget, Ledger
from stillroom.store import Store


def ask(text: str, max_tokens: int = 10) -> Request:
    return Request(model="any", messages=(Message.user(text),), config=Config(max_tokens=max_tokens))


class Native(Engine):
    """Answers on the caller's loop, when the gate is open."""

    model = "scripted/native@000000000000"
    charges_unanswered = False

    def __init__(self, *, wait: float = 0.0, charged: bool = False) -> None:
        self.wait, self.charges_unanswered = wait, charged
        self.threads: set[int] = set()
        self.asked: list[str] = []
        self.cancelled = 0
        self.fail: Exception | None = None

    def submit(self, request):
        raise AssertionError("an awaited call must not be submitted to a thread")

    async def acomplete(self, request):
        self.threads.add(threading.get_ident())
        self.asked.append(request.messages[-1].text)
        try:
            await asyncio.sleep(self.wait)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fail is not None:
            raise self.fail
        said = Message.assistant(f"you said {self.asked[-1]}")
        return Response(
            id=None,
            model=self.model,
            message=said,
            finish_reason="stop",
            usage=Usage(input_tokens=3, output_tokens=4),
        )


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path) as store:
        store.claim("test", {})
        yield store


def metered(store: Store, inner: Engine, **limits) -> Metered:
    return Metered(inner, Ledger(Budget(**limits)), store, "test")


def test_the_call_runs_on_the_callers_loop(store: Store):
    """No thread in between, also for a second loop of the same program."""
    inner = Native()
    engine = metered(store, inner)

    async def some(first: int):
        await asyncio.gather(*(engine.acomplete(ask(f"row {number}")) for number in range(first, first + 20)))

    asyncio.run(some(0))
    asyncio.run(some(10))
    assert inner.threads == {threading.get_ident()}
    assert len(inner.asked) == 30 == engine.ledger.spent.calls
    assert store.call_counts() == {"done": 30, "twice": 0}


def test_equal_requests_under_way_are_one_call_whoever_asks(store: Store):
    """Awaited on two loops and submitted from a thread, by two engines of one model on one store."""
    inner = ScriptedEngine(lambda request: "ok", latency=0.2)
    first, second = metered(store, inner), metered(store, inner)
    answers: list[str] = []

    async def several(engine: Metered):
        got = await asyncio.gather(*(engine.acomplete(ask("same")) for _ in range(10)))
        answers.extend(each.text for each in got)

    threads = [
        threading.Thread(target=lambda: asyncio.run(several(first))),
        threading.Thread(target=lambda: asyncio.run(several(second))),
        threading.Thread(target=lambda: answers.append(second.complete(ask("same")).text)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["ok"] * 21
    assert inner.served == 1
    assert store.under_way == {}
    inner.close()


def test_a_seed_keeps_samples_apart(store: Store):
    """Ten seeds are ten calls, however equal the rest."""
    inner = Native(wait=0.01)
    engine = metered(store, inner)
    requests = [
        Request(model="any", messages=(Message.user("x"),), config=Config(max_tokens=5, seed=seed))
        for seed in range(10)
    ]

    async def all_of_them():
        await asyncio.gather(*(engine.acomplete(request) for request in requests * 2))

    asyncio.run(all_of_them())
    assert len(inner.asked) == 10


def test_who_follows_a_cancelled_call_asks_again(store: Store):
    """Cancelling the first caller cancels the call, frees its reservation, and costs the others nothing but time."""
    inner = Native(wait=0.05)
    engine = metered(store, inner, calls=1)

    async def leader_gives_up():
        leader = asyncio.create_task(engine.acomplete(ask("x")))
        await asyncio.sleep(0.01)
        follower = asyncio.create_task(engine.acomplete(ask("x")))
        await asyncio.sleep(0.01)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        return await follower

    assert asyncio.run(leader_gives_up()).text == "you said x"
    assert (inner.asked, inner.cancelled) == (["x", "x"], 1)
    assert engine.ledger.spent.calls == 1
    assert store.call_counts() == {"done": 1, "twice": 0}


def test_cancelling_a_follower_leaves_the_call_alone(store: Store):
    """The first caller gets the answer."""
    inner = Native(wait=0.05)
    engine = metered(store, inner)

    async def follower_gives_up():
        leader = asyncio.create_task(engine.acomplete(ask("x")))
        await asyncio.sleep(0.01)
        follower = asyncio.create_task(engine.acomplete(ask("x")))
        await asyncio.sleep(0.01)
        follower.cancel()
        return await leader

    assert asyncio.run(follower_gives_up()).text == "you said x"
    assert inner.cancelled == 0


def test_a_cancelled_call_that_may_be_charged_stays_on_the_bill(store: Store):
    """At its worst case, in the ledger and in the store."""
    inner = Native(wait=5, charged=True)
    engine = metered(store, inner, tokens=10_000)

    async def give_up():
        await asyncio.wait_for(engine.acomplete(ask("x", max_tokens=50)), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert engine.ledger.spent.calls == 1 == store.spent("test").calls
    assert engine.ledger.spent.tokens == store.spent("test").tokens >= 50
    assert store.call_counts() == {"lost": 1, "twice": 0}


def test_an_outage_is_free_and_followers_hear_of_it(store: Store):
    """The next caller tries again."""
    inner = Native(wait=0.01, charged=True)
    inner.fail = EngineBusy("down")
    engine = metered(store, inner, calls=1)

    async def two():
        return await asyncio.gather(*(engine.acomplete(ask("x")) for _ in range(2)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(two())] == ["down", "down"]
    assert len(inner.asked) == 1
    assert engine.ledger.spent.calls == 0
    inner.fail = None
    assert asyncio.run(engine.acomplete(ask("x"))).text == "you said x"
    assert store.call_counts() == {"done": 1, "failed": 1, "twice": 0}


def test_awaiting_callers_wait_for_room_in_the_budget(store: Store):
    """Worst cases do not fit side by side, true costs do: every call is made, and the loop is never blocked."""
    inner = Native(wait=0.01)
    engine = metered(store, inner, tokens=20 * 7 + 200)
    beats = 0

    async def beat():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.002)

    async def many():
        heart = asyncio.create_task(beat())
        await asyncio.gather(*(engine.acomplete(ask(f"row {number}", max_tokens=100)) for number in range(20)))
        heart.cancel()

    asyncio.run(many())
    assert engine.ledger.spent.tokens == 20 * 7
    assert beats > 10


def test_awaiting_callers_never_pass_the_budget(store: Store):
    """Those that do not fit are refused, the others are paid for."""
    inner = Native(wait=0.001)
    engine = metered(store, inner, calls=37)

    async def many():
        return await asyncio.gather(
            *(engine.acomplete(ask(f"row {number}")) for number in range(100)), return_exceptions=True
        )

    ended = asyncio.run(many())
    assert sum(isinstance(each, BudgetExceeded) for each in ended) == 63
    assert len(inner.asked) == 37 == engine.ledger.spent.calls


def test_time_ends_an_awaited_call(store: Store):
    """And one that follows."""
    inner = Native(wait=30)
    engine = Metered(inner, Ledger(Budget(minutes=0.002)), store, "test")

    async def two():
        return await asyncio.gather(*(engine.acomplete(ask("x")) for _ in range(2)), return_exceptions=True)

    started = time.monotonic()
    assert all(isinstance(error, BudgetExceeded) and "minutes" in str(error) for error in asyncio.run(two()))
    assert time.monotonic() - started < 20
    assert inner.cancelled == 1


def test_nothing_is_asked_while_nothing_can_be_recorded(store: Store, monkeypatch: pytest.MonkeyPatch):
    """By no face of the engine; what is recorded is still found."""
    inner = ScriptedEngine(lambda request: "ok", score=lambda request, texts: [])
    engine = metered(store, inner)
    engine.complete(ask("known"))
    served = inner.served
    monkeypatch.setattr(store._writer, "_problem", "disk full")
    for refused in (
        lambda: asyncio.run(engine.acomplete(ask("new"))),
        lambda: engine.complete(ask("new")),
        lambda: engine.submit(ask("new")),
        lambda: engine.complete_many([ask("new")]),
        lambda: engine.score_many([ask("new")], ["a"]),
    ):
        with pytest.raises(RunReadOnly, match="must be recorded"):
            refused()
    assert engine.complete(ask("known")).text == "ok"
    assert inner.served == served
    assert store.under_way == {}
    assert engine.ledger.spent.calls == 1


def test_an_answer_with_half_a_surrogate_pair_is_kept(store: Store):
    """It was paid for; it is found again as it came."""
    inner = ScriptedEngine(lambda request: "odd \ud800 text")
    engine = metered(store, inner)
    assert asyncio.run(engine.acomplete(ask("x"))).text == engine.complete(ask("x")).text == "odd \ud800 text"
    store.flush()
    assert engine.complete(ask("x")).text == "odd \ud800 text"
    assert inner.served == 1


def test_an_answer_that_comes_after_the_run_was_closed_is_an_error(tmp_path: Path):
    """Not an answer that nobody will find again."""
    store = Store(tmp_path)
    inner = ScriptedEngine(lambda request: "ok", latency=0.1)
    future = metered(store, inner).submit(ask("x"))
    store.close()
    with pytest.raises(Exception, match="must be open to record"):
        future.result(20)
    inner.close()


def test_who_submitted_behind_a_cancelled_call_is_told(store: Store):
    """A future cannot ask again by itself: it holds an engine's error, and the next caller asks anew."""
    inner = ScriptedEngine(lambda request: "ok", latency=0.1, max_concurrency=1)
    engine = metered(store, inner)
    busy = engine.submit(ask("busy"))
    first, second = engine.submit(ask("x")), engine.submit(ask("x"))
    assert first.cancel()
    with pytest.raises(EngineError, match="the call was cancelled"):
        second.result(20)
    assert busy.result(20).text == engine.complete(ask("x")).text == "ok"
    assert store.under_way == {}
    inner.close()
