"""What was sent on top of the call that was answered is on the bill, and fits the budget beforehand: hedges and tries."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import ask
from dspy.lm15 import Message, Response, Usage

from stillroom.engines import Engine, Metered
from stillroom.engines.contract import resending
from stillroom.engines.http import HttpEngine
from stillroom.errors import BudgetExceeded, EngineBusy
from stillroom.ledger import Budget, Ledger
from stillroom.store import Store


def metered(engine: HttpEngine, store: Store, **budget: Any) -> Metered:
    return Metered(engine, Ledger(Budget(**budget), store.spent("emit")), store, "emit")


def test_the_second_request_of_a_hedge_is_paid_for(endpoint: Any, tmp_path: Path) -> None:
    """One answer, two calls: in the ledger now, and in the store for the next session."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.05)
    endpoint.delays.extend([30.0, 0.0])
    with Store(tmp_path) as store:
        paid = metered(engine, store)
        assert paid.complete(ask("hi")).text == "echo: hi"
        spent = paid.ledger.spent
        assert spent.calls == 2
        assert (
            spent.tokens > 8 + 16
        )  # the answer's own, and the other's at its worst: all of its sixteen and the prompt
    with Store(tmp_path) as store:
        assert store.call_counts() == {"done": 1, "lost": 1, "twice": 0}
        again = store.spent("emit")
        assert (again.calls, again.tokens) == (2, spent.tokens)
    engine.close()


def test_a_hedge_is_reserved_before_it_is_needed(endpoint: Any, tmp_path: Path) -> None:
    """A budget of three calls takes one hedged request at a time, and is never passed."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=30.0)
    with Store(tmp_path) as store:
        paid = metered(engine, store, calls=3)
        answers = paid.complete_many([ask("a"), ask("b")])
        assert [answer.text for answer in answers] == ["echo: a", "echo: b"]  # type: ignore[union-attr]
        assert paid.ledger.spent.calls == 2  # nobody was late: what was promised on top is free again
        with pytest.raises(BudgetExceeded):
            paid.complete(ask("c"))
    engine.close()


def test_timeouts_before_an_answer_and_before_none(endpoint: Any, fault: Any, tmp_path: Path) -> None:
    """An answer that was never seen may have been written and charged."""
    engine = HttpEngine(endpoint.url, "tiny", timeout=0.2, backoff=0.001, retries=1)
    with Store(tmp_path) as store:
        paid = metered(engine, store)
        endpoint.fail(fault(slow=5.0))
        paid.complete(ask("late"))
        assert paid.ledger.spent.calls == 2
        endpoint.fail(fault(slow=5.0), fault(status=500))
        with pytest.raises(EngineBusy):
            paid.complete(ask("never"))
        assert paid.ledger.spent.calls == 3
        assert store.spent("emit").calls == 3
    engine.close()


@pytest.mark.parametrize("awaited", [True, False])
def test_another_try_is_promised_before_it_is_sent(endpoint: Any, fault: Any, tmp_path: Path, awaited: bool) -> None:
    """A timeout may be charged, so the next try must fit beside it; where it does not, nothing more is sent."""
    engine = HttpEngine(endpoint.url, "tiny", timeout=0.2, backoff=0.001, retries=5)
    worst = engine.count_tokens(ask("late")) + 16
    endpoint.fail(*[fault(slow=5.0)] * 4)
    with Store(tmp_path) as store:
        paid = metered(engine, store, tokens=2 * worst + worst // 2)
        with pytest.raises(BudgetExceeded, match="tokens is full"):
            asyncio.run(paid.acomplete(ask("late"))) if awaited else paid.complete(ask("late"))
        assert len(endpoint.faults) == 2  # two tries were sent, the third did not fit
        spent = paid.ledger.spent
        assert (spent.calls, spent.tokens) == (2, 2 * worst)
    with Store(tmp_path) as store:
        assert store.call_counts() == {"lost": 2, "twice": 0}
        assert store.spent("emit").tokens == 2 * worst
    engine.close()


def test_what_was_promised_for_tries_is_free_again_once_they_are_answered(
    endpoint: Any, fault: Any, tmp_path: Path
) -> None:
    """A try that a 500 answered costs nothing; one that timed out its worst case; the rest of the budget is there for others."""
    engine = HttpEngine(endpoint.url, "tiny", timeout=0.2, backoff=0.001, retries=5)
    worst = engine.count_tokens(ask("hi a")) + 16
    endpoint.fail(fault(slow=5.0), fault(status=500))
    with Store(tmp_path) as store:
        paid = metered(engine, store, tokens=3 * worst)
        assert paid.complete(ask("hi a")).text == "echo: hi a"
        assert paid.ledger.spent.tokens == worst + 8
        assert paid.complete(ask("hi b")).text == "echo: hi b"
        assert paid.ledger.spent.tokens == store.spent("emit").tokens == worst + 16
    engine.close()


class Retrying(Engine):
    """Sends "late" a second time, when it is told to, and keeps "other" until that was decided."""

    model = "http/retrying"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.under_way, self.decided = asyncio.Event(), asyncio.Event()

    def submit(self, request: Any) -> Any:
        raise NotImplementedError

    def count_tokens(self, request: Any) -> int:
        return 4

    async def acomplete(self, request: Any) -> Any:
        text = request.messages[-1].text
        self.sent.append(text)
        if text == "other":
            self.under_way.set()
            await self.decided.wait()
        elif self.sent.count("late") == 1:
            await self.under_way.wait()
            promise = resending.get()
            assert promise is not None
            try:
                promise(1)
            finally:
                self.decided.set()
        usage = Usage(input_tokens=4, output_tokens=4)
        message = Message.assistant(f"echo: {text}")
        return Response(id=None, model=self.model, message=message, finish_reason="stop", usage=usage)


def test_a_try_that_does_not_fit_beside_others_waits_for_them(tmp_path: Path) -> None:
    """What others were promised may come back: the request is asked again then, and the budget is never passed."""
    worst, true = 4 + 16, 4 + 4

    async def both() -> list[str | None]:
        engine = Retrying()
        paid = Metered(engine, Ledger(Budget(tokens=2 * worst + true)), store, "emit")
        answers = await asyncio.gather(paid.acomplete(ask("late")), paid.acomplete(ask("other")))
        assert engine.sent == ["late", "other", "late"]
        assert paid.ledger.spent.tokens == worst + 2 * true
        return [each.text for each in answers]

    with Store(tmp_path) as store:
        assert asyncio.run(both()) == ["echo: late", "echo: other"]
        assert store.spent("emit").tokens == worst + 2 * true
    assert resending.get() is None
