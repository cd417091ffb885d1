"""The acceptance checks of the tools method: calls that were made."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from jsonschema import Draft202012Validator
from recipe_world import World, handed_over, sample_rows, stopped, values
from sandbox_world import SANDBOXED

from stillroom.engines.local._grammar import grammar_of
from stillroom.errors import BadConfig
from stillroom.evals.verifiers import evaluate, parse_number, tool_calls
from stillroom.programs.flow import Ask
from stillroom.programs.methods._tools_box import Search, Toolbox, calculator, mined, python
from stillroom.programs.methods._tools_kinds import KINDS
from stillroom.programs.methods._tools_shown import CALLS, queries
from stillroom.programs.published.shares import spread
from stillroom.signatures import Shape
from stillroom.values import digest

CALC = {"tools": ["calculator"], "kinds": {"single": 1.0}}


def _parts(job):
    return job.method.flow(job).parts


def call(name: str, **arguments: object) -> dict[str, str]:
    return {"name": name, "arguments": json.dumps(arguments)}


def world(calls, answer=None) -> World:
    """A model whose queries are numbered; `calls` gives what it wants to call from (number, results so far)."""
    count = iter(range(10**6))

    def query(inputs):
        return {"facts": "", "query": f"Query {next(count)} about {inputs['manner']}?"}

    def ask(inputs):
        found = re.search(r"Query (\d+) about (.*)\?", inputs["query"])
        wanted = calls(int(found[1]), found[2], inputs["history"])
        return {"thought": "Let me see.", "calls": wanted}

    def say(inputs):
        last = inputs["input"].strip().splitlines()[-1] if inputs["input"].strip() else "gave nothing"
        return {"response": answer or f"It is {last.rpartition('gave ')[2]}."}

    return World({"query": query, "call": ask, "answer": say})


def once(number, manner, history):
    return [] if history else [call("calculator", expression=f"{number} * 3 + 1")]


# -- D1 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.16 D1")
@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (call("calculator", expression=7), "7 is not of type 'string'"),
        (call("abacus", expression="1 + 1"), "there is no tool 'abacus'"),
        (call("calculator"), "'expression' is a required property"),
        (call("calculator", expression="1 + 1", base=10), "'base' was unexpected"),
        ({"name": "calculator", "arguments": "1 + 1"}, "arguments are no JSON object"),
    ],
)
def test_a_call_that_does_not_fit_its_tool_is_refused(tmp_path, wrong, why):
    emitted = world(lambda *_: [wrong]).run("llama3-tools", tmp_path, rows=1, params=CALC)
    assert not emitted.rows
    assert {each.gate for each in emitted.rejects} == {"calls fit their tools"}
    assert all(why in each.why for each in emitted.rejects)
    assert all(each.passport.verdicts[-1]["by"] == "verifier" for each in emitted.rejects)


@pytest.mark.acceptance("2.16 D1")
@SANDBOXED
def test_every_result_was_made_by_its_call(tmp_path):
    """Each tool message is found by the hash of its call, and making the call again gives the same hash."""

    def calls(number, manner, history):
        done = history.count("gave")
        if "several calls that do not" in manner:
            return (
                [] if done else [call("calculator", expression="6 * 7"), call("python", code=f"print({number} ** 2)")]
            )
        if "an argument" in manner:
            value = history.rpartition("gave ")[2].strip()
            return [
                [call("calculator", expression=f"100 + {number}")],
                [call("python", code=f"print({value or 0} * 2)")],
                [],
            ][done]
        if "after the other" in manner:
            return [[call("search", query="paint tin")], [call("calculator", expression="27 / 2.5")], []][done]
        return [] if "advice" in manner or done else [call("search", query="choir members")]

    emitted = world(calls).run("llama3-tools", tmp_path, rows=20)
    assert len(emitted.rows) == 20
    documents = sample_rows("documents.jsonl")
    box = Toolbox([calculator(), python(), Search(documents).tool()])
    results = 0
    for row in emitted.rows:
        ran = {one["place"]: one for one in row.values["ran"]}
        asked = {each["id"]: each["function"] for one in row.values["messages"] for each in one.get("tool_calls") or []}
        for message in (one for one in row.values["messages"] if one["role"] == "tool"):
            results += 1
            function = asked[message["tool_call_id"]]
            one = ran[message["tool_call_id"]]
            assert one["call"] == digest([function["name"], function["arguments"]])
            assert one["result"] == digest(message["content"])
            again = box.call(function["name"], function["arguments"])
            assert (again.call, again.result, again.fault) == (one["call"], one["result"], "")
        assert len(ran) == len(asked)
    assert results >= 20
    assert Counter(values(emitted.rows, "kind")) == {
        "single": 8, "multi": 3, "parallel": 2, "nested": 2, "unused": 3, "turns": 2
    }  # fmt: skip


# -- D3 ---------------------------------------------------------------------------------


@pytest.mark.acceptance("2.16 D3")
def test_calculator_queries_recomputed_from_their_arguments_equal_what_is_stored(tmp_path):
    sums = [
        "2 + 2",
        "7 / 2",
        "1 / 3",
        "(3 + 4) * 2.5",
        "1,200 - 200",
        "0.1 + 0.2",
        "-4 * 5",
        "10 / 4 / 5",
        "$20 * 3",
        "9",
    ]

    def calls(number, manner, history):
        return [] if history else [call("calculator", expression=sums[number % 10])]

    emitted = world(calls).run("llama3-tools", tmp_path, rows=10, params=CALC)
    stored = {one["arguments"]["expression"]: one["output"] for row in emitted.rows for one in row.values["ran"]}
    assert set(stored) == set(sums)
    for expression, output in stored.items():
        value = evaluate(expression)
        assert abs(parse_number(output) - value) <= abs(value) * 1e-11
    assert stored["0.1 + 0.2"] == "0.3"
    assert stored["7 / 2"] == "3.5"
    bad = world(lambda *_: [call("calculator", expression="2 ** 9")])
    emitted = bad.run("llama3-tools", tmp_path / "bad", rows=1, params=CALC)
    assert {each.gate for each in emitted.rejects} == {"calls ran"}


# -- kinds, tools, presets --------------------------------------------------------------


@pytest.mark.parametrize(("rows", "unused"), [(100, 15), (33, 5), (7, 1)])
def test_kinds_have_exactly_their_quota(rows, unused):
    found = spread(rows, {"single": 0.85, "unused": 0.15})
    assert found == {"single": rows - unused, "unused": unused}


def test_queries_that_need_no_tool_are_kept_only_without_a_call(tmp_path):
    half = {"kinds": {"single": 0.5, "unused": 0.5}, "tools": ["calculator"]}
    keen = world(once).run("llama3-tools", tmp_path / "keen", rows=4, params=half)
    assert values(keen.rows, "kind") == ["single"] * 2
    assert stopped(keen)["calls as the kind asks"]
    calm = world(lambda number, manner, history: [] if "advice" in manner else once(number, manner, history))
    found = calm.run("llama3-tools", tmp_path / "calm", rows=4, params=half)
    assert Counter(values(found.rows, "kind")) == {"single": 2, "unused": 2}
    assert all(len(row.values["messages"]) == 2 for row in found.rows if row.values["kind"] == "unused")


def test_a_call_that_was_made_is_not_made_again_and_ends_the_round(tmp_path):
    def again(number, manner, history):
        return [
            call("calculator", expression=f"{number} * 3"),
            {"name": "calculator", "arguments": {"expression": f"{number} * 3"}},
        ]

    emitted = world(again).run("llama3-tools", tmp_path, rows=2, params=CALC)
    assert len(emitted.rows) == 2
    for row in emitted.rows:
        assert [one["place"] for one in row.values["ran"]] == ["1.1.1"]
        assert [one["role"] for one in row.values["messages"]] == ["user", "assistant", "tool", "assistant"]


def test_calls_are_constrained_to_the_tools_there_are_and_read_as_they_come():
    steps = {part.name: part for part in _parts(World({}).job("llama3-tools", params=CALC)) if isinstance(part, Ask)}
    plan = steps["call 1.1"].plan
    asked = plan.shape.output_schema()["properties"]["calls"]
    good, wrong = {"name": "calculator", "arguments": {"expression": "1"}}, {"name": "abacus", "arguments": "1"}
    fits = Draft202012Validator(asked).is_valid
    assert fits([good, good])
    assert fits([])
    for bad in (wrong, {**good, "arguments": {"text": "1"}}, {**good, "arguments": '{"expression": "1"}'}):
        assert not fits([bad])
    assert grammar_of(plan.shape.output_schema())
    calls = plan.shape.outputs[-1]
    assert calls.problem([good, wrong]) is None  # the gate tells what is wrong with it
    assert Shape.from_json(plan.shape.as_json()) == plan.shape


def test_arguments_with_a_default_are_asked_for_and_not_needed():
    box = Toolbox([mined('def twice(n: int, plus: int = 0) -> int:\n    """Double."""\n    return 2 * n + plus\n')])
    (one,) = box.calls["items"]["anyOf"]
    assert one["properties"]["arguments"]["required"] == ["n", "plus"]
    assert box.about == "twice(n: integer, plus: integer): Double."


def test_queries_are_shown_examples_of_their_kind_and_calls_that_fit(tmp_path):
    for kind in KINDS:
        assert {each.inputs["manner"] for each in queries(kind)} == {KINDS[kind][1]}
        assert {bool(each.inputs["tools"]) for each in queries(kind)} == {kind != "unused"}
    for demo in CALLS:
        tools = json.loads(demo.inputs["tools"])
        if demo.outputs["calls"]:
            assert tool_calls("calls", tools)({}, demo.outputs).passed
    half = {"kinds": {"single": 0.5, "unused": 0.5}, "tools": ["calculator"]}
    here = world(once)
    here.run("llama3-tools", tmp_path, rows=2, params=half)
    shown = {inputs["n_calls"]: inputs["tools"] for name, inputs in here.asked if name == "query"}
    assert shown[0] == ""
    assert shown[1].startswith("calculator(expression: string): ")


def test_a_second_turn_sees_the_first(tmp_path):
    here = world(lambda number, manner, history: [call("calculator", expression="2 + 3")] if number % 2 == 0 else [])
    emitted = here.run("llama3-tools", tmp_path, rows=1, params={"kinds": {"turns": 1.0}, "tools": ["calculator"]})
    assert len(emitted.rows) == 1
    histories = [inputs["history"] for name, inputs in here.asked if name == "call"]
    assert histories[0] == ""
    assert histories[-1].startswith("User: Query 0")
    assert [name for name, _ in here.asked].count("query") == 2


def test_an_answer_that_does_not_name_the_result_is_refused(tmp_path):
    emitted = world(once, answer="It is 1000000.").run("llama3-tools", tmp_path, rows=1, params=CALC)
    assert not emitted.rows
    assert {each.gate for each in emitted.rejects} == {"answer names the result"}


def test_several_calls_wait_for_a_person_where_the_system_says_so(tmp_path):
    def calls(number, manner, history):
        return [[call("calculator", expression="1 + 1")], [call("calculator", expression="2 + 3")], []][
            history.count("gave")
        ]

    params = {"kinds": {"multi": 1.0}, "tools": ["calculator"]}
    emitted = world(calls).run("afm-tools", tmp_path, rows=1, params=params)
    assert not emitted.rows
    assert {(each.status, each.gate) for each in emitted.rejects} == {("audit", "kinds for people")}


@SANDBOXED
def test_python_runs_in_the_sandbox_alone():
    tool = python()
    assert tool.run({"code": "print(2 ** 10)"}) == "1024"
    for code in ("open('/etc/passwd').read()", "import socket; socket.socket()", "raise SystemExit(3)", "1 +"):
        with pytest.raises(ValueError, match="the code fails"):
            tool.run({"code": code})


@SANDBOXED
def test_functions_are_read_and_only_run_in_the_sandbox():
    code = 'def twice(n: int, plus: int = 0) -> int:\n    """Double a number."""\n    return 2 * n + plus\n'
    box = Toolbox([mined(code)])
    assert box.schemas[0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "plus": {"type": "integer"}},
        "required": ["n"],
    }
    assert box.call("twice", {"n": 4}).output == "8"
    assert box.call("twice", '{"n": 4, "plus": 1}').output == "9"
    assert box.call("twice", {"n": "four"}).unfit
    assert "fails" in Toolbox([mined(code.replace("2 * n", "1 / 0"))]).call("twice", {"n": 4}).fault


@pytest.mark.parametrize(
    "code",
    ["def f(n: int):\n    return n\n", "def f(n):\n    'Doc.'\n    return n\n", "x = 1\n", "def f(:\n",
     "def f(*n: int):\n    'Doc.'\n    return n\n", "def f(n: Thing):\n    'Doc.'\n    return n\n"],
)  # fmt: skip
def test_what_cannot_be_called_is_no_tool(code):
    assert mined(code) is None


def test_a_search_gives_what_fits_best_first(tmp_path):
    for name, text in {
        "a.md": "The fox hides in the den.",
        "b.txt": "Foxes and more foxes. A fox.",
        "c.txt": "Rain.",
    }.items():
        (tmp_path / name).write_text(text)
    from stillroom.signatures import read_rows

    rows = [row for _, row in read_rows(tmp_path)]
    assert [row["title"] for row in rows] == ["a.md", "b.txt", "c.txt"]
    search = Search(rows, most=2)
    assert [each["title"] for each in search.find("fox")] == ["b.txt", "a.md"]
    assert [each["title"] for each in search.find('den" OR NEAR(')] == ["a.md"]
    assert search.find("?!") == search.find("whale") == []
    assert json.loads(search.tool().run({"query": "rain"}))[0]["text"] == "Rain."


def test_a_search_without_texts_is_refused(tmp_path):
    with pytest.raises(BadConfig, match="documents"):
        World({}).run("afm-tools", tmp_path, given={"documents": None})


@pytest.mark.parametrize(
    "wrong", [{"kinds": {"single": 0.5}}, {"kinds": {"double": 1.0}}, {"tools": ["web"]}, {"rounds": 0}]
)
def test_parameters_that_cannot_work_are_told(wrong):
    with pytest.raises(BadConfig):
        World({}).job("llama3-tools", params=wrong)


@SANDBOXED
@pytest.mark.parametrize("name", ["llama3-tools", "llama3-tools-zero-shot", "afm-tools", "chain-of-abstraction"])
def test_a_preset_gives_rows_and_records_of_every_schema(name, tmp_path):
    zero_shot = name == "llama3-tools-zero-shot"

    def single(at, value="5"):
        return (
            call("boxes_needed", items=at + 1, per_box=2)
            if zero_shot
            else call("calculator", expression=f"{at} + {value}")
        )

    def calls(number, manner, history):
        done = history.count("gave")
        value = history.rpartition("gave ")[2].strip()
        if "do not need" in manner:
            return [] if done else [single(number), single(number + 1)]
        if "an argument" in manner or "after the other" in manner:
            follow = (
                call("boxes_needed", items=int(value or 1), per_box=1) if zero_shot else single(number, value or "1")
            )
            return [[single(number)], [follow], []][done]
        return [] if "advice" in manner or done else [single(number)]

    answers = {row["question"]: row["answer"] for row in sample_rows("solved.jsonl")}
    here = world(calls)
    here = World(
        {**here.said, "abstract": lambda inputs: {"chain": f"[{answers[inputs['question']]} + 0 = y1]", "goal": "y1"}}
    )
    emitted = here.run(name, tmp_path, rows=10)
    assert len(emitted.rows) == 10, emitted.why()
    assert {len(made) for made in handed_over(name, emitted).values()} == {10}
