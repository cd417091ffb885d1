"""Make judges: from an engine as declared, or from a compiled plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.programs.plan import Decoding, Plan

from .asking import by_scores
from .check import YesNo
from .opinion import Judge
from .orders import Ranking
from .pairs import Pairwise
from .points import Rubric
from .shapes import KINDS, kind_of

__all__ = ["judge_of", "pairwise", "ranking", "reference", "rubric", "yes_no"]

TEMPERATURE = 0.7
ROOM = 32  # tokens of an answer without feedback
FEEDBACK_ROOM = 300


def rubric(
    engine: Engine, *, criteria: str = "", samples: int = 3, temperature: float = TEMPERATURE, feedback: bool = True
) -> Rubric:
    """Judge one answer in points: feedback before points, the mean of three samples.

    Args:
        engine: Who judges.
        criteria: What to look for, in words.
        samples: How many to average.
        temperature: Of the samples; above 0 where there are several.
        feedback: Whether the judge writes what is good and bad before its points.
    """
    return Rubric(_written(engine, "rubric", criteria, temperature, feedback), engine, samples)


def reference(
    engine: Engine, *, criteria: str = "", samples: int = 3, temperature: float = TEMPERATURE, feedback: bool = True
) -> Rubric:
    """Judge one answer beside a right one. Arguments as `rubric`."""
    return Rubric(_written(engine, "reference", criteria, temperature, feedback), engine, samples)


def pairwise(engine: Engine, *, criteria: str = "", margin: float = 0.0, written: bool = False) -> Pairwise:
    """Judge two answers in both orders, by log-probability unless `written` or the engine shows none."""
    plan = _plan(engine, "pairwise", criteria)
    return Pairwise(plan if written else by_scores(plan, engine), engine, margin)


def ranking(engine: Engine, *, criteria: str = "", orders: int = 2) -> Ranking:
    """Rank several answers, in several shuffled orders."""
    return Ranking(_plan(engine, "ranking", criteria), engine, orders)


def yes_no(engine: Engine, *, criteria: str = "", written: bool = False) -> YesNo:
    """Answer a question about a text, by log-probability unless `written` or the engine shows none."""
    plan = _plan(engine, "yes-no", criteria)
    return YesNo(plan if written else by_scores(plan, engine), engine)


def judge_of(plan: Plan, engine: Engine, **settings: Any) -> Judge:
    """Make the judge that a compiled plan is, told by its fields.

    Points that are written greedily are asked for once, because samples at temperature 0 are equal.

    Args:
        plan: Compiled from `judge_task`, or written by hand.
        engine: Of the plan's model.
        settings: As the judge's class takes them.

    Raises:
        BadConfig: If the plan's fields are those of no judge, the model is another one, or a setting is unknown.
    """
    kind = kind_of(plan.shape).name
    makers: dict[str, Any] = {
        "rubric": Rubric,
        "reference": Rubric,
        "pairwise": Pairwise,
        "ranking": Ranking,
        "yes-no": YesNo,
    }
    if makers[kind] is Rubric and plan.scored is None and plan.decoding.temperature == 0:
        settings = {"samples": 1, **settings}
    unknown = sorted(settings.keys() - (makers[kind].__dataclass_fields__.keys() - {"plan", "engine", "bill"}))
    if unknown:
        raise BadConfig(f"a {kind} judge has no setting {unknown[0]!r}")
    made: Judge = makers[kind](plan, engine, **settings)
    return made


def _plan(engine: Engine, kind: str, criteria: str) -> Plan:
    shape = KINDS[kind].asking(criteria)
    room = ROOM if kind != "ranking" else 4 * ROOM
    return Plan(shape, engine.model, shape.instruction, decoding=Decoding(max_tokens=room))


def _written(engine: Engine, kind: str, criteria: str, temperature: float, feedback: bool) -> Plan:
    room = FEEDBACK_ROOM if feedback else ROOM
    decoding = Decoding(temperature=temperature, max_tokens=room)
    return replace(_plan(engine, kind, criteria), reasoning=feedback, decoding=decoding)
