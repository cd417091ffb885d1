"""From DSPy's request to prompt, decoding and grammar, without a model."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from dspy.lm15 import Config, FunctionTool, Message, Request, TextPart
from pydantic import BaseModel

from stillroom.engines.local._chat import Constraint, decoding_of, prompt_of
from stillroom.engines.local._grammar import OBJECT, grammar_of
from stillroom.engines.local._text import cut, tokens_within
from stillroom.errors import EngineRefused


def request(*messages: Message, **rest: Any) -> Request:
    return Request(model="local/m@0", messages=messages or (Message.user("hi"),), **rest)


def test_system_comes_first_and_turns_keep_their_order() -> None:
    """Roles as the template knows them; parts of a message on lines of their own."""
    talk = (
        Message.user((TextPart("a"), TextPart("b"))),
        Message.assistant("c"),
        Message.developer("d"),
        Message.user("e"),
    )
    prompt = prompt_of(request(*talk, system="s"))
    assert prompt.messages == (("system", "s"), ("user", "a\nb"), ("assistant", "c"), ("system", "d"), ("user", "e"))
    assert prompt.prefill == ""


def test_a_last_message_of_the_assistant_is_gone_on_from() -> None:
    """It is the beginning of the answer, not a turn of its own."""
    prompt = prompt_of(request(Message.user("a"), Message.assistant("The answer is")))
    assert prompt.messages == (("user", "a"),)
    assert prompt.prefill == "The answer is"


def test_tools_are_refused() -> None:
    """A local model is asked for text."""
    with pytest.raises(EngineRefused, match="tools"):
        prompt_of(request(tools=(FunctionTool("look_up"),)))
    with pytest.raises(EngineRefused, match="role tool"):
        prompt_of(request(Message.user("a"), Message.tool("id", "result")))


@pytest.mark.parametrize("config", [Config(), Config(temperature=0.0), Config(temperature=0.7, top_p=0.0)])
def test_no_temperature_is_greedy(config: Config) -> None:
    """Zero and absent alike."""
    assert decoding_of(config).temperature == 0.0


def test_settings_are_passed_on() -> None:
    """Sampling, stops, seed, penalties."""
    config = Config(
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=40, seed=-1, stop=("x",), logprobs=0, presence_penalty=1.0
    )
    decoding = decoding_of(config)
    assert (decoding.max_tokens, decoding.temperature, decoding.top_p, decoding.top_k) == (9, 0.5, 0.9, 40)
    assert (decoding.seed, decoding.stop, decoding.logprobs, decoding.presence_penalty) == (
        2**32 - 1,
        ("x",),
        True,
        1.0,
    )


@pytest.mark.parametrize(
    "config",
    [
        Config(logprobs=5),
        Config(probabilities="required"),
        Config(extensions={"min_p": 0.1}),
        Config(extensions={"regex": ""}),
        Config(extensions={"regex": "a", "grammar": "root ::= [a]"}),
        Config(extensions={"regex": "a"}, response_format={"type": "json_object"}),
    ],
)
def test_what_cannot_be_honoured_is_refused_before_any_work(config: Config) -> None:
    """Nothing is dropped silently."""
    with pytest.raises(EngineRefused):
        decoding_of(config)


def test_constraints_go_where_the_library_takes_them() -> None:
    """A regex, a grammar, a schema, any object."""
    assert decoding_of(Config(extensions={"regex": "a|b"})).constraint == Constraint("regex", "a|b")
    assert decoding_of(Config(extensions={"grammar": "root ::= [a]"})).constraint == Constraint(
        "grammar", "root ::= [a]"
    )
    assert decoding_of(Config(response_format={"type": "json_object"})).constraint == Constraint("grammar", OBJECT)
    pattern = {"type": "string", "pattern": "^a+$"}
    constraint = decoding_of(Config(response_format={"type": "json_schema", "schema": pattern})).constraint
    assert constraint == Constraint("json_schema", json.dumps(pattern))


class Part(BaseModel):
    """Something inside."""

    label: Literal["a", 'quote"d']
    weight: float | None


class Whole(BaseModel):
    """What a signature makes of its outputs."""

    stars: int
    parts: list[Part]


def test_a_grammar_lays_json_out_as_json_dumps_does() -> None:
    """One line, comma and space, colon and space, properties in order."""
    schema = {
        "type": "object",
        "properties": {"b": {"enum": ["x"]}, "a": {"type": "integer", "minimum": 1, "maximum": 3}},
    }
    grammar = grammar_of({**schema, "required": ["a", "b"], "additionalProperties": False})
    assert grammar is not None
    assert grammar.splitlines()[0] == 'root ::= ("{" "\\"b\\": " ("\\"x\\"") ", " "\\"a\\": " ("1" | "2" | "3") "}")'


def test_definitions_become_rules() -> None:
    """The `$defs` of pydantic, titles and descriptions are understood."""
    schema = Whole.model_json_schema()
    grammar = grammar_of(schema)
    assert grammar is not None
    assert "defPart ::=" in grammar
    assert '(num | "null")' in grammar


def test_a_schema_may_contain_itself() -> None:
    """A tree ends as the model ends it."""
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        "required": ["children"],
    }
    grammar = grammar_of({"$ref": "#/$defs/tree", "$defs": {"tree": tree}})
    assert grammar is not None
    assert grammar.startswith("root ::= deftree")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a+"},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": []},
        {"type": "integer", "minimum": 0},
        {"enum": []},
        {"$ref": "#/elsewhere"},
    ],
)
def test_what_a_grammar_would_lose_is_left_to_the_library(schema: dict[str, Any]) -> None:
    """Better its white space than a rule that is not kept."""
    assert grammar_of(schema) is None


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("a b c", ("b",), "a "),
        ("abc", ("c", "b"), "a"),
        ("abc", (), "abc"),
        ("abc", ("x",), "abc"),
        ("abc", ("a",), ""),
    ],
)
def test_a_text_ends_before_the_first_stop(text: str, stops: tuple[str, ...], left: str) -> None:
    """Exactly there, not at a token's edge."""
    assert cut(text, stops) == left


def test_tokens_are_kept_that_begin_inside_the_text() -> None:
    """Log-probabilities go with the text that is left."""
    pieces = [b"The", b" cap", b"ital", " é".encode()]
    assert [tokens_within(pieces, text) for text in ("", "The", "The c", "The capital", "The capital é")] == [
        0,
        1,
        2,
        3,
        4,
    ]
