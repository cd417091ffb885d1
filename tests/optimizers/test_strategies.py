"""Strategies beside ours: each runs under our ledger and store, ends where the budget does, and crashes on its own account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dspy
import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig, EngineBusy
from stillroom.optimizers.proof import prove_systems
from stillroom.optimizers.strategies import STRATEGIES, Found, run_strategy

TASK = world.task(72)
PEERS = STRATEGIES[2:]
QUICK: dict[str, dict[str, Any]] = {
    "stillroom": {"trials": 6, "proposals": 2},
    "random-search": {"num_candidate_programs": 2},
    "copro": {"breadth": 2, "depth": 2},
    "miprov2": {"num_candidates": 3, "num_trials": 3, "minibatch": False},
    "simba": {"bsize": 8, "num_candidates": 2, "max_steps": 2},
    "gepa": {"max_metric_calls": 130},
}
SAID = {
    "proposed_instruction": "Name the topic by the nouns of the message.",
    "proposed_prefix_for_output_field": "Topic:",
    "observations": "Messages of customers.",
    "summary": "Messages of customers.",
    "program_description": "It names topics.",
    "module_description": "It names a topic.",
    "new_instruction": "Name the topic by the nouns of the message.",
    "discussion": "None.",
    "module_advice": {"answer": "Look at the nouns."},
}


def prompt_model(request: dspy.lm15.Request) -> str:
    """Say something for every field that a peer may ask of its prompt model."""
    if "JSON" in str(request.system):
        return json.dumps(SAID)
    said = {key: value if isinstance(value, str) else json.dumps(value) for key, value in SAID.items()}
    return "\n".join(f"[[ ## {key} ## ]]\n{value}\n" for key, value in said.items()) + "[[ ## completed ## ]]"


def find(name: str, run: Path, engine: ScriptedEngine, calls: int | None = None, **more: Any) -> Found:
    """Run a strategy with options that make it small."""
    prompts = {} if name in ("stillroom", "baseline") else {"prompt_lm": ScriptedEngine(prompt_model, name="prompts")}
    options = {"options": QUICK.get(name, {})}
    return run_strategy(name, TASK, lm=engine, run=run, budget=st.Budget(calls=calls), **{**prompts, **options, **more})


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_finds_a_program_that_proves_like_any_other(tmp_path: Path, name: str):
    """It ends, its scores are those of the whole search split, and its program answers the test split."""
    found = find(name, tmp_path, world.engine())
    assert found.ended == "finished"
    assert found.search_score >= found.baseline_score > 0
    assert found.trajectory[-1][1] == pytest.approx(found.search_score)
    assert all(calls <= found.spent.calls for calls, _ in found.trajectory)
    proof = prove_systems(TASK, [found.program, found.start], [(name, "start")], tmp_path)
    assert [result.name for result in proof.results] == [name, "start"]
    assert proof.rows == len(TASK.held_out)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_never_spends_more_than_the_budget(tmp_path: Path, name: str):
    """The ledger stops it at the call, and what it had scored in full by then counts."""
    calls = {"copro": 50, "simba": 50}.get(name, 70)
    found = find(name, tmp_path, world.engine(), calls=calls)
    assert found.spent.calls <= calls
    if name in ("random-search", "copro", "miprov2", "gepa"):
        assert found.ended == "budget"
        assert found.spent.calls == calls
        assert found.search_score == pytest.approx(found.trajectory[-1][1])
    if name == "simba":
        assert found.ended.startswith("budget: no program was scored in full")
        assert found.search_score == found.baseline_score


def test_a_program_kept_at_the_end_of_the_budget_stands_alone(tmp_path: Path):
    """GEPA traces by a `forward` on the instance; a copy made then must not ask the program it was copied from."""
    found = find("gepa", tmp_path, world.engine(), calls=70)
    assert found.ended == "budget"
    assert "forward" not in vars(found.program.module)


@pytest.mark.parametrize(("name", "calls"), [("gepa", None), ("simba", None), ("copro", 50), ("miprov2", 70)])
def test_running_again_is_free_and_finds_the_same(tmp_path: Path, name: str, calls: int | None):
    """Every call is in the store, on its way to the end or to the budget."""
    engine = world.engine()
    first = find(name, tmp_path, engine, calls)
    served = engine.served
    again = find(name, tmp_path, engine, calls)
    assert engine.served == served
    assert (again.search_score, again.ended, again.trajectory, again.spent.calls) == (
        first.search_score,
        first.ended,
        first.trajectory,
        first.spent.calls,
    )


@pytest.mark.parametrize("name", ["copro", "miprov2"])
def test_a_crash_of_a_peer_is_reported_as_its_own(tmp_path: Path, name: str):
    """A prompt model that talks nonsense breaks them; the run has a result, and it is the start's."""
    found = find(name, tmp_path, world.engine(), prompt_lm=ScriptedEngine(lambda request: "no", name="mute"))
    assert found.ended.startswith("crashed: AdapterParseError")
    assert found.search_score == found.baseline_score


@pytest.mark.parametrize("name", ["bootstrap", "simba", "gepa"])
def test_an_outage_is_raised_and_a_second_call_goes_on(tmp_path: Path, name: str):
    """A peer cannot score an outage as a wrong answer; after it, only what is missing is paid for."""
    whole = find(name, tmp_path / "whole", world.engine())
    left = [whole.spent.calls // 2]

    def flaky(request: dspy.lm15.Request) -> str | Exception:
        left[0] -= 1
        return EngineBusy("the endpoint is down") if left[0] < 0 else world.answer(request)

    with pytest.raises(EngineBusy, match="the endpoint is down"):
        find(name, tmp_path / "run", ScriptedEngine(flaky, name="world"))
    left[0] = 10_000
    resumed = find(name, tmp_path / "run", ScriptedEngine(flaky, name="world"))
    assert resumed.search_score == whole.search_score
    assert resumed.spent.calls == whole.spent.calls


def test_settings_of_dspy_are_left_as_they_were(tmp_path: Path):
    """No LM, adapter, callback or limit of a peer's run stays behind, nor Optuna's or DSPy's log level."""
    import logging

    import optuna

    def state() -> tuple[Any, ...]:
        names = ("lm", "adapter", "callbacks", "num_threads", "max_errors", "trace")
        levels = (logging.getLogger("dspy").level, optuna.logging.get_verbosity())
        return (*(dspy.settings.get(name) for name in names), *levels)

    before = state()
    find("miprov2", tmp_path / "finished", world.engine())
    find("miprov2", tmp_path / "stopped", world.engine(), calls=70)
    assert state() == before


def test_unknown_names_and_options_are_refused_before_any_call(tmp_path: Path):
    """The rule and the value, and not one call."""
    engine = world.engine()
    with pytest.raises(BadConfig, match="strategy must be one of"):
        run_strategy("hillclimb", TASK, lm=engine, run=tmp_path)
    with pytest.raises(BadConfig, match="BootstrapFewShot takes no rounds"):
        find("bootstrap", tmp_path / "a", engine, options={"rounds": 3})
    with pytest.raises(BadConfig, match="stillroom takes no rounds"):
        find("stillroom", tmp_path / "b", engine, options={"rounds": 3})
    assert engine.served == 0


def test_a_tight_budget_chooses_fewer_steps_for_simba(tmp_path: Path):
    """SIMBA scores nothing in full before its end, so as many steps are taken as will fit."""
    found = find("simba", tmp_path, world.engine(), calls=200, options={"bsize": 8, "num_candidates": 2})
    assert found.ended == "finished"
    assert found.spent.calls <= 200
