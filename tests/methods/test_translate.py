"""The acceptance checks of the translate method: pairs by translation and round trip."""

from __future__ import annotations

import random

import pytest
from recipe_world import World, handed_over, sample_rows, stopped, values
from sandbox_world import SANDBOXED, TCL

from stillroom.errors import BadConfig, EngineRefused
from stillroom.evals.mutants import mutants
from stillroom.evals.outputs import arguments, difference, outputs
from stillroom.evals.sandbox import Limits
from stillroom.programs.methods._translate_checks import Reproduction, quotes, scripts_of
from stillroom.programs.methods.translate import METHOD
from stillroom.programs.published import preset, presets, records

OURS = [each for each in presets().values() if each.method == "translate"]
SHORT = Limits(seconds=1, cpu_seconds=1)


PROGRAMS = {row["entry"]: row["code"] for row in sample_rows("programs.jsonl")}
IN_TCL = {
    "overdue_days": "proc overdue_days {due returned grace} {\n set late [expr {$returned - $due}]\n if {$late <= $grace} { return 0 }\n return [expr {$late - $grace}]\n}",
    "second_largest": "proc second_largest {values} {\n set found [lsort -integer -unique $values]\n if {[llength $found] < 2} { return -1 }\n return [lindex $found end-1]\n}",
    "initials": "proc initials {name} {\n set out {}\n foreach word [regexp -all -inline {\\S+} $name] { append out [string toupper [string index $word 0]] . }\n return $out\n}",
    "water_level": "proc water_level {flows capacity} {\n set level 0\n foreach flow $flows { set level [expr {max(0, min($capacity, $level + $flow))}] }\n return $level\n}",
    "ticket_price": "proc ticket_price {age weekend} {\n set price 1200\n if {$age < 14} { set price 600 } elseif {$age >= 65} { set price 800 }\n if {$weekend} { incr price 150 }\n return $price\n}",
    "rotate": "proc rotate {values steps} {\n set n [llength $values]\n if {$n == 0} { return {} }\n set steps [expr {$steps % $n}]\n return [concat [lrange $values end-[expr {$steps - 1}] end] [lrange $values 0 end-$steps]]\n}",
}  # fmt: skip
IN_SQL = {
    "overdue_days": "SELECT CASE WHEN :returned - :due <= :grace THEN 0 ELSE :returned - :due - :grace END",
    "clamp": "SELECT max(min(:low, :high), min(:value, max(:low, :high)))",
    "ticket_price": "SELECT CASE WHEN :age < 14 THEN 600 WHEN :age >= 65 THEN 800 ELSE 1200 END + 150 * :weekend",
    "second_largest": "SELECT coalesce((SELECT DISTINCT value FROM json_each(:values) ORDER BY value DESC LIMIT 1 OFFSET 1), -1)",
}  # fmt: skip


def given(entry: str) -> dict[str, object]:
    return {"text": PROGRAMS[entry], "entry": entry, "inputs": [], "seed": [0, 0]}


def reproduced(entry: str, code: str, language: str = "python") -> dict[str, object]:
    run = Reproduction(40, 5.0)
    found = run.source(given(entry))
    return {"unchecked": found["unchecked"], **run.other({**given(entry), **found}, code, language)}


# -- programs -----------------------------------------------------------------------------


@SANDBOXED
@TCL
@pytest.mark.acceptance("2.6 D1")
@pytest.mark.parametrize(
    ("entry", "was", "becomes"),
    [
        ("overdue_days", "return 0", "return 1"),
        ("second_largest", "return -1", "return -2"),
        ("second_largest", "end-1", "end-0"),
        ("initials", "$word 0", "$word 1"),
        ("water_level", "set level 0", "set level 1"),
        ("ticket_price", "< 14", "< 15"),  # seen at its edge alone
        ("ticket_price", "150", "151"),
        ("rotate", "{$n == 0}", "{$n == 1}"),
    ],
)
def test_a_tcl_translation_with_one_changed_constant_fails(entry, was, becomes):
    right = reproduced(entry, IN_TCL[entry], "tcl")
    assert (right["broken"], right["differs"], right["unchecked"]) == ("", "", "")
    assert right["checked"] >= 20
    assert was in IN_TCL[entry]
    assert reproduced(entry, IN_TCL[entry].replace(was, becomes, 1), "tcl")["differs"]


@SANDBOXED
@pytest.mark.acceptance("2.6 D1")
@pytest.mark.parametrize(
    ("entry", "was", "becomes"),
    [
        ("overdue_days", "THEN 0", "THEN 1"),
        ("clamp", "min(:low", "min(1 + :low"),
        ("ticket_price", "< 14", "< 13"),
        ("ticket_price", "1200", "1201"),
        ("second_largest", "OFFSET 1", "OFFSET 0"),
        ("second_largest", "-1", "0"),
    ],
)
def test_an_sql_translation_with_one_changed_constant_fails(entry, was, becomes):
    right = reproduced(entry, IN_SQL[entry], "sql")
    assert (right["broken"], right["differs"]) == ("", "")
    assert was in IN_SQL[entry]
    assert reproduced(entry, IN_SQL[entry].replace(was, becomes, 1), "sql")["differs"]


@SANDBOXED
@pytest.mark.acceptance("2.6 D1")
def test_nine_of_ten_changed_constants_of_all_sample_programs_are_noticed():
    """Each constant of each program, one more and one less; some changes alter nothing, such as 100 or 99 for a bound."""
    noticed, missed = 0, []
    for entry, code in PROGRAMS.items():
        assert reproduced(entry, code)["differs"] == ""
        inputs = arguments(code, entry, 40, random.Random(1))
        right = outputs(code, entry, inputs)
        for what, changed in [
            each for each in mutants(code, entry) if " to " in each[0] and each[0].split(": ")[1][0].isdigit()
        ][:2]:
            found = difference(inputs, right.values, outputs(changed, entry, inputs, limits=SHORT))
            noticed += bool(found)
            missed += [] if found else [(entry, what)]
    assert noticed >= 0.9 * (noticed + len(missed)), missed


@SANDBOXED
@pytest.mark.acceptance("2.6 D1")
def test_a_wrong_translation_is_rejected_by_a_verifier_and_never_judged(tmp_path):
    wrong = IN_SQL["clamp"].replace("max(", "min(", 1)
    said = {"clamp": wrong, "overdue_days": IN_SQL["overdue_days"], "ticket_price": "SELECT ("}
    here = World({"translate": lambda inputs: {"translation": said[entry_in(inputs["text"])]}})
    programs = [{"code": PROGRAMS[entry]} for entry in said]
    emitted = here.run(
        "llama3-code-translation", tmp_path, rows=3, given={"programs": programs}, params={"languages": ["sql"]}
    )
    assert [row.values["translation"] for row in emitted.rows] == [IN_SQL["overdue_days"]]
    assert stopped(emitted) == {"reproduces the outputs": 1, "parses and compiles": 1}
    reasons = {row.gate: row for row in emitted.rejects}
    assert reasons["reproduces the outputs"].passport.verdicts[-1]["by"] == "verifier"
    assert "does not compile" in reasons["parses and compiles"].why


def entry_in(code: str) -> str:
    return next(entry for entry in PROGRAMS if f"def {entry}(" in code)


@SANDBOXED
def test_a_source_that_tells_nothing_is_left_to_a_person(tmp_path):
    programs = [
        {"code": "def f(a: int) -> int:\n    return 3\n"},
        {"code": "def f(a):\n    return a\n"},
        {"code": "def f(a: int) -> int:\n    raise ValueError\n"},
        {"code": "def f(a):\n    return a * 2\n", "inputs": [[1], [2]]},
    ]
    here = World({"translate": lambda inputs: {"translation": "SELECT :a * 2"}})
    emitted = here.run(
        "llama3-code-translation", tmp_path, rows=4, given={"programs": programs}, params={"languages": ["sql"]}
    )
    assert [(row.status, row.gate) for row in emitted.rejects] == [("audit", "source runs")] * 3
    assert [inputs["text"] for _, inputs in here.asked] == [programs[3]["code"]]  # the others cost nothing
    (row,) = emitted.rows
    assert row.values["checked"] == 2


# -- by way of a description ----------------------------------------------------------------


def described(rebuilt, score=5, doc="It does what it is called.") -> World:
    return World(
        {
            "describe": lambda inputs: {"doc": f"{doc} ({entry_in(inputs['code'])})"},
            "write from description": rebuilt,
            "judge": lambda inputs: {"feedback": "as it is", "score": score},
        }
    )


@SANDBOXED
def test_code_is_written_without_sight_of_the_source_and_must_do_the_same(tmp_path):
    def rebuilt(inputs):
        entry = inputs["doc"].split("(")[-1].strip(")")
        code = PROGRAMS[entry]
        return {"code": code.replace("1200", "1300") if entry == "ticket_price" else code}

    here = described(rebuilt)
    emitted = here.run("llama3-code-backtranslation", tmp_path, rows=24)
    assert {row.values["completion"] for row in emitted.rows} == set(PROGRAMS.values()) - {PROGRAMS["ticket_price"]}
    (wrong,) = [row for row in emitted.rejects if row.gate == "reproduces the outputs"]
    assert "ticket_price" in wrong.values["doc"]
    judged = [inputs["reference"] for call, inputs in here.asked if call == "judge"]
    assert PROGRAMS["ticket_price"] not in judged  # what a run has refused is judged by nobody
    for (call, inputs), prompt in zip(here.asked, here.prompts, strict=True):
        if call == "write from description":
            assert "return" not in prompt.split("doc:")[-1], inputs


@SANDBOXED
@pytest.mark.parametrize(("score", "kept"), [(5, 3), (4, 3), (3, 0)])
def test_what_is_not_faithful_enough_is_rejected_by_its_judge(score, kept, tmp_path):
    here = described(lambda inputs: {"code": PROGRAMS[inputs["doc"].split("(")[-1].strip(")")]}, score)
    emitted = here.run("llama3-code-backtranslation", tmp_path, rows=3)
    assert len(emitted.rows) == kept
    if not kept:
        assert {row.gate for row in emitted.rejects} == {"faithful >= 4"}
        assert next(iter(emitted.rejects)).passport.verdicts[-1]["by"] == "judge"


def test_a_description_that_quotes_the_code_is_none():
    code = PROGRAMS["parking_fee"]
    assert "quotes the code" in quotes({"text": code, "doc": "It has\n  hours = -(-(minutes - 30)   // 60)\nand more."})
    assert quotes({"text": code, "doc": "Cents for parking: the first half hour is free. parking_fee(minutes)"}) == ""
    short = "def price(age):\n    cost = 12\n    if age < 14:\n        cost = 6\n    return cost\n"
    assert "quotes the code: cost = 12" in quotes({"text": short, "doc": f"```python\n{short}```"})
    assert quotes({"text": short, "doc": "price(age) begins with cost = 12. Below 14 it is 6.\nreturn cost"}) == ""


# -- who wrote which side ------------------------------------------------------------------


def everything() -> World:
    """Answers that pass every gate, whatever is asked."""

    def translate(inputs):
        if inputs["kind"] == "code":
            entry = entry_in(inputs["text"])
            return {"translation": (IN_TCL if "Tcl" in inputs["target"] else IN_SQL).get(entry, "none")}
        known = {
            "English": "The last boat leaves the harbour soon after the sun has set, said the old woman, number {}.",
            "German": "Das ist die Aufgabe, die wir heute gemeinsam in der Schule lösen wollen: {}",
            "French": "Voici le problème que nous voulons résoudre ensemble aujourd'hui à l'école : {}",
        }
        numbers = " + ".join(part.strip(".,") for part in inputs["text"].split() if any(map(str.isdigit, part)))
        number = len(inputs["text"]) if inputs["target"] == "English" else numbers
        return {"translation": known.get(inputs["target"], "?").format(number)}

    prompts = {row["prompt"]: row["language"] for row in sample_rows("prompts_by_language.jsonl")}
    texts = {row["language"]: row["text"] for row in sample_rows("sentences.jsonl")}

    def answer(inputs):
        romanised = scripts_of(inputs["instruction"]).most_common(1)[0][0] == "LATIN"
        code = prompts[inputs["instruction"]]
        return {"response": "Subah jaldi sona sabse achha tareeka hai." if code == "hi" and romanised else texts[code]}

    return World(
        {
            "translate": translate,
            "describe": lambda inputs: {"doc": f"What it does, in words. ({entry_in(inputs['code'])})"},
            "write from description": lambda inputs: {"code": PROGRAMS[inputs["doc"].split("(")[-1].strip(")")]},
            "judge": lambda inputs: {"feedback": "the same", "score": 5},
            "answer": answer,
        }
    )


@SANDBOXED
@TCL
@pytest.mark.acceptance("2.6 D2")
@pytest.mark.parametrize("name", ["llama3-code-translation", "llama3-code-backtranslation", "back-translation"])
def test_in_every_row_the_side_that_a_person_wrote_is_the_completion(name, tmp_path):
    human = set(PROGRAMS.values()) | {row["text"] for row in sample_rows("sentences.jsonl")}
    here = everything()
    emitted = here.run(name, tmp_path, rows=10)
    assert len(emitted.rows) >= 8
    assert all(row.values["completion"] in human for row in emitted.rows)
    assert not any(row.values["prompt"] in human for row in emitted.rows)
    machine = "<synthetic target> "
    made = list(records(METHOD.emits["sft"], "sft", list(emitted.rows)))
    by_person = [each for each in made if each.completion[0].content in human]
    by_model = [each for each in made if each.completion[0].content not in human]
    assert len(by_person) == len(emitted.rows)
    assert all(each.prompt[0].content.startswith(machine) for each in by_model)
    assert not any(each.prompt[0].content.startswith(machine) for each in by_person)
    if name == "back-translation":
        assert by_model == []
        assert all(each.prompt[0].content.startswith("<BT> ") for each in by_person)
    else:
        assert len(by_model) == len(by_person)
        assert all(row.values["checked"] >= 20 for row in emitted.rows)  # both ways only where a run has shown it


@SANDBOXED
@pytest.mark.acceptance("2.6 D2")
def test_the_other_direction_is_given_only_where_asked_for(tmp_path):
    emitted = everything().run("llama3-code-backtranslation", tmp_path, rows=4, params={"both": False})
    made = list(records(METHOD.emits["sft"], "sft", list(emitted.rows)))
    assert [each.completion[0].content for each in made] == values(emitted.rows, "completion")
    assert all(tags == ["completion by a person"] for tags in values(emitted.rows, "tags"))


def test_rows_of_which_no_side_is_a_persons_say_so(tmp_path):
    emitted = everything().run("llama3-multilingual-reasoning", tmp_path, rows=4, params={"languages": ["de"]})
    assert len(emitted.rows) == 4
    assert all(tags == ["completion by a model"] for tags in values(emitted.rows, "tags"))


# -- the presets ---------------------------------------------------------------------------


@SANDBOXED
@TCL
@pytest.mark.parametrize("each", OURS, ids=lambda each: each.name)
def test_every_preset_runs_from_end_to_end_and_its_records_build(each, tmp_path):
    here = everything()
    params = {"languages": ["de", "fr"]} if each.name == "llama3-multilingual-reasoning" else {}
    emitted = here.run(each.name, tmp_path, rows=6, params=params)
    assert len(emitted.rows) == 6
    assert all(len(made) >= 6 for made in handed_over(each.name, emitted).values())


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("llama3-code-translation", {"languages": ["cobol"]}),
        ("llama3-code-translation", {"languages": []}),
        ("llama3-code-translation", {"languages": ["python"]}),
        ("llama3-code-backtranslation", {"least": 6}),
        ("llama3-code-backtranslation", {"inputs": 0}),
        ("back-translation", {"languages": []}),
        ("llama3-multilingual", {"samples": 0}),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(name, params, tmp_path):
    here = everything()
    with pytest.raises(BadConfig):
        here.run(name, tmp_path, rows=1, params=params)
    assert here.asked == []


def test_rows_of_the_right_source_are_needed(tmp_path):
    from stillroom.engines.scripted import ScriptedEngine
    from stillroom.programs.published import run_preset

    with pytest.raises(BadConfig, match=r"llama3-code-translation needs rows called 'programs'"):
        run_preset("llama3-code-translation", tmp_path, lm=ScriptedEngine({}), given={"texts": [{"text": "x"}]}, rows=1)


def test_a_language_that_cannot_be_run_is_refused_before_anything_is_asked(tmp_path, monkeypatch):
    from stillroom.programs.methods import translate

    def refuse(language):
        raise EngineRefused(f"{language} must be run to be checked, and cannot be")

    monkeypatch.setattr(translate, "usable", refuse)
    here = everything()
    with pytest.raises(EngineRefused, match="must be run"):
        here.run("llama3-code-translation", tmp_path, rows=1)
    assert here.asked == []


def test_the_presets_cover_the_systems_of_the_table():
    assert {number for each in OURS for number in each.covers} == {43, 44, 50, 63}
    assert preset("back-translation").params["tag"] == "<BT> "
