"""What was sent on top of the call that was answered is on the bill, and fits the budget beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines import Metered
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
