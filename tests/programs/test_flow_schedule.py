"""What is begun: as much as the yield so far asks for, bounded, and the same for the same outcomes."""

from __future__ import annotations

import random
from collections import Counter, deque

import flow_world as world
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig
from stillroom.programs.flow import Quotas, Wanted
from stillroom.programs.flow.schedule import Schedule


def play(quotas: dict[str, int], passes, *, attempts: int = 50, window: int = 64, block: int = 8, together: int = 1):
    """Begin and commit in order, a block at a time; give the schedule, all that was begun and what was surplus."""
    schedule = Schedule(Quotas(quotas, world.draw, together), attempts)
    begun, surplus, under_way = [], 0, deque()
    while True:
        new = schedule.begin(window - len(under_way))
        begun += new
        under_way += new
        assert len(under_way) <= window
        if not under_way:
            return schedule, begun, surplus
        for _ in range(min(block, len(under_way))):
            wanted = under_way.popleft()
            passed = passes(wanted)
            if passed and not schedule.admit(wanted.cell):
                surplus += 1
            schedule.end(wanted, int(passed), lost=False)


def by_chance(share: float):
    rng = random.Random(4)
    return lambda wanted: rng.random() < share


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.2])
def test_quotas_are_met_exactly_with_little_to_spare(share: float):
    """Rows begun follow the yield: few more than a seer would need."""
    quotas = {"a": 200, "b": 50, "c": 0, "d": 1}
    schedule, begun, surplus = play(quotas, by_chance(share))
    assert schedule.shortfall == {}
    assert schedule.accepted == schedule.wanted == 251
    assert surplus <= 251 * 0.02 + 3
    # what is begun and fails is no waste; what passes beyond the quota is
    assert len(begun) <= 251 / share * 1.15 + 10


def test_nothing_is_begun_beyond_the_quota_while_everything_passes():
    """With a window that would hold it all, exactly as many rows are begun as are wanted."""
    _, begun, surplus = play({"a": 40, "b": 3}, lambda wanted: True, window=512)
    assert Counter(wanted.cell for wanted in begun) == {"a": 40, "b": 3}
    assert surplus == 0


def test_tries_are_bounded_and_the_rest_is_missing():
    """A cell that gives nothing begins `attempts` rows for each one wanted; others are not held up."""
    schedule, begun, _ = play({"dry": 7, "wet": 5}, lambda wanted: wanted.cell == "wet", attempts=3)
    assert Counter(wanted.cell for wanted in begun) == {"dry": 21, "wet": 5}
    assert schedule.shortfall == {"dry": 7}
    assert max(wanted.attempt for wanted in begun) <= 2


def test_what_failed_is_tried_again_before_fresh_slots():
    """So that what was balanced over slots stays balanced."""
    schedule = Schedule(Quotas({"a": 6}, world.draw), 5)
    begun = schedule.begin(4)
    for wanted in begun:
        if wanted.slot != 1:
            schedule.admit("a")
        schedule.end(wanted, int(wanted.slot != 1), lost=False)
    assert [(wanted.slot, wanted.attempt) for wanted in schedule.begin(3)] == [(1, 1), (4, 0), (5, 0)]


def test_a_slot_that_always_fails_makes_place_for_another():
    """One impossible slot does not use up the tries of its cell."""
    schedule, begun, _ = play({"a": 20}, lambda wanted: wanted.slot != 3, attempts=4, window=1)
    assert schedule.shortfall == {}
    assert [wanted.attempt for wanted in begun if wanted.slot == 3] == [0, 1, 2, 3]
    assert len(begun) == 24


def test_rows_that_belong_together_are_begun_together():
    """Cells take turns, some rows of each."""
    _, begun, _ = play({"a": 20, "b": 20}, lambda wanted: True, together=5, window=512)
    assert [wanted.cell for wanted in begun] == (["a"] * 5 + ["b"] * 5) * 4


@settings(max_examples=60, deadline=None)
@given(
    some.dictionaries(some.sampled_from("abcd"), some.integers(0, 25), min_size=1),
    some.integers(0, 10**6),
    some.floats(0, 1),
    some.integers(1, 5),
    some.integers(1, 40),
)
def test_laws(quotas: dict[str, int], seed: int, share: float, attempts: int, window: int):
    """Never more than wanted, never more tries than allowed, missing only when all are used up, and said; twice the same."""

    def once():
        rng = random.Random(seed)
        return play(quotas, lambda wanted: rng.random() < share, attempts=attempts, window=window, block=5)

    schedule, begun, _ = once()
    assert schedule.accepted + sum(schedule.shortfall.values()) == sum(quotas.values())
    assert set(schedule.shortfall) == set(schedule.exhausted)
    for cell, count in Counter(wanted.cell for wanted in begun).items():
        assert count <= attempts * quotas[cell]
    assert len({wanted.place for wanted in begun}) == len(begun)
    assert once()[1] == begun


def test_lost_rows_come_back_once_they_are_revived():
    """A row lost to a fault is no longer counted as tried, and only its slot is begun again."""
    schedule = Schedule(Quotas({"a": 4}, world.draw), 1)
    begun = schedule.begin(10)
    for wanted in begun:
        if wanted.slot != 2:
            schedule.admit("a")
        schedule.end(wanted, int(wanted.slot != 2), lost=wanted.slot == 2)
    assert schedule.begin(10) == []
    assert schedule.shortfall == {"a": 1}
    schedule.revive()
    assert schedule.begin(10) == [Wanted("a", 2, {"q": "a 2"}, asked={"outputs": {}}, attempt=1)]
    assert schedule.begin(10) == []


def test_a_fault_of_the_engine_spends_no_try_of_its_slot():
    """The slot waits; others take its place, as far as the cell may begin rows. Revived, it is begun again, within the same."""
    schedule = Schedule(Quotas({"a": 2}, world.draw), 2)
    first, second = schedule.begin(10)
    schedule.end(first, 0, lost=True, unanswered=True)
    schedule.admit("a")
    schedule.end(second, 1, lost=False)
    (third,) = schedule.begin(10)
    assert (third.slot, third.attempt) == (2, 0)
    schedule.end(third, 0, lost=True, unanswered=True)
    (fourth,) = schedule.begin(10)
    assert (fourth.slot, fourth.attempt) == (3, 0)
    schedule.end(fourth, 0, lost=True)  # a fault of its form: another try may do better, were the cell not at its end
    assert schedule.begin(10) == []
    schedule.revive()
    tries = []
    while begun := schedule.begin(1):
        tries += [(wanted.slot, wanted.attempt) for wanted in begun]
        for wanted in begun:
            schedule.end(wanted, 0, lost=False)
    assert tries == [(3, 1), (0, 1)]
    assert schedule.shortfall == {"a": 1}


def test_settings_that_cannot_work_are_refused():
    """Before anything is begun."""
    with pytest.raises(BadConfig, match="attempts must be at least 1"):
        Schedule(Quotas({"a": 1}, world.draw), 0)
    with pytest.raises(BadConfig, match="a quota must be at least 0"):
        Quotas({"a": -1}, world.draw)
