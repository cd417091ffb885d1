"""Steps with a condition wait for what the condition may look at."""

from __future__ import annotations

from stillroom.programs.flow import Do
from stillroom.programs.flow.working import needs


def test_a_condition_waits_for_all_before_it_and_all_behind_it_wait():
    steps = [
        Do("label", lambda row: {"kind": "yes"}, reads=("text",), adds=("kind",)),
        Do("other", lambda row: {"more": 1}, reads=("text",), adds=("more",), when=lambda row: row["kind"] == "yes"),
        Do("free", lambda row: {"free": 1}, reads=("text",), adds=("free",)),
    ]
    assert needs(steps) == [frozenset(), frozenset({0}), frozenset({1})]


def test_what_a_condition_may_look_at_is_not_overwritten_before_it():
    steps = [
        Do("first", lambda row: {"draft": 1}, reads=("text",), adds=("draft",)),
        Do("maybe", lambda row: {"note": 1}, reads=("text",), adds=("note",), when=lambda row: row["draft"] == 1),
        Do("again", lambda row: {"draft": 2}, reads=("text",), adds=("draft",)),
    ]
    assert needs(steps)[2] == frozenset({0, 1})
