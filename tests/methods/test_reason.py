"""The acceptance checks of the reason method: solutions that are kept when their answer is right."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from fractions import Fraction

import pytest
import sympy
from recipe_world import World, handed_over, sample_rows, stopped, values
from sandbox_world import SANDBOXED

from stillroom.programs.methods._figures import false_sum
from stillroom.programs.methods._reason_checks import math_equal, reverse, unsound
from stillroom.programs.published import prepare

PRESETS = [
    "rest-em-math", "llama3-math", "llama3-interleaved", "llama3-mistakes", "afm-math", "qwen2-rejection-sampling",
    "hunyuan-consistency",
]  # fmt: skip


def sums(count: int) -> list[dict[str, str]]:
    return [
        {"problem": f"A shelf holds {at + 3} books. Then {at + 20} more are put on it. How many are there?", "answer": str(2 * at + 23)}
        for at in range(count)
    ]  # fmt: skip


def solved(problem: str, slip: int = 0) -> dict[str, object]:
    """A solution of one of the problems above, wrong by `slip` in its answer."""
    first, second = map(int, re.findall(r"\d+", problem)[:2])
    total = first + second + slip
    return {"steps": [f"There are {first} books at first.", f"{first} + {second} = {total}."], "answer": str(total)}


# -- D1 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.7 D1")
@pytest.mark.parametrize(
    ("truth", "answer", "same"),
    [
        ("0.5", "1/2", True), ("0.5", r"\frac12", True), ("1/2", r"\frac{1}{2}", True), ("1/2", "0.5", True),
        ("1,000", "1000", True), ("1000", "1,000", True), ("3", "-3", False), ("-3", "3", False), ("0.5", "0.51", False),
        ("12", "12 apples", True), ("5", "5 cm", True), ("5 cm", "5", True), ("20", "$20", True), ("12", "13 apples", False),
        ("7", "So she has 3 left.\nThe answer is 7.", True), ("7", "The answer is 8.", False), ("x = 4", "4", True),
    ],
)  # fmt: skip
def test_equal_as_mathematics(truth, answer, same):
    found = math_equal(truth, answer)
    assert found.verified
    assert found.passed is same


@pytest.mark.acceptance("2.7 D1")
def test_what_takes_too_long_is_unverified_and_waits_for_a_person(tmp_path):
    hard = math_equal("x^2", r"\sqrt{x^4} \cdot \frac{x+1}{x+1}", seconds=1e-6)
    assert not hard.verified
    assert not hard.passed
    here = World({"solve": lambda inputs: {"steps": ["It is so."], "answer": "(x+1)/(2x+2)"}})
    problems = [{"problem": "Simplify (x+1)/(2x+2).", "answer": "1/2"}]
    emitted = here.run(
        "rest-em-math", tmp_path, given={"problems": problems}, rows=1, params={"samples": 2, "seconds": 1e-6}
    )
    assert not emitted.rows
    fates = Counter((each.status, each.gate) for each in emitted.rejects)
    assert ("audit", "answer could be compared") in fates
    assert not any(gate == "answer is right" for _, gate in fates)


# -- D2 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.7 D2")
def test_reversed_problems_have_the_removed_number_as_their_answer():
    templates = [
        ("A tram has {a} passengers. {b} get on at each of {c} stops. How many are there then?", lambda a, b, c: a + b * c),
        ("{a} crates hold {b} melons each, and {c} melons go bad. How many are good?", lambda a, b, c: a * b - c),
        ("Ida saves {a} euros, then {b} euros, and spends {c} euros. How much has she?", lambda a, b, c: a + b - c),
        ("A wall of {a} by {b} tiles gets {c} rows of {b} tiles more. How many tiles are there?", lambda a, b, c: a * b + b * c),
        ("From {a} litres, {b} cups of {c} litres are poured. How many litres are left?", lambda a, b, c: a - b * c),
    ]  # fmt: skip
    rng = random.Random(5)
    removed = set()
    for at in range(50):
        text, rule = templates[at % 5]
        numbers = dict(zip("abc", rng.sample(range(2, 40), 3), strict=True))
        answer = rule(*numbers.values())
        found = reverse(text.format(**numbers), str(answer), rng)
        assert found is not None
        problem, truth = found
        # read the reversed text back by its template: what stands at each place, a number or X
        pattern, seen = "", Counter()
        for piece in re.split(r"(\{[abc]\})", text):
            if piece.startswith("{"):
                seen[piece[1]] += 1
                pattern += f"(?P<{piece[1]}{seen[piece[1]]}>\\d+|X)"
            else:
                pattern += re.escape(piece)
        match = re.match(pattern, problem)
        assert match, problem
        assert f"The answer to this question is {answer}." in problem
        unknown = sympy.Symbol("X")
        places = {name: {match[group] for group in match.groupdict() if group[0] == name} for name in "abc"}
        assert sum("X" in each for each in places.values()) == 1
        stated = [unknown if "X" in places[name] else sympy.Integer(next(iter(places[name]))) for name in "abc"]
        (solution,) = sympy.solve(sympy.Eq(rule(*stated), answer), unknown)
        assert solution == sympy.Integer(truth)
        removed.add(next(name for name in "abc" if "X" in places[name]))
    assert removed == {"a", "b", "c"}


def test_reversal_needs_a_number_that_stands_for_itself():
    assert reverse("How many sides has a hexagon?", "6", random.Random(0)) is None
    assert reverse("Read page2 of v1.5.", "6", random.Random(0)) is None
    found = reverse("X has 1,200 nails. How many dozen is that?", "100", random.Random(0))
    assert found == (
        "X has Y nails. How many dozen is that? The answer to this question is 100. What number does Y stand for?",
        "1200",
    )


# -- D3 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.7 D3")
def test_no_problem_gives_more_than_ten_rows(tmp_path):
    count = itertools.count()
    said = {
        "solve": lambda inputs: {
            **solved(inputs["problem"]),
            "steps": [f"Way {next(count)}.", *solved(inputs["problem"])["steps"]],
        }
    }
    here = World(said)
    emitted = here.run("rest-em-math", tmp_path, given={"problems": sums(3)}, rows=1000)
    per_problem = Counter(values(emitted.rows, "problem"))
    assert list(per_problem.values()) == [10, 10, 10]
    assert stopped(emitted)["at most 10 of each problem"] == 3 * 22
    asked = len(here.asked)
    again = here.run("rest-em-math", tmp_path, given={"problems": sums(3)}, rows=1000)
    assert values(again.rows, "trace") == values(emitted.rows, "trace")
    assert len(here.asked) == asked == 96


# -- D4 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.7 D4")
def test_rounds_of_filter_and_refit_never_lose_the_right_answer(tmp_path):
    """A policy over eight answers, refitted to the rows that the method keeps of its samples."""
    right, answers = 5, list(range(1, 9))
    policy = dict.fromkeys(answers, 1 / 8)
    rng, found = random.Random(11), [1 / 8]
    problems = [{"problem": f"Case {at}: what is the number?", "answer": str(right)} for at in range(4)]
    names = itertools.count()

    def solve(inputs):
        answer = rng.choices(answers, [policy[each] for each in answers])[0]
        return {"steps": [f"Guess {next(names)}."], "answer": str(answer)}

    for turn in range(3):
        run = World({"solve": solve}).run(
            "rest-em-math", tmp_path / str(turn), given={"problems": problems}, rows=1000,
            params={"keep": 32, "sums": False},
        )  # fmt: skip
        kept = Counter(int(answer) for answer in values(run.rows, "answer"))
        # the M-step from the base: a smoothed count of what was kept
        policy.update({answer: (kept[answer] + 1) / (kept.total() + 8) for answer in answers})
        found.append(policy[right])
    assert all(before <= after for before, after in itertools.pairwise(found))
    assert found[1] > 0.5
    assert found[3] > 0.9


# -- D5 ---------------------------------------------------------------------------------


def chain(at: int) -> tuple[str, list[str], str]:
    """A problem with a right solution, of one of five kinds."""
    a, b, c = 4 + at, 3 + at % 7, 2 + at % 5
    whole = a * b
    kinds = [
        (f"{a} boxes of {b} pens; {c} pens are lost.", [f"{a} * {b} = {whole} pens.", f"{whole} - {c} = {whole - c} pens are left."], whole - c),
        (f"{a} boxes of {b} pens, and {c} more.", [f"There are {a} × {b} = {whole} pens.", f"So {whole} + {c} = {whole + c}."], whole + c),
        (f"Share {whole} nuts among {a}.", [f"There are {whole} nuts.", f"Each gets {whole} / {a} = {b} nuts"], b),
        (f"{c} weeks of {a} hours at {b} euros.", [f"{c} * {a} = {c * a} hours.", f"${c * a} \\times {b} = {c * whole}$"], c * whole),
        (f"Add {a}, {b} and {c}.", [f"{a} + {b} = {a + b}", f"({a} + {b}) + {c} = {a + b} + {c} = {a + b + c}"], a + b + c),
    ]  # fmt: skip
    problem, steps, answer = kinds[at % 5]
    return problem, steps, str(answer)


@pytest.mark.acceptance("2.7 D5")
def test_a_changed_number_in_the_last_step_is_rejected(tmp_path):
    """Of 30 right solutions each number of the last step is changed in turn; the answer is left, or changed along."""
    problems, planted, right = [], {}, set()
    for at in range(30):
        problem, steps, answer = chain(at)
        text = f"Case {at}. {problem}"
        problems.append({"problem": text, "answer": answer})
        tries = [{"steps": steps, "answer": answer}]
        right.add((text, steps[-1]))
        for match in re.finditer(r"\d+", steps[-1]):
            for slip in (1, -1, 10):
                last = f"{steps[-1][: match.start()]}{int(match[0]) + slip}{steps[-1][match.end() :]}"
                tries.append({"steps": [*steps[:-1], last], "answer": answer})
        tries.append({**tries[2], "answer": str(int(answer) + 1)})
        planted[text] = tries
    samples = max(map(len, planted.values()))
    queue = {text: iter(tries + [tries[0]] * (samples - len(tries))) for text, tries in planted.items()}
    here = World({"solve": lambda inputs: next(queue[inputs["problem"]])})
    emitted = here.run(
        "rest-em-math", tmp_path, given={"problems": problems}, rows=1000, params={"samples": samples, "keep": 50}
    )
    kept = {(row.values["problem"], row.values["steps"][-1]) for row in emitted.rows}
    assert kept == right
    changed = [row for row in emitted.rejects if row.gate in ("answer is right", "sums come out")]
    assert len(changed) == sum(map(len, planted.values())) - 30 >= 30 * 7
    assert all(row.passport.verdicts[-1]["by"] == "verifier" for row in changed)


@pytest.mark.parametrize(
    "line",
    ["12 - 5 = 8", "so 3 × 4 = 13.", "$5 * 3 = $16", "1) 5+3=9", "x = 5 + 3 = 9", "10/3 = 3.4", "20% * 50 = 11",
     r"\frac{1}{2} + 2 = 3", r"$12 \times 3 = 37$", "1,200 - 200 = 1,001", "100/3 = 33", "7/2 = 4", "2.5 * 3 = 7.6"],
)  # fmt: skip
def test_false_sums_are_seen(line):
    assert false_sum([line])


@pytest.mark.parametrize(
    "line",
    ["12 - 5 = 7", "$5 * 3 = $15", "1) 5+3=8", "x = 5 + 3 = 8", "10/3 = 3.33", "20% * 50 = 10", "5/20 = 25%", "2x + 3 = 7",
     "x - 2 * 3 = 4", "3 * 4 = 12y", "2 apples + 3 = 5", "f(2) = 3 + 4 = 7", "2/3 = 0.66", "2/3 = 0.67", "100/3 = 33.3"],
)  # fmt: skip
def test_what_holds_or_cannot_be_read_is_no_false_sum(line):
    assert not false_sum([line])


def test_the_last_step_must_arrive_at_the_answer():
    assert unsound(["12 - 5 = 7.", "So 8 are left."], "7")
    assert not unsound(["12 - 5 = 7.", "So 7 are left after 2 days."], "7")
    assert not unsound(["12 - 5 = 7.", "That is all."], "7")


# -- corrections ------------------------------------------------------------------------


def test_wrong_solutions_and_their_corrections_become_conversations(tmp_path):
    tries = itertools.count()
    said = {
        "solve": lambda inputs: solved(inputs["problem"], slip=next(tries) % 2),
        "repair": lambda inputs: (
            {"repaired": "Hm.\nThe answer is 0."}
            if "still" not in inputs["feedback"]
            else {"repaired": "\n".join([*solved(inputs["problem"])["steps"], "The answer is 23."])}
        ),
    }
    emitted = World(said).run("llama3-mistakes", tmp_path, given={"problems": sums(2)}, rows=2, params={"samples": 2})
    (row,) = emitted.rows  # the second problem's answer is 25, and its corrections never arrive there
    roles = [each["role"] for each in row.values["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user", "assistant"]
    assert "The answer is 24." in row.values["messages"][1]["content"]
    assert "23" not in row.values["messages"][2]["content"]
    assert row.values["messages"][-1]["content"].endswith("The answer is 23.")
    assert stopped(emitted)["the correction is right"]
    assert stopped(emitted)["a wrong answer, to be corrected"]


# -- every preset -----------------------------------------------------------------------


@SANDBOXED
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_rows_and_records_of_every_schema(name, tmp_path):
    known = {row["problem"]: row["answer"] for row in sample_rows("sums.jsonl")}
    tries, bad = itertools.count(), {"answer": "-1"}

    def truth(problem: str) -> str:
        exact = next((answer for text, answer in known.items() if text in problem), None)
        return "unknown" if exact is None else exact

    def solve(inputs):
        at = next(tries)
        good = {"steps": [f"Way {at}.", "Look closely."], "answer": truth(inputs["problem"])}
        return {**good, **bad} if at % 3 == 2 else good

    def solve_in_code(inputs):
        at, answer = next(tries), truth(inputs["problem"])
        code = {"kind": "code", "body": f"print({str(float(Fraction(answer)))!r})"}
        made = {"blocks": [{"kind": "text", "body": f"Way {at}."}, code], "answer": answer}
        return {**made, **bad} if at % 3 == 2 else made

    here = World(
        {
            "solve": solve,
            "solve in code": solve_in_code,
            "rephrase": lambda inputs: {"paraphrase": f"Put otherwise. {inputs['instruction']}"},
            "evolve": lambda inputs: {"evolved": f"Harder. {inputs['instruction']}"},
            "judge": lambda inputs: {"feedback": "Right.", "score": 5},
            "check": lambda inputs: {"verdict": "yes"},
            "repair": lambda inputs: {"repaired": f"Again.\nThe answer is {truth(inputs['problem'])}."},
        }
    )
    emitted = here.run(name, tmp_path, rows=6)
    assert len(emitted.rows) == 6
    assert all(handed_over(name, emitted).values())


def test_no_answers_and_no_trust_are_fine_but_a_problem_is_needed():
    job = prepare("rest-em-math", World({}).job("rest-em-math").engines, given={"problems": [{"problem": "Why?"}]})
    assert len(list(job.method.flow(job).source.wanted("rows"))) == 1
    job = prepare("rest-em-math", job.engines, given={"problems": [{"question": "Why?"}]})
    with pytest.raises(Exception, match="problem"):
        job.method.flow(job)
