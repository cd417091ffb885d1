"""One call of a recipe is compiled by what the recipe's own gates say of its rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from proposing_world import BETTER, PRESET, Scripted
from recipe_world import stopped

from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import BadConfig, BudgetExceeded, EngineError
from stillroom.ledger import Budget
from stillroom.optimizers.recipe_program import compile_call, foresee_call
from stillroom.optimizers.recipe_subject import RecipeSubject
from stillroom.optimizers.settings import Settings
from stillroom.programs.forecast.standing import quotas_of
from stillroom.programs.published import prepare, run_preset
from stillroom.store import Store

QUICK = Settings(trials=6, proposals=3, seed=1, formats=("json",))


def subject(folder: Path, script: Scripted, call: str = "propose", budget: Budget | None = None, **more):
    """The subject in a session that the caller closes."""
    engine = script.engine()
    job = prepare(PRESET, {"teacher": engine}, samples=True, rows=40)
    opened = open_session(engine, folder, "compile", {"recipe": job.digest}, budget)
    session = opened.__enter__()
    return RecipeSubject(job, call, session, replace(QUICK, **more)), opened


def test_a_better_instruction_is_found_established_and_taken_by_the_recipe(tmp_path: Path):
    """The gates say what is better; `plans=` of a run takes it, and its rows pass where the recipe's own did not."""
    script = Scripted()
    found = compile_call(PRESET, lm=script.engine(), samples=True, rows=90, run=tmp_path / "c", settings=QUICK)
    assert (found.recipe, found.call) == ("small", "propose")
    assert BETTER in found.plan.instruction
    assert found.facts["established"]
    assert found.facts["evidence"]["fresh"] >= 12
    assert found.facts["best"] == 1.0 > found.facts["baseline"]
    assert "winner confirmed" in found.verdict
    assert found.baseline.instruction == "Propose tasks on the topic."
    settings = {"lm": script.engine(), "samples": True, "rows": 12}
    before = run_preset(PRESET, tmp_path / "before", **settings)
    after = run_preset(PRESET, tmp_path / "after", **settings, plans={"propose": found.plan})
    assert len(after.rows) == 12
    assert any(gate.startswith("length") for gate in stopped(before))
    assert not any(gate.startswith("length") for gate in stopped(after))


def test_without_a_better_one_the_recipes_own_is_kept(tmp_path: Path):
    """Proposals that change nothing are no winners."""
    script = Scripted(better="Give tasks of any kind that come to your mind, as many as were asked for.")
    found = compile_call(PRESET, lm=script.engine(), samples=True, rows=60, run=tmp_path, settings=QUICK)
    assert not found.facts["established"]
    assert found.plan.digest == found.baseline.digest
    assert "the baseline is kept" in found.verdict


def test_a_search_that_is_run_again_pays_nothing_and_ends_alike(tmp_path: Path):
    """Outcomes and calls are on record."""
    script = Scripted()
    settings = {"samples": True, "rows": 60, "run": tmp_path, "settings": QUICK}
    first = compile_call(PRESET, lm=script.engine(), **settings)
    paid = len(script.asked)
    again = compile_call(PRESET, lm=script.engine(), **settings)
    assert len(script.asked) == paid
    assert again.plan == first.plan


def test_a_budget_is_never_passed(tmp_path: Path):
    """What was asked until then is kept, and a larger budget goes on from there."""
    script = Scripted()
    settings = {"samples": True, "rows": 60, "run": tmp_path, "settings": QUICK}
    with pytest.raises((BudgetExceeded, BadConfig)):
        compile_call(PRESET, lm=script.engine(), budget=Budget(calls=10), **settings)
    assert len(script.asked) <= 10
    found = compile_call(PRESET, lm=script.engine(), budget=Budget(calls=5_000), **settings)
    assert found.facts["best"] == 1.0


def test_the_score_of_a_row_is_the_share_of_what_came_of_it_that_passed(tmp_path: Path):
    """Gates of form count; gates that compare rows do not: the same tasks are proposed again and again."""
    script = Scripted()
    script.says = ["Tell us what you know", "Tell us what you know", "Short", "Short"]
    engine = script.engine()
    with open_session(engine, tmp_path / "other", "compile", {}) as session:
        job = prepare(PRESET, {"teacher": engine}, samples=True, rows=40)
        other = RecipeSubject(job, "propose", session, QUICK)
        candidate = other.build({"": other.default(other.parts[0])})
        row = other.search[0]
        (outcome,) = other.run(candidate, [row])
        assert (outcome.kind, outcome.score, outcome.outputs["rows"], outcome.outputs["passed"]) == (
            "scored",
            0.5,
            4,
            2,
        )
        assert "length(task" in outcome.why
        (step,) = other.steps(row, outcome)
        assert step.inputs == row.inputs
        assert step.outputs == {"tasks": script.says}
        ((_, tried),) = other.bootstrap(candidate, [row])
        assert tried.score == 0.5  # too few of its tasks passed for it to be shown


def test_answers_that_passed_are_shown_as_demos(tmp_path: Path):
    """Of a call behind a split each answer counts for itself."""
    script = Scripted()
    here, opened = subject(tmp_path, script, "reply")
    try:
        candidate = here.build({"": here.default(here.parts[0])})
        found = here.bootstrap(candidate, here.demos[:16])
        good = [(row, outcome) for row, outcome in found if outcome.score == 1]
        assert good
        for row, outcome in good:
            for step in here.steps(row, outcome):
                assert step.outputs["reply"] == f"Done: {step.inputs['task']}"
    finally:
        opened.__exit__(None, None, None)


def test_rows_are_told_apart_and_split_for_good(tmp_path: Path):
    """No row is learnt from, scored on and confirmed with; the same ones each time."""
    script = Scripted()
    here, opened = subject(tmp_path, script)
    ids = [[each.id for each in rows] for rows in (here.demos, here.fresh, here.search)]
    opened.__exit__(None, None, None)
    again, opened = subject(tmp_path, script)
    assert ids == [[each.id for each in rows] for rows in (again.demos, again.fresh, again.search)]
    opened.__exit__(None, None, None)
    assert len({id for each in ids for id in each}) == sum(map(len, ids)) == 40
    assert not script.asked


def test_an_outage_is_never_a_score(tmp_path: Path):
    """It is raised, and nothing is recorded as an outcome."""
    script = Scripted()
    script.fails = lambda text: True
    with pytest.raises(EngineError):
        compile_call(PRESET, lm=script.engine(), samples=True, rows=40, run=tmp_path, settings=QUICK)
    script.fails = lambda text: False
    found = compile_call(PRESET, lm=script.engine(), samples=True, rows=40, run=tmp_path, settings=QUICK)
    assert found.facts["best"] == 1.0


def test_a_call_that_the_recipe_does_not_ask_is_refused(tmp_path: Path):
    """With near names, or those there are; and a recipe without calls has none to compile."""
    script = Scripted()
    with pytest.raises(BadConfig, match="does not ask 'porpose'") as caught:
        compile_call(PRESET, "porpose", lm=script.engine(), samples=True, run=tmp_path / "a", settings=QUICK)
    assert "Did you mean propose" in caught.value.mend
    with pytest.raises(BadConfig, match="asks no model"):
        compile_call("alphageometry", lm=script.engine(), samples=True, run=tmp_path / "b", settings=QUICK)
    with pytest.raises(BadConfig, match="at least 8 different wanted rows"):
        compile_call(PRESET, lm=script.engine(), samples=True, rows=3, run=tmp_path / "c", settings=QUICK)
    assert not script.asked


def test_a_row_is_asked_alike_whichever_rows_are_run_beside_it(tmp_path: Path):
    """Its seeds and the demos it is shown are its own, so that an outcome on record is that of the row."""
    asked: list[list[str]] = []

    def written(request) -> str:
        asked[-1].append(repr(request))
        return json.dumps({"text": f"{len(asked[-1])} words of no meaning at all"})

    engine = ScriptedEngine(written)
    for number, beside in enumerate(([], [1, 2])):
        asked.append([])
        job = prepare("labelled", {"teacher": engine}, samples=True, rows=40, params={"check": "none"})
        with open_session(engine, tmp_path / str(number), "compile", {}) as session:
            here = RecipeSubject(job, "write", session, QUICK)
            candidate = here.build({"": here.default(here.parts[0])})
            here.run(candidate, [here.search[at] for at in (*beside, 0)])
    assert len(asked[0]) == 1
    assert asked[0][0] in asked[1]


def test_the_rows_that_are_run_end(tmp_path: Path):
    """As many are begun as there are, and a forecast can count them."""
    here, opened = subject(tmp_path, Scripted())
    try:
        flow = here.flow(here.declared, here.search[:5])
        assert quotas_of(flow) == {"rows": 5}
        assert len(here.run(here.build({"": here.default(here.parts[0])}), here.search[:5])) == 5
    finally:
        opened.__exit__(None, None, None)


@pytest.mark.parametrize(("recipe", "most"), [("orca", True), (PRESET, False)])
def test_what_a_search_takes_is_within_what_is_forecast_of_it(tmp_path: Path, recipe: object, most: bool):
    """Bounds by arithmetic, with nothing asked; what rows are split into is not known, and it says so."""
    script = Scripted()
    script.says = ["Tell us what you know of it"]
    engine = (
        script.engine()
        if recipe is PRESET
        else ScriptedEngine(lambda request: "Because of that, as all of us know well by now.")
    )
    settings = replace(QUICK, trials=4, proposals=1)
    wish = {"lm": engine, "samples": True, "rows": 40, "settings": settings}
    told = foresee_call(recipe, **wish, run=tmp_path)
    assert not list(tmp_path.iterdir())
    assert (told.level, told.calls.high is not None) == (1.0, most)
    assert most or "reply: no upper bound but the budget's" in told.notes[-1]
    compile_call(recipe, **wish, run=tmp_path)
    with Store(tmp_path) as store:
        spent = store.spent("compile")
    assert 0 < told.calls.low <= spent.calls <= (told.calls.high or spent.calls)
    assert 0 < told.tokens_in.low <= spent.tokens_in
    assert foresee_call(recipe, **wish, run=tmp_path, budget=Budget(calls=60)).calls.high == 60
    assert foresee_call(recipe, **wish, run=tmp_path).spent.calls == spent.calls
