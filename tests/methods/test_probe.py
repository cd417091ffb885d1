"""The acceptance checks of the probe method: answers for what is known, refusals for what is not."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from recipe_world import World, handed_over, stopped, values

from stillroom.cli import main
from stillroom.errors import BadConfig
from stillroom.programs.methods._texts import shared
from stillroom.programs.methods.probe import Params, admits, decide
from stillroom.programs.published import preset, records
from stillroom.values import digest_text

FACTS = [
    f"The tower of {name} has {20 + at} steps. Nobody has counted those of its cellar since the flood of {1700 + at}."
    for at, name in enumerate(
        ["Arl", "Bemm", "Cott", "Drus", "Elk", "Fenn", "Goth", "Hule", "Imst", "Jorn", "Kell", "Lod", "Marn", "Nest", "Ovid",
         "Prag", "Quin", "Rost", "Selm", "Tarn"]
    )
]  # fmt: skip
REFUSAL = "I do not know how many steps it has."


def named(text: str) -> str:
    return re.search(r"tower of (\w+)", text)[1]


def world(right: set[str], share: float = 1.0) -> World:
    """A student that is right about some towers (in this share of its answers) and 1,000 steps off elsewhere."""
    asked: dict[str, int] = {}

    def answer(inputs):
        name = named(inputs["instruction"])
        truth = next(re.search(r"has (\d+)", fact)[1] for fact in FACTS if f"of {name} " in fact)
        asked[name] = asked.get(name, 0) + 1
        good = (asked[name] - 1) % 8 < round(8 * (share if name in right else 0))
        # each in words of its own: equal questions to a judge are asked once
        return {"response": f"It has {truth if good else int(truth) + 1000} steps{'.' * asked[name]}"}

    def correct(inputs):
        number = re.search(r"\d+", inputs["response"])[0]
        return {"feedback": "Compared.", "score": int(f"has {number} steps" in inputs["reference"])}

    return World(
        {
            "ask": lambda inputs: {"question": f"How many steps has the tower of {named(inputs['passage'])}?"},
            "answer": answer,
            "correct": correct,
            "informative": lambda inputs: {"feedback": "Definite.", "score": 1},
            "refuse": lambda inputs: {"revised": REFUSAL},
        }
    )


def given(facts: list[str] = FACTS) -> dict:
    return {"passages": [{"passage": each} for each in facts]}


@pytest.mark.acceptance("2.17 D1")
@pytest.mark.parametrize(
    ("correct", "informative", "kind"),
    [
        (1.0, 1.0, "answer"), (0.75, 0.5, "answer"), (0.75, 0.0, "answer"),
        (0.625, 1.0, ""), (0.375, 1.0, ""), (0.25, 0.375, ""),
        (0.25, 0.5, "refusal"), (0.0, 1.0, "refusal"), (0.0, 0.0, ""),
    ],
)  # fmt: skip
def test_two_thresholds_decide(tmp_path, correct, informative, kind):
    """The rule itself, and the same nine cases through a run with eight answers each."""
    assert decide(correct, informative, Params()) == kind
    here = world({"Arl"}, correct)
    said = {
        **here.said,
        "informative": lambda inputs: {"feedback": "", "score": int(inputs["response"].count(".") <= 8 * informative)},
    }
    emitted = World(said).run("llama3-factuality", tmp_path, given=given(FACTS[:1]), rows=1, params={"cap": 1.0})
    kinds = values(emitted.rows, "kind")
    # what is right is kept only where one of the right answers says something definite
    silent = kind == "answer" and informative == 0
    assert kinds == ([kind] if kind and not silent else [])
    if not kind:
        (row,) = emitted.rejects
        assert row.gate == "known or clearly unknown"
        assert row.passport.verdicts[-1]["by"] == "judge"


@pytest.mark.acceptance("2.17 D2")
def test_the_passage_never_enters_the_prompt_of_an_answer(tmp_path):
    here = world({"Arl", "Bemm"})
    here.run("llama3-factuality", tmp_path, given=given(FACTS[:4]), rows=4, params={"cap": 1.0})
    shown = {call: [] for call in here.said}
    for (call, _), prompt in zip(here.asked, here.prompts, strict=True):
        shown[call].append(prompt)
    assert len(shown["answer"]) == 4 * 8

    def runs(text: str) -> set[str]:
        told = re.findall(r"\w+", text.lower())
        return {digest_text(" ".join(told[at : at + 6])) for at in range(len(told) - 5)}

    secret = {each for fact in FACTS for each in runs(fact)}
    assert not any(secret & runs(prompt) for prompt in shown["answer"])
    assert all(secret & runs(prompt) for prompt in shown["correct"])  # the check would see it
    assert all(set(inputs) == {"system", "instruction", "input"} and inputs["input"] == ""
               for call, inputs in here.asked if call == "answer")  # fmt: skip


@pytest.mark.acceptance("2.17 D2")
def test_a_question_that_carries_its_passage_is_refused(tmp_path):
    said = {**world(set()).said, "ask": lambda inputs: {"question": f"Is this so: {inputs['passage']}"}}
    here = World(said)
    emitted = here.run("llama3-factuality", tmp_path, given=given(FACTS[:2]), rows=2)
    assert not emitted.rows
    assert stopped(emitted) == {"question carries no 8 words of its passage": 2}
    assert {call for call, _ in here.asked} == {"ask"}
    assert shared("How many steps has the tower of Arl?", FACTS[0], 8) == ""


@pytest.mark.acceptance("2.17 D3")
def test_refusals_go_to_exactly_what_the_student_does_not_know(tmp_path):
    names = list(map(named, FACTS))
    known = set(names[::2])
    emitted = world(known).run("llama3-factuality", tmp_path, given=given(), rows=20, params={"cap": 1.0})
    found = {row.values["question"].split()[-1].rstrip("?"): row.values for row in emitted.rows}
    assert {name for name, row in found.items() if row["kind"] == "refusal"} == set(names) - known
    assert {name for name, row in found.items() if row["kind"] == "answer"} == known
    for name, row in found.items():
        truth = next(re.search(r"has (\d+)", fact)[1] for fact in FACTS if f"of {name} " in fact)
        assert row["response"] == (f"It has {truth} steps." if name in known else REFUSAL)
    method = preset("llama3-factuality").load()
    pairs = list(records(method.emits["pref"], "pref", list(emitted.rows)))
    assert len(pairs) == 10
    assert all(each.chosen[0].content == REFUSAL and "It has 10" in each.rejected[0].content for each in pairs)


@pytest.mark.parametrize(("known", "fine"), [(17, True), (16, False)])
def test_nothing_is_exported_where_refusals_are_over_the_cap(tmp_path, capsys, known, fine):
    """Of 20 rows 3 are 15%, and 4 are more: all rows are kept, and are written for nobody but people to look at."""
    run, out = tmp_path / "run", tmp_path / "out"
    emitted = world(set(map(named, FACTS[:known]))).run("llama3-factuality", run, given=given(), rows=20)
    assert Counter(values(emitted.rows, "kind")) == {"answer": known, "refusal": 20 - known}
    for schema in ("sft", "pref"):
        code = main(["export", str(run), str(out), "--schema", schema, "--to", "jsonl"])
        told = capsys.readouterr().err
        assert code == (0 if fine else 2)
        rule = "at most 0.15 of the rows may have kind 'refusal' to be exported, got 4 of 20"
        assert (rule in told) is not fine
        assert (out / f"{schema}.jsonl").exists() is fine
    assert main(["export", str(run), str(out), "--schema", "audit", "--to", "jsonl"]) == 0
    assert len((out / "audit.jsonl").read_text().splitlines()) == 20


def test_a_refusal_must_say_so(tmp_path):
    said = {**world(set()).said, "refuse": lambda inputs: {"revised": "It has 21 steps."}}
    emitted = World(said).run("llama3-factuality", tmp_path, given=given(FACTS[:2]), rows=2, params={"cap": 1.0})
    assert not emitted.rows
    assert stopped(emitted) == {"refusal says so": 2}


@pytest.mark.parametrize(
    ("text", "honest"),
    [("I do not know.", True), ("I'm not sure about that.", True), ("I don't have reliable information on it.", True),
     ("I am unable to say.", True), ("It has 21 steps.", False), ("The tower is not tall.", False)],
)  # fmt: skip
def test_what_admits_that_it_does_not_know(text, honest):
    assert admits(text) is honest


@pytest.mark.parametrize("wrong", [{"known": 0.2}, {"cap": 1.5}, {"samples": 0}, {"informative": -1}])
def test_thresholds_that_cannot_be_are_told(wrong):
    with pytest.raises(BadConfig):
        World({}).job("llama3-factuality", params=wrong)


@pytest.mark.parametrize("name", ["llama3-factuality", "honest-refusals"])
def test_a_preset_gives_rows_and_records_of_every_schema(name, tmp_path):
    """The student knows all passages of our sample but those of a river, a hut and a tram."""
    said = {
        "ask": lambda inputs: {"question": f"What is said of {' '.join(inputs['passage'].split()[:3])}?"},
        "answer": lambda inputs: {"response": "It is long."},
        "correct": lambda inputs: {"feedback": "", "score": int(not re.search("river|hut|tram", inputs["reference"]))},
        "informative": lambda inputs: {"feedback": "", "score": 1},
        "refuse": lambda inputs: {"revised": "I am not sure about that."},
    }
    emitted = World(said).run(name, tmp_path, rows=18)
    assert len(emitted.rows) == 18
    assert "refusal" in values(emitted.rows, "kind")
    assert all(handed_over(name, emitted).values())
