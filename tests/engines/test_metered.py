"""The metered engine: everything is recorded, nothing is paid for twice, the budget holds under concurrency."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from dspy.lm15 import Config, Message, Request

from stillroom.engines import Metered, Score, ScriptedEngine, as_lm, call_seconds
from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, EngineError
from stillroom.ledger import Budget, Ledger
from stillroom.store import Store


def request(
    text: str = "hello", seed: int | None = None, max_tokens: int | None = 10, model: str = "scripted/scripted@x"
) -> Request:
    return Request(model=model, messages=(Message.user(text),), config=Config(seed=seed, max_tokens=max_tokens))


def echo(request: Request) -> str:
    return f"you said {request.messages[-1].text}"


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path) as store:
        store.claim("test", {})
        yield store


def metered(store: Store, inner: ScriptedEngine | None = None, **limits) -> Metered:
    return Metered(inner or ScriptedEngine(echo), Ledger(Budget(**limits)), store, "test")


def test_an_equal_request_is_answered_from_the_store(store: Store):
    """The second time costs nothing; another seed is another sample."""
    engine = metered(store)
    first, second = engine.complete(request()), engine.complete(request())
    assert first == second
    assert (engine.inner.served, engine.found, engine.ledger.spent.calls) == (1, 1, 1)
    engine.complete(request(seed=2))
    assert engine.inner.served == 2


def test_equal_requests_under_way_are_one_call(store: Store):
    """Forty callers of one request: one call, forty answers."""
    engine = metered(store, ScriptedEngine(echo, latency=0.1))
    answers = engine.complete_many([request()] * 40)
    assert {answer.message.text for answer in answers} == {"you said hello"}
    assert engine.inner.served == 1


def test_one_failure_does_not_cost_the_others(store: Store):
    """Failures stand in their places, are free, and are tried again next time."""
    down = [True]
    inner = ScriptedEngine(
        echo, fail=lambda request: EngineBusy("down") if down and "3" in request.messages[-1].text else None
    )
    engine = metered(store, inner)
    answers = engine.complete_many([request(f"row {number}") for number in range(6)])
    assert [isinstance(answer, EngineError) for answer in answers] == [False, False, False, True, False, False]
    assert engine.ledger.spent.calls == 5
    down.clear()
    assert engine.complete(request("row 3")).message.text == "you said row 3"


def test_concurrent_callers_never_pass_the_budget(store: Store):
    """Threads, many requests at once, tokens near the limit: settled spending stays inside."""
    engine = metered(store, ScriptedEngine(echo, latency=0.005), tokens=300)
    refused = []

    def call(number: int) -> None:
        try:
            engine.complete(request(f"number {number}"))
        except BudgetExceeded:
            refused.append(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert 0 < engine.ledger.spent.tokens <= 300
    assert engine.inner.served == engine.ledger.spent.calls


def test_a_full_budget_in_the_middle_of_a_batch_keeps_what_was_paid(store: Store):
    """The batch stops with an error, and the answers that came are found again."""
    engine = metered(store, calls=3)
    with pytest.raises(BudgetExceeded, match="budget of 3 calls is full"):
        engine.complete_many([request(f"row {number}") for number in range(6)])
    assert engine.inner.served == 3
    assert engine.complete(request("row 1")).message.text == "you said row 1"
    assert engine.inner.served == 3


def test_time_ends_a_call_under_way(store: Store):
    """A call that would outlast the minutes is given up, not waited for."""
    engine = Metered(ScriptedEngine(echo, latency=5), Ledger(Budget(minutes=0.002)), store, "test")
    started = time.monotonic()
    with pytest.raises(BudgetExceeded, match="minutes"):
        engine.complete(request())
    assert time.monotonic() - started < 4


def test_dollars_need_a_price(store: Store):
    """A budget in dollars for a model nobody can price is refused before any call."""
    with pytest.raises(BadConfig, match="needs a price, got none"):
        Metered(_unpriced(), Ledger(Budget(usd=1)), store, "test")


def _unpriced() -> ScriptedEngine:
    engine = ScriptedEngine(echo)
    engine.model = "nobody/knows-this-model@live"
    return engine


def test_a_request_without_a_limit_gets_one(store: Store):
    """No reservation would hold for an answer without end."""
    seen = []
    engine = metered(store, ScriptedEngine(lambda request: seen.append(request) or "ok"))
    engine.complete(request(max_tokens=None))
    assert seen[0].config.max_tokens == 1024


def test_scores_are_recorded_and_charged_once(store: Store):
    """Scoring given continuations is a call like any other."""
    asked = []

    def score(request, continuations):
        asked.append(1)
        return [Score(text, -1.5 * len(text), len(text)) for text in continuations]

    engine = metered(store, ScriptedEngine(echo, score=score))
    assert engine.score(request(), ["yes", "no"]) == engine.score(request(), ["yes", "no"])
    assert len(asked) == 1 == engine.ledger.spent.calls


def test_an_answer_carries_the_seconds_it_took_and_keeps_them(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Found again it says what was recorded, not how long finding took; scores likewise."""
    now = [0.0]

    def passing(ticks: float):
        now[0] += ticks
        return now[0]

    monkeypatch.setattr("stillroom.engines.metered.time", SimpleNamespace(monotonic=lambda: passing(0.25)))

    def slow(request):
        passing(2.0)
        return "ok"

    engine = metered(store, ScriptedEngine(slow, score=lambda request, texts: [Score(slow(request), -1.0, 1)]))
    assert call_seconds(engine.complete(request())) == 2.25
    (score,) = engine.score(request("other"), ["ok"])
    assert score.seconds == 2.25
    passing(1_000.0)
    again = metered(store)
    assert call_seconds(again.complete(request())) == 2.25
    assert again.score(request("other"), ["ok"])[0].seconds == 2.25
    assert call_seconds(ScriptedEngine(slow).complete(request())) == 0


def scorer(asked: list[str], down: tuple[str, ...] = ()):
    def score(request, continuations):
        text = request.messages[-1].text
        asked.append(text)
        if text in down:
            raise EngineBusy("not now")
        return [Score(each, -1.0, 2) for each in continuations]

    return ScriptedEngine(echo, score=score)


def test_many_scores_are_one_call_for_each_request(store: Store):
    """Equal requests are one call; one failure stands in its place, is free, and is tried again."""
    asked: list[str] = []
    engine = metered(store, scorer(asked, ("b",)))
    found = engine.score_many([request(text) for text in "abca"], ["yes", "no"])
    assert asked == ["a", "b", "c"]
    assert isinstance(found[1], EngineBusy)
    assert found[0] == found[2] == found[3] == [Score("yes", -1.0, 2), Score("no", -1.0, 2)]
    assert engine.ledger.spent.calls == 2
    engine.score_many([request(text) for text in "abc"], ["yes", "no"])
    assert asked == ["a", "b", "c", "b"]


def test_scores_never_pass_the_budget(store: Store):
    """What fits is scored and recorded, then the rest is refused."""
    asked: list[str] = []
    engine = metered(store, scorer(asked), calls=3)
    with pytest.raises(BudgetExceeded, match="budget of 3 calls"):
        engine.score_many([request(text) for text in "abcdef"], ["yes"])
    assert asked == ["a", "b", "c"]
    assert len(engine.score_many([request(text) for text in "cba"], ["yes"])) == 3


def test_an_engine_that_cannot_score_leaves_no_promise(store: Store):
    """The error passes through and the budget is whole."""
    engine = metered(store, calls=1)
    assert not engine.supports_scores
    with pytest.raises(NotImplementedError):
        engine.score(request(), ["yes"])
    engine.complete(request())


def test_async_callers_share_the_same_books(store: Store):
    """Many awaits of few requests: each request is one call."""
    engine = metered(store, ScriptedEngine(echo, latency=0.02), calls=5)

    async def all_of_them():
        return await asyncio.gather(*(engine.acomplete(request(f"row {number % 5}")) for number in range(50)))

    assert len(asyncio.run(all_of_them())) == 50
    assert engine.inner.served == 5


def test_dspy_modules_pass_the_ledger(store: Store):
    """A DSPy module on a metered engine is recorded and stopped like anything else."""
    import dspy

    from stillroom.engines import unwrap

    engine = metered(store, ScriptedEngine(lambda request: '{"answer": "blue"}'), calls=2)
    predict = dspy.Predict("question -> answer")
    with dspy.context(lm=as_lm(engine), adapter=dspy.JSONAdapter()):
        assert predict(question="sky?").answer == "blue"
        assert predict(question="sea?").answer == "blue"
        with pytest.raises(Exception, match="budget of 2 calls is full") as caught:
            predict(question="jay?")
    assert isinstance(unwrap(caught.value), BudgetExceeded)
    assert engine.inner.served == 2


def test_a_call_is_never_made_again_while_it_is_being_recorded(store: Store):
    """Many threads ask for few requests, over and over, while answers come and go: each is one call."""
    engine = metered(store, ScriptedEngine(echo, latency=0.001))

    def call() -> None:
        for number in range(40):
            engine.complete(request(f"row {number}"))

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.inner.served == 40 == engine.ledger.spent.calls


def test_an_unanswered_call_counts_at_its_worst_case_without_a_token_budget(tmp_path: Path):
    """The bill of a killed run must hold for whatever budget it is resumed with."""
    inner = ScriptedEngine(echo, latency=1)
    inner.charges_unanswered = True
    store = Store(tmp_path)
    engine = Metered(inner, Ledger(Budget()), store, "test")
    engine.submit(request("a question", max_tokens=50))
    store.close()
    with Store(tmp_path) as again:
        assert again.spent("test").calls == 1
        assert again.spent("test").tokens >= 50 + len("a question")
