"""What a spec of a sweep may say, what a cell is, and the tables that come out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import scripted_world as world
from sweep_world import TASK, cells, sweep

from stillroom.errors import BadConfig
from stillroom.ledger import Budget
from stillroom.optimizers.sweep import State, cells_of, differences, read_sweep_toml, summary, table, write_table

# -- specs and cells -------------------------------------------------------------------


def test_a_toml_spec_is_read_with_paths_beside_it(tmp_path: Path):
    """Tasks are relative to the spec, and `[settings]` are the options of our own search."""
    path = tmp_path / "spec.toml"
    path.write_text(
        'name = "all"\ntasks = ["a.py"]\nmodels = ["local/x", "local/y"]\nstrategies = ["stillroom", "gepa"]\nprove = false\n'
        "[[budgets]]\ncalls = 300\n[[budgets]]\nminutes = 2.5\n[settings]\ntrials = 4\n[options.gepa]\nauto = 'light'\n"
    )
    found = read_sweep_toml(path)
    assert found.tasks == (tmp_path / "a.py",)
    assert found.budgets == (Budget(calls=300), Budget(minutes=2.5))
    assert found.options == {"stillroom": {"trials": 4}, "gepa": {"auto": "light"}}
    assert (found.seeds, found.prove) == ((0,), False)
    assert len(cells_of(found, lambda path: TASK, ["stillroom", "gepa"])) == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = [", "must be TOML"),
        ("nmae = 'x'", "known keys, got 'nmae'"),
        ("name = 'x'", "must set tasks, models, strategies, budgets"),
        ("{good}\nbudgets = [{{cals = 3}}]", "known keys, got 'cals'"),
        ("{good}\nbudgets = 3", "budgets of a sweep must be a list of at least one, got 3"),
        ("{good}\nbudgets = [{{calls = -1}}]", "budget calls must be a number >= 0, got -1"),
        ("{good}\nbudgets = [{{}}]\n[settings]\n[options.stillroom]", "got both"),
        ("{good}\nbudgets = [{{}}]\n[options.miprov2]", "of a strategy of the sweep, got 'miprov2'"),
    ],
)
def test_a_bad_toml_spec_is_refused(tmp_path: Path, text: str, said: str):
    """With the rule and what was written."""
    path = tmp_path / "spec.toml"
    good = 'name = "x"\ntasks = ["a.py"]\nmodels = ["local/x"]\nstrategies = ["stillroom"]'
    path.write_text(text.format(good=good) if "{good}" in text else text)
    with pytest.raises(BadConfig) as caught:
        read_sweep_toml(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "name must be 1 to 64"),
        ({"models": []}, "models of a sweep must be a list of at least one"),
        ({"models": ["qwen"]}, "each of models must be provider/name, got 'qwen'"),
        ({"seeds": [0, 0]}, "seeds of a sweep must differ, got 0 twice"),
        ({"seeds": [True]}, "each of seeds must be a whole number >= 0, got True"),
        ({"strategies": "steps"}, "strategies of a sweep must be a list"),
        ({"budgets": [300]}, "each of budgets must be a stillroom.Budget, got 300"),
        ({"prove": "yes"}, "prove must be true or false"),
        ({"prompt_model": "qwen"}, "prompt_model must be provider/name"),
        ({"options": {"steps": {"x": object()}}}, "options of steps must be JSON values"),
        ({"options": {"steps": 3}}, "options of steps must be a table, got 3"),
    ],
)
def test_a_bad_sweep_is_refused(changes: dict, said: str):
    """At construction."""
    with pytest.raises(BadConfig) as caught:
        sweep(**changes)
    assert said in str(caught.value)


def test_unknown_strategies_and_equal_task_names_are_refused():
    """Before anything is run."""
    with pytest.raises(BadConfig, match="strategy must be known, got 'steps'"):
        cells_of(sweep(), lambda path: TASK, ["baseline"])
    with pytest.raises(BadConfig, match="one name each"):
        cells_of(sweep(tasks=["a.py", "b.py"]), lambda path: TASK)


def test_a_cell_is_known_by_what_it_is_made_of():
    """Anything that decides its result changes its digest; being proved keeps its folder; its neighbours change nothing."""
    first = cells()[0]
    assert cells(seeds=[0], name="other")[0].digest == first.digest
    changed = [
        replace(first, model="local/other"),
        replace(first, strategy="steps"),
        replace(first, budget=Budget(calls=201)),
        replace(first, seed=5),
        replace(first, options={"a": 1}),
        replace(first, prompt_model="local/other"),
        replace(first, task=world.task(63)),
    ]
    assert len({cell.run for cell in [first, *changed]}) == len(changed) + 1
    unproved = replace(first, prove=False)
    assert (unproved.folder, unproved.digest != first.digest) == (first.folder, True)
    assert first.folder.startswith("world-world-baseline-200-calls-s0-")
    assert first.worst_calls == 200 + 2 * len(TASK.search) + len(TASK.held_out)
    assert replace(first, budget=Budget()).worst_calls is None


# -- tables ----------------------------------------------------------------------------


def states_with(those, scores):
    """Done cells with these search scores; `None` is a failed one."""
    done = partial(State, "done")
    other = {"baseline": 0.5, "low": None, "high": None, "calls": 7, "tokens": 70, "usd": 0.0, "seconds": 1.5}
    return {
        cell.digest: State("failed", error={"kind": "ValueError", "reason": "bad", "again": False})
        if score is None
        else done(result={**other, "search": score, "test": score / 2, "ended": "finished", "trajectory": []})
        for cell, score in zip(those, scores, strict=True)
    }


def test_the_table_and_its_means_and_differences(tmp_path: Path):
    """Means over seeds with Student's interval; differences are paired; failed cells are shown and not counted."""
    those = cells(seeds=[0, 1, 2])  # baseline and steps alternate
    frame = table(those, states_with(those, [0.5, 0.6, 0.5, 0.8, 0.5, None]))
    assert list(frame["status"]) == ["done"] * 5 + ["failed"]
    assert frame.loc[5, "error"] == "ValueError: bad"
    assert frame["calls"].sum() == 35
    means = summary(frame).set_index("strategy")
    assert means.loc["steps", "cells"] == 2
    assert means.loc["steps", "search"] == pytest.approx(0.7)
    assert means.loc["steps", "search_high"] == pytest.approx(0.7 + 12.7062 * 0.1, abs=1e-3)
    gaps = differences(frame)
    assert list(gaps["score"]) == ["search", "test"]
    assert gaps.loc[0, ["pairs", "better", "worse", "even"]].tolist() == [2, 2, 0, 0]
    assert gaps.loc[0, "difference"] == pytest.approx(0.2)
    text, columns = write_table(frame, tmp_path)
    import pandas as pd

    assert len(pd.read_csv(text)) == len(pd.read_parquet(columns)) == 6
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_sweep_without_results_has_empty_tables():
    """Nothing fails where nothing was found."""
    those = cells()
    frame = table(those, dict.fromkeys((cell.digest for cell in those), State("waiting")))
    assert (len(frame), len(summary(frame)), len(differences(frame))) == (4, 0, 0)
