"""How prompts show tasks, and how numbered lists of them are read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["fixed", "instruction", "listed", "shown", "unlisted"]

_ITEM = re.compile(r"^\s*\d+\s*[.)]\s*(\S.*)$", re.MULTILINE)


def fixed(rows: Sequence[Any], size: int, turn: int, sets: int) -> list[Any]:
    """The set of a turn: rows stand in sets of `size` as they are given, and sets follow each other in turn."""
    start = size * (turn % sets) % len(rows)
    return [rows[(start + at) % len(rows)] for at in range(size)]


def instruction(task: Mapping[str, Any]) -> str:
    """A task as a prompt shows it: one line."""
    return " ".join(str(task["instruction"]).split()).rstrip(":")


def listed(tasks: Sequence[str], ask: int) -> str:
    """A numbered list of tasks that is to be continued.

    >>> print(listed(["Sing.", "Dance."], 8))
    Come up with a series of tasks:
    1. Sing.
    2. Dance.
    <BLANKLINE>
    Now write tasks 3 to 10:
    """
    lines = [f"{number}. {task}" for number, task in enumerate(tasks, start=1)]
    until = len(tasks) + ask
    return "\n".join(["Come up with a series of tasks:", *lines, "", f"Now write tasks {len(tasks) + 1} to {until}:"])


def unlisted(text: str, most: int) -> list[str]:
    """The first `most` items of a numbered list."""
    return [found[1].strip() for found in _ITEM.finditer(text)][:most]


def shown(task: Mapping[str, Any]) -> str:
    """A task with its first example as a prompt shows it."""
    first = (task.get("instances") or [{}])[0]
    more = {name: task.get(name) or first.get(name) for name in ("input", "constraints", "output")}
    lines = [f"{name.capitalize()}: {value}" for name, value in more.items() if value]
    return "\n".join([instruction(task), *lines])
