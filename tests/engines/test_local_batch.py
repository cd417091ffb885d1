"""The batch on a pipeline made of lists: who joins, who waits, who leaves. Counted in steps, not in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_world import WIDTH, World, prefix

from stillroom.engines.local._batch import FLOOR, PATIENCE, PIECE, Batch, Failure, Job, Output, room_for_answers
from stillroom.engines.local._prefixes import BLOCK, Prompt, chain


@pytest.fixture
def world() -> World:
    return World()


def said(world: World, number: int) -> Any:
    came = world.answers[number]
    return came.ids[0] if isinstance(came, Output) else came


def test_every_job_gets_its_own_answer(world: World) -> None:
    """More jobs than places."""
    numbers = [world.put([token, token]) for token in range(30)]
    world.run()
    assert [said(world, number) for number in numbers] == list(range(30))


def test_the_batch_is_as_wide_as_allowed_and_no_wider(world: World) -> None:
    """What came together runs together."""
    for token in range(3 * WIDTH):
        world.put([token])
    world.run()
    assert len(world.pipeline.batches[0]) == WIDTH
    assert max(len(batch) for batch in world.pipeline.batches) == WIDTH


def test_a_shared_prefix_is_read_by_one_before_the_others_come(world: World) -> None:
    """Priming follows from what waits."""
    for number in range(4):
        world.put([*prefix(1), number, number])
    world.run()
    assert [len(batch) for batch in world.pipeline.batches][:2] == [1, 4]
    assert world.pipeline.reads == [4 * BLOCK + 2, 2, 2, 2]


@given(st.randoms(use_true_random=False), st.integers(1, 12), st.integers(1, 20))
def test_each_prefix_is_read_once_whatever_the_order(rng: random.Random, prefixes: int, each: int) -> None:
    """Also where the cache holds a few of twelve: relatives are admitted one after the other."""
    world = World(blocks=FLOOR + 4 * WIDTH)
    asked = [(name, row) for name in range(prefixes) for row in range(each)]
    rng.shuffle(asked)
    for name, row in asked:
        world.put([*prefix(name), row, 7])
    world.run()
    assert sum(read > BLOCK for read in world.pipeline.reads) == prefixes


@given(st.randoms(use_true_random=False))
def test_prefixes_within_prefixes_are_each_read_once(rng: random.Random) -> None:
    """One system message, candidates with demos of their own, rows: every block is read one time."""
    world = World()
    asked = [(candidate, row) for candidate in range(5) for row in range(12)]
    rng.shuffle(asked)
    for candidate, row in asked:
        world.put([*prefix(0, 2), *prefix(1 + candidate, 3), row, 7])
    world.run()
    assert sum(world.pipeline.reads) == 2 * BLOCK + 5 * 3 * BLOCK + 60 * 2


@pytest.mark.parametrize("rows", [15, 100])
def test_prefixes_are_switched_once_for_many_rows(rows: int) -> None:
    """Rows of six prefixes that came by turns leave in long runs, each prefix for as long as it may have the floor."""
    world = World(blocks=FLOOR + 4 * WIDTH)
    names = [row % 6 for row in range(6 * rows)]
    for row, name in enumerate(names):
        world.put([*prefix(name), row, 7])
    world.run()
    left = [names[number - 1] for number in world.order]
    switches = sum(one != other for one, other in pairwise(left))
    runs = 6 * -(-rows // (PATIENCE * WIDTH))
    assert switches <= 3 * runs  # neighbours in the batch may end out of step
    assert sum(read > BLOCK for read in world.pipeline.reads) <= runs + 6


@pytest.mark.parametrize(
    "rare",
    [
        pytest.param([5, 5], id="short"),
        pytest.param([*prefix(9), 5], id="its own prefix"),
        pytest.param(list(range(5 * PIECE)), id="read in pieces"),
        pytest.param([5] * (3 * BLOCK), id="read ahead"),
    ],
)
def test_a_stream_of_one_prefix_does_not_starve_another(rare: list[int]) -> None:
    """However long the stream goes on, the rare one is answered after a bounded number of batches."""
    world = World()
    row = iter(range(1_000_000))

    def stream() -> None:
        while len(world.batch._waiting) < 5 * WIDTH:
            world.put([*prefix(1), next(row), 7], settings=3)

    for _ in range(10):
        stream()
        world.turn()
    stream()
    number = world.put(rare)
    waited = 0
    while number not in world.answers:
        stream()
        world.turn()
        waited += 1
        assert waited < 200, "starved"
    # those before it, those that may overtake it, who has the floor, its pieces and its answer;
    # a batch of the stream takes three steps
    pieces = -(-len(rare) // PIECE) + 1
    assert waited <= 3 * (5 + 2 * PATIENCE + 2) + pieces + 3


def test_who_needs_much_room_gets_it_in_the_end() -> None:
    """A stream of small ones fills the cache; when the large one is overdue nobody passes it."""
    blocks = 40
    world = World(blocks=blocks)
    longest = (room_for_answers(blocks) - 4) * BLOCK
    row = iter(range(1_000_000))

    def stream() -> None:
        while len(world.batch._waiting) < 3 * WIDTH:
            world.put([next(row), 7], settings=60)

    stream()
    world.turn()
    number = world.put([1, 2, 3], settings=longest)
    for _ in range(60 * (3 + 2 * PATIENCE + 2)):
        stream()
        world.turn()
    assert any(ids[:3] == (1, 2, 3) for ids in world.pipeline.batches[-1]) or number in world.answers


def test_no_more_are_admitted_than_the_cache_can_hold_to_their_ends() -> None:
    """The pipeline would take a place from somebody, who would read its own answer as a prompt later."""
    world = World(width=64, blocks=100)
    for row in range(64):
        world.put([*prefix(1), row], settings=5 * BLOCK)
    world.run()
    assert len(world.answers) == 64
    assert 10 <= max(len(batch) for batch in world.pipeline.batches) <= 20


def test_a_cancelled_job_never_reaches_the_pipeline(world: World) -> None:
    """What waits is simply gone."""
    kept, lost = world.put([1, 1]), world.put([2, 2])
    world.batch.drop(lost)
    world.run()
    assert list(world.answers) == [kept]
    assert all((2, 2) not in batch for batch in world.pipeline.batches)


@pytest.mark.parametrize("step", [1, 2, 3, 20])
def test_a_cancelled_job_gives_its_place_away_with_the_next_step(step: int) -> None:
    """Not when its answer would have been at its end; but it says its second token, by which its block is its own."""
    world = World(width=1)
    lost, kept = world.put([1, 1], settings=1000), world.put([2, 2])
    for _ in range(step):
        world.turn()
    world.batch.drop(lost)
    world.run(most=5)
    assert list(world.answers) == [kept]
    assert sum((1, 1) in batch for batch in world.pipeline.batches) == max(step, 2)


def test_dropping_what_has_ended_does_nothing(world: World) -> None:
    """A caller may cancel too late."""
    number = world.put([1, 1])
    world.run()
    world.batch.drop(number)
    world.run()
    assert list(world.answers) == [number]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_whoever_is_not_cancelled_is_answered(rows: list[int], rng: random.Random) -> None:
    """Any mixture of prefixes, lengths and cancellations comes to an end, and the cache's books are even."""
    world = World(width=4, blocks=80)
    kept = set()
    for row in rows:
        number = world.put([*prefix(row % 3, row % 4), *range(row), 7], settings=1 + row % 5)
        kept.add(number)
        if rng.random() < 0.3:
            for _ in range(rng.randrange(3)):
                world.turn()
            if number not in world.answers:
                world.batch.drop(number)
                kept.discard(number)
    world.run()
    assert set(world.answers) == kept
    assert (world.batch._cache.private, len(world.batch._cache.shared)) == (0, 0)


@pytest.mark.parametrize("length", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 1, 3 * PIECE + 7, 4 * PIECE])
def test_long_prompts_are_read_in_pieces(length: int) -> None:
    """Whole blocks at a time, so that the pipeline has nothing to split."""
    world = World()
    world.put(list(range(length)))
    world.run()
    *pieces, last = world.pipeline.reads
    assert sum(pieces) + max(last, 0) in {length, length + 1}  # the last token of a whole block is read again
    assert all(piece % BLOCK == 0 and piece <= PIECE for piece in pieces)
    assert last <= PIECE


@pytest.mark.parametrize("left", range(BLOCK))
def test_one_token_is_left_to_read_always_or_never(left: int) -> None:
    """Whether the whole blocks of a prompt had been found or not: it decides the last bits of the answer."""
    ids = list(range(3 * BLOCK + left))
    world = World()
    world.put(ids)
    world.run()
    first = world.pipeline.reads[-1]
    world.put(ids)
    world.run()
    assert (first == 1) == (world.pipeline.reads[-1] == 1) == (left in {0, 1})


def test_who_waits_for_the_same_last_block_does_not_read_it_too(world: World) -> None:
    """Samples of one prompt that is all whole blocks."""
    for _ in range(5):
        world.put(prefix(1))
    world.run()
    assert world.pipeline.reads == [4 * BLOCK, 1, 1, 1, 1, 1]


def test_few_are_given_company(world: World) -> None:
    """No step with one to four requests, and none with company that is not needed."""
    world.put([1, 1], settings=12)
    world.run()
    assert set(world.pipeline.widths) == {FLOOR}
    for token in range(WIDTH):
        world.put([token, 1], settings=2 + token)
    world.pipeline.widths.clear()
    world.pipeline.batches.clear()
    world.run()
    for width, batch in zip(world.pipeline.widths, world.pipeline.batches, strict=True):
        assert width == max(FLOOR, len(batch))


def test_without_a_floor_nobody_is_given_company() -> None:
    """Echoes would come out wrong."""
    world = World(floor=0)
    world.put([1, 1], kind="echo")
    world.run()
    assert set(world.pipeline.widths) == {1}


def test_echoes_are_added_all_at_once() -> None:
    """Also when there is more to read than a step holds: who came later would find blocks without scores."""
    world = World(width=64, floor=0)
    for row in range(40):
        world.batch.put(Job(row + 1, Prompt((*prefix(1), row, 7), chain(prefix(1))[:0]), kind="echo"))
    world.turn()
    assert len(world.pipeline.batches[0]) == 40


def test_an_answer_is_cut_to_what_was_asked(world: World) -> None:
    """The pipeline is made to say two tokens where one is wanted."""
    number = world.put([4, 4], settings=2, longest=1)
    world.run()
    assert world.answers[number] == Output((4,), (-0.5,), "length")


def test_a_setting_the_pipeline_refuses_is_the_request_s_own_affair(world: World) -> None:
    """Its neighbours do not notice."""
    first, odd, last = world.put([1, 1]), world.put([2, 2], settings="odd"), world.put([3, 3])
    world.run()
    assert said(world, odd) == Failure("the local engine takes no such request: no such setting", refused=True)
    assert (said(world, first), said(world, last)) == (1, 3)


def test_a_failing_pipeline_costs_those_in_the_batch_and_is_made_anew(world: World) -> None:
    """Who waited is answered by the next one."""
    numbers = [world.put([token, token], settings=4) for token in range(2 * WIDTH)]
    world.turn()
    world.pipeline.fail_with = RuntimeError("out of memory")
    world.turn()
    world.pipeline.fail_with, world.pipeline.running = None, []
    world.run()
    failed = [number for number in numbers if isinstance(world.answers[number], Failure)]
    assert failed == numbers[:WIDTH]
    assert said(world, failed[0]) == Failure("the local pipeline failed: out of memory")
    assert world.built == 2


def test_a_model_that_cannot_be_loaded_fails_everyone() -> None:
    """Nobody waits for a pipeline that will never be there."""

    def build() -> Any:
        raise RuntimeError("no such device")

    batch = Batch(build, width=4, blocks=100)
    for number in range(6):
        batch.put(Job(number, Prompt.of([number])))
    assert batch.turn() == [(number, Failure("the local pipeline failed: no such device")) for number in range(6)]
    assert not batch.busy


def test_the_time_a_turn_takes_does_not_grow_with_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number is looked at, of five as of five thousand."""
    world = World()
    looked = []
    consider: Callable[..., bool] = Batch._consider
    monkeypatch.setattr(Batch, "_consider", lambda *args: (looked.append(1), consider(*args))[1])
    for row in range(5000):
        world.put([*prefix(row % 7), row, 7])
    world.turn()
    world.turn()
    assert len(looked) <= 2 * PATIENCE * WIDTH
