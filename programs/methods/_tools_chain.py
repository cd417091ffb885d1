"""Chains of abstraction: reasoning whose derived values are placeholders, filled by working them out in order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from stillroom.evals.verifiers import evaluate

from ._tools_box import written

__all__ = ["Filled", "Sum", "fill", "solved"]

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_STEP = re.compile(r"(.+?)\s*=\s*(y\d+)")
_NAME = re.compile(r"\by\d+\b")


@dataclass(frozen=True)
class Sum:
    """One step that was worked out: its sum with the values put in, its placeholder and its value."""

    expression: str
    name: str
    value: Fraction


@dataclass(frozen=True)
class Filled:
    """What came of a chain.

    Attributes:
        sums: The steps, in order.
        text: The chain with its values in place of the placeholders.
        result: The goal's value as it is written, "" where there is none.
        fault: Why it does not stand, or "".
    """

    sums: tuple[Sum, ...] = field(default=())
    text: str = ""
    result: str = ""
    fault: str = ""


def fill(chain: str, goal: str) -> Filled:
    """Work out `[20 + 35 = y1]` and what follows, in order (Gao et al. 2024, arXiv:2401.17464, section 3).

    A step may use placeholders of steps before it and no others: not its own, none of a later one.

    Args:
        chain: The reasoning, with its steps in brackets.
        goal: The placeholder that holds the answer.
    """
    values: dict[str, Fraction] = {}
    sums: list[Sum] = []
    for match in _BRACKET.finditer(chain):
        step = _STEP.fullmatch(match[1].strip())
        if step is None:
            return Filled(fault=f"a step must be [sum = y1], got {match[0]}")
        working, name = step[1], step[2]
        if name in values:
            return Filled(fault=f"{name} is set twice")
        unknown = [each for each in _NAME.findall(working) if each not in values]
        if unknown:
            return Filled(fault=f"{name} needs {unknown[0]}, which is not set before it")
        put = _NAME.sub(lambda found: f"({values[found[0]]})", working)
        try:
            values[name] = evaluate(put)
        except ValueError as error:
            return Filled(fault=f"{name} cannot be worked out: it {error}")
        plain = _NAME.sub(lambda found: written(values[found[0]]), working)
        sums.append(Sum(plain, name, values[name]))
    if not sums:
        return Filled(fault="there is no step in brackets")
    loose = [each for each in _NAME.findall(_BRACKET.sub("", chain)) if each not in values]
    if loose:
        return Filled(fault=f"{loose[0]} is used and never set")
    goal = goal.strip().strip("[]")
    if goal not in values:
        return Filled(fault=f"the goal must be one of {', '.join(values)}, got {goal!r}")
    texts = iter(sums)
    text = _BRACKET.sub(lambda _: f"{(one := next(texts)).expression} = {written(one.value)}", chain)
    text = _NAME.sub(lambda found: written(values[found[0]]), text)
    return Filled(tuple(sums), text, written(values[goal]))


def solved(question: str, chain: str, goal: str, filled: Filled) -> list[dict[str, Any]]:
    """The conversation in which a calculator fills the placeholders."""
    calls: list[dict[str, Any]] = []
    outputs: list[Mapping[str, Any]] = []
    for each in filled.sums:
        function = {"name": "calculator", "arguments": {"expression": each.expression}}
        calls.append({"type": "function", "id": each.name, "function": function})
        output = written(each.value)
        outputs.append({"role": "tool", "name": "calculator", "tool_call_id": each.name, "content": output})
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": f"{chain}\nThe answer is {goal.strip().strip('[]')}.", "tool_calls": calls},
        *map(dict, outputs),
        {"role": "assistant", "content": f"{filled.text}\nThe answer is {filled.result}."},
    ]
