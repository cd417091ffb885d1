"""Grades of a judge: several of each row, of which the mean counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stillroom.programs.flow import Do, Part, State
from stillroom.programs.published import Job

from ._orders import within

__all__ = ["graded"]


def graded(
    job: Job[Any], call: str, name: str, rubric: str, top: int, *, samples: int, into: str, **settings: Any
) -> list[Part]:
    """Ask for grades, and give their mean as the field `into`; None where nobody was asked.

    Grades off the scale do not count, and 0 is given where none does.

    Args:
        job: Whose call it is.
        call, name: A call of `Judge`, and what its steps are called.
        rubric: What deserves which grade; the row's `gold`, if it has one, is the reference.
        top: The best grade; 1 is the worst.
        samples: Grades asked for.
        into: The mean.
        settings: Of the asking.
    """
    said = f"{into} said"

    def grade(row: State) -> Mapping[str, Any]:
        return {into: None if row[said] is None else within([each["score"] for each in row[said]], 1, top)}

    return [
        Do(f"{name} rubric", lambda row: {"rubric": rubric, "reference": row.get("gold") or ""}, adds=("rubric", "reference")),
        job.ask(call, name, samples=samples, into=said, **settings),
        Do(f"{name} mean", grade, reads=(said,), adds=(into,)),
    ]  # fmt: skip
