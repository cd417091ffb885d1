"""Propose instructions: grounded in the data, by reflection on failures, by crossing two good ones.

Every proposal is asked for by a plan of its own, so that it is recorded, budgeted and
repeatable like any other call. Only the subject's demos rows are shown, never those kept for the end.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillroom.engines import Engine
from stillroom.errors import EngineError
from stillroom.programs import Decoding, Outcome, Plan
from stillroom.signatures import Example, Field, Shape, Unparsed, inputs_text

from .subject import Part, Subject

if TYPE_CHECKING:
    from dspy.lm15 import Response

__all__ = ["Proposer", "sound"]

TEXT = {"type": "string"}
LONGEST = 1_500  # characters; a longer instruction is mostly repetition
REWRITTEN = 600  # characters; a longer declared instruction holds facts (tools, forms) and is kept behind the new one
SHOWN = 400  # characters of one value in a prompt
SHINGLE = 8  # words in a row that a proposal may not share with a data row
META = re.compile(
    r"^\s*(sure|certainly|here (is|are)|as an ai|okay|of course|the (new|improved|better) instruction)\b"
    r"|improved instruction|current instruction|\[\[ ##|</?[a-z_]+>\s*$|```",
    re.IGNORECASE,
)
CUT = re.compile(r"(,|:|\b(and|or|the|a|an|of|to|with|in|is|that|for))\s*$", re.IGNORECASE)

IMPROVE = (
    "You improve the instruction given to a language model. Write a better instruction in at most six sentences: "
    "say what to decide, the rules that the data show, and how to avoid mistakes. "
    "State general rules; do not quote the examples."
)


@dataclass(frozen=True)
class Proposer:
    """Ask a prompt model for instructions of one subject.

    Args:
        subject: Whose parts are instructed.
        engine: Writes the proposals; it may be another model than the one that answers.
        seed: Of rows shown and of sampling.
        on_calls: Hears how many calls are about to be made, and may refuse them.
    """

    subject: Subject
    engine: Engine
    seed: int
    on_calls: Callable[[int], None] = lambda calls: None

    def grounded(self, part: Part, history: Sequence[tuple[str, float]], number: int) -> str | None:
        """A rewrite from the signature, the program, a summary of the data and past scores (cf. MIPRO, arXiv 2406.11695)."""
        rng = random.Random(f"{self.seed}/grounded/{number}")
        rows = rng.sample(list(self.subject.demos), min(6, len(self.subject.demos)))
        return self._ask(
            part,
            Shape(
                "GroundedInstruction",
                IMPROVE,
                tuple(Field(name, TEXT) for name in ("current", "program", "data", "examples", "past_scores")),
                (Field("instruction", TEXT),),
            ),
            {
                "current": part.instruction,
                "program": self._program(part),
                "data": self._summary(part),
                "examples": "\n".join(self._row(part, row) for row in rows),
                "past_scores": _history(history),
            },
            number,
        )

    def reflected(
        self, part: Part, instruction: str, tried: Sequence[tuple[Example, Outcome]], number: int
    ) -> str | None:
        """A mutation of `instruction` by reflection on concrete failures and their reasons (cf. GEPA, arXiv 2507.19457)."""
        rng = random.Random(f"{self.seed}/reflected/{number}")
        wrong = [(example, outcome) for example, outcome in tried if outcome.score < 1]
        right = [(example, outcome) for example, outcome in tried if outcome.score == 1]
        if not wrong:
            return None
        shown = rng.sample(wrong, min(5, len(wrong)))
        kept = rng.sample(right, min(2, len(right)))
        return self._ask(
            part,
            Shape(
                "ReflectedInstruction",
                f"{IMPROVE} Study each failure and its reason, find what the instruction lacks, and keep what works.",
                tuple(Field(name, TEXT) for name in ("current", "program", "failures", "successes")),
                (Field("instruction", TEXT),),
            ),
            {
                "current": instruction,
                "program": self._program(part),
                "failures": "\n".join(self._failure(part, *each) for each in shown),
                "successes": "\n".join(self._row(part, example) for example, _ in kept) or "(none)",
            },
            number,
        )

    def crossed(self, part: Part, first: tuple[str, float], second: tuple[str, float], number: int) -> str | None:
        """One instruction with the best of two."""
        return self._ask(
            part,
            Shape(
                "CrossedInstruction",
                f"{IMPROVE} Join what is best in the two instructions into one.",
                tuple(Field(name, TEXT) for name in ("first", "second", "data")),
                (Field("instruction", TEXT),),
            ),
            {
                "first": f"{first[0]}\n(score {first[1]:.3f})",
                "second": f"{second[0]}\n(score {second[1]:.3f})",
                "data": self._summary(part),
            },
            number,
        )

    def guide(self, part: Part, tried: Sequence[tuple[Example, Outcome]]) -> str | None:
        """The declared instruction with one sentence on each label, written from its rows and near misses."""
        name = part.outputs[-1]
        shape = Shape(
            "DefineLabel",
            f"A task says: {part.instruction}\nDefine one {name} in one sentence of at most 25 words, so that nobody confuses "
            "it with the others. Describe what belongs to it in general; do not quote the examples.",
            (Field(name, TEXT), Field("examples", TEXT), Field("not_to_be_confused_with", TEXT)),
            (Field("definition", TEXT),),
        )
        plan = Plan(shape, self.engine.model, shape.instruction, decoding=Decoding(max_tokens=80))
        requests = []
        for label in part.labels:
            rows = [row for row in self.subject.demos if str(row.outputs.get(name)) == label][:8]
            confused = {
                str(step.outputs.get(name))
                for row, outcome in tried
                if str(row.outputs.get(name)) == label and outcome.score < 1
                for step in self.subject.steps(row, outcome)
                if step.part == part.name
            }
            requests.append(
                plan.render(
                    {
                        name: label,
                        "examples": "\n".join(f"- {_short(inputs_text(row.inputs))}" for row in rows) or "(none)",
                        "not_to_be_confused_with": ", ".join(sorted(confused - {label, "None"})) or "(none)",
                    }
                )
            )
        self.on_calls(len(requests))
        found = [_read(plan, response, "definition") for response in self.engine.complete_many(requests)]
        lines = [
            f"- {label}: {text}"
            for label, text in zip(part.labels, found, strict=True)
            if text and sound(text, self.subject)
        ]
        return f"{part.instruction}\n\nWhat each {name} means:\n" + "\n".join(lines) if lines else None

    def _ask(self, part: Part, shape: Shape, inputs: dict[str, str], number: int) -> str | None:
        """One sound proposal, or `None`."""
        decoding = Decoding(temperature=0.8, max_tokens=400, top_p=0.95)
        plan = Plan(shape, self.engine.model, shape.instruction, decoding=decoding)
        self.on_calls(1)
        (response,) = self.engine.complete_many([plan.render(inputs, seed=self.seed * 1_000 + number)])
        text = _read(plan, response, "instruction")
        if not sound(text, self.subject):
            return None
        return f"{text}\n\n{part.instruction}" if len(part.instruction) > REWRITTEN else text

    # -- what is shown -------------------------------------------------------------

    def _program(self, part: Part) -> str:
        fields = f"{', '.join(part.inputs)} -> {', '.join(part.outputs)}"
        if not self.subject.code:
            return fields
        return f"This instruction is for the step {part.name!r} ({fields}) of:\n{self.subject.code[:2_000]}"

    def _summary(self, part: Part) -> str:
        """What the labelled rows are, counted rather than guessed."""
        rows = self.subject.demos
        length = sum(len(row.text) for row in rows) // max(1, len(rows))
        lines = [f"{len(rows)} labelled rows, {length} characters each on average."]
        if part.labels:
            counts = Counter(str(row.outputs.get(part.outputs[-1])) for row in rows)
            lines.append("Answers: " + ", ".join(f"{label} ({counts[label]})" for label in part.labels[:40]))
        return " ".join(lines)

    def _row(self, part: Part, row: Example) -> str:
        right = f"\n  -> {_values(row.outputs)}" if row.outputs else ""
        return f"- {_short(inputs_text(row.inputs))}{right}"

    def _failure(self, part: Part, row: Example, outcome: Outcome) -> str:
        steps = [step for step in self.subject.steps(row, outcome) if step.part == part.name]
        got = _values(steps[-1].outputs) if steps and steps[-1].outputs else "no answer that could be read"
        why = f" ({_short(outcome.why)})" if outcome.why else ""
        right = f"; right is {_values(row.outputs)}" if row.outputs else ""
        return f"- {_short(inputs_text(row.inputs))}\n  answered {got}{why}{right}"


def sound(text: str, subject: Subject) -> bool:
    """Whether a proposal may be used: whole, of sensible length, no chatter, and no data row in it."""
    if not 20 <= len(text) <= LONGEST or META.search(text) or CUT.search(text):
        return False
    words = _words(text)
    shingles = {tuple(words[start : start + SHINGLE]) for start in range(len(words) - SHINGLE + 1)}
    folded = " ".join(words)
    for row in (*subject.demos, *subject.search):
        for value in (*row.inputs.values(), *row.outputs.values()):
            if not isinstance(value, str):
                continue
            held = _words(value)
            if len(held) >= 4 and len(value) >= 20 and " ".join(held) in folded:
                return False
            if any(tuple(held[start : start + SHINGLE]) in shingles for start in range(len(held) - SHINGLE + 1)):
                return False
    return True


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _read(plan: Plan, response: Response | EngineError, name: str) -> str:
    """The proposal's text, or "" for an answer that is cut off or does not parse: a proposal that is not made."""
    if isinstance(response, EngineError):
        raise response
    if response.finish_reason == "length":
        return ""
    try:
        return str(plan.read(response)[name]).strip()
    except Unparsed:
        return ""


def _history(history: Sequence[tuple[str, float]]) -> str:
    return "\n".join(f"- {score:.3f}: {_short(text)}" for text, score in history[:4]) or "(none yet)"


def _values(outputs: Mapping[str, object]) -> str:
    return _short(", ".join(f"{name}: {value}" for name, value in outputs.items()))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
