"""Which solutions people are to label: the convincing wrong ones (Lightman et al. 2023, appendix B), as a file they fill.

run -> candidates -> choose -> write_queue -> people fill `ratings` -> the preset's source "ratings"
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillroom.errors import BadConfig
from stillroom.rows import EmittedRow
from stillroom.values import compact, digest, write_atomic

from ._process_steps import RATINGS

__all__ = ["WRONG_SHARE", "Scored", "candidates", "choose", "write_queue"]

WRONG_SHARE = 0.8
"""Of the chosen, the share of wrong answers; the rest are the most convincing of what is left."""


@dataclass(frozen=True)
class Scored:
    """A solution that may be labelled.

    Attributes:
        problem: What it solves.
        steps: It.
        answer: Its answer.
        right: Whether that is the known one.
        score: How convincing it is, 0..1: the selector's product over its steps.
    """

    problem: str
    steps: tuple[str, ...]
    answer: str
    right: bool
    score: float

    @property
    def id(self) -> str:
        """Content hash: the same solution is not asked for twice."""
        return digest([self.problem, list(self.steps)])


def candidates(rows: Iterable[EmittedRow]) -> Iterator[Scored]:
    """The scored solutions among the rows of a run, accepted or not."""
    for row in rows:
        values = row.values
        if values.get("score") is not None and values.get("steps"):
            yield Scored(
                values["problem"], tuple(values["steps"]), values["answer"], values["equal"] == "yes", values["score"]
            )


def choose(
    pool: Sequence[Scored], count: int, *, share: float = WRONG_SHARE, known: Iterable[str] = ()
) -> list[Scored]:
    """Choose what is labelled next: first the most convincing wrong answers, then the most convincing of the rest.

    Args:
        pool: Scored solutions.
        count: How many to choose, at most.
        share: Of wrong answers among them, 0..1; where there are too few, others fill their places.
        known: Ids of what was labelled before.

    Raises:
        BadConfig: If count or share cannot be.
    """
    if count < 1 or not 0 <= share <= 1:
        raise BadConfig(f"a queue needs count >= 1 and a share in 0..1, got {count} and {share}")
    seen, unique = set(known), list[Scored]()
    for each in pool:
        if each.id not in seen:
            seen.add(each.id)
            unique.append(each)
    ranked = sorted(unique, key=lambda each: (-each.score, each.id))
    wrong = [each for each in ranked if not each.right][: math.floor(count * share + 0.5)]
    taken = {each.id for each in wrong}
    return [*wrong, *[each for each in ranked if each.id not in taken][: count - len(wrong)]]


def write_queue(chosen: Iterable[Scored], path: Path | str) -> int:
    """Write the file for people: a line each, with an empty list of ratings to fill, one for each step to the first wrong.

    The filled file is what the presets take as `ratings`. Returns how many lines it has.

    Raises:
        BadConfig: If the file is there and holds ratings: nobody's work is written over.
    """
    path = Path(path)
    if path.exists() and any(json.loads(line)["ratings"] for line in path.read_text("utf-8").splitlines() if line):
        raise BadConfig(f"{path.name} holds ratings already", mend="Give another name, or take them in first.")
    lines = [
        compact(
            {
                "id": each.id,
                "problem": each.problem,
                "steps": list(each.steps),
                "answer": each.answer,
                "ratings": [],
                "allowed": list(RATINGS),
                "answer_is_right": each.right,
                "score": round(each.score, 4),
            }
        )
        for each in chosen
    ]
    write_atomic(path, "".join(f"{line}\n" for line in lines))
    return len(lines)
