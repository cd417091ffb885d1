"""The typed signatures of judges, and the tasks that they are compiled as.

A judge's feedback is its plan's reasoning: written before the answer, in no need of labelled
feedback, and one of the things that a search may leave out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals import Metric, Verdict, Verifier, exact
from stillroom.signatures import Field, Shape, Task
from stillroom.signatures.data import read_rows
from stillroom.values import digest

__all__ = ["KINDS", "POINTS", "Kind", "judge_task", "kind_of", "order_of", "split_by_prompt", "swapped"]

TEXT = {"type": "string"}
POINTS = ("1", "2", "3", "4", "5")
PLACES = ("first", "second")


@dataclass(frozen=True)
class Kind:
    """One kind of judge: what it is asked, which input is the answer judged, and how an answer of its own is scored."""

    name: str
    shape: Shape
    subject: str
    metric: Metric

    def asking(self, criteria: str) -> Shape:
        """The shape with the user's criteria in its instruction."""
        if not criteria.strip():
            return self.shape
        return replace(self.shape, instruction=f"{self.shape.instruction}\n\nCriteria: {criteria.strip()}")


def order_of(value: Any, count: int) -> tuple[int, ...] | None:
    """Read an order of `count` answers, their numbers from 1, best first; None where it is none."""
    if isinstance(value, str):
        value = value.replace(">", ",").split(",")
    try:
        numbers = tuple(int(each) for each in value)
    except (TypeError, ValueError):
        return None
    return numbers if sorted(numbers) == list(range(1, count + 1)) else None


def _near_points() -> Verifier:
    """Credit points by their distance to people's: 1 for the same, 0 for the far end."""

    def check(expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> Verdict:
        try:
            gap = abs(float(expected["score"]) - float(outputs["score"])) / (len(POINTS) - 1)
        except (KeyError, TypeError, ValueError):
            return Verdict.fail(f"no points from {POINTS[0]} to {POINTS[-1]}")
        if not math.isfinite(gap):
            return Verdict.fail("points must be finite")
        score = max(0.0, 1.0 - gap)
        return Verdict(score, "" if score == 1.0 else f"people gave {expected['score']}, the judge {outputs['score']}")

    return Verifier("near_points('score')", check)


def _same_order() -> Verifier:
    """Credit an order by Kendall's tau to people's, moved to 0..1."""

    def check(expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> Verdict:
        from scipy.stats import kendalltau

        people = order_of(expected.get("order"), len(expected.get("answers") or ()))
        judge = order_of(outputs.get("order"), len(people or ()))
        if people is None or judge is None:
            return Verdict.fail("no order that names every answer once")
        if judge == people:
            return Verdict.ok()
        places = [[order.index(at) for at in range(1, len(people) + 1)] for order in (people, judge)]
        return Verdict(float(kendalltau(*places).statistic + 1) / 2, f"people ranked {people}, the judge {judge}")

    return Verifier("same_order('order')", check)


def _fields(**described: str) -> tuple[Field, ...]:
    return tuple(Field(name, TEXT, text) for name, text in described.items())


def _choice(name: str, labels: tuple[str, ...], text: str) -> tuple[Field, ...]:
    return (Field(name, {"enum": list(labels), "type": "string"}, text),)


_RATE = "Rate how well the response does what the instruction asks, from 1 (useless) to 5 (could not be better)."
_ASKED = {"instruction": "what was asked", "response": "the answer to rate"}
_PAIR = {"instruction": "what was asked", "first": "one answer", "second": "another answer"}

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "rubric",
            Shape("Rate", _RATE, _fields(**_ASKED), _choice("score", POINTS, "points")),
            "response",
            _near_points(),
        ),
        Kind(
            "reference",
            Shape(
                "RateAgainst",
                f"{_RATE} The reference is a right answer; another wording of it is as good.",
                _fields(instruction="what was asked", reference="a right answer", response="the answer to rate"),
                _choice("score", POINTS, "points"),
            ),
            "response",
            _near_points(),
        ),
        Kind(
            "pairwise",
            Shape(
                "Compare",
                "Say which of two answers does better what the instruction asks. Neither their order nor their length matters.",
                _fields(**_PAIR),
                _choice("better", PLACES, "the better answer"),
            ),
            "first",
            exact("better"),
        ),
        Kind(
            "ranking",
            Shape(
                "Rank",
                "Rank the answers by how well they do what the instruction asks.",
                (
                    *_fields(instruction="what was asked"),
                    Field("answers", {"items": {"type": "string"}, "type": "array"}, "numbered from 1"),
                ),
                (Field("order", {"items": {"type": "integer"}, "type": "array"}, "their numbers, best first"),),
            ),
            "answers",
            _same_order(),
        ),
        Kind(
            "yes-no",
            Shape(
                "Check",
                "Answer the question about the text.",
                _fields(question="to be answered with yes or no", text="what it is about"),
                _choice("answer", ("yes", "no"), "the answer"),
            ),
            "text",
            exact("answer"),
        ),
    )
}
"""All kinds of judges by name."""


def kind_of(shape: Shape) -> Kind:
    """Tell the kind of judge from a plan's fields; further inputs of the user's own are no matter.

    Raises:
        BadConfig: If the fields are those of no judge.
    """
    inputs = {each.name for each in shape.inputs}
    outputs = {each.name: set(each.labels) for each in shape.outputs}
    fits = [
        kind
        for kind in KINDS.values()
        if inputs >= {each.name for each in kind.shape.inputs}
        and all(outputs.get(each.name, {""}) >= set(each.labels) for each in kind.shape.outputs)
    ]
    if not fits:
        raise BadConfig(
            f"a judge's fields must be those of {', '.join(KINDS)}, got {sorted(inputs)} -> {sorted(outputs)}",
            mend="Compile a task made by stillroom.programs.judging.judge_task.",
        )
    return fits[-1] if fits[0].name == "rubric" else fits[0]  # what fits a reference too is a reference judge


def judge_task(
    kind: str,
    data: Any,
    *,
    name: str = "",
    criteria: str = "",
    prompt: str | Callable[[Mapping[str, Any]], str] = "",
    both_orders: bool = True,
    shares: tuple[float, float, float] = (0.25, 0.35, 0.40),
    seed: int = 0,
) -> Task:
    """A judge as a task: `stillroom.compile` searches it like any other.

    All rows of one prompt fall into one split. Pairs are given in both orders, with their
    label turned around, so that no place wins by habit.

    Args:
        kind: A name in `KINDS`.
        data: Labelled rows, as `read_rows` takes them: the kind's inputs and output.
        name: Of the task; the kind's by default.
        criteria: What to look for; added to the instruction.
        prompt: The field, or a function, that tells which rows share a prompt; the first input by default.
        both_orders: Of pairs only.
        shares: Of the demos, search and test splits.
        seed: Of the split.

    Raises:
        BadConfig: If there is no such kind.
        BadData: As `Task` does.
    """
    if kind not in KINDS:
        raise BadConfig(f"a judge must be one of {', '.join(KINDS)}, got {kind!r}")
    shape = KINDS[kind].asking(criteria)
    rows = [row for _, row in read_rows(data)]
    splits = split_by_prompt(rows, prompt or shape.inputs[0].name, shares, seed)
    if kind == "pairwise" and both_orders:
        splits = {part: [each for row in some for each in (row, swapped(row))] for part, some in splits.items()}
    return Task(shape.to_signature(), splits, KINDS[kind].metric, name or kind, seed)


def swapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """The pair in its other order, label turned around."""
    turned = {"first": "second", "second": "first"}
    label = {"better": turned.get(row["better"], row["better"])} if "better" in row else {}
    return {**row, "first": row["second"], "second": row["first"], **label}


def split_by_prompt(
    rows: Iterable[Mapping[str, Any]],
    prompt: str | Callable[[Mapping[str, Any]], str],
    shares: tuple[float, float, float],
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Cut `rows` into demos, search and test so that no prompt is in two; a prompt keeps its place when rows are added."""
    found: dict[str, list[dict[str, Any]]] = {"demos": [], "search": [], "test": []}
    for row in rows:
        group = prompt(row) if callable(prompt) else " ".join(str(row.get(prompt)).casefold().split())
        place = int(digest([seed, group], 8), 16) / 16**8
        part = "demos" if place < shares[0] else "search" if place < shares[0] + shares[1] else "test"
        found[part].append(dict(row))
    return found
