"""The acceptance checks of the execute method: code judged by running it."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import pytest
from recipe_world import World, handed_over, sample_rows, stopped
from sandbox_world import SANDBOXED

from stillroom.errors import BadConfig
from stillroom.evals.execution import caught, run_test, table
from stillroom.evals.mutants import mutants
from stillroom.evals.sandbox import Limits
from stillroom.programs.methods.execute import METHOD, entry_of
from stillroom.programs.published import presets, records

SHORT = Limits(seconds=0.5, cpu_seconds=0.5)
OURS = [each for each in presets().values() if each.method == "execute"]
HUMANEVAL = Path(__file__).parents[3] / "shared" / "data" / "humaneval" / "data.jsonl"

pytestmark = SANDBOXED

PROBLEM = {"problem": "Write `twice(n)`, which doubles a number.", "entry": "twice"}
TESTS = [
    "assert twice(2) == 4",
    "assert twice(0) == 0",
    "assert twice(-3) == -6",
    "assert twice(10) == 20",
    "assert twice(7) == 14",
]
RIGHT = [f"def twice(n):\n    return {said}\n" for said in ("2 * n", "n + n", "n << 1")]
WRONG = [f"def twice(n):\n    return {said}\n" for said in ("n * n", "n + 2")]
LOOPS = "def twice(n):\n    while True:\n        pass\n"
WRITES = "def twice(n):\n    open('notes.txt', 'a').write(str(n))\n    return 2 * n\n"
ESCAPES = "def twice(n):\n    open('{}', 'w').write('x')\n    return 2 * n\n"
LOOKS_RIGHT = {row["entry"]: row for row in sample_rows("problems.jsonl")}


def world(solutions, tests=TESTS, **said) -> World:
    turn = itertools.cycle(solutions)
    usual = {"solve": lambda inputs: {"code": next(turn)}, "tests": lambda inputs: {"tests": "\n".join(tests)}}
    return World({**usual, **said})


def run(here: World, preset: str, folder: Path, problem=PROBLEM, **params):
    return here.run(preset, folder, rows=1, given={"problems": [problem]}, params=params)


# -- running ---------------------------------------------------------------------------


@pytest.mark.acceptance("2.5 D1")
def test_exactly_the_three_right_solutions_are_kept(tmp_path):
    outside = tmp_path / "outside.txt"
    here = Path.cwd()
    before = sorted(os.listdir(here))
    solutions = [WRONG[0], RIGHT[0], LOOPS, RIGHT[1], WRITES, WRONG[1], RIGHT[2]]
    emitted = run(world(solutions), "qwen2-execution", tmp_path / "run", samples=7, cap=10, seconds=1.5)
    (row,) = emitted.rows
    assert [each["completion"] for each in row.values["kept"]] == [f"```python\n{code.strip()}\n```" for code in RIGHT]
    assert row.values["passes"][2] == 0
    assert row.values["passes"][4] == 0  # right answers, and a file left behind
    assert sorted(os.listdir(here)) == before
    assert not outside.exists()
    assert {each["gate"]: each["by"] for each in row.passport.verdicts}["passes its tests"] == "verifier"


@pytest.mark.acceptance("2.5 D1")
def test_a_loop_is_killed_at_its_limit_and_not_run_for_ever():
    outcomes = table([LOOPS], TESTS, lambda code, test: run_test(code, test, limits=SHORT))[0]
    assert [each.killed for each in outcomes] == [True, True, False, False, False]
    assert "did not finish in time" in outcomes[0].why or "processor time" in outcomes[0].why
    assert all(not each.passed for each in outcomes)
    assert "not run" in outcomes[-1].why


@pytest.mark.acceptance("2.5 D1")
@pytest.mark.parametrize("where", ["{}/x", "/etc/x", "../x"])
def test_a_solution_that_writes_a_file_fails_and_the_host_is_unchanged(where, tmp_path):
    before = sorted(os.listdir(tmp_path)), sorted(os.listdir("/etc")), sorted(os.listdir("."))
    outcome = run_test(ESCAPES.format(where.format(tmp_path)), TESTS[0], limits=SHORT)
    assert not outcome.passed
    assert (sorted(os.listdir(tmp_path)), sorted(os.listdir("/etc")), sorted(os.listdir("."))) == before
    assert "leaves files behind: notes.txt" in run_test(WRITES, TESTS[0], limits=SHORT).why
    assert run_test(RIGHT[0], TESTS[0]).passed  # the folder of the one before is gone


@pytest.mark.acceptance("2.5 D2")
def test_a_test_that_is_wrong_for_everyone_rejects_nobody(tmp_path):
    wrong = ["assert twice(3) == 7", "assert twice(1) == 5"]
    solutions = [RIGHT[0], WRONG[0], RIGHT[1], WRONG[1]]
    plain = run(world(solutions), "qwen2-execution", tmp_path / "a", samples=4, cap=9, share=1.0)
    with_wrong = run(world(solutions, [*wrong, *TESTS]), "qwen2-execution", tmp_path / "b", samples=4, cap=9, share=1.0)
    (one,), (other,) = plain.rows, with_wrong.rows
    assert one.values["kept"] == other.values["kept"]
    assert len(one.values["kept"]) == 2
    assert other.values["dropped"] == wrong
    assert other.values["tests"] == TESTS


# -- how strong tests are --------------------------------------------------------------


@pytest.mark.acceptance("2.5 D3")
def test_four_fifths_of_kept_test_sets_catch_a_flipped_operator_and_the_others_are_marked_weak(tmp_path):
    solutions = {
        "free_seats": "def free_seats(row):\n    return sum(seat == '.' for seat in row)\n",
        "is_palindrome": "def is_palindrome(text):\n    kept = [c for c in text.lower() if c.isalnum()]\n    return kept == kept[::-1]\n",
        "sum_even": "def sum_even(numbers):\n    return sum(n for n in numbers if n % 2 == 0)\n",
        "bus_wait": "def bus_wait(minute, interval):\n    return -minute % interval\n",
        "factorial": "def factorial(number):\n    if number < 0:\n        raise ValueError('negative')\n    return number * factorial(number - 1) if number > 1 else 1\n",
        "fizz": "def fizz(number):\n    said = ('fizz' if number % 3 == 0 else '') + ('buzz' if number % 5 == 0 else '')\n    return said or str(number)\n",
        "longest_word": "def longest_word(text):\n    best = ''\n    for word in text.split():\n        if len(word) > len(best):\n            best = word\n    return best\n",
        "shelf_gaps": "def shelf_gaps(places):\n    return [n for n in range(places[0], places[-1]) if n not in places] if places else []\n",
    }
    weak_tests = {"shelf_gaps": ["assert isinstance(shelf_gaps([1]), list)"]}
    tests = {entry: weak_tests.get(entry, LOOKS_RIGHT[entry]["tests"]) for entry in solutions}
    here = World(
        {
            "solve": lambda inputs: {"code": solutions[entry_of(inputs["problem"])]},
            "tests": lambda inputs: {"tests": "\n".join(tests[inputs["entry"]])},
        }
    )
    given = {"problems": [{"problem": LOOKS_RIGHT[entry]["problem"], "entry": entry} for entry in solutions]}
    emitted = here.run("afm-code", tmp_path, rows=8, given=given, params={"samples": 1, "share": 1.0})
    rows = {row.values["entry"]: row.values for row in emitted.rows}
    assert rows.keys() == solutions.keys()
    flips = {entry: one_flip(code, entry) for entry, code in solutions.items()}
    noticed = [entry for entry in rows if not run_test(flips[entry], "\n".join(rows[entry]["tests"])).passed]
    assert len(noticed) >= 0.8 * len(rows)
    assert all(rows[entry]["weak"] for entry in rows.keys() - set(noticed))
    assert {entry for entry in rows if rows[entry]["weak"]} == {"shelf_gaps"}
    assert rows["shelf_gaps"]["caught"] < 0.8 <= rows["fizz"]["caught"]


def one_flip(code: str, entry: str) -> str:
    return next(source for what, source in mutants(code, entry) if not what.split(": ")[1][0].isdigit())


@pytest.mark.acceptance("2.5 D3")
@pytest.mark.skipif(not HUMANEVAL.is_file(), reason=f"NO HumanEval at {HUMANEVAL}")
def test_the_tests_of_humaneval_are_strong_and_one_of_them_alone_is_not():
    rows = [json.loads(line) for line in HUMANEVAL.read_text(encoding="utf-8").splitlines()][:6]
    whole = [
        caught(row["prompt"] + row["canonical_solution"], row["entry_point"], [f"{row['test']}\ncheck({row['entry_point']})"], most=5, limits=SHORT)
        for row in rows
    ]  # fmt: skip
    assert sum(share >= 0.8 for share in whole if share is not None) >= 0.8 * len(rows)
    assert (
        caught(rows[0]["prompt"] + rows[0]["canonical_solution"], rows[0]["entry_point"], ["assert True"], most=5) == 0
    )


def test_tests_of_what_cannot_be_changed_are_not_called_weak(tmp_path):
    here = world(["def twice(n):\n    return n.__add__(n)\n"])
    (row,) = run(here, "afm-code", tmp_path, samples=1).rows
    assert (row.values["caught"], row.values["weak"]) == (None, False)


# -- repairs -----------------------------------------------------------------------


def repaired(*answers):
    turn = iter(answers)
    return lambda inputs: next(turn)


def test_a_failing_solution_is_shown_what_went_wrong_until_it_passes(tmp_path):
    mended = repaired(
        {"fixed_code": "def twice(n):\n    return m * 2\n", "fixed_tests": "\n".join(TESTS)},
        {"fixed_code": RIGHT[0], "fixed_tests": "\n".join(TESTS)},
    )
    here = world([WRONG[0]], repair=mended)
    (row,) = run(here, "llama3-execution-feedback", tmp_path).rows
    asked = [inputs for call, inputs in here.asked if call == "repair"]
    assert len(asked) == 2
    assert asked[0]["code"] == f"```python\n{WRONG[0].strip()}\n```"
    assert "assert twice(0) == 0" not in asked[0]["feedback"]  # it passes that one
    assert "assert twice(-3) == -6" in asked[0]["feedback"]
    assert "AssertionError" in asked[0]["feedback"]
    assert "return code 1" in asked[0]["feedback"]
    assert "undefined name 'm'" in asked[1]["feedback"]  # the linter's word, not a run's
    said = row.values["messages"]
    assert [each["role"] for each in said] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert said[-1]["content"] == f"```python\n{RIGHT[0].strip()}\n```"
    assert row.values["repairs"] == 2
    assert row.values["kept"] == [{"prompt": PROBLEM["problem"], "completion": said[-1]["content"]}]


def test_a_dialogue_that_does_not_end_green_is_rejected(tmp_path):
    number = itertools.count()
    here = world(
        [WRONG[0]], repair=lambda inputs: {"fixed_code": f"{WRONG[1]}# {next(number)}", "fixed_tests": "\n".join(TESTS)}
    )
    emitted = run(here, "llama3-execution-feedback", tmp_path)
    assert len(emitted.rows) == 0
    assert stopped(emitted) == {"passes its tests": 1}
    assert [call for call, _ in here.asked].count("repair") == 3


def test_a_right_solution_is_not_repaired(tmp_path):
    here = world([RIGHT[0]], repair=lambda inputs: pytest.fail("asked"))
    (row,) = run(here, "llama3-execution-feedback", tmp_path).rows
    assert row.values["repairs"] == 0
    assert len(row.values["messages"]) == 2


@pytest.mark.parametrize(
    ("human", "code", "passes"),
    [
        ([], WRONG[0], False),  # made green by tests that were made to fit
        ([], RIGHT[0], True),
        (["assert twice(4) == 8"], RIGHT[0], True),
        (["assert twice(4) == 8", "assert twice(2) == 4"], WRONG[0], False),
    ],
)
def test_code_whose_tests_were_changed_must_pass_what_was_there_before(human, code, passes, tmp_path):
    fitted = ["assert twice(2) == 4"]  # wrong and right code pass it
    first = ["assert twice(2) == 4", "assert twice(3) == 6", "assert twice(5) == 10", "assert twice(1) == 5"]
    here = world([WRONG[1]], first, repair=lambda inputs: {"fixed_code": code, "fixed_tests": "\n".join(fitted)})
    emitted = run(here, "llama3-execution-feedback", tmp_path, {**PROBLEM, "tests": human})
    assert len(emitted.rows) == passes
    if passes:
        (row,) = emitted.rows
        assert row.values["changed"]
        assert "The tests had to change" in row.values["messages"][-1]["content"]
        assert row.values["pairs"] == []  # who failed a wrong test is not known to be wrong
    else:
        assert stopped(emitted) == {"changed tests hold": 1}


def test_tests_cannot_be_changed_where_that_is_not_allowed(tmp_path):
    here = world([WRONG[0]], repair=lambda inputs: {"fixed_code": WRONG[0], "fixed_tests": "assert True"})
    emitted = run(here, "llama3-execution-feedback", tmp_path, edits=False)
    assert len(emitted.rows) == 0


# -- records --------------------------------------------------------------------------


def test_what_passes_and_what_fails_become_pairs_and_labelled_answers(tmp_path):
    emitted = run(world([WRONG[0], RIGHT[0], "def twice(n:\n"]), "qwen2-execution", tmp_path, samples=3)
    (pair,) = records(METHOD.emits["pref"], "pref", list(emitted.rows))
    assert RIGHT[0].strip() in pair.chosen[0].content
    assert WRONG[0].strip() in pair.rejected[0].content
    labelled = list(records(METHOD.emits["unpaired"], "unpaired", list(emitted.rows)))
    assert [each.label for each in labelled] == [True, False, False]


def test_no_more_than_ten_solutions_of_a_problem_are_kept(tmp_path):
    many = [f"def twice(n):\n    return n + n + {number} - {number}\n" for number in range(14)]
    problem = {**PROBLEM, "tests": TESTS[:2]}
    here = world([*many, *many[:2]])
    emitted = run(here, "rest-em-code", tmp_path, problem, samples=16, mutants=0)
    made = list(records(METHOD.emits["sft"], "sft", list(emitted.rows)))
    assert len(made) == 10
    assert len({each.completion[0].content for each in made}) == 10
    assert [call for call, _ in here.asked] == ["solve"] * 16  # its tests are given


def test_tests_of_people_are_not_dropped_because_everybody_fails_one(tmp_path):
    problem = {**PROBLEM, "tests": [*TESTS, "assert twice('ab') == 'abba'"]}
    here = world(RIGHT[:2])
    emitted = run(here, "rest-em-code", tmp_path / "a", problem, samples=2)
    assert stopped(emitted) == {"passes its tests": 1}
    assert len(run(world(RIGHT[:2]), "rest-em-code", tmp_path / "b", {**PROBLEM, "tests": TESTS}, samples=2).rows) == 1


def test_tests_are_written_without_sight_of_a_solution(tmp_path):
    here = world(["def twice(n):\n    secret = n\n    return secret * 2\n"])
    run(here, "afm-code", tmp_path, samples=2)
    assert all(
        "secret" not in prompt for (call, _), prompt in zip(here.asked, here.prompts, strict=True) if call == "tests"
    )


def test_without_tests_that_can_be_run_a_row_is_for_a_person_to_look_at(tmp_path):
    emitted = run(world([RIGHT[0]], ["assert twice(2 == 4", "say hello("]), "afm-code", tmp_path, samples=1)
    (row,) = emitted.rejects
    assert (row.status, row.gate) == ("audit", "tests can be run")


def test_a_problem_whose_function_is_not_known_costs_nothing(tmp_path):
    here = world([RIGHT[0]])
    emitted = run(here, "afm-code", tmp_path, {"problem": "Double a number."})
    assert here.asked == []
    assert "must name its function" in next(iter(emitted.rejects)).why


@pytest.mark.parametrize(
    ("problem", "entry"),
    [
        ("Write a Python function `sum_even(numbers)` that adds.", "sum_even"),
        ("def area(a, b):\n    '''Area.'''", "area"),
        ("Implement the function count_up(n).", "count_up"),
        ("Use `print` and call (it) well.", ""),
    ],
)
def test_the_function_is_found_in_the_problem(problem, entry):
    assert entry_of(problem) == entry


# -- instructions ---------------------------------------------------------------------

SHORTER = "def check(response: str) -> bool:\n    return len(response.split()) <= 4\n"


def test_responses_that_keep_to_their_checks_are_told_from_those_that_do_not(tmp_path):
    responses = itertools.cycle(["Far too many words for this", "Short enough", "A third one here also fails it"])
    checks = itertools.cycle([SHORTER, "def check(response):\n    raise ValueError('no')\n", "def nothing(): ..."])
    here = World(
        {"respond": lambda inputs: {"response": next(responses)}, "checks": lambda inputs: {"fn": next(checks)}}
    )
    problem = {"problem": "Answer in at most four words: who are you?"}
    emitted = here.run(
        "qwen2-instruction-checks", tmp_path, rows=1, given={"problems": [problem]}, params={"samples": 3}
    )
    (row,) = emitted.rows
    assert row.values["completion"] == "Short enough"
    assert row.values["tests"] == [SHORTER.strip()]
    assert len(row.values["dropped"]) == 2  # checks that nobody passes
    (pair,) = records(METHOD.emits["pref"], "pref", list(emitted.rows))
    assert pair.rejected[0].content == "Far too many words for this"


# -- the rest -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [{"samples": 0}, {"share": 1.2}, {"cap": 0}, {"repairs": -1}, {"kind": "text", "repairs": 1}, {"kind": "prose"}],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(tmp_path, params):
    here = world([RIGHT[0]])
    with pytest.raises(BadConfig):
        run(here, "afm-code", tmp_path, **params)
    assert here.asked == []


def test_without_a_sandbox_nothing_is_paid_for(tmp_path, monkeypatch):
    from stillroom.errors import EngineRefused
    from stillroom.programs.methods import execute

    def refuse():
        raise EngineRefused("there is no sandbox")

    monkeypatch.setattr(execute, "shared_sandbox", refuse)
    here = world([RIGHT[0]])
    with pytest.raises(EngineRefused, match="no sandbox"):
        run(here, "afm-code", tmp_path)
    assert here.asked == []


@pytest.mark.parametrize("preset", OURS, ids=lambda each: each.name)
def test_every_preset_runs_from_end_to_end_and_its_records_build(preset, tmp_path):
    wrong = itertools.cycle([True, False])
    passing = {
        "free_seats": "return row.count('.')", "sum_even": "return sum(n for n in row if n % 2 == 0)",
        "count_vowels": "return sum(c in 'aeiou' for c in row.lower())",
    }  # fmt: skip

    def solve(inputs):
        entry = entry_of(inputs["problem"])
        body = "return None" if next(wrong) else passing.get(entry, "return row")
        return {"code": f"def {entry}(row):\n    {body}\n"}

    here = World(
        {
            "solve": solve,
            "tests": lambda inputs: {"tests": "\n".join(LOOKS_RIGHT[inputs["entry"]]["tests"])},
            "repair": lambda inputs: {
                "fixed_code": inputs["code"].replace("return None", passing.get(entry_of(inputs["problem"]), "pass")),
                "fixed_tests": inputs["tests"],
            },
            "respond": lambda inputs: {"response": f"one two {inputs['instruction'] if next(wrong) else 'three'}"},
            "checks": lambda inputs: {"fn": SHORTER},
        }
    )
    params = {"samples": min(preset.params.get("samples", 1), 2), "mutants": 1}
    emitted = here.run(preset.name, tmp_path, rows=2, params=params)
    assert len(emitted.rows) == 2
    assert all(len(made) >= 2 for made in handed_over(preset.name, emitted).values())


def test_the_presets_cover_the_systems_of_the_table():
    assert {number for each in OURS for number in each.covers} == {21, 42, 54, 57}
