"""The http engine, against an endpoint on this machine that fails in every way it can."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import pytest
from contracts.engine_contract import EngineContract, ask
from dspy.lm15 import FunctionTool, Message, Request
from http_world import SECRET, engine_at

from stillroom.engines.contract import Engine
from stillroom.engines.http import ChatWire, HttpEngine
from stillroom.errors import EngineRefused

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


class TestHttpContract(EngineContract):
    """The laws of every engine."""

    @pytest.fixture
    def engine(self, endpoint: Any) -> Iterator[Engine]:
        engine = engine_at(endpoint)
        yield engine
        engine.close()

    @pytest.fixture
    def refused(self) -> Request:
        return ask("refuse this")


def test_model_string_has_host_and_name_and_no_secret(endpoint: Any) -> None:
    """The query and the key stay out of it."""
    engine = HttpEngine(f"{endpoint.url}?api-version={SECRET}", "org/tiny:1", api_key=SECRET)
    assert engine.model == f"http/127.0.0.1:{endpoint.port}/org/tiny:1@live"
    assert SECRET not in repr(engine)
    engine.close()


def test_a_pinned_revision_takes_the_place_of_live(endpoint: Any) -> None:
    """Whoever pins what is served may say so."""
    assert engine_at(endpoint, digest="rev3").model.endswith("/tiny@rev3")


def test_request_is_written_in_chat_completions(endpoint: Any, engine: HttpEngine) -> None:
    """Every setting has its OpenAI name; the model is the endpoint's name for it."""
    request = Request(
        model="whatever",
        system="Be brief.",
        messages=(Message.user("hi"),),
        config=ask(
            "",
            temperature=0.5,
            top_p=0.9,
            seed=7,
            stop=("\n",),
            logprobs=2,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            response_format={"type": "json_schema", "schema": SCHEMA, "name": "out", "strict": True},
        ).config,
    )
    engine.complete(request)
    assert endpoint.sent[0] == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
        "max_tokens": 16,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 2,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "schema": SCHEMA, "strict": True}},
    }


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"seed": 3, "stop": ("x",), "logprobs": 5},
        {"response_format": {"type": "json_schema", "schema": SCHEMA, "name": "out", "strict": True}},
        {"extensions": {"repetition_penalty": 1.1}},
    ],
)
@pytest.mark.parametrize("dialect", ["vllm", "openai", "groq"])
def test_bodies_are_those_that_lm15_would_send(config: dict[str, Any], dialect: str) -> None:
    """The mapping is lm15's, to the last field."""
    wire = ChatWire("gpt-5-mini", dialect=dialect, guided=None, schema=True, tools=True)
    request = replace(ask("hé", **config), model="gpt-5-mini")
    assert json.loads(wire.body(request)) == json.loads(wire._dialect.build_request(request, stream=False).body)


def test_half_a_character_is_refused_before_it_is_sent(endpoint: Any, engine: HttpEngine) -> None:
    """It has no spelling in UTF-8."""
    with pytest.raises(EngineRefused, match="cannot be written as JSON"):
        engine.complete(ask("\ud800"))
    assert endpoint.sent == []


def test_answer_keeps_what_the_server_says_of_itself(engine: HttpEngine) -> None:
    """Fingerprint, reported model, usage, log-probabilities and the reason it stopped."""
    answer = engine.complete(ask("hi", logprobs=0))
    assert answer.text == "echo: hi"
    assert answer.finish_reason == "stop"
    assert answer.usage.total_tokens == 8
    assert answer.logprobs is not None
    assert (answer.logprobs[0].token, answer.logprobs[0].logprob) == ("echo", -0.25)
    assert answer.provider_data == {"id": "chat-1", "model": "tiny-2026", "system_fingerprint": "fp_7"}


def test_an_answer_under_a_schema_stays_text(endpoint: Any, engine: HttpEngine) -> None:
    """Also where every field of the schema is a label."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}}, "required": ["a"]}
    endpoint.say = lambda body: {"content": '{"a": "x"}'}
    asked = ask("hi", response_format={"type": "json_schema", "schema": schema, "name": "out", "strict": True})
    assert engine.complete(asked).message.text == '{"a": "x"}'


def test_missing_usage_is_estimated_from_above_and_flagged(endpoint: Any, engine: HttpEngine) -> None:
    """A budget must not be passed because a server keeps no count."""
    endpoint.usage = False
    answer = engine.complete(ask("hi"))
    assert answer.provider_data["usage_estimated"] is True
    assert answer.usage.input_tokens == engine.count_tokens(ask("hi"))
    assert answer.usage.output_tokens == len("echo: hi")


def test_tools_go_out_and_tool_calls_come_back(endpoint: Any, engine: HttpEngine) -> None:
    """Function tools in OpenAI's shape, both ways."""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    endpoint.say = lambda body: {"content": None, "tool_calls": [call]}
    tool = FunctionTool(name="add", description="Add.", parameters={"type": "object", "properties": {}})
    answer = engine.complete(Request(model="m", messages=(Message.user("1+1"),), tools=(tool,)))
    assert endpoint.sent[0]["tools"][0]["function"]["name"] == "add"
    assert answer.finish_reason == "tool_call"
    assert (answer.tool_calls[0].name, answer.tool_calls[0].input) == ("add", {"a": 1})


@pytest.mark.parametrize(
    ("guided", "sent"),
    [("vllm", {"structured_outputs": {"regex": "a|b"}}), ("vllm-guided", {"guided_regex": "a|b"})],
)
def test_a_regex_goes_where_the_server_takes_it(endpoint: Any, guided: str, sent: dict[str, Any]) -> None:
    """VLLM renamed the fields in 0.12 and ignores the old ones since."""
    engine = engine_at(endpoint, guided=guided)
    engine.complete(ask("hi", top_k=3, extensions={"regex": "a|b"}))
    assert sent.items() <= endpoint.sent[0].items()
    assert endpoint.sent[0]["top_k"] == 3
    assert "regex" not in endpoint.sent[0]
    engine.close()


@pytest.mark.parametrize("config", [{"extensions": {"regex": "a"}}, {"extensions": {"grammar": "g"}}, {"top_k": 3}])
def test_nothing_asked_for_is_dropped_silently(endpoint: Any, engine: HttpEngine, config: dict[str, Any]) -> None:
    """What the endpoint was not declared to take is refused before anything is sent."""
    with pytest.raises(EngineRefused, match="not declared to take a"):
        engine.complete(ask("hi", **config))
    assert endpoint.sent == []


def test_schema_and_tools_are_refused_where_not_declared(endpoint: Any) -> None:
    """Declared capabilities bind both ways."""
    engine = engine_at(endpoint, supports_response_schema=False, supports_function_calling=False)
    tool = FunctionTool(name="add", description="Add.", parameters={"type": "object", "properties": {}})
    with pytest.raises(EngineRefused, match="JSON schema"):
        engine.complete(ask("hi", response_format={"type": "json_schema", "schema": SCHEMA}))
    with pytest.raises(EngineRefused, match="tools"):
        engine.complete(Request(model="m", messages=(Message.user("1+1"),), tools=(tool,)))
    assert "tools" not in engine.supported_params
    engine.close()


def test_execution_controls_do_not_pass_as_extensions(engine: HttpEngine) -> None:
    """`n` and `stream` would break one request, one answer."""
    with pytest.raises(EngineRefused, match="cannot be written"):
        engine.complete(ask("hi", extensions={"n": 3}))


def test_a_query_is_sent_along(endpoint: Any) -> None:
    """Some gateways want a version in it."""
    engine = HttpEngine(f"{endpoint.url}?api-version=2", "tiny")
    engine.complete(ask("hi"))
    assert endpoint.queries == ["api-version=2"]
    engine.close()


def test_check_lists_the_models(endpoint: Any, engine: HttpEngine) -> None:
    """And costs nothing."""
    assert engine.check() == ("tiny",)
    endpoint.models = ["tiny:latest"]
    assert engine.check() == ("tiny:latest",)
    endpoint.models = None
    assert engine.check() == ()
    assert endpoint.sent == []


def test_no_more_at_once_than_allowed(endpoint: Any) -> None:
    """The concurrency limit holds for a whole batch."""
    endpoint.delay = 0.005
    engine = engine_at(endpoint, max_concurrency=3)
    engine.complete_many([ask(str(i)) for i in range(20)])
    assert endpoint.most <= 3
    engine.close()


def test_an_endpoint_with_little_room_answers_everybody(endpoint: Any) -> None:
    """Every request is answered although the endpoint takes four of our thirty-two."""
    endpoint.room, endpoint.delay = 4, 0.005
    engine = engine_at(endpoint, max_concurrency=32)
    answers = engine.complete_many([ask(str(i)) for i in range(150)])
    assert [answer.text for answer in answers] == [f"echo: {i}" for i in range(150)]  # type: ignore[union-attr]
    assert endpoint.turned_away > 0
    assert endpoint.most == 4
    engine.close()


def test_close_drops_what_is_under_way(endpoint: Any) -> None:
    """It does not wait for an endpoint that may never answer."""
    endpoint.delay = 5.0
    engine = engine_at(endpoint)
    waiting = engine.submit(ask("hi"))
    engine.close()
    with pytest.raises(CancelledError):
        waiting.result(timeout=5)


def test_a_closed_engine_refuses_and_leaves_no_thread(endpoint: Any) -> None:
    """Close ends the background thread; so does letting go of the engine."""
    engine = engine_at(endpoint)
    engine.complete(ask("hi"))
    engine.close()
    with pytest.raises(EngineRefused, match="closed"):
        engine.complete(ask("hi"))
    other = engine_at(endpoint)
    other.complete(ask("hi"))
    del other
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread.name == "stillroom-http"]
