"""Worked examples that the calls of the tools method show: queries of each kind, what to call for some, and chains.

Llama 3.1 (arXiv:2407.21783, section 4.3.5) writes both by few-shot prompts, which it does not give; these are ours.
Their tools are others than those of a job, so that what is copied from them fits nothing. Chain-of-Abstraction
(arXiv:2401.17464, section 3) has solutions rewritten by a few-shot prompt as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stillroom.programs.plan import Demo
from stillroom.values import digest

from ._tools_kinds import KINDS

__all__ = ["CALLS", "CHAINS", "queries"]

_TOOLS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "convert": ("Converts an amount to another unit.", {"amount": "number", "unit": "string", "to": "string"}),
    "share": ("Shares an amount equally.", {"total": "number", "parts": "integer"}),
    "forecast": ("Gives the weather of a place on a day.", {"place": "string", "day": "string"}),
    "trains": ("Finds the next train.", {"start": "string", "goal": "string", "after": "string"}),
    "fare": ("Gives the fare of a train.", {"train": "string"}),
}
"""What they do, and the types of their arguments."""


def _about(*names: str) -> str:
    return "\n".join(
        f"{name}({', '.join(f'{argument}: {kind}' for argument, kind in _TOOLS[name][1].items())}): {_TOOLS[name][0]}"
        for name in names
    )


def _schemas(*names: str) -> str:
    return json.dumps([
        {"type": "function", "function": {"name": name, "description": _TOOLS[name][0], "parameters": {
            "type": "object",
            "properties": {argument: {"type": kind} for argument, kind in _TOOLS[name][1].items()},
            "required": list(_TOOLS[name][1]),
        }}}
        for name in names
    ])  # fmt: skip


# -- queries: (tools, topic, what was said before, facts, query) by kind -------------------

_OUNCES = (
    "My old cookbook wants 14 ounces of flour for this cake, and my scales only show grams. How much do I weigh out?"
)
_PRESENT = "Seven of us bought a leaving present for 86.80 euros, and share it equally. What does each of us pay?"
_RAIN = (
    "I am camping near Keswick on Friday and in Whitby on Sunday. On which of the two days do I need the rain cover?"
)
_TRAIN = "I am in Ghent and must be in Bruges by half past ten. What does the next train after 9:15 cost me?"
_BREAD = "How do I keep a loaf from going dry once it is cut?"

_QUERIES: Mapping[str, tuple[tuple[tuple[str, ...], str, str, str, str], ...]] = {
    "single": (
        (("convert",), "cooking from an old book", "", "14 ounces of flour", _OUNCES),
        (("share",), "a present for a colleague", "", "7 people, 86.80 euros", _PRESENT),
        (("trains",), "the way home", "", "from Utrecht to Arnhem, after 17:40",
         "I leave the office in Utrecht at 17:40. When does the next train go to Arnhem?"),
        (("convert", "share"), "rose bushes in summer", "", "9 bushes, 63 litres a week",
         "I gave my 9 rose bushes 63 litres of water this week. If all get the same, how much is that for each?"),
    ),
    "multi": (
        (("share", "convert"), "a weekend with friends", "", "5 people, 415 euros",
         "Five of us paid 415 euros for a cabin. What is that for each of us, and what is my share in Swiss francs?"),
        (("forecast", "trains"), "a trip to the sea", "", "from Leuven to Ostend, on Sunday, after ten",
         "If it is sunny in Ostend on Sunday I go by train from Leuven, after ten. Which one do I take?"),
    ),
    "parallel": (
        (("forecast",), "packing for a camping trip", "", "Keswick on Friday, Whitby on Sunday", _RAIN),
        (("convert",), "road signs abroad", "", "26 miles, 9 miles",
         "A sign says 26 miles to the harbour and 9 to the campsite. How many kilometres is each of them?"),
    ),
    "nested": (
        (("trains", "fare"), "a meeting in another town", "", "from Ghent to Bruges, after 9:15", _TRAIN),
        (("convert", "share"), "a bill from abroad", "", "138 pounds, 4 people",
         "Our dinner in London came to 138 pounds, and the four of us want to share it in euros. What does each pay?"),
    ),
    "unused": (
        ((), "bread that keeps", "", "", _BREAD),
        ((), "a present for a colleague", "", "", "What could I write on a card for somebody who retires?"),
        ((), "a day in the mountains", "", "", "Why is it colder on top of a mountain than in the valley?"),
    ),
    "turns": (
        (("convert",), "cooking from an old book", "", "14 ounces of flour", _OUNCES),
        (("share",), "a present for a colleague", f"User: {_PRESENT}\nAssistant: Each of you pays 12.40 euros.\n",
         "2 people less", "And if two of us pay nothing?"),
    ),
}  # fmt: skip


def queries(kind: str) -> list[Demo]:
    """Queries of one kind, as worked examples."""
    n, manner = KINDS[kind]
    demos = []
    for tools, topic, conversation, facts, query in _QUERIES[kind]:
        inputs = {
            "tools": _about(*tools), "n_calls": n, "manner": manner, "topic": topic, "conversation": conversation
        }  # fmt: skip
        demos.append(Demo(digest(query), inputs, {"facts": facts, "query": query}))
    return demos


# -- what to call: (query, tools, history, thought, calls) ------------------------------------

_NEXT = '{"start": "Ghent", "goal": "Bruges", "after": "9:15"}'
_WANTED: tuple[tuple[str, tuple[str, ...], str, str, tuple[tuple[str, Mapping[str, Any]], ...]], ...] = (
    (_PRESENT, ("convert", "share"), "", "The price is to be shared by seven.",
     (("share", {"total": 86.8, "parts": 7}),)),
    (_PRESENT, ("convert", "share"), 'share({"total": 86.8, "parts": 7}) gave 12.4\n', "The result answers it.", ()),
    (_BREAD, ("convert", "share"), "", "No tool helps with that.", ()),
    (_RAIN, ("forecast",), "", "The weather of both days is needed.",
     (("forecast", {"place": "Keswick", "day": "Friday"}), ("forecast", {"place": "Whitby", "day": "Sunday"}))),
    (_TRAIN, ("trains", "fare"), f"trains({_NEXT}) gave IC 1530 at 9:24\n", "Now the fare of that train.",
     (("fare", {"train": "IC 1530"}),)),
)  # fmt: skip

CALLS: tuple[Demo, ...] = tuple(
    Demo(
        digest([query, history]),
        {"query": query, "tools": _schemas(*tools), "history": history},
        {"thought": thought, "calls": [{"name": name, "arguments": dict(given)} for name, given in calls]},
    )
    for query, tools, history, thought, calls in _WANTED
)
"""Calls to make at once, in turn, and none: for want of a need, and where the results answer the query."""

# -- chains: (question, solution, chain, goal) -------------------------------------------------

_CHAINS = (
    ("A ferry carries 45 cars on each of 6 trips. 38 of the cars are electric. How many are not?",
     "6 * 45 = 270 cars are carried. 270 - 38 = 232 are not electric.",
     "The ferry carries [6 * 45 = y1] cars. Of these [y1 - 38 = y2] are not electric.", "y2"),
    ("A candle is 30 centimetres high and burns down 2.5 centimetres an hour. How high is it after 4 hours?",
     "In 4 hours 4 * 2.5 = 10 centimetres burn down, so 30 - 10 = 20 centimetres are left.",
     "In 4 hours [4 * 2.5 = y1] centimetres burn down, so [30 - y1 = y2] centimetres are left.", "y2"),
    ("Two classes of 24 and 28 children are put into teams of 4. How many teams are there?",
     "There are 24 + 28 = 52 children, which is 52 / 4 = 13 teams.",
     "There are [24 + 28 = y1] children, which is [y1 / 4 = y2] teams.", "y2"),
    ("A shop sells 3 of its 17 lamps for 20 euros each. How much is paid for them?",
     "3 * 20 = 60 euros are paid.", "For them [3 * 20 = y1] euros are paid.", "y1"),
)  # fmt: skip

CHAINS: tuple[Demo, ...] = tuple(
    Demo(digest(question), {"question": question, "gold": gold}, {"chain": chain, "goal": goal})
    for question, gold, chain, goal in _CHAINS
)
"""Solutions rewritten with placeholders."""
