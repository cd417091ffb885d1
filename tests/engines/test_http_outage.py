"""An endpoint that goes down in the middle of a run: everybody waits, one asks, nobody fails before patience ends."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines.http import HttpEngine
from stillroom.engines.http._breaker import EVIDENCE, Breaker
from stillroom.engines.http._failures import TurnedAway, Unanswered, Unreachable
from stillroom.errors import EngineBusy


def opened(breaker: Breaker, now: float, wish: float | None = None) -> None:
    for _ in range(EVIDENCE):
        breaker.failed(now, now, Unreachable("gone"), "one caller", wish)


def test_it_opens_after_failures_in_a_row() -> None:
    """An answer between them begins the count again."""
    breaker = Breaker(patience=100.0, base=1.0, rng=Random(0))
    for _ in range(5):
        for _ in range(EVIDENCE - 1):
            breaker.failed(0.0, 0.0, TurnedAway("full"), "a", None)
        breaker.succeeded(0.0)
    assert breaker.may_send(0.0)
    opened(breaker, 1.0)
    assert not breaker.may_send(1.0)


def test_one_request_that_always_fails_is_no_outage() -> None:
    """What may be the fault of the request counts once for each."""
    breaker = Breaker(patience=100.0, base=1.0, rng=Random(0))
    for _ in range(100):
        breaker.failed(0.0, 0.0, Unanswered("boom"), "the same", None)
    assert breaker.down_since is None
    for i in range(EVIDENCE):
        breaker.failed(0.0, 0.0, Unanswered("boom"), f"caller {i}", None)
    assert breaker.down_since == 0.0


def test_requests_that_fail_while_others_are_answered_are_no_outage() -> None:
    """However many there are. At the end of a run, when nothing else is left, nobody waits for them."""
    breaker = Breaker(patience=100.0, base=1.0, rng=Random(0))
    breaker.succeeded(5.0)
    for _ in range(100):
        breaker.failed(6.0, 5.5, Unanswered("boom"), None, None)
    assert (breaker.down_since, breaker.good) == (None, 5.0)
    for i in range(EVIDENCE):
        breaker.failed(7.0, 6.5, Unanswered("boom"), f"caller {i}", None)
    assert breaker.down_since == 7.0


def test_half_open_lets_one_through_at_a_time() -> None:
    """Its answer closes the breaker, its failure makes the next pause longer."""
    breaker = Breaker(patience=1000.0, base=1.0, rng=Random(0))
    opened(breaker, 10.0)
    pauses = []
    now = 10.0
    for _ in range(12):
        pause = breaker.pause_left(now)
        assert pause is not None
        pauses.append(pause)
        now += pause
        assert breaker.may_send(now)
        assert not breaker.may_send(now)  # one is enough
        assert breaker.pause_left(now) is None
        breaker.failed(now, now, Unreachable("gone"), "asker", None)
    assert max(pauses[:2]) <= 2.0
    assert 2.0 < max(pauses) <= 30.0
    now += breaker.pause_left(now) or 0.0
    assert breaker.may_send(now)
    breaker.succeeded(now)
    assert all(breaker.may_send(now) for _ in range(10))


def test_it_asks_no_sooner_than_the_endpoint_wished() -> None:
    """And an answer to something older does not cut the pause short."""
    breaker = Breaker(patience=1000.0, base=0.1, rng=Random(0))
    opened(breaker, 10.0, wish=40.0)
    breaker.succeeded(9.0)
    assert not breaker.may_send(49.9)
    assert breaker.may_send(51.0)


def test_one_who_asks_and_is_dropped_does_not_lock_it() -> None:
    """The next one may ask."""
    breaker = Breaker(patience=100.0, base=1.0, rng=Random(0))
    opened(breaker, 0.0)
    assert breaker.may_send(5.0)
    breaker.unheard()
    assert breaker.may_send(5.0)


def test_patience_ends() -> None:
    """Measured from the moment it opened; the last pause ends with it."""
    breaker = Breaker(patience=10.0, base=100.0, rng=Random(0))
    opened(breaker, 0.0, wish=60.0)
    assert breaker.pause_left(0.0) == 10.0
    assert not breaker.out_of_patience(9.9)
    assert breaker.out_of_patience(10.0)


async def many(engine: HttpEngine, count: int) -> list[Any]:
    return await asyncio.gather(*(engine.acomplete(ask(str(i))) for i in range(count)), return_exceptions=True)


def test_rows_wait_for_an_endpoint_that_comes_back(endpoint: Any) -> None:
    """No row fails, and while it is away it is asked now and then, not by everybody."""
    engine = HttpEngine(endpoint.url, "tiny", backoff=0.02, retries=1, timeout=5.0)
    endpoint.delay = 0.005

    async def main() -> list[Any]:
        await engine.acomplete(ask("it is up"))
        endpoint.go_down()
        rows = asyncio.ensure_future(many(engine, 100))
        await asyncio.sleep(0.5)
        assert not rows.done()
        endpoint.come_back()
        return await rows

    answers = asyncio.run(main())
    assert [answer.text for answer in answers] == [f"echo: {i}" for i in range(100)]
    engine.close()


def test_while_it_is_down_it_is_not_flooded(endpoint: Any, fault: Any) -> None:
    """A gateway that says 503 to everything gets a few questions, not one a row and second."""
    engine = HttpEngine(endpoint.url, "tiny", backoff=0.05, retries=1)
    assert engine.complete(ask("it is up")).text == "echo: it is up"
    endpoint.fail(*[fault(status=503)] * 40)

    async def main() -> tuple[int, list[Any]]:
        rows = asyncio.ensure_future(many(engine, 200))
        await asyncio.sleep(0.4)
        asked = len(endpoint.sent)
        endpoint.faults.clear()
        return asked, await rows

    asked, answers = asyncio.run(main())
    assert asked < 41  # 200 rows, for 0.4 s
    assert [answer.text for answer in answers] == [f"echo: {i}" for i in range(200)]
    engine.close()


def test_after_patience_rows_fail_with_the_reason(endpoint: Any) -> None:
    """Those who waited and those who come later alike."""
    engine = HttpEngine(endpoint.url, "tiny", backoff=0.01, patience=0.3)

    async def main() -> list[Any]:
        await engine.acomplete(ask("it is up"))
        endpoint.go_down()
        return await many(engine, 50) + await many(engine, 5)

    errors = asyncio.run(main())
    assert all(isinstance(error, EngineBusy) for error in errors)
    assert any("must come back while rows wait" in str(error) and "no connection" in str(error) for error in errors)
    engine.close()


def test_without_patience_an_outage_fails_at_once(endpoint: Any) -> None:
    """For those who would rather do something else."""
    engine = HttpEngine(endpoint.url, "tiny", backoff=0.01, patience=0.0)
    engine.complete(ask("it is up"))
    endpoint.go_down()
    with pytest.raises(EngineBusy):
        engine.complete(ask("hi"))
    engine.close()


def test_one_poisoned_row_fails_alone(endpoint: Any) -> None:
    """It gets its tries and no more; the others are answered meanwhile."""
    poison = '{"error": {"message": "I cannot"}}'
    engine = HttpEngine(endpoint.url, "tiny", backoff=0.001, retries=2)
    said = endpoint._reply

    async def reply(request: Any, body: Any) -> Any:
        from aiohttp import web

        if body["messages"][-1]["content"] == "poison":
            return web.Response(status=500, text=poison)
        return await said(request, body)

    endpoint._reply = reply

    async def main() -> list[Any]:
        poisoned = asyncio.ensure_future(engine.acomplete(ask("poison")))
        others = await many(engine, 30)
        await asyncio.wait([poisoned])
        return [poisoned.exception(), *others, await engine.acomplete(ask("after"))]

    error, *answers = asyncio.run(main())
    assert isinstance(error, EngineBusy)
    assert "I cannot" in str(error)
    assert [answer.text for answer in answers] == [*(f"echo: {i}" for i in range(30)), "echo: after"]
    assert [body["messages"][-1]["content"] for body in endpoint.sent].count("poison") == 3
    engine.close()
