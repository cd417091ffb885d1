"""Stragglers are asked a second time, on request; the bill says so."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines.http import HttpEngine
from stillroom.engines.http._hedge import Straggling
from stillroom.errors import BadConfig, EngineBusy, EngineRefused


def test_a_straggler_is_asked_again_and_the_first_answer_counts(endpoint: Any) -> None:
    """The other one is dropped, and the answer tells that it was sent."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.05)
    endpoint.delays.extend([30.0, 0.0])
    answer = engine.complete(ask("hi"))
    assert answer.text == "echo: hi"
    assert answer.provider_data["unanswered_tries"] == 1
    assert len(endpoint.sent) == 2
    assert endpoint.sent[0] == endpoint.sent[1]
    assert engine.calls_per_request == 2
    engine.close()


def test_the_first_may_still_win(endpoint: Any) -> None:
    """Then the second was paid for in vain."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.05)
    endpoint.delays.extend([0.3, 30.0])
    assert engine.complete(ask("hi")).provider_data["unanswered_tries"] == 1
    engine.close()


def test_quick_answers_are_asked_once(endpoint: Any) -> None:
    """And without hedging a straggler is waited for."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=10.0)
    assert "unanswered_tries" not in engine.complete(ask("hi")).provider_data
    engine.close()
    engine = HttpEngine(endpoint.url, "tiny")
    endpoint.delays.append(0.3)
    engine.complete(ask("hi"))
    assert len(endpoint.sent) == 2
    assert engine.calls_per_request == 1
    engine.close()


def test_one_failure_of_two_is_no_failure(endpoint: Any, fault: Any) -> None:
    """Whichever it is."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.05, retries=0)
    endpoint.fail(fault(slow=0.3, status=500))
    assert engine.complete(ask("hi")).text == "echo: hi"
    endpoint.delays.extend([0.3])
    endpoint.fail(fault(status=500))
    assert engine.complete(ask("hi")).text == "echo: hi"
    engine.close()


def test_two_failures_are_one(endpoint: Any, fault: Any) -> None:
    """The error of the first."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.05, retries=0)
    endpoint.fail(fault(slow=0.3, status=500, body="the first"), fault(status=500, body="the second"))
    with pytest.raises(EngineBusy, match="the first"):
        engine.complete(ask("hi"))
    engine.close()


def test_a_full_endpoint_is_not_asked_twice(endpoint: Any) -> None:
    """Rows come before second tries."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.02, max_concurrency=1)
    endpoint.delays.append(0.2)
    engine.complete(ask("hi"))
    assert len(endpoint.sent) == 1
    engine.close()


def test_cancelled_with_both_under_way(endpoint: Any) -> None:
    """Both places are given back."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=0.02, max_concurrency=2)
    endpoint.delays.extend([30.0, 30.0])

    async def main() -> str | None:
        lost = asyncio.ensure_future(engine.acomplete(ask("lost")))
        while len(endpoint.sent) < 2:
            await asyncio.sleep(0.01)
        lost.cancel()
        await asyncio.wait([lost])
        both = await asyncio.gather(engine.acomplete(ask("a")), engine.acomplete(ask("b")))
        return both[0].text

    assert asyncio.run(main()) == "echo: a"
    gc.collect()
    engine.close()


def test_a_tried_out_request_tells_what_it_cost(endpoint: Any, fault: Any) -> None:
    """A timeout may be on the bill just as a hedge is; a 500 is not."""
    engine = HttpEngine(endpoint.url, "tiny", timeout=0.2, backoff=0.001)
    endpoint.fail(fault(slow=5.0), fault(status=500), fault(body="<html>"))
    assert engine.complete(ask("hi")).provider_data["unanswered_tries"] == 2
    engine.close()


def test_a_percentile_is_of_what_was_seen() -> None:
    """Nothing is late before enough is known."""
    straggling = Straggling("p90")
    assert straggling.seconds is None
    for i in range(100):
        straggling.answered(i / 100)
    assert straggling.seconds == 0.9


@pytest.mark.parametrize("after", [0, -1.0, "95", "p0.5x", "soon", True, "p100"])
def test_bad_hedges_are_refused(after: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(BadConfig, match="hedge_after"):
        HttpEngine("http://localhost:1/v1", "tiny", hedge_after=after)


def test_a_refusal_is_not_asked_twice(endpoint: Any) -> None:
    """It came in time."""
    engine = HttpEngine(endpoint.url, "tiny", hedge_after=5.0)
    with pytest.raises(EngineRefused):
        engine.complete(ask("refuse this"))
    assert len(endpoint.sent) == 1
    engine.close()
