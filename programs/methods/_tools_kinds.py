"""The kinds of queries: what is asked for, and whether the calls that were made are of that kind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from stillroom.evals.verifiers import parse_number

from ._figures import names, numbers
from ._tools_box import Done, Toolbox, called

__all__ = ["KINDS", "as_asked", "made", "names_result"]

KINDS: Mapping[str, tuple[int, str]] = {
    "single": (1, "one that a single call answers, from the figures and names in the question"),
    "multi": (2, "one that takes several calls, one after the other"),
    "parallel": (2, "one that takes several calls that do not need each other's results, made at once"),
    "nested": (2, "one where the result of a call is an argument of the next call"),
    "unused": (
        0,
        "an easy one, for advice or for what many people know; nothing in it is to be worked out or looked up",
    ),
    "turns": (
        1,
        "one that a single call answers, from the figures and names in the question; something further is asked afterwards",
    ),
}
"""How many calls a query is to need at least, and what kind of question it is."""


def made(box: Toolbox, asked: str, place: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """A step that makes the calls of one round, all of them or none: the first that does not fit stops the row.

    A call that was made already is not made again; a round that has no other is the end of the calls.

    Args:
        box: The tools.
        asked: The field with what the model wants to call.
        place: Turn and round, for the names of calls.
    """

    def work(row: Mapping[str, Any]) -> Mapping[str, Any]:
        if not row[asked]:
            return {}
        said = row[asked][0]
        turn = place.partition(".")[0]
        known = {one["call"] for one in row["ran"] if one["place"].partition(".")[0] == turn}
        wanted = {called(each["name"], each["arguments"]): each for each in said["calls"]}
        done = [box.call(each["name"], each["arguments"]) for key, each in wanted.items() if key not in known]
        if not done:
            return {"done": True}
        ran = [
            {"name": each.name, "arguments": dict(each.arguments), "output": each.output, "place": f"{place}.{at}",
             "call": each.call, "result": each.result}
            for at, each in enumerate(done, 1)
        ]  # fmt: skip
        return {
            "ran": [*row["ran"], *ran],
            "messages": [*row["messages"], *_messages(said["thought"], done, place)],
            "history": row["history"]
            + "".join(f"{one['name']}({json.dumps(one['arguments'])}) gave {one['output']}\n" for one in ran),
            "unfit": next((each.fault for each in done if each.unfit), ""),
            "fault": next((each.fault for each in done if each.fault and not each.unfit), ""),
        }

    return work


def _messages(thought: str, done: list[Done], place: str) -> list[dict[str, Any]]:
    calls = [
        {"type": "function", "id": f"{place}.{at}", "function": {"name": each.name, "arguments": dict(each.arguments)}}
        for at, each in enumerate(done, 1)
    ]
    results = [
        {"role": "tool", "name": each.name, "tool_call_id": f"{place}.{at}", "content": each.output}
        for at, each in enumerate(done, 1)
    ]
    return [{"role": "assistant", "content": thought.strip() or None, "tool_calls": calls}, *results]


def as_asked(row: Mapping[str, Any]) -> str:
    """Why the calls made are not of the row's kind, or ""."""
    kind, ran = row["kind"], row["ran"]
    rounds = Counter(one["place"].rpartition(".")[0] for one in ran)
    turns = {one["place"].partition(".")[0] for one in ran}
    count = len(ran)
    fits = {
        "unused": count == 0,
        "single": count == 1,
        "multi": count >= 2 and len(rounds) >= 2,
        "parallel": max(rounds.values(), default=0) >= 2,
        "nested": _nested(ran),
        "turns": bool(turns) and sum(each["role"] == "user" for each in row["messages"]) == 2,
    }
    return "" if fits[kind] else f"{kind} means {KINDS[kind][1]}; there were {count} calls in {len(rounds)} rounds"


def _nested(ran: list[Mapping[str, Any]]) -> bool:
    """Whether a call has the result of an earlier round among its arguments."""
    for at, one in enumerate(ran):
        given = json.dumps(one["arguments"])
        for before in ran[:at]:
            output = before["output"].strip()
            value = parse_number(output)
            used = value in numbers(given) if value is not None else len(output) >= 3 and output in given
            if used and before["place"].rpartition(".")[0] != one["place"].rpartition(".")[0]:
                return True
    return False


def names_result(row: Mapping[str, Any]) -> str:
    """Why the answer does not go with the last call, or "": a number that the calculator gave must be in it."""
    if not row["ran"] or row["ran"][-1]["name"] != "calculator":
        return ""
    output = row["ran"][-1]["output"]
    value = parse_number(output)
    if value is None or names(row["messages"][-1]["content"], value):
        return ""
    return f"the calculator gave {output}, the answer does not name it"
