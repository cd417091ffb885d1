"""The short ways of texts and plain answers end where lm15's long ones do."""

from __future__ import annotations

from typing import Any

import pytest
from contracts.engine_contract import ask
from dspy._vendor.lm15.serde import response_to_dict
from dspy.lm15 import Message, Response, TextPart, ThinkingPart, Usage
from hypothesis import given
from hypothesis import strategies as some

from stillroom.engines import _spelling
from stillroom.engines.http import _wire
from stillroom.engines.http._wire import ChatWire, parse
from stillroom.engines.plain import plain_text, said
from stillroom.errors import EngineBusy
from stillroom.values import compact

WIRE = ChatWire("tiny", dialect="vllm", guided=None, schema=True, tools=True)
LITTLE = some.sampled_from([None, "", "x", 0, 3, True, [], {}, {"a": 1}])
COUNT = some.none() | some.integers(-1, 9) | some.just(2.0) | some.just(True)
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sometimes(**fields: Any) -> Any:
    """Objects that have some of the fields."""
    return some.fixed_dictionaries({}, optional=fields)


MESSAGE = sometimes(
    content=some.sampled_from([None, "", "hé", " ", [{"type": "text", "text": "x"}], 3]),
    reasoning=some.sampled_from([None, "", "why"]),
    reasoning_content=some.sampled_from([None, "", "why"]),
    refusal=some.sampled_from([None, "", "no"]),
    tool_calls=some.sampled_from([None, [], [CALL]]),
    role=some.just("assistant"),
)
BODY = sometimes(
    id=LITTLE,
    model=LITTLE,
    error=some.sampled_from([None, {}, {"message": "no"}, "no"]),
    usage=some.none()
    | sometimes(
        prompt_tokens=COUNT,
        completion_tokens=COUNT,
        total_tokens=COUNT,
        prompt_tokens_details=some.none() | sometimes(cached_tokens=some.integers(0, 3)),
        completion_tokens_details=some.none() | sometimes(reasoning_tokens=some.integers(0, 3)),
    ),
)
CHOICE = sometimes(
    finish_reason=some.sampled_from([None, "", "stop", "length", "content_filter", "tool_calls", "other", {}]),
    logprobs=some.sampled_from([None, {}, {"content": [{"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}]),
)  # fmt: skip


@given(body=BODY, choice=CHOICE, message=MESSAGE)
def test_answers_are_those_that_lm15_reads(
    body: dict[str, Any], choice: dict[str, Any], message: dict[str, Any]
) -> None:
    """Whatever an endpoint says: the same answer, or the same refusal to take it for one."""
    raw = compact({**body, "choices": [{**choice, "message": message}]}).encode()

    def read() -> Response | str:
        try:
            return WIRE.response(parse(raw), ask("hi"), "http/m@live", 100)
        except EngineBusy as error:
            return str(error)

    short = read()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_wire, "_plain", lambda *_: None)
        long = read()
    assert short == long
    assert isinstance(short, str) or type(short.usage.input_tokens) is type(long.usage.input_tokens)  # type: ignore[union-attr]


def test_most_answers_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of this would be for nothing."""
    monkeypatch.setattr("dspy.lm15.response_from_openai_chat", None)
    body = b'{"id": "a", "choices": [{"message": {"content": "hi", "tool_calls": []}, "finish_reason": "stop"}],'
    body += b'"usage": {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": null}}'
    assert WIRE.response(parse(body), ask("hi"), "http/m@live", 100).text == "hi"


@given(text=some.text())
def test_what_is_said_is_a_message(text: str) -> None:
    """Equal to what lm15 makes, and read back by `plain_text`."""
    assert said("user", text) == Message.user(text)
    assert said("assistant", text) == Message.assistant(text)
    assert plain_text(said("user", text)) == text


def test_plain_text_is_of_one_text_alone() -> None:
    """Two parts, or a part of another kind, are for lm15."""
    assert plain_text(Message(role="assistant", parts=(TextPart(text="a"), TextPart(text="b")))) is None
    assert plain_text(Message(role="assistant", parts=(ThinkingPart(text="a"),))) is None


@given(
    parts=some.lists(some.builds(TextPart, text=some.text(max_size=3)) | some.builds(ThinkingPart, text=some.text(min_size=1, max_size=3)), min_size=1, max_size=2),
    usage=some.builds(Usage, input_tokens=some.none() | some.integers(0, 3), output_tokens=some.none() | some.integers(0, 3), cache_read_tokens=some.none() | some.integers(0, 3)),
    id=some.none() | some.just("x"),
    finish=some.sampled_from(["stop", "length"]),
    complete=some.booleans(),
)  # fmt: skip
def test_answers_are_recorded_as_lm15_would(parts: Any, usage: Usage, id: Any, finish: Any, complete: bool) -> None:
    """To the byte, so that a store does not tell which way an answer went."""
    answer = Response(id, "m", Message("assistant", tuple(parts)), finish, usage, logprobs_complete=complete)
    assert compact(_spelling._fields(answer)) == compact(response_to_dict(answer))
    assert _spelling.load(_spelling.dump(answer)).message == answer.message
