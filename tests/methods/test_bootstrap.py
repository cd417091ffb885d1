"""The acceptance checks of the bootstrap method: pools that grow from seeds."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
from recipe_world import World, handed_over, sample_rows, stopped, values

from stillroom.errors import BadConfig, BudgetExceeded
from stillroom.evals.copies.duplicates import rouge_l
from stillroom.evals.copies.novelty import rouge_words
from stillroom.evals.gates import Candidate
from stillroom.ledger import Budget
from stillroom.programs.methods._instances import WITH_INPUT, WITHOUT_INPUT, contradiction, encoded, valid
from stillroom.programs.methods.bootstrap import METHOD, Params, form
from stillroom.programs.published import presets, records
from stillroom.values import digest

SEEDS = Path(__file__).parents[3] / "shared" / "data" / "self_instruct_seeds" / "data.jsonl"
MINE = sorted(name for name, each in presets().items() if each.method == "bootstrap")
VERBS = ["Weigh", "Draft", "Paint", "Count", "Praise", "Mend", "Guess", "Pack", "Trace", "Brew"]
THINGS = ["seven copper kettles", "one letter home", "every broken fence", "a quiet song", "her winter coat"]


def world(tasks=None, instances=None) -> World:
    """Calls for tasks are answered in turn by `tasks`, instances by a function of the task."""
    fresh = (
        f"{VERBS[n % 10]} {' '.join(f'{what}{n}' for what in ('kettle', 'fence', 'song', 'coat'))}" for n in range(400)
    )
    calls = iter(tasks) if tasks is not None else (list(itertools.islice(fresh, 4)) for _ in range(60))
    made = instances or (lambda task: [{"input": "", "output": f"Done: {task}"}])
    return World(
        {
            "propose": lambda inputs: "\n".join(f"{at}. {task}" for at, task in enumerate(next(calls, []), start=9)) or "-",
            "propose examples": lambda inputs: {
                "tasks": [
                    {"instruction": task, "input": "a thing", "output": f"Done: {task}"} for task in next(calls, [])
                ]
            },
            "propose input": lambda inputs: {
                "instruction": next(calls, [""])[0], "input": "some words", "constraints": "One line."
            },
            "classify": lambda inputs: {"verdict": "yes" if "Guess" in inputs["text"] else "no"},
            "label first": lambda inputs: {
                "instances": [{"label": "good", "input": "I liked it"}, {"label": "bad", "input": "I hated it"}]
            },
            "input first": lambda inputs: {"instances": made(inputs["task"])},
            "answer": lambda inputs: f"Answer to {inputs['instruction']} ({inputs['system']})",
            "paraphrase": lambda inputs: f"Please: {inputs['instruction']}",
        }
    )  # fmt: skip


def shown_in(listed: str) -> list[str]:
    """The tasks that a prompt shows."""
    return [line.partition(". ")[2] for line in listed.splitlines()[1:-2]]


@pytest.fixture(scope="module")
def public() -> list[str]:
    if not SEEDS.is_file():
        pytest.skip(f"the 175 public seeds are not at {SEEDS}")
    return [json.loads(line)["instruction"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]


@pytest.mark.acceptance("2.1 D1")
def test_the_filters_of_form_say_of_the_public_seeds_what_the_published_code_says(public):
    """172 of 175 pass; two are longer than 150 words, one begins with 'Write a program'."""
    found = Counter()
    for task in public:
        failed = [
            rule.name for rule in form(Params()) if not rule.check([Candidate("a", {"task": task}, task, {})])[0].passed
        ]
        found[failed[0].split("(")[0] if failed else "pass"] += 1
    assert found == {"pass": 172, "length": 2, "words": 1}
    assert sum(task.startswith("Write a program") for task in public) >= 1


@pytest.mark.acceptance("2.1 D1")
def test_rouge_over_the_public_seeds_is_what_was_measured(public):
    """Maximum 0.824, four seeds above 0.7, mean of the seeds' maxima 0.362."""
    split = [rouge_words(task) for task in public]
    best = [0.0] * len(split)
    for left, right in itertools.combinations(range(len(split)), 2):
        score = rouge_l(split[left], split[right])
        best[left], best[right] = max(best[left], score), max(best[right], score)
    assert round(max(best), 3) == 0.824
    assert sum(each > 0.7 for each in best) == 4
    assert round(sum(best) / len(best), 3) == 0.362


@pytest.mark.acceptance("2.1 D2")
def test_no_prompt_shows_more_than_two_machine_tasks(tmp_path):
    here = world()
    here.run("self-instruct", tmp_path, rows=120)
    seeds = {row["instruction"] for row in sample_rows("tasks.jsonl")}
    calls = [shown_in(inputs["listed"]) for call, inputs in here.asked if call == "propose"]
    machine = [sum(task not in seeds for task in demos) for demos in calls]
    assert max(machine) == 2
    assert machine[0] == 0
    assert {len(demos) for demos in calls} == {8}


@pytest.mark.acceptance("2.1 D2")
@pytest.mark.parametrize("turned", [False, True])
def test_the_paraphrase_that_comes_first_blocks_the_later_one(tmp_path, turned):
    pair = ["Weigh the seven old copper kettles of the house", "Weigh the seven old copper kettles of the home"]
    pair = pair[::-1] if turned else pair
    emitted = world([[*pair, "Mend every broken fence before the storm"]]).run("self-instruct", tmp_path, rows=2)
    assert values(emitted.rows, "instruction") == [pair[0], "Mend every broken fence before the storm"]
    assert [row.gate for row in emitted.rejects if row.values.get("instruction") == pair[1]] == ["ROUGE-L <= 0.7"]


@pytest.mark.acceptance("2.1 D3")
def test_one_input_with_two_outputs_drops_the_whole_task(tmp_path):
    said = {
        "Weigh seven copper kettles": [{"input": "x", "output": "1"}, {"input": "x", "output": "2"}, {"input": "y", "output": "3"}],
        "Mend every broken fence now": [{"input": "", "output": "1"}, {"input": "", "output": "2"}],
    }  # fmt: skip
    emitted = world([list(said)], instances=said.get).run("self-instruct", tmp_path, rows=1)
    assert values(emitted.rows, "instruction") == ["Mend every broken fence now"]
    assert stopped(emitted)["one output for an input"] == 1
    # an empty input is none, so two answers to it are two instances
    assert len(emitted.rows[0].values["records"]) == 2


def test_instances_are_dropped_by_the_published_rules():
    given = [("a", ""), ("same", "same"), ("a:", "b"), ("a", "b:"), (" a ", "b"), ("a", "b"), ("", "c")]
    assert valid([{"input": left, "output": right} for left, right in given]) == [
        {"input": "a", "output": "b"},
        {"input": "", "output": "c"},
    ]
    assert contradiction([{"input": "", "output": "a"}, {"input": "", "output": "b"}]) == ""


def test_all_thirteen_templates_are_written(tmp_path):
    import random

    rng, seen = random.Random(0), Counter()
    for given in ["", "Text: some {output}"] * 300:
        made = encoded("Do it", {"input": given, "output": " x "}, rng)
        assert made["completion"] == "x"
        seen[made["prompt"]] += 1
    wanted = {each.format(instruction="Do it") for each in WITHOUT_INPUT}
    wanted |= {
        each.replace("{instruction}", "Do it").replace("{input}", given)
        for each in WITH_INPUT
        for given in ("Text: some {output}", "some {output}")
    }
    assert (len(WITH_INPUT), len(WITHOUT_INPUT)) == (7, 6)
    assert set(seen) == wanted


def test_a_list_that_was_cut_off_keeps_its_whole_items(tmp_path):
    from dspy.lm15 import Message, Response, Usage

    from stillroom.programs.flow.asking import _read, _trimmed

    here = World({}).job("self-instruct")
    for call, text, kept in [
        ("propose", "9. Do this, please\n10. Do that\n11. Do th", "9. Do this, please\n10. Do that"),
        ("input first", '{"instances": [{"input": "a", "output": "b"}, {"input": "c", "ou', [{"input": "a", "output": "b"}]),
        ("input first", '{"instances": [{"input": "a", "ou', None),
    ]:  # fmt: skip
        plan = here.plan(call)
        reply = _read(plan, Response(None, "m", Message.assistant(text), "length", Usage(1, 1, 2)))
        outputs = _trimmed(plan, reply, text).outputs
        assert (outputs and next(iter(outputs.values()))) == kept or (kept is None and reply.finish == "length")


def test_classification_tasks_get_their_labels_first(tmp_path):
    here = world([["Guess the mood of the writer now", "Weigh seven copper kettles twice"]])
    emitted = here.run("self-instruct", tmp_path, rows=2)
    assert {call for call, inputs in here.asked if inputs.get("task", "").startswith("Guess")} == {"label first"}
    assert {call for call, inputs in here.asked if inputs.get("task", "").startswith("Weigh")} == {"input first"}
    labels = list(records(METHOD.emits["label"], "label", emitted.rows))
    assert Counter(each.label for each in labels) == {"good": 1, "bad": 1}


def test_unnatural_shows_five_fixed_sets_and_writes_each_task_three_ways(tmp_path):
    here = world([[f"{verb} {thing} at once"] for verb in VERBS for thing in THINGS])
    turn = itertools.count()
    here.said["paraphrase"] = lambda inputs: f"Way {next(turn)}: do it"
    emitted = here.run("unnatural-instructions", tmp_path, rows=45)
    shown = Counter(tuple(inputs["demos"]) for call, inputs in here.asked if call == "propose input")
    assert len(shown) == 5
    assert sum(map(len, shown)) == len(set(itertools.chain(*shown))) == 15
    assert len(emitted.rows[0].values["records"]) == 3
    assert {each["completion"] for each in emitted.rows[0].values["records"]} == {emitted.rows[0].values["output"]}
    assert "One line." in emitted.rows[0].values["output"]


def test_domains_share_the_rows_equally_and_see_their_own_seeds(tmp_path):
    here = world()
    emitted = here.run("hunyuan-generation", tmp_path, rows=6)
    assert sorted(Counter(values(emitted.rows, "domain")).values()) == [1, 1, 2, 2]
    seeds = sample_rows("domain_tasks.jsonl")
    domain = {row["instruction"]: row["domain"] for row in seeds}
    calls = [shown_in(inputs["listed"]) for call, inputs in here.asked if call == "propose"]
    assert {len({domain[task] for task in demos if task in domain}) for demos in calls} == {1}


def test_the_prompt_list_shows_nothing_and_asks_no_seeds(tmp_path):
    here = world()
    emitted = here.run("prompt-list", tmp_path, rows=5, params={"cosine": 0.0})
    assert all(shown_in(inputs["listed"]) == [] for _, inputs in here.asked)
    assert len(emitted.rows) == 5


def test_seeds_must_be_given_where_they_are_shown(tmp_path):
    from stillroom.engines.scripted import ScriptedEngine
    from stillroom.programs.published import prepare

    job = prepare("alpaca", {"teacher": ScriptedEngine({})})
    with pytest.raises(BadConfig, match="shows tasks of people"):
        job.method.flow(job)


@pytest.mark.parametrize("name", MINE)
def test_every_preset_gives_rows_and_records_with_their_papers(name, tmp_path):
    here = world([["Guess the mood of the writer now"], *([f"{verb} {thing} at once"] for verb in VERBS for thing in THINGS)])  # fmt: skip
    emitted = here.run(name, tmp_path, rows=4, params={"cosine": 0.0})
    assert len(emitted.rows) == 4
    assert all(handed_over(name, emitted).values())


def test_the_same_seed_gives_the_same_rows(tmp_path):
    first, again = (world().run("self-instruct", tmp_path / name, rows=20) for name in "ab")
    assert values(first.rows) == values(again.rows)


def pure() -> World:
    """What is proposed follows from the list that is shown, in whatever order lists come."""
    here = world()

    def propose(inputs):
        key = digest(inputs["listed"])
        return "\n".join(f"{at}. Weigh {' '.join(digest([key, at, word]) for word in range(4))}" for at in range(9, 13))

    here.said["propose"] = propose
    return here


def test_a_run_that_was_stopped_goes_on_to_the_same_rows_and_pays_nothing_twice(tmp_path):
    whole, first, second = pure(), pure(), pure()
    rows = values(whole.run("self-instruct", tmp_path / "whole", rows=70).rows)
    with pytest.raises(BudgetExceeded):
        first.run("self-instruct", tmp_path / "stopped", rows=70, budget=Budget(calls=90))
    again = second.run("self-instruct", tmp_path / "stopped", rows=70, budget=Budget(calls=1000))
    assert values(again.rows) == rows
    assert len(first.asked) == 90
    assert len(first.asked) + len(second.asked) == len(whole.asked)
