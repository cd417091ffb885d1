"""How far the judge of a gate agrees with people: from labelled rows whose answers the run has on record, at no cost.

A judge of agreement says whether a text means what was wished. It is shown each labelled row twice:
with people's outputs, which it should agree with, and with those of another row, which it should
not. What it has been trained on or picked by tells nothing, so rows are taken of the test split once
they were proved; else of the search split, where the program is the task as declared, which no
choice has made, and its head is trained anew without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from stillroom.evals.agreement import Judged, agreement
from stillroom.evals.gates import Gate
from stillroom.signatures import Example, Task
from stillroom.store import Store

from .evaluate import Evaluator, Outcome
from .judges import Blind, Either, Head
from .judging.certificate import weakness

__all__ = ["Agreed", "agreed"]

FEWEST = 8  # rows that are worth a figure
FOLDS = 5


@dataclass(frozen=True)
class Agreed:
    """What was measured.

    Attributes:
        gate: Of which gate.
        rows: Labelled rows, each judged with its own outputs and with another's.
        split: Which split they are of.
        kappa: With people, with its interval (`mean`, `low`, `high`); None where it is undefined.
        accuracy: How often the judge was right, likewise.
    """

    gate: str
    rows: int
    split: Literal["test", "search"]
    kappa: Mapping[str, float] | None = field(default=None)
    accuracy: Mapping[str, float] | None = field(default=None)

    @property
    def doubt(self) -> str:
        """Say why the judge may not decide alone; "" where the lower end of its kappa is high enough."""
        weak = weakness(self.kappa)
        return f"{weak}, on {self.rows} {self.split} rows" if weak else ""

    def as_json(self) -> dict[str, Any]:
        """A plain JSON value."""
        return asdict(self)


def agreed(task: Task, gate: Gate, store: Store, *, chosen: bool) -> Agreed | None:
    """Measure the judge of `gate` against people's labels; asks no model.

    Args:
        task: Whose labelled rows; only where people have labelled them.
        gate: Of agreement, by a program, or by a head and a program.
        store: Where the program's answers may be on record.
        chosen: Whether the program was chosen by the search rows.

    Returns:
        None where it is another gate, people have not labelled the rows, or too few answers are on record.
    """
    judge = getattr(gate, "judge", None)
    head, program = (judge.first, judge.second) if isinstance(judge, Either) else (None, judge)
    if task.labelled_by != "people" or not isinstance(program, Blind) or not isinstance(head, Head | None):
        return None
    evaluator = Evaluator(program.engine, store, task.metric, task.metric_name)
    splits: list[tuple[Literal["test", "search"], Sequence[Example]]] = [("test", task.held_out)]
    splits += [] if chosen else [("search", task.search)]
    for split, examples in splits:
        known = {each.example: each for each in evaluator.known(program.plan, examples)}
        rows = [example for example in examples if example.id in known]
        if len(rows) >= FEWEST:
            read = _read(head, task, split, rows)
            found = agreement([each for row in rows for each in _judged(row, rows, program, known[row.id], head, read)])
            return Agreed(gate.name, len(rows), split, found["kappa"], found["accuracy"])
    return None


def _judged(
    row: Example, rows: Sequence[Example], program: Blind, outcome: Outcome, head: Head | None, read: Mapping[str, str]
) -> list[Judged]:
    """The row with people's outputs, and with those of the next row that has others."""
    at = rows.index(row)
    others = [each.outputs for each in (*rows[at + 1 :], *rows[:at]) if each.outputs != row.outputs]
    judged = []
    for right, wish in ((True, row.outputs), *((False, other) for other in others[:1])):
        says = head is not None and read[row.id] == wish[head.label]
        if not says and outcome.kind != "unparsed":
            says = program.metric({**row.inputs, **wish}, outcome.outputs).score == 1.0
        judged.append(Judged(row.id, _word(right), _word(says), float(right), float(says)))
    return judged


def _word(yes: bool) -> str:
    return "yes" if yes else "no"


def _read(head: Head | None, task: Task, split: str, rows: Sequence[Example]) -> dict[str, str]:
    """What the head makes of each row; of one that it has learnt from, what it would have made without."""
    if head is None:
        return {}
    if split == "test":
        labels = map(str, head.head.predict([row.text for row in rows]))
        return {row.id: label for row, label in zip(rows, labels, strict=True)}
    found: dict[str, str] = {}
    for fold in range(FOLDS):
        left_out = rows[fold::FOLDS]
        ids = {row.id for row in left_out}
        learnt = [row for row in task.demos + task.search if row.id not in ids]
        labels = map(str, replace(head, rows=learnt).head.predict([row.text for row in left_out]))
        found |= {row.id: label for row, label in zip(left_out, labels, strict=True)}
    return found
