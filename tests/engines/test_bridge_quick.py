"""Schemas that DSPy's adapters build with each call, remembered: the same is sent and read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Literal

import dspy
import dspy.adapters.json_adapter as json_adapter
import dspy.adapters.utils as utils
import pydantic
import pytest
from dspy.lm15 import Request

from stillroom.engines import ScriptedEngine, as_lm, quick_adapters


class Level(Enum):
    """How bad it is."""

    LOW = "low"
    HIGH = "high"


class Part(pydantic.BaseModel):
    """What is broken."""

    name: str
    size: float | None = None


class Sort(dspy.Signature):
    """Sort the message."""

    message: str = dspy.InputField()
    team: Literal["mail", "network"] = dspy.OutputField(desc="who acts first")
    level: Level = dspy.OutputField()
    parts: list[Part] = dspy.OutputField()
    note: str | int = dspy.OutputField()


DEMOS = [
    dspy.Example(message="The mail is full.", team="mail", level=Level.LOW, parts=[Part(name="box")], note="a"),
    dspy.Example(message="No network.", team="network", level=Level.HIGH, parts=[Part(name="cable", size=2.5)], note=3),
]
JSON = '{"team": "mail", "level": "high", "parts": [{"name": "screw", "size": 1.5}], "note": "7"}'
CHAT = (
    '[[ ## team ## ]]\nmail\n\n[[ ## level ## ]]\nhigh\n\n[[ ## parts ## ]]\n[{"name": "screw", "size": 1.5}]\n\n'
    "[[ ## note ## ]]\n7\n\n[[ ## completed ## ]]"
)
ADAPTERS = [(dspy.JSONAdapter, JSON), (dspy.ChatAdapter, CHAT)]


def predict(adapter: Any, answer: str, times: int = 1) -> tuple[list[Request], list[Any]]:
    """What is sent and what is read, with demos."""
    sent: list[Request] = []

    def reply(request: Request) -> str:
        sent.append(request)
        return answer

    module = dspy.Predict(Sort)
    module.demos = DEMOS
    with dspy.context(lm=as_lm(ScriptedEngine(reply)), adapter=adapter()):
        found = [dict(module(message=f"Message {number}").items()) for number in range(times)]
    return sent, found


@pytest.mark.parametrize(("adapter", "answer"), ADAPTERS)
def test_the_same_is_sent_and_read(adapter: Any, answer: str) -> None:
    """Request by request, value by value, schema and all."""
    slow = predict(adapter, answer, 3)
    with quick_adapters():
        assert predict(adapter, answer, 3) == slow
        assert predict(adapter, answer, 3) == slow
    assert predict(adapter, answer, 3) == slow


def test_schemas_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls there are; another signature has its own."""
    made: list[str] = []
    create: Callable[..., Any] = pydantic.create_model
    monkeypatch.setattr(
        json_adapter.pydantic, "create_model", lambda *args, **more: (made.append(args[0]), create(*args, **more))[1]
    )

    class Fresh(dspy.Signature):
        message: str = dspy.InputField()
        colour: Literal["a colour that no other test asks for"] = dspy.OutputField()

    answer = '{"colour": "a colour that no other test asks for"}'
    with quick_adapters(), dspy.context(lm=as_lm(ScriptedEngine(lambda request: answer)), adapter=dspy.JSONAdapter()):
        for instructions in ("Name it.", "Say it."):
            for _ in range(5):
                dspy.Predict(Fresh.with_instructions(instructions))(message="hi")
        assert made.count("DSPyProgramOutputs") == 1
        dspy.Predict(Fresh.append("more", dspy.OutputField(), type_=str | None))(message="hi")
        assert made.count("DSPyProgramOutputs") == 2


def test_what_is_remembered_cannot_be_changed_from_outside() -> None:
    """Who gets a schema may do with it what it likes."""
    with quick_adapters():
        make = json_adapter._get_structured_outputs_response_format
        make(Sort).model_json_schema()["properties"].clear()
        assert set(make(Sort).model_json_schema()["properties"]) == {"team", "level", "parts", "note"}


def test_types_that_are_equal_but_not_the_same_are_kept_apart() -> None:
    """The order of a union decides between readings that are equally good."""
    first, second = int | float, float | int
    assert first == second
    with quick_adapters():
        assert [type(utils.TypeAdapter(kind).validate_python("1")) for kind in (first, second)] == [int, float]


def test_dspy_is_as_it_was_when_the_last_has_left() -> None:
    """Also after an exception, and with several inside at once."""
    before = utils.TypeAdapter, json_adapter._get_structured_outputs_response_format
    inside, leave = threading.Barrier(9), threading.Barrier(9)

    def visit(number: int) -> None:
        with quick_adapters():
            inside.wait(10)
            leave.wait(10)

    with ThreadPoolExecutor(8) as pool:
        visits = [pool.submit(visit, number) for number in range(8)]
        inside.wait(10)
        assert utils.TypeAdapter is not before[0]
        with pytest.raises(RuntimeError), quick_adapters():
            raise RuntimeError
        assert utils.TypeAdapter is not before[0]
        leave.wait(10)
        for each in visits:
            each.result()
    assert (utils.TypeAdapter, json_adapter._get_structured_outputs_response_format) == before


def test_threads_read_the_same() -> None:
    """One schema for all of them."""
    slow = predict(dspy.JSONAdapter, JSON)[1]
    with quick_adapters(), ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: predict(dspy.JSONAdapter, JSON)[1], range(64)))
    assert all(each == slow for each in found)


def test_what_has_no_schema_falls_back_as_it_did() -> None:
    """An open mapping is asked for as any JSON object."""

    class Open(dspy.Signature):
        message: str = dspy.InputField()
        table: dict[str, Any] = dspy.OutputField()

    sent: list[Request] = []

    def reply(request: Request) -> str:
        sent.append(request)
        return '{"table": {"a": 1}}'

    with quick_adapters(), dspy.context(lm=as_lm(ScriptedEngine(reply)), adapter=dspy.JSONAdapter()):
        assert dspy.Predict(Open)(message="hi").table == {"a": 1}
    assert sent[0].config.response_format["type"] == "json_object"
