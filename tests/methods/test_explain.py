"""The acceptance checks of the explain method: erased strategies, gold answers, mixtures."""

from __future__ import annotations

from collections import Counter

import pytest
from recipe_world import World, handed_over, stopped, values

from stillroom.errors import BadConfig
from stillroom.programs.methods._gold import read_answer
from stillroom.programs.methods.explain import METHOD, NEUTRAL, TABLES, erased, restored
from stillroom.programs.published import presets, records

MINE = sorted(name for name, each in presets().items() if each.method == "explain")


def world(**said) -> World:
    return World(
        {
            "classify": lambda inputs: {"label": "flan2021"},
            "answer": lambda inputs: f"Here is why: {inputs['instruction']} And so on.",
            **said,
        }
    )


def runs(text: str, size: int = 5) -> set[tuple[str, ...]]:
    words = [word.strip(".,;:!?()\"'").lower() for word in text.split()]
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


@pytest.mark.acceptance("2.9 D1")
def test_no_emitted_prompt_has_five_words_of_a_strategy_and_the_papers_restore_it(tmp_path):
    here = world()
    emitted = here.run("orca-2", tmp_path, rows=18)
    told = {
        inputs["instruction"] + inputs["input"]: inputs["system"] for call, inputs in here.asked if call == "answer"
    }
    strategies = set().union(*(runs(text) for text in TABLES["strategies"][0].values()))
    assert len(set(told.values())) >= 4
    assert len(emitted.rows) == 18
    for schema in ("sft", "chat"):
        for record in records(METHOD.emits[schema], schema, emitted.rows):
            said = record.fields()
            prompt = said.get("prompt") or said["messages"][:-1]
            assert prompt[0] == {"role": "system", "content": NEUTRAL}
            assert not any(runs(each["content"]) & strategies for each in prompt)
    for row in emitted.rows:
        assert restored(row) == told[row.values["instruction"] + row.values["input"]]


@pytest.mark.acceptance("2.9 D1")
def test_a_task_that_says_its_strategy_itself_is_refused():
    strategy = TABLES["strategies"][0]["direct"]
    words = strategy.split()
    row = {"told": strategy, "shown": NEUTRAL, "instruction": "Sum up.", "input": ""}
    assert erased(row) == ""
    assert erased({**row, "input": "Please " + " ".join(words[3:8])})
    assert erased({**row, "input": " ".join(words[3:7])}) == ""
    assert erased({**row, "shown": strategy})


def test_the_neutral_message_says_nothing_of_any_strategy():
    assert not any(runs(NEUTRAL) & runs(text) for text in TABLES["strategies"][0].values())


def finished() -> tuple[list[dict], set[str], set[str]]:
    """Twenty rows with a known answer, five of which contradict it and three come to nothing."""
    rows, wrong, open_ = [], set(), set()
    for at in range(20):
        gold, labels = ("yes", ["yes", "no"]) if at % 2 else (str(at * 3), None)
        said = gold
        if at < 5:
            said, _ = ("no" if labels else str(at * 3 + 1)), wrong.add(f"Question {at}")
        text = f"First one thing, then 12 others, no doubt. The answer is {said}."
        if at in (10, 11, 12):
            text, _ = "It may be yes, it may be no; 3 or 4, who knows", open_.add(f"Question {at}")
        row = {"instruction": f"Question {at}", "completion": text, "gold": gold}
        rows.append({**row, **({"labels": labels} if labels else {})})
    return rows, wrong, open_


@pytest.mark.acceptance("2.9 D2")
def test_exactly_the_contradictions_are_dropped_and_what_cannot_be_read_waits_for_a_person(tmp_path):
    rows, wrong, open_ = finished()
    emitted = World({}).run("slimorca", tmp_path, rows=20, given={"tasks": rows}, params={"copies": False})
    assert len(wrong) == 5
    assert {row.values["instruction"] for row in emitted.rejects if row.gate == "agrees with gold"} == wrong
    audited = [row for row in emitted.rejects if row.status == "audit"]
    assert {row.values["instruction"] for row in audited} == open_
    assert {row.gate for row in audited} == {"answer can be read"}
    kept = {row["instruction"] for row in rows} - wrong - open_
    assert set(values(emitted.rows, "instruction")) == kept
    assert all(
        each["by"] == "verifier"
        for row in emitted.rows
        for each in row.passport.verdicts
        if each["gate"] == "agrees with gold"
    )


@pytest.mark.parametrize(
    ("text", "labels", "gold", "read"),
    [
        ("The answer is B.", ["A", "B"], "A", "B"),
        ("A cat is no dog. So the label: dog", ["cat", "dog"], "cat", "dog"),
        ("spam or not spam? Not spam", ["spam", "not spam"], "spam", "not spam"),
        ("either yes or no", ["yes", "no"], "yes", None),
        ("First 3, then 4. The result is 1,200.5 euros", [], "7", "1,200.5 euros"),
        ("3 or 4", [], "7", None),
        ("Paris", [], "Rome", None),
    ],
)
def test_what_a_response_comes_to(text, labels, gold, read):
    assert read_answer(text, labels, gold) == read


@pytest.mark.acceptance("2.9 D3")
@pytest.mark.parametrize("rows", [7, 10, 23])
def test_mixture_counts_are_within_a_row_of_their_weights(tmp_path, rows):
    weights = {"a": 0.5, "b": 0.3, "c": 0.2}
    given = [
        {"source": name, "instruction": f"{name} asks {at} of {name}{at}", "completion": f"{at}"}
        for name in "abcd"
        for at in range(30)
    ]
    emitted = World({}).run(
        "openhermes", tmp_path, rows=rows, given={"tasks": given}, params={"weights": weights, "copies": False}
    )
    counts = Counter(values(emitted.rows, "source"))
    assert sum(counts.values()) == rows
    assert set(counts) <= set(weights)
    assert all(abs(counts[name] - rows * share) < 1 for name, share in weights.items())
    assert len({row.values["instruction"] for row in emitted.rows}) == rows


@pytest.mark.acceptance("2.9 D3")
def test_a_copy_in_another_source_is_refused_and_its_place_filled(tmp_path):
    words = [
        "the",
        "quick",
        "survey",
        "of",
        "the",
        "harbour",
        "wall",
        "was",
        "done",
        "before",
        "the",
        "storm",
        "and",
        "found",
        "nine",
        "cracks",
        "in",
        "it",
    ]
    given = [
        {"source": name, "instruction": f"{' '.join(words)} {'now' if name == 'a' else 'then'}", "completion": "Fine."}
        for name in "ab"
    ]
    given += [
        {"source": name, "instruction": f"A task of {name}{at} and {at * 7}", "completion": "Fine."}
        for name in "ab"
        for at in range(4)
    ]
    emitted = World({}).run(
        "openhermes", tmp_path, rows=8, given={"tasks": given}, params={"weights": {"a": 1, "b": 1}}
    )
    assert Counter(values(emitted.rows, "source")) == {"a": 4, "b": 4}
    assert sum("harbour" in text for text in values(emitted.rows, "instruction")) <= 1


def test_orca_tells_each_family_its_own_messages_and_keeps_them(tmp_path):
    here = world()
    emitted = here.run("orca", tmp_path, rows=20)
    texts, families = TABLES["orca"]
    assert len(texts) == 16
    for row in emitted.rows:
        assert row.values["message"] in families[row.values["family"]]
        assert row.values["shown"] == texts[row.values["message"]]
    assert sum(call == "classify" for call, _ in here.asked) == 2


def test_dolphin_drops_what_names_its_writer(tmp_path):
    here = world(answer=lambda inputs: "As an AI language model, I cannot know. But see below." if "tea" in inputs["instruction"] else "Because of the salt.")  # fmt: skip
    emitted = here.run("dolphin", tmp_path, rows=20)
    assert any(name.startswith("boilerplate") for name in stopped(emitted))
    assert not any("AI language model" in text for text in values(emitted.rows, "completion"))


def test_what_is_given_ends_without_a_row_that_is_none(tmp_path):
    """Of each cell alone: what is missing is a shortfall, and not something that a gate has stopped."""
    tasks = [{"instruction": f"What is {at} times {at}?", "family": "cot"} for at in range(5)]
    emitted = world().run("orca", tmp_path / "orca", rows=9, given={"tasks": tasks})
    assert (len(emitted.rows), len(emitted.rejects), stopped(emitted)) == (5, 0, {})
    assert emitted.shortfall == {"tasks": 4}
    mixed = [
        {"source": name, "instruction": f"{name} asks {at} of {name}{at}", "completion": f"{at}"}
        for name, many in (("a", 3), ("b", 20))
        for at in range(many)
    ]
    settings = {"rows": 20, "given": {"tasks": mixed}, "params": {"weights": {"a": 1, "b": 1}, "copies": False}}
    for _ in range(2):  # the second time it goes on from the record
        emitted = World({}).run("openhermes", tmp_path / "mix", **settings)
        assert Counter(values(emitted.rows, "source")) == {"a": 3, "b": 10}
        assert (len(emitted.rejects), emitted.shortfall) == (0, {"a": 7})


@pytest.mark.parametrize(
    ("preset", "given", "params", "match"),
    [
        ("orca", [{"instruction": "x", "family": "poems"}], {}, "families must be of"),
        ("slimorca", [{"instruction": "x"}], {}, "each needs a completion"),
        ("openhermes", [{"instruction": "x", "completion": "y", "source": "a"}], {}, "got none for"),
        ("orca", [{"instruction": "x"}], {"table": "tone"}, "table must be one of"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_asked(preset, given, params, match):
    job = World({}).job(preset, given={"tasks": given}, params=params)
    with pytest.raises(BadConfig, match=match):
        job.method.flow(job)


@pytest.mark.parametrize("name", MINE)
def test_every_preset_gives_rows_and_records_with_their_papers(name, tmp_path):
    emitted = world().run(name, tmp_path, rows=6)
    assert len(emitted.rows) == 6
    assert {len(made) for made in handed_over(name, emitted).values()} == {6}
