"""Rows of the symbolic recipe with one thing changed, everything else rewritten to match."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stillroom.evals.proofs import read_proof

__all__ = ["KINDS", "mutants"]


@dataclass(frozen=True)
class _Row:
    """A row taken apart: what is numbered, by its place in `lines` (given first, then built, then steps)."""

    domain: str
    depth: int
    title: str
    goal: str
    lines: tuple[tuple[str, tuple[int, ...]], ...]  # claims, and the places of what they cite
    given: int
    built: int
    wrong_at: int
    wrong: tuple[str, tuple[int, ...]]
    asked_about: tuple[int, ...]
    question: str
    solution: str

    @property
    def first(self) -> int:
        """The place of the first step."""
        return self.given + self.built


def _apart(row: Mapping[str, Any]) -> _Row:
    proof = read_proof(row["text"])
    all_lines = (*proof.given, *proof.built, *proof.steps)
    lines = tuple((line.claim, tuple(cited - 1 for cited in line.cites)) for line in all_lines)
    kept, last = len(row["corrupted"]["completions"]) - 1, row["corrupted"]["completions"][-1]
    claim, cites = re.fullmatch(r"\d+\. (.*) \[(.*)\]", last).groups()  # type: ignore[union-attr]  # ours
    body, _, question = row["verifiable"]["prompt"].rpartition("\nQuestion: ")
    about = [line.split(". ", 1)[1] for line in body.split("\n")[2:]]
    return _Row(
        row["domain"],
        row["depth"],
        proof.title,
        proof.goal,
        lines,
        len(proof.given),
        len(proof.built),
        len(proof.given) + kept,
        (claim, tuple(int(each) - 1 for each in cites.split(", "))),
        tuple(at for at, line in enumerate(proof.given) if line.claim in about),
        question,
        row["verifiable"]["solution"],
    )


def _together(row: _Row) -> dict[str, Any]:
    def line(at: int, claim: str, cites: tuple[int, ...]) -> str:
        mark = ", ".join(str(cited + 1) for cited in sorted(cites)) if at >= row.first else "construct"
        return f"{at + 1}. {claim} [{mark}]"

    shown = [f"{at + 1}. {claim}" for at, (claim, _) in enumerate(row.lines[: row.given])]
    prompt = "\n".join([row.title, "Given:", *shown, f"Show: {row.goal}"])
    worked = [line(at, *each) for at, each in enumerate(row.lines) if at >= row.given]
    kept = worked[: row.wrong_at - row.given]
    asked = [f"{number}. {row.lines[at][0]}" for number, at in enumerate(row.asked_about, start=1)]
    return {
        "domain": row.domain,
        "depth": row.depth,
        "text": "\n".join([prompt, "Proof:", *worked]),
        "steps": {"prompt": prompt, "completions": worked, "labels": [True] * len(worked)},
        "corrupted": {
            "prompt": prompt,
            "completions": [*kept, line(row.wrong_at, *row.wrong)],
            "labels": [*[True] * len(kept), False],
        },
        "verifiable": {
            "prompt": "\n".join([row.title, "Given:", *asked, f"Question: {row.question}"]),
            "solution": row.solution,
        },
    }


def _other(domain: str, claim: str, rng: random.Random) -> str:
    """Another claim: one letter or number changed, or (geometry) the relation."""
    if domain == "geometry" and rng.random() < 0.3:
        words = ["is parallel to", "is perpendicular to", "="]
        for word in words:
            if word in claim:
                return claim.replace(word, rng.choice([each for each in words if each != word]))
    pattern = r"\b[A-Z]{1,2}\b" if domain == "geometry" else "[a-z]" if domain == "horn" else r"\d+"
    spots = [
        at
        for found in re.finditer(pattern, claim)
        for at in (range(*found.span()) if domain == "geometry" else [found.start()])
    ]
    if not spots:  # x = y without a number: change what it equals
        return f"{claim}1"
    at = rng.choice(spots)
    if domain == "linear":
        found = re.compile(r"\d+").match(claim, at)
        assert found is not None
        return claim[:at] + str(int(found[0]) + rng.choice((1, 2, 3))) + claim[found.end() :]
    letters = "ABCDEF" if domain == "geometry" else "abcdef"
    return claim[:at] + rng.choice([each for each in letters if each not in claim] or ["Z"]) + claim[at + 1 :]


def _claim(row: _Row, at: int, claim: str) -> _Row:
    lines = list(row.lines)
    lines[at] = (claim, lines[at][1])
    return replace(row, lines=tuple(lines))


def _cites(row: _Row, at: int, cites: tuple[int, ...]) -> _Row:
    lines = list(row.lines)
    lines[at] = (lines[at][0], cites)
    return replace(row, lines=tuple(lines))


def _given(row: _Row, rng: random.Random) -> _Row:
    at = rng.randrange(row.given)
    return _claim(row, at, _other(row.domain, row.lines[at][0], rng))


def _step(row: _Row, rng: random.Random) -> _Row:
    at = rng.randrange(row.first, len(row.lines))
    return _claim(row, at, _other(row.domain, row.lines[at][0], rng))


def _goal(row: _Row, rng: random.Random) -> _Row:
    claim = _other(row.domain, row.goal, rng)
    return replace(_claim(row, len(row.lines) - 1, claim), goal=claim)


def _dropped(row: _Row, rng: random.Random) -> _Row:
    """A premise taken away, and every reference to it."""
    gone = rng.randrange(row.given)

    def moved(places: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place - (place > gone) for place in places if place != gone)

    lines = tuple((claim, moved(cites)) for at, (claim, cites) in enumerate(row.lines) if at != gone)
    wrong = (row.wrong[0], moved(row.wrong[1]))
    about = moved(row.asked_about)
    return replace(row, lines=lines, given=row.given - 1, wrong_at=row.wrong_at - 1, wrong=wrong, asked_about=about)


def _cited_otherwise(row: _Row, rng: random.Random) -> _Row | None:
    at = rng.randrange(row.first, len(row.lines))
    cites = row.lines[at][1]
    others = [other for other in range(at) if other not in cites]
    return _cites(row, at, (*rng.sample(cites, len(cites) - 1), rng.choice(others))) if others else None


def _cited_less(row: _Row, rng: random.Random) -> _Row | None:
    at = rng.randrange(row.first, len(row.lines))
    cites = row.lines[at][1]
    return _cites(row, at, tuple(rng.sample(cites, len(cites) - 1))) if len(cites) > 1 else None


def _cited_more(row: _Row, rng: random.Random) -> _Row | None:
    at = rng.randrange(row.first, len(row.lines))
    others = [other for other in range(at) if other not in row.lines[at][1]]
    return _cites(row, at, (*row.lines[at][1], rng.choice(others))) if others else None


def _deeper(row: _Row, rng: random.Random) -> _Row:
    return replace(row, depth=row.depth + rng.choice((-1, 1)))


def _true_as_wrong(row: _Row, rng: random.Random) -> _Row:
    at = rng.randrange(row.first, len(row.lines))
    return replace(row, wrong_at=at, wrong=row.lines[at])


def _answer(row: _Row, rng: random.Random) -> _Row:
    flipped = {"yes": "no", "no": "yes"}.get(row.solution) or str(int(row.solution) + rng.choice((-1, 1)))
    return replace(row, solution=flipped)


KINDS: Mapping[str, Callable[[_Row, random.Random], _Row | None]] = {
    "premise changed": _given,
    "premise dropped": _dropped,
    "step changed": _step,
    "goal changed": _goal,
    "citation changed": _cited_otherwise,
    "citation dropped": _cited_less,
    "citation added": _cited_more,
    "depth changed": _deeper,
    "true step labelled false": _true_as_wrong,
    "answer changed": _answer,
}


def mutants(row: Mapping[str, Any], rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """One mutant of each kind, as far as the row has it, each with the name of its kind."""
    whole = _apart(row)
    for kind, change in KINDS.items():
        made = change(whole, rng)
        if made is not None:
            yield kind, _together(made)
