"""Chains of abstraction: which are kept, and what filling them gives."""

from __future__ import annotations

import pytest
from recipe_world import World, stopped, values

from stillroom.programs.methods._tools_chain import fill
from stillroom.programs.methods._tools_shown import CHAINS as SHOWN

CHAINS = [
    # (chain, goal, gold, sound)
    ("[20 + 35 = y1]", "y1", "55", True),
    ("First [20 + 35 = y1], then [90 - y1 = y2].", "y2", "35", True),
    ("[12 * 3 = y1] and [y1 / 4 = y2], in all [y1 + y2 = y3]", "y3", "45", True),
    ("[7 / 2 = y1] litres", "y1", "3.5", True),
    ("[7 / 2 = y1] litres", "y1", "7/2", True),
    ("[ 2 * (3 + 4) = y1 ]; [ y1 - 1 = y2 ]", "[y2]", "13", True),
    ("[1000 * 1.05 = y1], so y1 euros", "y1", "1,050", True),
    ("[5 - 8 = y1]", "y1", "-3", True),
    ("[5 - 8 = y1] [4 - y1 = y2]", "y2", "7", True),
    ("[1 / 3 = y1] [y1 * 6 = y2]", "y2", "2", True),
    ("[90 - y2 = y1], [20 + 35 = y2]", "y1", "35", False),  # forward reference
    ("[y2 + 1 = y1] [y1 - 1 = y2]", "y2", "0", False),  # cycle
    ("[y1 + 1 = y1]", "y1", "1", False),  # itself
    ("[20 + 35 = y1]", "y1", "56", False),  # wrong final value
    ("[20 + 35 = y1] [y1 + 1 = y2]", "y1", "56", False),  # wrong goal
    ("[20 + 35 = y1]", "y2", "55", False),  # a goal that is not set
    ("[20 + 35 = y1] [1 + 1 = y1]", "y1", "2", False),  # set twice
    ("20 + 35 = y1", "y1", "55", False),  # no step
    ("[20 + 35 = 55]", "y1", "55", False),  # no placeholder
    ("[8 / (4 - 4) = y1]", "y1", "0", False),  # no value
]


@pytest.mark.acceptance("2.16 D2")
def test_exactly_the_sound_chains_are_kept(tmp_path):
    assert len(CHAINS) == 20
    given = {
        "solved": [
            {"question": f"Case {at}", "solution": "S", "answer": gold} for at, (_, _, gold, _) in enumerate(CHAINS)
        ]
    }
    said = {
        "abstract": lambda inputs: dict(
            zip(("chain", "goal"), CHAINS[int(inputs["question"].split()[1])][:2], strict=True)
        )
    }
    emitted = World(said).run("chain-of-abstraction", tmp_path, given=given, rows=20)
    kept = {int(question.split()[1]) for question in values(emitted.rows, "question")}
    assert kept == {at for at, (*_, sound) in enumerate(CHAINS) if sound}
    assert set(stopped(emitted)) == {"chain can be worked out", "chain arrives at the answer"}


def test_the_chains_that_are_shown_arrive_at_what_their_solutions_do():
    for demo in SHOWN:
        filled = fill(demo.outputs["chain"], demo.outputs["goal"])
        assert not filled.fault
        assert f"= {filled.result} " in demo.inputs["gold"]


def test_a_filled_chain_reads_with_its_values():
    filled = fill("He has [20 + 35 = y1] nuts, of y1 he eats [y1 - 50 = y2].", "y2")
    assert filled.text == "He has 20 + 35 = 55 nuts, of 55 he eats 55 - 50 = 5."
    assert [one.expression for one in filled.sums] == ["20 + 35", "55 - 50"]
    assert "y3 is used" in fill("[1 + 1 = y1] and y3", "y1").fault
