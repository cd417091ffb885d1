"""Waits between tries, and what an endpoint says of how long they should be."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from stillroom.engines.http._retry import Backoff, retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", 0.0), ("nan", None), ("", None), (None, None), ("later", None)],
)
def test_retry_after_reads_seconds(header: str | None, seconds: float | None) -> None:
    """And nothing else that is not a date."""
    assert retry_after(header) == seconds


def test_retry_after_reads_dates() -> None:
    """A date in the past means now."""
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after("Thu, 01 Jan 2026 12:00:20 GMT", now) == 20.0
    assert retry_after("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0


def test_waits_grow_are_jittered_and_end() -> None:
    """Full jitter under a doubling ceiling, on top of the endpoint's wish."""
    backoff, rng = Backoff(retries=3, base=1.0, cap=60.0), Random(1)
    for attempt, ceiling in ((0, 1.0), (1, 2.0), (2, 4.0)):
        waits = [backoff.wait(attempt, None, rng) for _ in range(200)]
        assert all(wait is not None and 0 <= wait <= ceiling for wait in waits)
        assert max(wait for wait in waits if wait is not None) > 0.8 * ceiling
        assert all((backoff.wait(attempt, 5.0, rng) or 0) >= 5.0 for _ in range(20))
    assert backoff.wait(3, None, rng) is None
    assert backoff.wait(0, 61.0, rng) is None
