"""Make instructions harder or broader, step by step, and answer them.

Evol-Instruct (WizardLM: Xu et al. 2023, arXiv:2304.12244, section 3) and its variants: `_operations` has their tables.
A row is one child: an operation, drawn evenly from the table, is applied to the tip of a lineage; where the child is
eliminated its parent stays the tip, and is evolved again in the next round. A lineage has at most `rounds` children
one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals import folded
from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Growing, Job, Method, Rule
from stillroom.programs.published.prompts import task_text
from stillroom.programs.published.rule import always
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import Answer, Evolve, Judge, YesNo
from stillroom.values import digest

from ._operations import TABLES

__all__ = ["METHOD", "TABLES", "Params", "empty", "equal", "leaks", "refused"]

CELL = "children"
LEAKED = (
    "given prompt", "rewritten prompt", "created prompt", "given instruction", "rewritten instruction", "new instruction",
)  # fmt: skip
"""Phrases of prompts that evolve, which a child must not have (WizardLM's four, and those of ours)."""
SAME = "Do the two instructions below have the same constraints and requirements, and the same depth and breadth of inquiry?"
DIFFICULTY = """5: few who studied the subject could do it without looking things up.
4: it takes several steps that are not obvious.
3: it takes several steps, all of them usual.
2: it takes one or two steps.
1: anybody can do it at once, or it cannot be done at all."""
LITTLE = frozenset([
    "a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "do", "does", "for", "from", "had", "has",
    "have", "he", "her", "his", "i", "if", "in", "is", "it", "its", "me", "my", "no", "not", "of", "on", "or",
    "our", "she", "so", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "to",
    "was", "we", "were", "what", "which", "who", "will", "with", "you", "your",
])  # fmt: skip
"""Words that say nothing alone."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        table: Which operations: general, code, mathematics, hunyuan.
        rounds: Children one below the other, at most.
        short: A response with "sorry" in it and fewer words than this is taken for a refusal.
        compare: Whether a child that asks for the same as its parent is eliminated; that takes a call.
        difficulty: The least points out of 5 that a judge must give the child's difficulty; 0 asks none.
        system: What the answer is to keep to.
    """

    table: str = "general"
    rounds: int = 4
    short: int = 80
    compare: bool = True
    difficulty: int = 0
    system: str = ""


# -- elimination, rule by rule: the reason against a child, or "" ---------------------------


def equal(row: Mapping[str, Any]) -> str:
    """(a) The child asks for what its parent asks for: nothing was gained."""
    same = row["verdict"] == "yes" or folded(row["instruction"]) == folded(row["parent"])
    return "it asks for the same as its parent" if same else ""


def refused(row: Mapping[str, Any], short: int = 80) -> str:
    """(b) The response says sorry in fewer than `short` words: the child was too hard to answer."""
    words = len(row["response"].split())
    said = "sorry" in row["response"].lower() and words < short
    return f"the response says sorry in {words} words" if said else ""


def empty(row: Mapping[str, Any]) -> str:
    """(c) The response has nothing but punctuation and words that say nothing alone."""
    words = re.findall(r"[^\W_]+", row["response"].lower())
    return "" if any(word not in LITTLE for word in words) else "the response says nothing"


def leaks(row: Mapping[str, Any]) -> str:
    """(d) The child copies words of the prompt that made it."""
    found = next((each for each in LEAKED if each in row["instruction"].lower()), "")
    return f"it has {found!r} in it" if found else ""


# -- the flow --------------------------------------------------------------------------------


def flow(job: Job[Params]) -> Flow:
    """Evolve the tip of a lineage, eliminate, answer, eliminate."""
    params, given = job.params, job.source("instructions")
    if params.table not in TABLES or params.rounds < 1:
        raise BadConfig(
            f"evolve needs a table out of {', '.join(TABLES)} and rounds >= 1, got {params.table!r} and {params.rounds}"
        )

    lineages = Lineages(given, params.rounds)

    def draw(cell: str, slot: int, pool: Sequence[EmittedRow]) -> Wanted:
        parent = lineages.tip(slot, pool)
        operation = job.rng("operation", slot).choice(TABLES[params.table])
        lineage = [*parent["lineage"], operation.name]
        asked = {"operation": operation.name, "kind": operation.kind, "lineage": lineage}
        fields = {
            "parent": parent["instruction"], "operation": operation.name, "op": operation.text, "lineage": lineage,
            "depth": len(lineage), "root": parent["root"], "system": params.system, "input": "",
        }  # fmt: skip
        return Wanted(cell, slot, fields, asked=asked, parents=(parent["id"],))

    # a round goes once through the lineages, so that each begins from what the round before has left
    return job.flow(
        Growing({CELL: job.rows}, draw),
        [*evolving(params, job), *answering(params, job)],
        emits=("instruction", "response", "operation", "lineage", "depth", "root", "parent"),
        text=("instruction",),
        window=min(len(given), 32),
    )


@dataclass
class Lineages:
    """The deepest child of each lineage so far.

    Attributes:
        given: What lineages begin from, in order.
        rounds: Children one below the other, at most.
        deepest: By place of the root.
        seen: Rows of the pool that were looked at.
    """

    given: Sequence[Mapping[str, Any]]
    rounds: int
    deepest: dict[int, EmittedRow] = field(default_factory=dict)
    seen: int = 0

    def tip(self, slot: int, pool: Sequence[EmittedRow]) -> dict[str, Any]:
        """What is evolved at a slot: the tip of its lineage; of the next one where that is as deep as it may be."""
        for row in pool[self.seen :]:
            known = self.deepest.get(row.values["root"])
            if known is None or row.values["depth"] > known.values["depth"]:
                self.deepest[row.values["root"]] = row
        self.seen = len(pool)
        # where all are full, lineages begin anew
        places = [place % len(self.given) for place in range(slot, slot + len(self.given))]
        root = next((place for place in places if self._open(place)), None)
        if root is not None and root in self.deepest:
            return {**self.deepest[root].values, "id": self.deepest[root].id}
        root = places[0] if root is None else root
        return {"instruction": task_text(self.given[root]), "lineage": [], "root": root, "id": digest(self.given[root])}

    def _open(self, root: int) -> bool:
        return root not in self.deepest or int(self.deepest[root].values["depth"]) < self.rounds


def evolving(params: Params, job: Job[Params]) -> list[Part]:
    """The child, and what can be said of it before it is answered."""
    parts: list[Part] = [
        job.ask("evolve", inputs={"instruction": "parent"}),
        Do("child", lambda row: {"instruction": row["evolved"].strip()}, reads=("evolved",), adds=("instruction",)),
        At(Rule("leaked phrase", leaks), ("instruction",)),
    ]
    if params.compare:
        parts += [
            Do("both", _both, reads=("parent", "instruction"), adds=("question", "text")),
            job.ask("same"),
            At(Rule("something gained", equal, by="judge"), ("instruction", "parent", "verdict")),
        ]
    if params.difficulty:
        parts += [
            always("rubric", {"rubric": DIFFICULTY, "reference": ""}),
            job.ask("difficulty", inputs={"response": "reference"}),
            At(Rule(f"difficulty >= {params.difficulty}", lambda row: _easy(row, params.difficulty), by="judge"),
               ("instruction", "score")),
        ]  # fmt: skip
    return parts


def answering(params: Params, job: Job[Params]) -> list[Part]:
    """The response, and what it says of the child."""
    fields = ("response",)
    return [
        job.ask("answer"),
        At(Rule("response says something", empty), fields),
        At(Rule(f"sorry in {params.short} words", lambda row: refused(row, params.short)), fields),
        At(Whole("answered"), fields),
    ]


def _both(row: State) -> Mapping[str, Any]:
    return {"question": SAME, "text": f"First: {row['parent']}\n\nSecond: {row['instruction']}"}


def _easy(row: Mapping[str, Any], least: int) -> str:
    return "" if row["score"] >= least else f"its difficulty has {row['score']} points, {least} are wanted"


METHOD = Method(
    "evolve",
    "1",
    Params,
    given={
        "instructions": Given("instructions to begin from", {"instruction": "what is asked", "input?": "and of what"})
    },
    calls={
        "evolve": Call(Evolve, decoding=Decoding(temperature=1.0, max_tokens=512)),
        "same": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "difficulty": Call(Judge, role="judge", decoding=Decoding(max_tokens=256)),
        "answer": Call(Answer, decoding=Decoding(temperature=1.0, max_tokens=1024)),
    },
    flow=flow,
    emits={"sft": Emit({"prompt": ("instruction",), "completion": ("response",)})},
)
