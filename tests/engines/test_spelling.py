"""The key of a request: the same to the byte as the long way gives it, for every request there can be."""

from __future__ import annotations

import json

import pytest
from dspy._vendor.lm15.serde import request_to_dict
from dspy.lm15 import Config, DataPart, FunctionTool, Message, Request, TextPart, ToolCallPart
from hypothesis import given
from hypothesis import strategies as some

from stillroom.engines._canonical import spelled
from stillroom.engines.metered import call_key
from stillroom.programs import Plan
from stillroom.signatures import Field, Shape
from stillroom.values import altered, canonical, compact, digest

TEXT = some.text(min_size=1, max_size=40)
NUMBER = some.floats(0, 2) | some.integers(0, 2)
VALUE = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats(allow_nan=False) | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FINITE = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
CONFIG = some.builds(
    Config,
    max_tokens=some.none() | some.integers(1, 10**12),
    temperature=some.none() | NUMBER,
    top_p=some.none() | some.floats(0.01, 1),
    top_k=some.none() | some.integers(1, 100),
    stop=some.lists(TEXT, max_size=2).map(tuple),
    response_format=some.none()
    | some.just({"type": "json_object"})
    | some.dictionaries(TEXT, FINITE, max_size=3).map(lambda schema: {"type": "json_schema", "schema": schema}),
    seed=some.none() | some.integers(0, 2**62),
    frequency_penalty=some.none() | some.floats(-2, 2),
    store=some.none() | some.booleans(),
    logprobs=some.none() | some.integers(0, 5),
    extensions=some.none() | some.dictionaries(TEXT, FINITE, max_size=2),
)
PART = some.builds(TextPart, text=some.text(max_size=40)) | some.builds(DataPart, value=FINITE)
MESSAGE = some.one_of(
    some.builds(Message.user, TEXT),
    some.builds(Message.assistant, TEXT),
    some.lists(PART, min_size=1, max_size=3).map(lambda parts: Message.user(tuple(parts))),
    some.just(Message.assistant((ToolCallPart(id="c", name="f", input={"a": 1e16}),))),
)
REQUEST = some.builds(
    Request,
    model=TEXT,
    messages=some.lists(MESSAGE, min_size=1, max_size=4).map(tuple),
    system=some.none() | TEXT | some.just((TextPart(text="in parts"),)),
    tools=some.just(()) | some.just((FunctionTool(name="f", description="d", parameters={"type": "object"}),)),
    config=CONFIG,
)


@given(REQUEST)
def test_the_short_way_spells_what_the_long_way_spells(request: Request):
    """Byte for byte: another spelling would be another key, and orphan every run that was stored."""
    assert spelled(request) == canonical(request_to_dict(request))
    assert spelled(request) == json.dumps(
        request_to_dict(request), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def test_keys_are_those_of_stored_runs():
    """Taken from a run that was stored by the first version."""
    plan = Plan(
        Shape("T", "Name it.", (Field("message", {"type": "string"}, "höhe"),), (Field("a", {"type": "string"}),)),
        "http/host/m@live",
        "Name it.",
    )
    key, text = call_key(plan.render({"message": 'a "quoted"\n line \x7f'}, seed=7))
    assert key == digest(json.loads(text), 32)
    assert key == "852a2c3bc7de1bb5d4b6a06feafbfcad"


def test_a_schema_that_is_changed_in_place_is_spelled_anew():
    """Never the old key for a new request."""
    config = Config(max_tokens=5, response_format={"type": "json_schema", "schema": {"type": "object"}})
    request = Request(model="m", messages=(Message.user("x"),), config=config)
    before = call_key(request)
    request.config.response_format["schema"]["title"] = "changed"
    assert call_key(request) != before
    assert spelled(request) == canonical(request_to_dict(request))


@given(VALUE)
def test_compact_reads_back_as_what_canonical_spells(value):
    """They may differ in how a float is spelled, and in nothing that is read."""
    try:
        wanted = canonical(value)
    except ValueError:
        return
    assert json.loads(compact(value)) == json.loads(wanted)


def test_compact_refuses_what_canonical_refuses():
    """What is no JSON value is an error, not a guess."""
    for wrong in (object(), {1, 2}, b"bytes", Field("a", {})):
        with pytest.raises(TypeError):
            compact(wrong)


def test_altered_copies_and_leaves_the_original():
    """All other fields stay, and the class is the same."""
    config = Config(max_tokens=5, temperature=0.5, stop=("a",))
    changed = altered(config, seed=3, top_p=0.5)
    assert changed == Config(max_tokens=5, temperature=0.5, stop=("a",), seed=3, top_p=0.5)
    assert config.seed is None
    with pytest.raises(KeyError):
        altered(config, nothing=1)
