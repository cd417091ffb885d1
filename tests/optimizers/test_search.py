"""Search: a real winner is found, nothing is announced that is not there, the budget holds, the test split stays shut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import scripted_world as world

import stillroom as st
from stillroom.engines import ScriptedEngine
from stillroom.errors import BadConfig, BudgetExceeded, EngineBusy, FingerprintChanged
from stillroom.optimizers.propose import sound
from stillroom.store import Store

TASK = world.task()
QUICK = st.Settings(trials=8, proposals=2)


def prompts(log: Path) -> str:
    return log.read_text(encoding="utf-8")


def test_a_better_program_is_found_and_confirmed(tmp_path: Path):
    """Demos help this model; the search sees it and says with what evidence."""
    program = st.compile(TASK, lm=world.engine(), run=tmp_path, settings=QUICK)
    assert program.facts["established"]
    assert program.facts["p"] < 0.05
    assert program.plan.demos
    assert "winner confirmed" in program.verdict
    assert st.Plan.load(tmp_path / "plan.json") == program.plan


def test_nothing_is_announced_when_nothing_helps(tmp_path: Path):
    """A model that answers at random, whatever the prompt, keeps its baseline."""

    def coin(request):
        return json.dumps(
            {
                "topic": sorted(world.WORDS)[
                    int(3 * world.chance(request.messages[-1].text, request.system, len(request.messages)))
                ]
            }
        )

    program = st.compile(
        TASK,
        lm=ScriptedEngine(coin),
        run=tmp_path,
        settings=st.Settings(trials=8, proposals=2, formats=["json"], alpha=0.001),
    )
    assert program.plan.digest == program.baseline.digest
    assert "the baseline is kept" in program.verdict


def test_the_test_split_is_never_shown_to_the_search(tmp_path: Path):
    """No prompt of compile or emit holds a test row's text."""
    engine = world.engine(log=tmp_path / "served.jsonl")
    program = st.compile(TASK, lm=engine, run=tmp_path / "run", settings=QUICK)
    program.emit(st.recipes.labelled(per_label=3), gates=st.gates.default(TASK, None))
    served = prompts(tmp_path / "served.jsonl")
    assert all(example.inputs["message"] not in served for example in TASK.held_out)
    assert any(example.inputs["message"] in served for example in TASK.search)


@pytest.mark.parametrize("calls", [90, 200, 400])
def test_the_budget_is_never_passed(tmp_path: Path, calls: int):
    """However small, the search ends inside it, with a plan."""
    engine = world.engine()
    program = st.compile(TASK, lm=engine, run=tmp_path, settings=QUICK, budget=st.Budget(calls=calls))
    assert engine.served <= calls
    assert program.plan.digest


def test_a_budget_too_small_for_the_baseline_is_refused_before_any_call(tmp_path: Path):
    """The rule, the value, and not one call."""
    engine = world.engine()
    with pytest.raises(BadConfig, match="needs a call for each of the"):
        st.compile(TASK, lm=engine, run=tmp_path, budget=st.Budget(calls=5))
    assert engine.served == 0


def test_a_token_budget_holds(tmp_path: Path):
    """Tokens of prompts and answers together stay inside."""
    engine = world.engine()
    with pytest.raises(BudgetExceeded, match="tokens is full"):
        st.compile(TASK, lm=engine, run=tmp_path, budget=st.Budget(tokens=2_000))
    with Store(tmp_path) as store:
        assert 0 < store.spent("compile").tokens <= 2_000


def test_an_outage_is_not_a_score(tmp_path: Path):
    """The search stops with what failed; once the engine is back it goes on without repeating a call."""
    down = []
    engine = world.engine(
        log=tmp_path / "served.jsonl", fail=lambda request: EngineBusy("endpoint is down") if down else None
    )
    down.append(1)
    with pytest.raises(EngineBusy, match="endpoint is down"):
        st.compile(TASK, lm=engine, run=tmp_path / "run", settings=QUICK)
    down.clear()
    program = st.compile(TASK, lm=engine, run=tmp_path / "run", settings=QUICK)
    assert program.plan == st.compile(TASK, lm=world.engine(), run=tmp_path / "fresh", settings=QUICK).plan
    with Store(tmp_path / "run") as store:
        assert store.call_counts()["twice"] == 0


def test_compiling_again_costs_nothing_and_other_settings_are_refused(tmp_path: Path):
    """The same question is answered from the store; another one needs another folder."""
    engine = world.engine()
    first = st.compile(TASK, lm=engine, run=tmp_path, settings=QUICK)
    served = engine.served
    assert st.compile(TASK, lm=engine, run=tmp_path, settings=QUICK).plan == first.plan
    assert engine.served == served
    with pytest.raises(FingerprintChanged, match="settings was"):
        st.compile(TASK, lm=engine, run=tmp_path, settings=st.Settings(trials=9))


def test_proposals_with_rows_or_chatter_in_them_are_not_used():
    """An instruction may not quote data, chat, or be cut to nothing."""
    row = TASK.search[0].inputs["message"]
    assert not sound(f"Decide the topic. For example, {row.upper()} is billing.", TASK)
    assert not sound("Sure! Here is a better instruction: decide the topic.", TASK)
    assert not sound("short", TASK)
    assert not sound("x" * 5000, TASK)
    assert sound("Decide by the nouns which topic a message has.", TASK)


def test_seconds_decide_where_they_are_preferred_and_a_resume_decides_alike(tmp_path: Path, monkeypatch):
    """They are those of each call as it was made; asked again at another pace, the same program comes back."""
    clock = SimpleNamespace(now=0.0, pace=1.0)

    def monotonic() -> float:
        return clock.now

    def answer(request) -> str:
        clock.now += clock.pace * len(request.messages)  # the demos' share of a prompt takes its time
        return world.answer(request)

    monkeypatch.setattr("stillroom.engines.metered.time", SimpleNamespace(monotonic=monotonic))
    settings = replace(QUICK, prefer="under:9:seconds")
    program = st.compile(TASK, lm=ScriptedEngine(answer, name="world"), run=tmp_path, settings=settings)
    points = [(point["seconds"], point["demos"]) for point in program.facts["front"]]
    assert len(points) > 1
    assert all(seconds == 1 + 2 * demos for seconds, demos in points)
    assert program.facts["best"] == max(point["score"] for point in program.facts["front"] if point["seconds"] <= 9)
    assert program.facts["best"] < max(point["score"] for point in program.facts["front"])
    clock.pace = 50.0
    again = st.compile(TASK, lm=ScriptedEngine(answer, name="world"), run=tmp_path, settings=settings)
    assert (again.plan, again.facts) == (program.plan, program.facts)


def test_every_verb_after_another(tmp_path: Path):
    """Compile, emit and prove on one run; the proof says what was and was not shown."""
    engine = world.engine()
    program = st.compile(TASK, lm=engine, run=tmp_path, settings=QUICK)
    program.emit(st.recipes.labelled(per_label=3), gates=st.gates.default(TASK, None))
    proof = st.prove(TASK, program=st.load_program(TASK, tmp_path, engine))
    assert [result.name for result in proof.results] == ["baseline", "compiled"]
    assert proof.results[1].score > proof.results[0].score
    assert proof.words[0].startswith("Established: compiled scores above baseline")
    assert proof.results[0].calls == len(TASK.held_out)
    # what picking flattered, and for the baseline how much easier the search rows were
    with Store(tmp_path) as store:
        means = {note["plan"]: note["mean"] for note in store.notes("trial").values()}
        noted = store.notes("proof")["latest"]["results"]
    for plan, result in zip((program.baseline, program.plan), proof.results, strict=True):
        assert result.optimism == pytest.approx(means[plan.digest] - result.score, abs=1e-6)
        assert f"Optimism of {result.name}: {result.optimism:+.3f}, from" in str(proof)
    assert [each["optimism"] for each in noted] == [each.optimism for each in proof.results]
    # asked again, the answers come from the store and the costs are still the whole ones
    assert st.prove(TASK, program=program).results[0].calls == len(TASK.held_out)


def test_candidates_are_different_ones(tmp_path: Path):
    """What was tried before is no trial."""
    program = st.compile(TASK, lm=world.engine(), run=tmp_path / "wide", settings=st.Settings(trials=15, proposals=2))
    with Store(tmp_path / "wide") as store:
        plans = [note["plan"] for note in store.notes("trial").values()]
    assert len(plans) == len(set(plans)) == 15 == program.facts["trials"]
