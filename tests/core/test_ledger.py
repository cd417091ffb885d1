"""The ledger: reservations never pass the budget, settling gives back what was not needed."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as some

from stillroom.errors import BadConfig, BudgetExceeded
from stillroom.ledger import Budget, Ledger, Spent


@pytest.mark.parametrize("limits", [{"calls": -1}, {"tokens": "many"}, {"usd": float("nan")}, {"minutes": True}])
def test_a_budget_must_be_numbers_of_at_least_zero(limits):
    """A limit that is no number, or below zero, is refused when it is declared."""
    with pytest.raises(BadConfig, match=r"must be a number >= 0, got"):
        Budget(**limits)


def test_an_empty_budget_refuses_the_first_call():
    """Zero calls means none, and waiting would not help."""
    with pytest.raises(BudgetExceeded) as caught:
        Ledger(Budget(calls=0)).reserve(10)
    assert not caught.value.pending
    assert caught.value.mend


def test_a_refusal_says_whether_waiting_may_help():
    """Two worst cases do not fit, but the true costs may: the second caller is told to wait."""
    ledger = Ledger(Budget(tokens=100))
    first = ledger.reserve(80)
    with pytest.raises(BudgetExceeded) as caught:
        ledger.reserve(60)
    assert caught.value.pending
    ledger.settle(first, Spent(calls=1, tokens_in=10, tokens_out=5))
    ledger.reserve(60)
    assert ledger.spent.tokens == 15


def test_what_was_spent_in_earlier_sessions_counts():
    """A resumed phase starts from its bill."""
    ledger = Ledger(Budget(calls=5), Spent(calls=5))
    with pytest.raises(BudgetExceeded, match="budget of 5 calls is full: 5 spent"):
        ledger.reserve(1)


def test_time_is_cumulative_and_ends():
    """Seconds of earlier sessions count towards the minutes of the budget."""
    now = [0.0]
    ledger = Ledger(Budget(minutes=1), Spent(seconds=50), clock=lambda: now[0])
    ledger.release(ledger.reserve(1))
    assert ledger.seconds_left == pytest.approx(10)
    now[0] = 11
    with pytest.raises(BudgetExceeded, match="minutes"):
        ledger.reserve(1)


@given(some.lists(some.tuples(some.integers(1, 50), some.floats(0, 1)), max_size=60), some.integers(0, 300))
def test_spending_never_passes_the_limit(calls, limit):
    """Whatever is asked for, settled tokens stay within the budget when true costs keep to their worst case."""
    ledger = Ledger(Budget(tokens=limit))
    for worst, share in calls:
        try:
            reservation = ledger.reserve(worst)
        except BudgetExceeded:
            continue
        ledger.settle(reservation, Spent(calls=1, tokens_in=int(worst * share)))
        assert ledger.spent.tokens <= limit


def test_many_threads_share_one_budget():
    """Of a hundred callers exactly as many get through as the budget allows."""
    ledger, passed = Ledger(Budget(calls=37)), []

    def call():
        try:
            ledger.settle(ledger.reserve(1), Spent(calls=1))
            passed.append(1)
        except BudgetExceeded as error:
            if error.pending:
                ledger.wait(0.05)
                call()

    threads = [threading.Thread(target=call) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 37 == ledger.spent.calls


def test_it_knows_how_long_calls_were_under_way():
    """Seconds in which there was at least one; two at once count once, and one that goes on counts so far."""
    now = [0.0]
    ledger = Ledger(Budget(), clock=lambda: now[0])

    def after(seconds: float) -> None:
        now[0] += seconds

    after(5)
    first = ledger.reserve(1)
    after(2)
    second = ledger.reserve(1)
    after(1)
    ledger.settle(first, Spent(1))
    after(4)
    ledger.release(second)
    after(100)
    assert ledger.busy == 7
    ledger.reserve(1)
    after(3)
    assert ledger.busy == 10


def test_a_reservation_grows_by_whole_calls():
    """What comes on top must fit; where it does not, all is as it was. Settling gives everything back."""
    ledger = Ledger(Budget(calls=5, tokens=100, usd=1.0))
    one = ledger.reserve(30, 0.2)
    assert ledger.extend(one, 1) is one
    two = ledger.extend(one, 2)
    assert (two.tokens, two.usd, two.calls) == (60, 0.4, 2)
    with pytest.raises(BudgetExceeded, match="100 tokens is full"):
        ledger.extend(two, 4)
    with pytest.raises(KeyError):
        ledger.settle(one, Spent(1))
    other = ledger.reserve(40)
    with pytest.raises(BudgetExceeded) as full:
        ledger.extend(two, 3)
    assert full.value.pending
    ledger.settle(two, Spent(2, 30, 5, 0.4))
    ledger.release(other)
    assert (ledger.reserve(65, 0.6, 3).tokens, ledger.spent.calls) == (65, 2)
