"""Symbolic theorems as a recipe; what they must be is tested with the symbolic recipe itself."""

from __future__ import annotations

from collections import Counter

from stillroom.evals.proofs import confirmed
from stillroom.programs.published import preset, records, run_preset

CELLS = {"horn/3": 3, "geometry/2": 2, "linear/1": 1}


def test_theorems_are_a_recipe_without_a_model(tmp_path):
    """`alphageometry` runs without any engine, gives its quotas, and hands them over as all of its schemas."""
    made = run_preset("alphageometry", tmp_path, rows=12, params={"cells": CELLS})
    assert Counter(f"{row.values['domain']}/{row.values['depth']}" for row in made.rows) == {
        "horn/3": 6,
        "geometry/2": 4,
        "linear/1": 2,
    }
    assert {row.passport.calls for row in made.rows} == {0}
    check = confirmed()
    for row in made.rows:
        steps, corrupted = row.values["proofs"]
        assert check({}, {**row.values, "steps": steps, "corrupted": corrupted}).passed
    emits = preset("alphageometry").load().emits
    found = {name: list(records(emits[name], name, made.rows, made.rejects, seed=0)) for name in emits}
    assert {name: len(each) for name, each in found.items()} == {"text": 12, "steps": 24, "verifiable": 12}
    assert [all(each.labels) for each in found["steps"]] == [True, False] * 12
    assert all(each.meta.calls == 0 and each.meta.rows for some in found.values() for each in some)


def test_a_run_goes_on_and_seeds_differ(tmp_path):
    """Called again the rows are there; another seed draws others."""
    first, again = (run_preset("alphageometry", tmp_path / "a", rows=6, params={"cells": CELLS}) for _ in range(2))
    other = run_preset("alphageometry", tmp_path / "b", rows=6, params={"cells": CELLS}, seed=1)
    texts = [[row.values["text"] for row in each.rows] for each in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
