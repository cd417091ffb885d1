"""The kinds of values that records are made of, each with its rule."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

__all__ = [
    "Answer",
    "Message",
    "Name",
    "Plain",
    "Prompt",
    "Score",
    "Share",
    "Text",
    "ToolMessage",
    "Whole",
    "function_name",
]


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    text.encode()  # half a surrogate pair fits no file; pydantic tells it as a ValueError
    return text


def _holdable(value: Any) -> Any:
    """Tables keep JSON with integers of 64 bits and finite numbers; larger ones would come back as text."""
    match value:
        case dict():
            for key, each in value.items():
                _written(key)
                _holdable(each)
        case list():
            for each in value:
                _holdable(each)
        case str():
            value.encode()
        case bool() | None:
            pass
        case int() if not -(2**63) <= value < 2**64:
            raise ValueError("integers must fit 64 bits")
        case float() if value - value != 0:
            raise ValueError("numbers must be finite")
        case int() | float():
            pass
        case _:
            raise ValueError("must be a JSON value")
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_written)]
Name: TypeAlias = Annotated[Text, BeforeValidator(lambda value: str(value) if type(value) is int else value)]
"""A text; a whole number stands for its digits, so that a column of classes has one type."""
Score: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Whole: TypeAlias = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
Plain: TypeAlias = Annotated[dict[str, Any], AfterValidator(_holdable)]
"""A JSON object."""


class Message(BaseModel):
    """One turn of a conversation in text."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: Text


class ToolMessage(BaseModel):
    """One turn of a conversation with tools: an assistant may call, role `tool` says what came of it.

    Attributes:
        content: What is said; may be left out only where tools are called.
        tool_calls: `{"type": "function", "function": {"name": ..., "arguments": {...}}}` each, with `id` where
            results name the call they belong to.
        name: Of the tool that answers.
        tool_call_id: Of the call that is answered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    tool_calls: tuple[Plain, ...] | None = Field(None, min_length=1)
    name: Text | None = None
    tool_call_id: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ToolMessage:
        for call in self.tool_calls or ():
            function_name(call)
            if not isinstance(call["function"].get("arguments"), dict):
                raise ValueError("the arguments of a call must be an object, not JSON text")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"only the assistant calls tools, not {self.role!r}")
        if self.content is not None:
            self.content.encode()
        if not self.tool_calls and (self.content is None or not (self.content.strip() or self.role == "tool")):
            raise ValueError("content must not be blank where no tool is called")
        return self


def function_name(value: dict[str, Any]) -> str:
    """The name in a tool or in a call. Raises ValueError if it has none."""
    function = value.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if value.get("type", "function") != "function" or not isinstance(name, str) or not name.strip():
        raise ValueError("must be {'type': 'function', 'function': {'name': ...}}")
    return name


def _said_by(role: str) -> BeforeValidator:
    """A plain text stands for one message."""
    return BeforeValidator(lambda value: [{"role": role, "content": value}] if isinstance(value, str) else value)


def _asks(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    _in_order(messages)
    if messages[-1].role != "user":
        raise ValueError(f"must end with the user's turn, not the {messages[-1].role}'s")
    return messages


def _answers(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if messages[0].role != "assistant" or messages[-1].role != "assistant":
        raise ValueError("must begin and end with the assistant's turn")
    return messages


def _in_order(messages: tuple[Message, ...]) -> None:
    if any(each.role == "system" for each in messages[1:]):
        raise ValueError("a system message must be the first one")


Prompt: TypeAlias = Annotated[tuple[Message, ...], _said_by("user"), Field(min_length=1), AfterValidator(_asks)]
"""Messages that end with the user's turn; a text is one such message."""
Answer: TypeAlias = Annotated[tuple[Message, ...], _said_by("assistant"), Field(min_length=1), AfterValidator(_answers)]
"""Messages from the assistant's turn to the assistant's turn; a text is one such message."""
