"""Messages of plain text and answers that are nothing else, made without lm15's checks of each.

What they are made of is known to be right: texts are texts, counts are counts. They are lm15's own
values, equal to those that its constructors make.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from stillroom.values import maker

if TYPE_CHECKING:
    from dspy.lm15 import Message, Response

__all__ = ["plain_answer", "plain_text", "said"]


def said(role: str, text: str) -> Message:
    """A message of one text."""
    make = _makers()
    message: Message = make.message(role, (make.text(text),))
    return message


def plain_text(message: Message) -> str | None:
    """The text of a message that `said` could have made; `None` for any other."""
    parts = message.parts
    if len(parts) != 1 or message.continuation:
        return None
    part = parts[0]
    return part.text if part.type == "text" and not part.continuation else None


def plain_answer(
    id: str | None, model: str, text: str, finish: str, counts: tuple[int, int, int], told: dict[str, Any]
) -> Response:
    """An answer of one text that used so many tokens: of the prompt, of the answer, and of both."""
    make = _makers()
    response: Response = make.response(id, model, said("assistant", text), finish, make.usage(*counts), told)
    return response


class _Makers:
    text: Callable[..., Any]
    message: Callable[..., Any]
    usage: Callable[..., Any]
    response: Callable[..., Any]

    def __init__(self) -> None:
        from dspy.lm15 import Message, Response, TextPart, Usage

        self.text = maker(TextPart, "text")
        self.message = maker(Message, "role", "parts")
        self.usage = maker(Usage, "input_tokens", "output_tokens", "total_tokens")
        self.response = maker(Response, "id", "model", "message", "finish_reason", "usage", "provider_data")


@cache
def _makers() -> _Makers:
    return _Makers()
