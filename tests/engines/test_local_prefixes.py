"""Who waits for whom: shared prefixes and tails, decided without a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stillroom.engines.local._prefixes import BLOCK, Claim, Prefixes, Prompt, chain

DEMOS = list(range(1000, 1000 + 4 * BLOCK))


def prompt(*parts: list[int]) -> Prompt:
    return Prompt.of([token for part in parts for token in part])


def choose(prefixes: Prefixes, *prompts: Prompt) -> list[tuple[int, Claim]]:
    """Claim for all that need not wait, in their order."""
    return [(index, prefixes.claim(prompt)) for index, prompt in enumerate(prompts) if not prefixes.must_wait(prompt)]


def chosen(prefixes: Prefixes, *prompts: Prompt) -> list[int]:
    return [index for index, _ in choose(prefixes, *prompts)]


def test_a_chain_has_a_link_for_each_whole_block() -> None:
    """What is left over has none."""
    assert [len(chain(range(length))) for length in (0, 1, 31, 32, 33, 64, 65)] == [0, 0, 0, 1, 1, 2, 2]


@given(st.integers(1, 400), st.integers(0, 400), st.integers(1, 4))
def test_what_is_read_ahead_leaves_one_token_always_or_never(length: int, found: int, most: int) -> None:
    """However much of a prompt is there; and no piece is longer than was said."""
    whole = prompt(list(range(length)))
    prefixes = Prefixes(100)
    if found <= length:
        prefixes.arrived(prefixes.claim(whole.head(found // BLOCK * BLOCK)))
    while (ahead := prefixes.ahead(whole, most * BLOCK)) is not None:
        assert len(ahead.ids) % BLOCK == 0
        assert 0 < prefixes.unread(ahead) <= most * BLOCK
        prefixes.arrived(prefixes.claim(ahead))
    assert prefixes.unread(whole) <= most * BLOCK
    assert (prefixes.unread(whole) == 1) == (length % BLOCK in {0, 1} or length == 1)


@given(st.lists(st.integers(0, 5), max_size=130), st.lists(st.integers(0, 5), max_size=130))
def test_links_agree_exactly_as_far_as_blocks_do(one: list[int], other: list[int]) -> None:
    """A link stands for its block and everything before it."""
    for index, (link, same) in enumerate(zip(chain(one), chain(other), strict=False), 1):
        assert (link == same) == (one[: index * BLOCK] == other[: index * BLOCK])


def test_one_of_a_group_goes_first_and_the_others_when_its_prompt_is_read() -> None:
    """Twelve demos are read once, whatever the number of requests."""
    prefixes = Prefixes(100)
    group = [prompt(DEMOS, [number]) for number in range(5)]
    first = choose(prefixes, *group)
    assert [index for index, _ in first] == [0]
    assert chosen(prefixes, *group[1:]) == []
    prefixes.arrived(first[0][1])
    assert chosen(prefixes, *group[1:]) == [0, 1, 2, 3]


def test_each_group_has_a_first_of_its_own() -> None:
    """Two prompts under trial are primed side by side."""
    one, other = DEMOS, [token + 5000 for token in DEMOS]
    group = [prompt(one, [1]), prompt(one, [2]), prompt(other, [1]), prompt(other, [2])]
    assert chosen(Prefixes(100), *group) == [0, 2]


def test_nothing_waits_for_less_than_a_block() -> None:
    """Short prompts and different ones go together at once."""
    short = [prompt(DEMOS[: BLOCK - 1], [number]) for number in range(4)]
    apart = [prompt([number], DEMOS) for number in range(4)]
    assert chosen(Prefixes(100), *short, *apart) == list(range(8))


def test_nothing_waits_for_what_is_there() -> None:
    """A prefix stays known after its request has ended."""
    prefixes = Prefixes(100)
    ((_, claim),) = choose(prefixes, prompt(DEMOS, [1]))
    prefixes.arrived(claim)
    prefixes.ended(claim, [7])
    assert chosen(prefixes, prompt(DEMOS, [2]), prompt(DEMOS, [3])) == [0, 1]


def test_the_next_goes_first_when_the_first_is_lost() -> None:
    """A request that fails before its prompt was read holds nobody back."""
    prefixes = Prefixes(100)
    group = [prompt(DEMOS, [number]) for number in range(3)]
    ((_, claim),) = choose(prefixes, *group)
    prefixes.lost(claim)
    assert chosen(prefixes, *group[1:]) == [0]


def test_a_forgotten_prefix_is_primed_again() -> None:
    """The memory is bounded by the capacity of the cache."""
    prefixes = Prefixes(4)
    for base in (0, 7000, 9000):
        ((_, claim),) = choose(prefixes, prompt([token + base for token in DEMOS], [1]))
        prefixes.arrived(claim)
        prefixes.ended(claim, [7, 7])
    assert chosen(prefixes, prompt(DEMOS, [1]), prompt(DEMOS, [2])) == [0]


def talk(prefixes: Prefixes, answer: list[int]) -> list[int]:
    """One request that ends, whose tokens a dialogue goes on from."""
    ((_, claim),) = choose(prefixes, prompt(DEMOS, [1, 2, 3]))
    prefixes.arrived(claim)
    prefixes.ended(claim, answer)
    return [*DEMOS, 1, 2, 3, *answer]


def test_only_one_goes_on_from_a_tail_at_a_time() -> None:
    """Several next turns of one dialogue would write into the same block."""
    prefixes = Prefixes(100)
    so_far = talk(prefixes, [4, 5, 6])
    turns = [prompt(so_far, [number]) for number in range(7, 10)]
    first = choose(prefixes, *turns)
    assert [index for index, _ in first] == [0]
    prefixes.arrived(first[0][1])
    assert chosen(prefixes, *turns[1:]) == []  # its block is still found by the old text
    prefixes.moved(first[0][1])
    assert chosen(prefixes, *turns[1:]) == [0, 1]


def test_a_tail_outlives_a_request_of_one_token() -> None:
    """Then the block was never made anyone's own, and the next one takes its turn."""
    prefixes = Prefixes(100)
    so_far = talk(prefixes, [4, 5, 6])
    turns = [prompt(so_far, [number]) for number in range(7, 10)]
    for left in (turns, turns[1:], turns[2:]):
        ((index, claim),) = choose(prefixes, *left)
        assert index == 0
        prefixes.arrived(claim)
        prefixes.ended(claim, [1])


def test_who_would_find_a_whole_prompt_waits_until_it_is_another_s_block() -> None:
    """With one token left to read it would come out otherwise than the first of its kind did."""
    prefixes = Prefixes(100)
    same, longer = prompt(DEMOS, [1, 2, 3]), prompt(DEMOS, [1, 2, 3, 4])
    ((_, first),) = choose(prefixes, same)
    prefixes.arrived(first)
    assert chosen(prefixes, same, longer) == []
    prefixes.moved(first)
    prefixes.ended(first, [5, 6])
    others = choose(prefixes, *[same] * 4)
    assert [index for index, _ in others] == [0, 1, 2, 3]
    for _, claim in others:
        prefixes.arrived(claim)
    for _, claim in others:
        assert chosen(prefixes, same) == []
        prefixes.moved(claim)
        prefixes.moved(claim)  # once is as good as twice
    assert chosen(prefixes, same, longer) == [0, 1]


def test_an_answer_of_nothing_keeps_nobody_waiting() -> None:
    """Its block never becomes its own."""
    prefixes = Prefixes(100)
    ((_, claim),) = choose(prefixes, prompt(DEMOS, [1, 2, 3]))
    prefixes.arrived(claim)
    prefixes.ended(claim, [7])
    assert chosen(prefixes, *[prompt(DEMOS, [1, 2, 3])] * 4) == [0, 1, 2, 3]
