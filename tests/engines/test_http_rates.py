"""Rates: those that were set, and those that the endpoint's headers tell."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines.http import HttpEngine
from stillroom.engines.http import _rates as rates_module
from stillroom.engines.http._rates import Pace, Rates, duration, wish


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rates_module, "monotonic", clock)
    return clock


def sent_at(rates: Rates, clock: Clock, count: int, tokens: float = 0.0) -> list[float]:
    """When requests that all want to go now may go, in seconds from now."""
    return [rates.take(tokens) for _ in range(count)]


def test_a_rate_holds_over_every_minute(clock: Clock) -> None:
    """However many ask at once: never more in a minute than promised, but for a second's worth at the start."""
    at = sent_at(Rates(120, None), clock, 600)
    assert at == sorted(at)
    for start in range(240):
        assert sum(start <= each < start + 60 for each in at) <= 120 + 3
    assert sum(each < 60 for each in at) >= 120


def test_rest_gives_no_more_than_a_burst(clock: Clock) -> None:
    """An hour of quiet is no credit for an hour's worth at once."""
    rates = Rates(60, None)
    sent_at(rates, clock, 10)
    clock.now += 3600
    assert sum(each == 0.0 for each in sent_at(rates, clock, 10)) <= 3


def test_tokens_are_put_right_when_the_answer_is_known(clock: Clock) -> None:
    """Booked at the most, settled at what was used."""
    booked = Rates(None, 6000)
    assert sent_at(booked, clock, 3, tokens=1000)[-1] == pytest.approx(19.0)
    for _ in range(3):
        booked.used(1000, 100)
    assert booked.take(0) == pytest.approx(2.0)  # 300 tokens at 100 a second, less the burst


def test_many_threads_share_one_rate(clock: Clock) -> None:
    """A rate is a promise to the endpoint, not one for each loop."""
    rates = Rates(60, None)
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.extend(rates.take(0) for _ in range(100))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found)[-1] == pytest.approx(398.0)
    assert len({round(each, 6) for each in found}) >= 398


LOW = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1m0s",
}


def test_plenty_left_asks_for_no_pause(clock: Clock) -> None:
    """The headers of every answer are read, and mostly say nothing."""
    rates = Rates(None, None)
    rates.heard({**LOW, "x-ratelimit-remaining-requests": "50"}, busy=30, tokens=100)
    assert rates.take(100) == 0.0


def test_little_left_paces_by_what_comes_back(clock: Clock) -> None:
    """All sixty come back in a minute: one a second."""
    rates = Rates(None, None)
    rates.heard(LOW, busy=3, tokens=100)
    assert sent_at(rates, clock, 3) == pytest.approx([1.0, 2.0, 3.0])
    clock.now += 100
    assert rates.take(100) == 0.0


def test_tokens_left_for_less_than_a_request_pace_too(clock: Clock) -> None:
    """A request of a hundred tokens waits until a hundred have come back."""
    headers = {
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "50",
        "x-ratelimit-reset-tokens": "59.5s",
    }
    rates = Rates(None, None)
    rates.heard(headers, busy=0, tokens=100)
    assert rates.take(100) == pytest.approx(1.0)


def test_without_a_limit_all_wait_for_the_reset(clock: Clock) -> None:
    """And then go together: nothing says how fast it comes back."""
    rates = Rates(None, None)
    rates.heard({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20"}, busy=1, tokens=1)
    assert sent_at(rates, clock, 3) == [20.0, 20.0, 20.0]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "none", "x-ratelimit-reset-requests": "20"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "eventually"},
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": ""},
    ],
)
def test_headers_that_say_nothing_change_nothing(clock: Clock, headers: dict[str, str]) -> None:
    """Endpoints send all sorts of things."""
    rates = Rates(None, None)
    rates.heard(headers, busy=1, tokens=1)
    assert rates.take(1) == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("17ms", 0.017),
        ("1h2m3.5s", 3723.5),
        ("2d", 172800.0),
        ("0", 0.0),
        ("", None),
        ("1x", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """As OpenAI, Groq and others write them."""
    assert duration(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "3"}, 3.0),
        ({**LOW}, 60.0),
        ({**LOW, "x-ratelimit-remaining-requests": "5"}, None),
        ({}, None),
    ],
)
def test_what_a_refusal_wishes(headers: dict[str, str], seconds: float | None) -> None:
    """The most precise of what it says."""
    assert wish(headers) == seconds


def test_a_pace_gives_back() -> None:
    """What was not used may be used by others."""
    pace = Pace(60)
    assert [pace.take(1, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    pace.give(3)
    assert pace.take(1, 0.0) == 0.0


def test_an_engine_keeps_its_rate_and_its_headers(endpoint: Any) -> None:
    """End to end: the sleeps are what the rates say."""
    slept: list[float] = []
    engine = HttpEngine(endpoint.url, "tiny", requests_per_minute=60_000, tokens_per_minute=1e9)
    endpoint.allowance = {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "20s",
    }
    take = engine._manners.rates.take
    engine._manners.rates.take = lambda tokens: slept.append(take(tokens)) or slept[-1]  # type: ignore[method-assign, func-returns-value]
    asyncio.run(_one_by_one(engine, 4))
    assert slept[0] == 0.0
    assert all(0 < each <= 0.02 for each in slept[1:])
    engine.close()


async def _one_by_one(engine: HttpEngine, count: int) -> None:
    for i in range(count):
        await engine.acomplete(ask(str(i)))
