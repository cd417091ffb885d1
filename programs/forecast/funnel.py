"""What rows must have asked for, given where each of them ended: arithmetic over the parts of a flow, nothing was run before.

It is the cost of an accepted row with the accepted share fixed to the one that came. Where no step has a
condition it is one number, and what was asked differs from it only by mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stillroom.engines import Engine
from stillroom.programs.flow import Ask, At, Flow, Split
from stillroom.programs.flow.flow import INPUT
from stillroom.rows import EmittedRow

from .bounds import gate_askings
from .value import Estimate

__all__ = ["asked_by", "must_have_asked"]


def asked_by(rows: Iterable[EmittedRow]) -> int:
    """Calls that rows asked for, answers that were on record already included."""
    return sum(row.passport.calls for row in rows)


def must_have_asked(flow: Flow, engines: Sequence[Engine], rows: Iterable[EmittedRow]) -> Estimate:
    """Calls that the rows of a run have asked for at the least and at the most.

    A row that ended at a gate has gone through all parts up to there. What a row asked before it was split is
    counted with the first of its parts, as on its papers. Answers that were asked for again are known; steps with a
    condition, and rows that a fault ended, may have asked or not.

    Args:
        flow: What was run.
        engines: The run's own, and those beside it.
        rows: All of them, whatever became of each.
    """
    steps = _steps(flow, engines)
    ends = {name: at for at, name in enumerate(flow.names)}
    low = 0.0
    high: float | None = 0.0
    for row in rows:
        end = -1 if row.gate == INPUT else ends.get(row.gate, len(steps))
        splits = [int(each) for each in row.place.rpartition("/")[2].split(".")[1:]]
        again = int(row.extra.get("reasked", 0))
        done = [(least, most) for at, (level, least, most) in enumerate(steps) if at <= end and not any(splits[level:])]
        low += 0 if _broken(row) else again + sum(least for least, _ in done)
        for _, most in done:
            high = None if high is None or most is None else high + most
        high = None if high is None else high + again
    return Estimate(low, None, high)


def _broken(row: EmittedRow) -> bool:
    """Whether a fault ended it: of steps that are done at the same time, some may not have been begun."""
    return row.status == "quarantined" or (row.status == "rejected" and row.values.keys() == {"text"})


def _steps(flow: Flow, engines: Sequence[Engine]) -> list[tuple[int, int, int | None]]:
    """For each part how often rows were split before, and its calls for a row: at the least, and at the most."""
    by_model = {engine.model: engine for engine in reversed(engines)}
    found: list[tuple[int, int, int | None]] = []
    level = 0
    for name, part in zip(flow.names, flow.parts, strict=True):
        least: int = 0
        most: int | None = 0
        if isinstance(part, Ask):
            least = 0 if part.when is not None else part.samples
            most = part.samples * by_model.get(part.plan.model, engines[0]).calls_per_request
        elif not hasattr(part, "work") and not isinstance(part, Split):
            for each in gate_askings(name, part.gate if isinstance(part, At) else part, by_model):
                least += each.least
                most = None if most is None or each.most is None else most + each.most
        found.append((level, least, most))
        level += isinstance(part, Split)
    return found
