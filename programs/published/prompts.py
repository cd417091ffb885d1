"""What a row asks: as one text, and as the messages of a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["answered", "prompt_of", "task_text"]

Messages = list[dict[str, str]]


def task_text(row: Mapping[str, Any]) -> str:
    r"""The instruction of a row, and the input it is about where there is one.

    >>> task_text({"instruction": "Translate.", "input": "Guten Tag"}), task_text({"instruction": "Sing.", "input": ""})
    ('Translate.\n\nGuten Tag', 'Sing.')
    """
    return "\n\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))


def prompt_of(said: str, system: str = "") -> Messages:
    """What a user said, behind a system message where there is one."""
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": said}]


def answered(prompt: Messages, said: str) -> Messages:
    """The conversation with the assistant's answer."""
    return [*prompt, {"role": "assistant", "content": said}]
