"""Read a written proof: numbered lines, what each of them cites, and what is to be shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Line", "Proof", "Unreadable", "read_given", "read_lines", "read_proof"]

_LINE = re.compile(r"(\d{1,3})\. ([^\[\]\n]{1,200}?)(?: \[(construct|\d{1,3}(?:, \d{1,3})*)\])?")
_MOST_LINES = 200


class Unreadable(ValueError):
    """The text breaks the form of a proof; the message says where."""


@dataclass(frozen=True)
class Line:
    """One numbered claim. A line that is given or constructed cites nothing."""

    number: int
    claim: str
    cites: tuple[int, ...] = ()
    constructed: bool = False


@dataclass(frozen=True)
class Proof:
    """What a text says: the domain in its first line, what is given, what is to be shown, and how."""

    title: str
    given: tuple[Line, ...]
    goal: str
    built: tuple[Line, ...]
    steps: tuple[Line, ...]

    @property
    def depth(self) -> int:
        """Length of the longest chain of steps, each of which cites the one before."""
        depths: dict[int, int] = {}
        for step in self.steps:
            depths[step.number] = 1 + max(depths.get(cited, 0) for cited in step.cites)
        return max(depths.values(), default=0)


def read_proof(text: str) -> Proof:
    r"""Read a title, `Given:` with numbered lines, `Show: goal`, and `Proof:` with lines that cite earlier ones.

    Lines are numbered 1, 2, 3 and so on throughout. A line of the proof ends with the numbers of the lines it
    rests on, or with `[construct]` where it names something new. Constructions come first.

    Raises:
        Unreadable: Where the text is none of that.

    >>> proof = read_proof("Horn clauses\nGiven:\n1. p\n2. p -> q\nShow: q\nProof:\n3. q [1, 2]")
    >>> proof.goal, proof.steps[0].cites, proof.depth
    ('q', (1, 2), 1)
    """
    statement, mark, worked = text.partition("\nProof:\n")
    if not mark:
        raise Unreadable("there is no line 'Proof:'")
    body, mark, goal = statement.rpartition("\nShow: ")
    if not mark or not goal.strip() or "\n" in goal:
        raise Unreadable("there is no line 'Show: ...' before the proof")
    title, given = read_given(body)
    lines = read_lines(worked.split("\n"), len(given) + 1)
    built = tuple(line for line in lines if line.constructed)
    steps = tuple(line for line in lines if not line.constructed)
    if lines[: len(built)] != built:
        raise Unreadable("a construction stands behind a step")
    for step in steps:
        if not step.cites:
            raise Unreadable(f"line {step.number} cites nothing")
        if len(set(step.cites)) < len(step.cites) or not all(0 < cited < step.number for cited in step.cites):
            raise Unreadable(f"line {step.number} must cite different lines before it, it cites {list(step.cites)}")
    return Proof(title, given, goal, built, steps)


def read_given(text: str) -> tuple[str, tuple[Line, ...]]:
    """Read a title and what is given.

    Raises:
        Unreadable: If there is no such thing.
    """
    title, mark, body = text.partition("\nGiven:\n")
    if not mark:
        raise Unreadable("there is no line 'Given:'")
    given = read_lines(body.split("\n"), 1)
    if any(line.cites or line.constructed for line in given):
        raise Unreadable("what is given must cite nothing")
    return title, given


def read_lines(lines: Sequence[str], first: int) -> tuple[Line, ...]:
    """Read numbered lines, of which the first has the number `first`.

    Raises:
        Unreadable: At the first line that is none, or has another number.
    """
    if len(lines) > _MOST_LINES:
        raise Unreadable(f"more than {_MOST_LINES} lines")
    found = []
    for number, text in enumerate(lines, start=first):
        match = _LINE.fullmatch(text)
        if match is None or int(match[1]) != number:
            raise Unreadable(f"line {number} is not '{number}. claim [cited lines]'")
        constructed = match[3] == "construct"
        cites = () if constructed or match[3] is None else tuple(int(each) for each in match[3].split(", "))
        found.append(Line(number, match[2], cites, constructed))
    return tuple(found)
