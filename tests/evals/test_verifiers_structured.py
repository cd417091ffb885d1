"""Verifiers of structured answers: label sets, spans, schemas, tool calls."""

from __future__ import annotations

import json

import pytest
from contracts.verifier_contract import VerifierContract
from hypothesis import given
from hypothesis import strategies as some
from pydantic import BaseModel, Field

from stillroom.errors import BadConfig
from stillroom.evals.verdict import Verdict, Verifier, mean
from stillroom.evals.verifiers import (
    Span,
    bio_f1,
    bio_spans,
    json_schema,
    multi_label,
    pydantic,
    span_f1,
    tool_calls,
)


class Booking(BaseModel):
    """A table for some people."""

    people: int = Field(ge=1)
    name: str


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
OPENAI = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
CASES = {
    "multi_label": (multi_label("x"), ({"x": ["art", "film"]}, {"x": "Film, art"}), {"x": ["film"]}),
    "span_f1": (span_f1("x"), ({"x": [[0, 3, "city"]]}, {"x": [{"start": 0, "end": 3, "label": "city"}]}), {"x": []}),
    "bio_f1": (bio_f1("x"), ({"x": ["B-a", "O"]}, {"x": ["B-a", "O"]}), {"x": ["O", "O"]}),
    "json_schema": (json_schema("x", {"type": "object", "required": ["id"]}), ({}, {"x": '{"id": 1}'}), {"x": "{}"}),
    "pydantic": (pydantic("x", Booking), ({}, {"x": {"people": 2, "name": "Ann"}}), {"x": {"people": 0}}),
    "tool_calls": (
        tool_calls("x", {"weather": WEATHER}),
        ({}, {"x": {"name": "weather", "arguments": {"city": "Rome"}}}),
        {"x": {"name": "weather", "arguments": {"town": "Rome"}}},
    ),
}


class TestStructured(VerifierContract):
    """Every verifier of structured answers keeps the laws."""

    @pytest.fixture(params=CASES)
    def case(self, request):
        return CASES[request.param]

    @pytest.fixture
    def verifier(self, case):
        return case[0]

    @pytest.fixture
    def right(self, case):
        return case[1]

    @pytest.fixture
    def wrong(self, case):
        return case[1][0], case[2]

    def test_it_composes(self, verifier, right, wrong):
        """And, or, not and a weighted mean take it like any other."""
        yes = Verifier("yes", lambda row, out: Verdict.ok())
        assert (verifier & yes)(*right).passed
        assert not (verifier & yes)(*wrong).passed
        assert (verifier | yes)(*wrong).passed
        assert (~verifier)(*wrong).score > 0
        assert not (~verifier)(*right).passed
        assert mean(verifier, yes, weights=(3, 1))(*wrong).score < 1


# --- labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "got", "score"),
    [
        (["a", "b"], ["b", "a", "a"], 1.0),
        (["a", "b"], ["a"], 2 / 3),
        (["a", "b"], ["a", "c"], 0.5),
        (["a"], [], 0.0),
        ([], [], 1.0),
        ([], ["a"], 0.0),
        (["card_lost"], "Card lost", 1.0),
        ("a; b", {"a", "b"}, 1.0),
        (None, ["a"], None),
        (["a"], 3, 0.0),
        (["a"], [["a"]], 0.0),
        (["a"], [{"a": 1}], 0.0),
    ],
)
def test_label_sets_are_scored_by_f1(gold, got, score):
    """Twice the hits over all labels of both sides."""
    assert multi_label("x")({"x": gold}, {"x": got}).score == score


def test_strict_labels_keep_their_case():
    """Folding is the default, not a must."""
    assert multi_label("x")({"x": ["Art"]}, {"x": ["art"]}).passed
    assert not multi_label("x", strict=True)({"x": ["Art"]}, {"x": ["art"]}).passed


labels = some.sets(some.sampled_from("abcdef"))


@given(labels, labels)
def test_f1_of_labels_is_symmetric_and_full_only_for_equal_sets(gold, got):
    """Swapping gold and answer swaps precision and recall, and their mean stays."""
    one = multi_label("x")({"x": gold}, {"x": got}).score
    assert one == multi_label("x")({"x": got}, {"x": gold}).score
    assert (one == 1) is (gold == got)


# --- spans ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "got", "exact", "overlap"),
    [
        ([[0, 5, "city"]], [[0, 5, "city"]], 1.0, 1.0),
        ([[0, 5, "city"]], [[0, 4, "city"]], 0.0, 1.0),
        ([[0, 5, "city"]], [[0, 5, "time"]], 0.0, 0.0),
        ([[0, 5, "city"]], [[5, 9, "city"]], 0.0, 0.0),  # ends are not part of a span
        ([[0, 5, "city"], [6, 9, "city"]], [[0, 9, "city"]], 0.0, 2 / 3),  # one span matches one
        ([[0, 5, "a"], [6, 9, "b"]], [[0, 5, "a"]], 2 / 3, 2 / 3),
        ([[0, 5, "a"]], [[0, 5, "a"], [0, 5, "a"]], 1.0, 1.0),
        ([], [], 1.0, 1.0),
        ([], [[0, 5, "a"]], 0.0, 0.0),
        ([{"text": "New York", "label": "city"}], [{"text": "new york", "label": "city"}], 1.0, 1.0),
        ([{"text": "New York", "label": "city"}], [{"text": "York", "label": "city"}], 0.0, 1.0),
        ([[0, 5, "a"]], [[5, 0, "a"]], 0.0, 0.0),
        ([[0, 5, "a"]], "0-5", 0.0, 0.0),
        ("none", [[0, 5, "a"]], None, None),
    ],
)
def test_spans_are_scored_by_f1(gold, got, exact, overlap):
    """By equal ends, or by any place in common."""
    assert span_f1("x")({"x": gold}, {"x": got}).score == exact
    assert span_f1("x", matching="overlap")({"x": gold}, {"x": got}).score == overlap


def test_overlaps_are_paired_so_that_most_spans_match():
    """A greedy pairing would give the long answer to the first span and leave the second without."""
    gold, got = [[0, 2, "a"], [1, 9, "a"]], [[0, 9, "a"], [0, 1, "a"]]
    assert span_f1("x", matching="overlap")({"x": gold}, {"x": got}).passed


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["B-a", "I-a", "O", "B-b"], [Span("a", 0, 2), Span("b", 3, 4)]),
        (["B-a", "B-a"], [Span("a", 0, 1), Span("a", 1, 2)]),
        (["I-a", "I-a"], [Span("a", 0, 2)]),
        (["B-a", "I-b"], [Span("a", 0, 1), Span("b", 1, 2)]),
        (["B-a", "O", "I-a"], [Span("a", 0, 1), Span("a", 2, 3)]),
        ([], []),
    ],
)
def test_bio_tags_are_read_as_conlleval_reads_them(tags, spans):
    """An inside tag that continues nothing begins a span."""
    assert bio_spans(tags) == spans


def test_tags_that_do_not_line_up_are_wrong():
    """Fewer tags than tokens cannot be scored token by token."""
    assert bio_f1("x")({"x": ["B-a", "O"]}, {"x": ["B-a"]}).why == "x has 1 tags, not 2"
    assert bio_f1("x")({"x": ["B-a", "O"]}, {"x": ["B-a", "X"]}).score == 0
    assert bio_f1("x")({"x": None}, {"x": ["B-a"]}).score is None


tags = some.lists(some.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]), min_size=6, max_size=6)


@given(tags, tags)
def test_overlap_is_never_stricter_than_exact(gold, got):
    """Whatever matches exactly overlaps."""
    row, out = {"x": gold}, {"x": got}
    assert bio_f1("x", matching="overlap")(row, out).score >= bio_f1("x")(row, out).score
    assert bio_f1("x")(row, {"x": gold}).passed


# --- schemas -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "is no JSON"),
        ("[1]", "is not of type 'object'"),
        ({"id": "a"}, "x.id: 'a' is not of type 'integer'"),
        ('{"id": 1, "tags": ["a", 2]}', "x.tags.1: 2 is not of type 'string'"),
        ("[" * 100_000, "is no JSON"),
        (None, "is not of type 'object'"),
    ],
)
def test_json_that_breaks_its_schema_says_where(value, why):
    """The path to the value, and the rule."""
    schema = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    }
    found = json_schema("x", schema)({}, {"x": value})
    assert found.score == 0
    assert why in found.why


def test_a_schema_never_reaches_out_of_itself():
    """A reference to another document is not fetched: the answer is unverified."""
    found = json_schema("x", {"$ref": "https://example.invalid/schema.json"})({}, {"x": "{}"})
    assert found.score is None


def test_broken_schemas_are_refused_and_different_ones_have_different_names():
    """The name holds a digest of the schema."""
    for schema in ({"type": "thing"}, 3, {"required": 1}):
        with pytest.raises(BadConfig):
            json_schema("x", schema)
    with pytest.raises(BadConfig):
        pydantic("x", dict)
    assert json_schema("x", {"type": "object"}).name != json_schema("x", {"type": "array"}).name


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ('{"people": 2, "name": "Ann"}', True),
        (Booking(people=2, name="Ann"), True),
        ({"people": "2", "name": "Ann"}, True),
        ('{"people": 0, "name": "Ann"}', False),
        ('{"people": 2}', False),
        ("{", False),
        ([], False),
    ],
)
def test_a_pydantic_model_judges_text_mappings_and_instances(value, passes):
    """As the model itself would, with the field in the reason."""
    found = pydantic("x", Booking)({}, {"x": value})
    assert found.passed is passes
    assert bool(found.why) is not passes


# --- tool calls ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({"name": "weather", "arguments": {"city": "Rome", "days": 2}}, ""),
        ({"name": "weather", "arguments": '{"city": "Rome"}'}, ""),
        ([{"function": {"name": "weather", "arguments": '{"city": "Rome"}'}, "id": "1"}], ""),
        ('{"tool_calls": [{"name": "weather", "args": {"city": "Rome"}}]}', ""),
        ({"name": "wether", "arguments": {"city": "Rome"}}, "there is no tool 'wether'"),
        ({"name": "weather", "arguments": {}}, "'city' is a required property"),
        ({"name": "weather"}, "'city' is a required property"),
        ({"name": "weather", "arguments": {"city": 3}}, "3 is not of type 'string'"),
        ({"name": "weather", "arguments": {"city": "Rome", "unit": "C"}}, "'unit' was unexpected"),
        ({"name": "weather", "arguments": "{city"}, "arguments are no JSON object"),
        ([], "has 0 calls"),
        ("call the weather", "is no tool call"),
        ([{"name": "weather", "arguments": {"city": "Rome"}}, 3], "is no tool call"),
        ({"name": ["weather"]}, "there is no tool"),
    ],
)
def test_a_tool_call_must_fit_its_schema(call, why):
    """Names, required arguments, types, and nothing that was not asked for."""
    for tools in ({"weather": WEATHER}, OPENAI):
        found = tool_calls("x", tools)({}, {"x": call})
        assert found.passed is (why == "")
        assert why in found.why


def test_settings_of_tool_calls_are_checked_and_named():
    """Extra arguments and the number of calls are settings."""
    call = {"name": "weather", "arguments": {"city": "Rome", "unit": "C"}}
    assert tool_calls("x", OPENAI, extra=True)({}, {"x": call}).passed
    assert tool_calls("x", OPENAI, least=0)({}, {"x": []}).passed
    assert not tool_calls("x", OPENAI, most=1)({}, {"x": [call, call]}).passed
    for bad in ([], {}, [OPENAI[0], OPENAI[0]], {"": WEATHER}):
        with pytest.raises(BadConfig):
            tool_calls("x", bad)
    with pytest.raises(BadConfig):
        tool_calls("x", OPENAI, least=2, most=1)


@given(some.recursive(some.none() | some.booleans() | some.integers() | some.text(max_size=5),
                      lambda part: some.lists(part, max_size=3) | some.dictionaries(some.sampled_from(["name", "arguments", "function", "x"]), part, max_size=3)))  # fmt: skip
def test_no_value_makes_these_raise(value):
    """Whatever JSON a model writes, as text or as data, there is a verdict."""
    for verifier, (row, _), _ in CASES.values():
        for said in (value, json.dumps(value)):
            assert verifier(row, {"x": said}).score in (None, 0.0, 1.0) or verifier(row, {"x": said}).why
