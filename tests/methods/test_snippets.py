"""The acceptance checks of the snippets method: tasks grounded in real artefacts."""

from __future__ import annotations

import ast
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from recipe_world import World, handed_over, sample_rows, stopped, values

from stillroom.errors import BadConfig
from stillroom.evals import embedding
from stillroom.evals.diversity import k_centres
from stillroom.programs.methods._snippets_seeds import core, sentences, snippet, verdict_of
from stillroom.programs.methods.snippets import CRITERIA, TASKS
from stillroom.programs.published import presets, sample

HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "humaneval" / "data.jsonl"
OURS = [each for each in presets().values() if each.method == "snippets"]


def code_rows() -> list[dict[str, str]]:
    return sample_rows("programs.jsonl")


def problem_for(inputs) -> str:
    # one problem for one seed, so that what is drawn shows in what comes out
    return f"Write a function that deals with this: {inputs['seed']!r} ({inputs['constraint']})"


def exercise(inputs) -> dict[str, str]:
    name = inputs["seed"]
    if not name.isidentifier():
        return {"problem": problem_for(inputs), "solution": f"def f():\n    return {inputs['seed']!r}\n"}
    head = f'def {name}(value: int) -> int:\n    """Count what {name} says."""\n'
    return {"problem": head, "solution": head + "    return value\n"}


def judged(ok: bool = True, overall: bool | None = None, rules: int = len(CRITERIA)) -> dict[str, object]:
    said = [{"rule": rule, "ok": ok, "reason": "so it is"} for rule in CRITERIA[:rules]]
    return {"rules": said, "overall": ok if overall is None else overall}


def made(inputs, instruction: str = "Write it in Python.") -> dict[str, str]:
    task = inputs["task"].split(":")[0]
    return {
        "task_name": task,
        "case_instruction": f"{instruction[:-1]} for {task}.",
        "information": inputs["code"].splitlines()[0],
        "solution": inputs["code"] + f"# {task}\n",
    }


def world(**said) -> World:
    usual = {
        "propose and solve": exercise,
        "propose": lambda inputs: {"problem": problem_for(inputs)},
        "case": made,
        "discriminate": lambda inputs: judged(),
    }
    return World({**usual, **{name.replace("_", " "): each for name, each in said.items()}})


# -- what is drawn ---------------------------------------------------------------------


@pytest.mark.acceptance("2.4 D1")
def test_seeds_are_one_to_fifteen_lines_that_follow_each_other(tmp_path):
    code = "".join(f"line_{number} = {number}\n" for number in range(40))
    drawn = [snippet(code, random.Random(seed)) for seed in range(2000)]
    lengths = [len(each.splitlines()) for each in drawn]
    assert all(each in code for each in drawn)
    assert set(lengths) == set(range(1, 16))  # both ends are reached
    begun = {each.splitlines()[0] for each in drawn}
    assert len(begun) == 40  # from any line; near the end there are fewer to take
    assert all(len(each.splitlines()) <= 2 for each in drawn if each.startswith("line_38"))
    assert drawn == [snippet(code, random.Random(seed)) for seed in range(2000)]


@pytest.mark.acceptance("2.4 D1")
def test_the_seeds_of_a_run_are_reproducible_and_those_of_another_seed_are_others(tmp_path):
    code = {row["code"] for row in code_rows()}

    def drawn(name: str, seed: int) -> list[str]:
        here = world()
        emitted = here.run("oss-instruct", tmp_path / name, rows=20, seed=seed)
        assert len(emitted.rows) == 20
        return values(emitted.rows, "seed")

    first = drawn("first", 3)
    assert all(1 <= len(seed.splitlines()) <= 15 and any(seed in each for each in code) for seed in first)
    assert first == drawn("again", 3)
    assert first != drawn("other", 4)


@pytest.mark.acceptance("2.4 D2")
def test_the_first_three_centres_are_one_of_each_planted_cluster():
    rng = np.random.default_rng(0)
    for _ in range(50):
        middles = rng.normal(size=(3, 8)) * 10
        labels = rng.permutation(np.repeat([0, 1, 2], [30, 5, 1]))  # of very different sizes
        vectors = middles[labels] + rng.normal(size=(36, 8)) * 0.05
        chosen = k_centres(vectors, 3, int(rng.integers(36)))
        assert sorted(labels[chosen]) == [0, 1, 2]


@pytest.mark.acceptance("2.4 D2")
def test_a_core_set_of_three_holds_one_code_of_each_kind(tmp_path, monkeypatch):
    rows = [{"code": f"def {kind}_{at}():\n    return {at}\n"} for at in range(6) for kind in ("read", "sort", "draw")]
    kinds = {"read": [9.0, 0, 0], "sort": [0, 9.0, 0], "draw": [0, 0, 9.0]}

    class Planted:
        def embed(self, texts):
            return np.array([[*kinds[text[4:8]], len(text) / 1000] for text in texts])

    monkeypatch.setattr(embedding, "default_embedder", Planted)
    here = world()
    here.run("wavecoder", tmp_path, rows=12, given={"code": rows}, params={"core": 3})
    shown = {inputs["code"] for call, inputs in here.asked if call == "case"}
    assert sorted(code[4:8] for code in shown) == ["draw", "read", "sort"]


def test_a_core_set_needs_no_model_where_there_is_nothing_to_choose(monkeypatch):
    monkeypatch.setattr(embedding, "default_embedder", None)
    assert core(["a", "b"], 2, random.Random(0)) == [0, 1]


def test_centres_are_different_even_among_copies_and_bad_settings_are_refused():
    assert sorted(k_centres(np.zeros((4, 2)), 4)) == [0, 1, 2, 3]
    for k, first in ((0, 0), (5, 0), (1, 4)):
        with pytest.raises(BadConfig, match="k-centre needs"):
            k_centres(np.zeros((4, 2)), k, first)


# -- what is refused ---------------------------------------------------------------------


@pytest.mark.acceptance("2.4 D3")
@pytest.mark.parametrize(
    ("said", "consistent"),
    [
        (judged(True), True),
        (judged(False), True),
        (judged(True, overall=False), False),  # all yes, and no
        (judged(False, overall=True), False),
        (judged(True, rules=4), False),  # a rule was left out
        ({"rules": [*judged()["rules"][:4], {"rule": "last", "ok": False, "reason": ""}], "overall": True}, False),
        ({"rules": [], "overall": True}, False),
    ],
)
def test_a_verdict_that_contradicts_its_rules_is_inconsistent(said, consistent):
    assert (verdict_of(said, len(CRITERIA))[1] == "") is consistent


@pytest.mark.acceptance("2.4 D3")
def test_cases_with_an_inconsistent_verdict_are_rejected_and_join_neither_bank(tmp_path):
    verdicts = {"summarise": judged(True, overall=False), "generate": judged(False), "translate": judged()}

    def discriminate(inputs):
        task = next(name for name, said in TASKS.items() if said.split(":")[0] in inputs["case"])
        return verdicts.get(task, judged())

    here = world(discriminate=discriminate)
    emitted = here.run("wavecoder", tmp_path, rows=32, params={"window": 4, "shown": 40})
    assert {row.values["task_name"] for row in emitted.rows} == {"code translation", "code repair"}
    by_gate = {row.gate: row for row in emitted.rejects}
    assert {"discriminator is consistent", "discriminator accepts"} <= stopped(emitted).keys()
    assert by_gate["discriminator is consistent"].passport.verdicts[-1]["by"] == "judge"
    assert "5 of 5 rules are kept, and overall it says no" in by_gate["discriminator is consistent"].why
    late = [inputs for call, inputs in here.asked if call == "case"][-1]
    text = sample("code_cases.jsonl").read_text(encoding="utf-8")
    new_good = [each for each in late["good"] if json.dumps(each) not in text]
    new_bad = [each for each in late["bad"] if json.dumps(each) not in text]
    assert new_good
    assert new_bad
    assert all("overall: yes" in each for each in new_good)
    assert all("task: code generation" in each and "overall: no" in each for each in new_bad)


@pytest.mark.acceptance("2.4 D4")
@pytest.mark.skipif(not HUMANEVAL.is_file(), reason=f"NO HumanEval at {HUMANEVAL}")
def test_a_humaneval_prompt_in_problem_or_solution_is_removed(tmp_path):
    tasks = [json.loads(line) for line in HUMANEVAL.read_text(encoding="utf-8").splitlines()][:40]
    guard = [{"text": row["prompt"]} for row in tasks] + [
        {"text": row["prompt"] + row["canonical_solution"]} for row in tasks
    ]
    clean = exercise({"seed": "stamps_needed", "constraint": ""})
    said = iter(
        [
            {"problem": tasks[3]["prompt"], "solution": clean["solution"]},  # the whole prompt
            {"problem": "Solve this:\n\n" + "   " + tasks[7]["prompt"].replace("\n", "\n  "), "solution": "def a(): 1"},
            {
                "problem": "Write a function on its own.",
                "solution": tasks[9]["prompt"] + tasks[9]["canonical_solution"],
            },
        ]
    )
    here = world(propose_and_solve=lambda inputs: next(said, None) or exercise(inputs))
    emitted = here.run("oss-instruct", tmp_path, rows=6, given={"guard": guard, "code": code_rows()})
    assert stopped(emitted)["decontaminated"] == 3
    assert len(emitted.rows) == 6
    assert all("with guard row" in row.why for row in emitted.rejects if row.gate == "decontaminated")


def test_without_a_guard_the_same_prompts_would_pass(tmp_path):
    here = world()
    assert "decontaminated" not in [name for name, _, _ in here.run("oss-instruct", tmp_path, rows=2).funnel]


def test_what_differs_in_white_space_alone_is_repeated(tmp_path):
    calls = itertools.count()

    def said(inputs):
        at = next(calls)
        return {"problem": f"Add  {at // 2}\n" if at % 2 else f"Add {at // 2}", "solution": f"def f(): {at}"}

    emitted = world(propose_and_solve=said).run("oss-instruct", tmp_path, rows=4)
    assert stopped(emitted)["new problem"] >= 3


def test_seeds_without_a_word_cost_nothing(tmp_path):
    here = world()
    code = [{"code": "}\n"}, {"code": "def f(): ...\n"}, {"code": ")\n\n"}]
    emitted = here.run("oss-instruct", tmp_path, rows=1, given={"code": code})
    assert len(emitted.rows) == 1
    assert all("def" in inputs["seed"] for _, inputs in here.asked)


def test_answers_that_were_cut_off_are_dropped():
    from stillroom.programs.flow import At
    from stillroom.programs.methods.snippets import flow

    gates = [part.gate.name for part in flow(world().job("oss-instruct")).parts if isinstance(part, At)]
    assert gates[0] == "whole"


def test_seeds_are_drawn_until_nothing_new_comes_of_it(tmp_path):
    here = world()
    emitted = here.run("oss-instruct", tmp_path, rows=50, given={"code": [{"code": "a = 1\nb = 2\n"}]})
    assert sorted(values(emitted.rows, "seed")) == ["a = 1\n", "a = 1\nb = 2\n", "b = 2\n"]
    assert len(here.asked) == 3


@pytest.mark.parametrize(
    ("instruction", "information", "passes"),
    [
        ("One sentence.", "", True),
        ("One. Two!", "One. Two.", True),
        ("One. Two. Three.", "", False),
        ("One.", "One. Two. Three.", False),
        ("", "", False),
    ],
)
def test_instructions_and_information_have_at_most_two_sentences(instruction, information, passes):
    from stillroom.programs.methods.snippets import _short

    assert (_short({"case_instruction": instruction, "information": information}) == "") is passes
    assert sentences("It costs 3.50 today. Is it much? No") == 3


def test_an_exercise_defines_the_function_it_was_asked_for(tmp_path):
    def said(inputs):
        right = exercise(inputs)
        wrong = {**right, "solution": right["solution"].replace(inputs["seed"], "solve")}
        broken = {**right, "solution": right["solution"] + "    return (\n"}
        return {"c": wrong, "s": broken}.get(inputs["seed"][0], right)

    emitted = world(propose_and_solve=said).run("phi-1-exercises", tmp_path, rows=10)
    names = {row["name"] for row in sample_rows("function_names.jsonl")}
    assert len(emitted.rows) == 10
    assert {node.name for row in emitted.rows for node in ast.parse(row.values["text"]).body} <= names
    assert {"python_parses(solution)", "defines the function"} <= stopped(emitted).keys()


def test_all_seventy_one_topics_are_asked_for_at_each_level(tmp_path):
    here = world()
    emitted = here.run("afm-code-topics", tmp_path)
    assert len(emitted.rows) == 213
    asked = {(inputs["seed"], inputs["constraint"].split()[1]) for _, inputs in here.asked}
    assert len({topic for topic, _ in asked}) == 71
    assert {level for _, level in asked} == {"easy", "medium", "hard"}
    assert len(asked) == 213


def test_the_licence_of_a_seed_travels_with_its_row(tmp_path):
    code = [{"code": "def gpl(): ...\n", "licence": "GPL-3.0"}, {"code": "def unknown(): ...\n"}]
    emitted = world().run("llama3-code-problems", tmp_path, rows=2, given={"code": code})
    found = {row.values["seed"]: row for row in emitted.rows}
    assert found["def gpl(): ...\n"].values["seed_licence"] == "GPL-3.0"
    assert found["def gpl(): ...\n"].passport.target["seed_licence"] == "GPL-3.0"
    assert found["def unknown(): ...\n"].values["seed_licence"] == "unknown"
    assert len({row.passport.parents for row in emitted.rows}) == 2


def test_a_solution_that_copies_its_problem_is_refused_where_asked(tmp_path):
    same = "```python\ndef f():\n    return 1\n```"

    def run(name, copied):
        here = world(
            propose_and_solve=lambda inputs: {
                "problem": f"Say why, {inputs['seed']!r}:\n{same}",
                "solution": f"{same}\n{inputs['seed']}",
            }
        )
        return here.run("oss-instruct", tmp_path / name, rows=2, params={"copied": copied})

    assert len(run("on", True).rows) == 2
    assert stopped(run("off", False))["solution is its own"]


@pytest.mark.parametrize(
    "params",
    [{"least": 0}, {"least": 9, "most": 3}, {"tasks": ["sing"]}, {"tasks": []}, {"core": 0}, {"constraint": "{what}"}],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(tmp_path, params):
    here = world()
    with pytest.raises(BadConfig):
        here.run("wavecoder", tmp_path, rows=1, params=params)
    assert here.asked == []


# -- the presets ---------------------------------------------------------------------


@pytest.mark.parametrize("preset", OURS, ids=lambda each: each.name)
def test_every_preset_runs_from_end_to_end_and_its_records_build(preset, tmp_path):
    here = world()
    emitted = here.run(preset.name, tmp_path, rows=8)
    assert len(emitted.rows) == 8
    assert {len(made) for made in handed_over(preset.name, emitted).values()} == {8}
    assert emitted.rows[0].passport.recipe == here.job(preset.name, rows=8).digest


def test_the_presets_cover_the_systems_of_the_table():
    assert {number for each in OURS for number in each.covers} == {13, 14, 15, 42, 54}
