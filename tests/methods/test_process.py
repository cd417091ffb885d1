"""The acceptance checks of the process method: labels of single steps."""

from __future__ import annotations

import itertools
import json
import math
import random
import re

import pytest
from recipe_world import World, handed_over, sample_rows, values

from stillroom.errors import BadConfig, BadData
from stillroom.programs.methods._process_steps import product, rated, split_steps, up_to_first_wrong
from stillroom.programs.methods.process import Scored, candidates, choose, write_queue
from stillroom.programs.published import preset, records


def chains(count: int, seed: int = 3) -> list[dict]:
    """Sums in steps, `bad` of which is false (its mistake is carried on); None where all are right."""
    rng, made = random.Random(seed), []
    for at in range(count):
        terms = [rng.randint(2, 9) for _ in range(rng.randint(3, 5))]
        bad = None if at % 5 == 4 else at % (len(terms) - 1)
        total, steps = terms[0], []
        for step, term in enumerate(terms[1:]):
            result = total + term + (step == bad)
            steps.append(f"{total} + {term} = {result}")
            total = result
        problem = f"Case {at}: add {', '.join(map(str, terms))}."
        made.append({"problem": problem, "steps": steps, "bad": bad, "said": str(total), "answer": str(sum(terms))})
    return made


def true(step: str) -> bool:
    left, right = step.split(" = ")
    return sum(map(int, left.split(" + "))) == int(right)


def world(made: list[dict]) -> World:
    """A model that gives these chains, goes on rightly from what is right, and rates by doing the sum."""
    by_problem = {each["problem"]: each for each in made}

    def complete(inputs):
        chain = by_problem[inputs["problem"].splitlines()[0]]
        begun = re.findall(r"\d+ \+ \d+ = \d+", inputs["problem"])
        return {"steps": ["And so on."], "answer": chain["answer"] if all(map(true, begun)) else "0"}

    def solve(inputs):
        chain = by_problem[inputs["problem"]]
        return {"steps": chain["steps"], "answer": chain["said"]}

    def rate(inputs):
        return {"verdict": "yes" if true(inputs["text"].splitlines()[-1]) else "no"}

    return World({"solve": solve, "complete": complete, "rate": rate})


def given(made: list[dict]) -> dict:
    return {"problems": [{"problem": each["problem"], "answer": each["answer"]} for each in made]}


@pytest.mark.acceptance("2.8 D1")
@pytest.mark.parametrize(("name", "more"), [("prm800k", {"completions": 2}), ("llama3-step-filter", {})])
def test_labels_are_true_before_the_corrupted_step_false_at_it_and_end_there(tmp_path, name, more):
    made = chains(20)
    here = world(made)
    emitted = here.run(name, tmp_path, given=given(made), rows=20, params={"samples": 1, **more})
    emit = preset(name).load().emits["steps"]
    found = {each.prompt: each for each in records(emit, "steps", list(emitted.rows))}
    assert len(found) == 20
    assert {each["bad"] for each in made} >= {None, 0, 1, 2}
    for each in made:
        record, bad = found[each["problem"]], each["bad"]
        wanted = [True] * len(each["steps"]) if bad is None else [True] * bad + [False]
        assert list(record.labels) == wanted
        assert list(record.completions) == each["steps"][: len(wanted)]
    # nothing is asked about what stands behind a mistake
    asked = [inputs for call, inputs in here.asked if call in ("complete", "rate")]
    assert not any(
        len(re.findall(r"\d+ \+ \d+ = (\d+)", each.get("text", each.get("problem", "")))) > 4 for each in asked
    )
    for each in made:
        if each["bad"] is not None:
            behind = each["steps"][each["bad"] + 1 :]
            shown = [
                text
                for text in (one.get("text") or one["problem"] for one in asked)
                if text.startswith(each["problem"])
            ]
            assert not any(step in text.splitlines() for step in behind for text in shown)


@pytest.mark.acceptance("2.8 D1")
def test_scores_multiply(tmp_path):
    """Completions succeed 4, 2 and 4 times of 4 behind the first steps: 1 * 1/2 * 1, and the end is right."""
    tallies = {1: itertools.cycle([True]), 2: itertools.cycle([True, False]), 3: itertools.cycle([True])}
    said = {
        "solve": lambda inputs: {"steps": ["a", "b", "c", "d"], "answer": "7"},
        "complete": lambda inputs: {
            "steps": ["e"], "answer": "7" if next(tallies[len(inputs["problem"].splitlines()) - 3]) else "8"
        },
    }  # fmt: skip
    emitted = World(said).run(
        "prm800k", tmp_path, given={"problems": [{"problem": "P", "answer": "7"}]}, rows=1,
        params={"samples": 1, "completions": 4, "soft": True},
    )  # fmt: skip
    (row,) = emitted.rows
    assert row.values["chances"] == [1.0, 0.5, 1.0, 1.0]
    assert row.values["score"] == 0.5 == math.prod(row.values["chances"]) == product([1.0, 0.5, 1.0, 1.0])
    assert product([]) == 1.0
    assert product([0.9, 0.5, 0.2]) == pytest.approx(0.09)


@pytest.mark.acceptance("2.8 D1")
@pytest.mark.parametrize(
    ("ratings", "labels"),
    [
        (["positive", "neutral", "positive"], [True, True, True]),
        (["positive", "negative"], [True, False]),
        (["negative"], [False]),
        (["positive", "negative", "positive"], [True, False]),
    ],
)
def test_people_rate_in_three_values_and_neutral_counts_as_right(tmp_path, ratings, labels):
    row = {"problem": "P", "steps": ["a", "b", "c"], "ratings": ratings}
    emitted = World({}).run("prm800k-people", tmp_path, given={"ratings": [row]}, rows=1)
    (made,) = records(preset("prm800k-people").load().emits["steps"], "steps", list(emitted.rows))
    assert list(made.labels) == labels
    assert list(made.completions) == ["a", "b", "c"][: len(labels)]
    assert made.meta.level <= 3  # people looked at every row
    assert emitted.rows[0].passport.verdicts[-1]["by"] == "person"


def test_ratings_that_cannot_be_are_told_and_empty_ones_wait():
    for bad in (["good"], ["positive"] * 4):
        with pytest.raises(BadData, match=r"rating"):
            World({}).run(
                "prm800k-people", "unused", given={"ratings": [{"problem": "P", "steps": ["a"], "ratings": bad}]}
            )
    with pytest.raises(BadData):
        rated([])


def test_unfilled_lines_of_a_queue_wait_for_a_person(tmp_path):
    rows = [{"problem": "P", "steps": ["a"], "ratings": []}, {"problem": "Q", "steps": ["a"], "ratings": ["positive"]}]
    emitted = World({}).run("prm800k-people", tmp_path, given={"ratings": rows}, rows=2)
    assert values(emitted.rows, "problem") == ["Q"]
    assert [(each.status, each.gate) for each in emitted.rejects] == [("audit", "labelled by people")]


@pytest.mark.acceptance("2.8 D2")
def test_what_is_exported_trains_a_model_of_steps(tmp_path):
    """As TRL's PRMTrainer prepared rows: each step, the separator, and the step's label at that token alone.

    TRL 1.16 has no such trainer any more, so what it did with the columns is done here: a table of plain columns,
    steps tokenised apart with the separator behind each, labels cast to numbers, token classification.
    """
    import pyarrow
    import torch

    made = chains(8)
    emitted = world(made).run("prm800k", tmp_path, given=given(made), rows=8, params={"samples": 1, "completions": 1})
    emit = preset("prm800k").load().emits["steps"]
    table = pyarrow.Table.from_pylist([each.fields() for each in records(emit, "steps", list(emitted.rows))])
    kinds = {"prompt": "string", "completions": "list<item: string>", "labels": "list<item: bool>"}
    assert {field.name: str(field.type) for field in table.schema} == kinds

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(128, 16), torch.nn.GRU(16, 16, batch_first=True))
    head = torch.nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.02)
    rows = []
    for row in table.to_pylist():
        ids = list(row["prompt"].encode())
        labels = [-100] * len(ids)
        for step, label in zip(row["completions"], row["labels"], strict=True):
            own = list(step.encode())
            assert own
            assert ord("\n") not in own  # or the step would be taken for two
            ids, labels = [*ids, *own, ord("\n")], [*labels, *[-100] * len(own), int(label)]
        rows.append((torch.tensor(ids), torch.tensor(labels)))
    ids, labels = (
        torch.nn.utils.rnn.pad_sequence(each, batch_first=True, padding_value=fill)
        for each, fill in zip(zip(*rows, strict=True), (0, -100), strict=True)
    )
    losses = []
    for _ in range(12):
        states, _ = model(ids)
        loss = torch.nn.functional.cross_entropy(head(states).transpose(1, 2), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a\n\nb\n", ["a", "b"]),
        ("Run:\n```python\nx = 1\n\nprint(x)\n```\nSo 1.", ["Run:", "```python\nx = 1\n\nprint(x)\n```", "So 1."]),
        ("````\n```\nin\n```\n````\nb", ["````\n```\nin\n```\n````", "b"]),
        ("\\[\nx = 1\n\\]\nb", ["\\[\nx = 1\n\\]", "b"]),
        ("$$a\n= b$$\nc", ["$$a\n= b$$", "c"]),
        (
            "\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}\nso",
            ["\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", "so"],
        ),
        ("a\n```\nnever closed\nx", ["a", "```\nnever closed\nx"]),
        ("", []),
    ],
)
def test_steps_survive_code_and_formulas(text, steps):
    assert split_steps(text) == steps


def test_labels_end_with_the_first_wrong_step():
    assert up_to_first_wrong(["a", "b", "c"], [True, False, True]) == (["a", "b"], [True, False])
    assert up_to_first_wrong(["a", "b"], [True, True]) == (["a", "b"], [True, True])


# -- the queue --------------------------------------------------------------------------


def pool(count: int = 100) -> list[Scored]:
    rng = random.Random(1)
    return [Scored(f"P{at}", ("a", "b"), str(at), at % 2 == 0, rng.random()) for at in range(count)]


def test_four_of_five_are_the_most_convincing_wrong_answers():
    chosen = choose(pool(), 20)
    wrong = [each for each in chosen if not each.right]
    ranked = sorted(pool(), key=lambda each: -each.score)
    assert [each.id for each in chosen[:16]] == [each.id for each in ranked if not each.right][:16]
    taken = {each.id for each in chosen[:16]}
    assert [each.id for each in chosen[16:]] == [each.id for each in ranked if each.id not in taken][:4]
    assert len(chosen) == 20
    assert len(wrong) >= 16


def test_what_was_labelled_is_not_asked_for_again_and_few_wrong_ones_leave_their_places():
    first = choose(pool(), 20)
    second = choose(pool(), 20, known=[each.id for each in first])
    assert not {each.id for each in first} & {each.id for each in second}
    right = [each for each in pool() if each.right]
    assert len(choose(right, 10)) == 10
    assert len(choose(right[:3], 10)) == 3
    with pytest.raises(BadConfig):
        choose(pool(), 0)


def test_a_run_fills_a_queue_and_the_filled_queue_gives_rows(tmp_path):
    made = chains(10)
    emitted = world(made).run(
        "llama3-step-filter", tmp_path / "run", given=given(made), rows=10, params={"samples": 1}
    )  # fmt: skip
    found = list(candidates([*emitted.rows, *emitted.rejects]))
    assert len(found) == 10
    path = tmp_path / "queue.jsonl"
    assert write_queue(choose(found, 5), path) == 5
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(not each["answer_is_right"] for each in lines) >= 4
    assert all(each["ratings"] == [] for each in lines)
    for each in lines:
        good = [true(step) for step in each["steps"]]
        each["ratings"] = ["positive" if one else "negative" for one in up_to_first_wrong(each["steps"], good)[1]]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    with pytest.raises(BadConfig, match="holds ratings"):
        write_queue(choose(found, 5), path)
    people = World({}).run("prm800k-people", tmp_path / "people", given={"ratings": path}, rows=5)
    assert len(people.rows) == 5


@pytest.mark.parametrize("name", ["prm800k", "prm800k-people", "llama3-step-filter"])
def test_a_preset_gives_rows_and_records_of_every_schema(name, tmp_path):
    known = {row["problem"]: row["answer"] for row in sample_rows("sums.jsonl")}
    tries = itertools.count()
    said = {
        "solve": lambda inputs: {
            "steps": [f"Way {next(tries)}.", "Look."], "answer": known[inputs["problem"]] if next(tries) % 4 else "-1"
        },
        "complete": lambda inputs: {"steps": [], "answer": known[inputs["problem"].splitlines()[0]]},
        "rate": lambda inputs: {"verdict": "yes"},
    }  # fmt: skip
    emitted = World(said).run(name, tmp_path, rows=8)
    assert len(emitted.rows) == 8
    assert all(handed_over(name, emitted).values())


def test_a_run_without_problems_or_ratings_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="problems"):
        World({}).run("prm800k", tmp_path, given={"problems": None})
    with pytest.raises(BadConfig, match="ratings"):
        World({}).run("prm800k-people", tmp_path, given={"ratings": None})
