"""The opening of a search: the usual winners first, and a first incumbent by successive halving."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stillroom.ledger import Budget

from .course import TRIED, Course, Reserved
from .demos import labelled_sets, vectors
from .moves import bootstrap
from .race import Race, Trial, opening_cost
from .space import Space, key

__all__ = ["open_race"]

BOOTSTRAPPED = (4, 2)  # sizes of demo sets made from the program's own right answers
OPENINGS = 8  # the baseline among them
CONSIDERED = 1_000  # rows that demos are chosen among at first: coverage compares them all, in memory


def open_race(course: Course, race: Race, space: Space, baseline: Trial, rng: random.Random) -> list[Trial]:
    """Find a first incumbent among the openings; the baseline sees all rows, whatever becomes of it.

    Returns:
        All openings, of which many are still open.
    """
    settings, subject = course.settings, course.subject
    course.progress("open", 0, 1, "choosing openings")
    embedded = vectors(subject.demos[:CONSIDERED], settings.embedding)
    for part in subject.parts:
        for wanted in labelled_sets(subject, part, embedded, rng):
            space.options[part.name].add_demos(wanted)
    _bootstrap(course, race, space, baseline, rng)
    openings: list[Trial] = []
    for params in _openings(space)[: settings.trials - 1]:
        trial = race.enter(course.build(space.choose(params)), params, "opening")
        openings += [] if trial is None else [trial]
    if _limited_otherwise(course.session.ledger.budget):  # how far such a limit reaches is not known beforehand
        race.finish(baseline)
    course.kept = 0 if baseline.state == "complete" else len(race.rows)  # the baseline must see all rows
    with suppress(Reserved):
        if openings and course.room >= 2 * len(race.rows):
            race.open_with([*openings[: _how_many(course, len(race.rows)) - 1], baseline])
    course.kept = 0
    if baseline.state != "complete":
        race.finish(baseline)
    return openings


def _limited_otherwise(budget: Budget) -> bool:
    return any(limit is not None for limit in (budget.tokens, budget.minutes, budget.usd))


def _how_many(course: Course, rows: int) -> int:
    """Openings, the baseline among them, whose bracket fits beside the baseline's rows; at least two."""
    return next((count for count in range(OPENINGS, 2, -1) if course.room >= rows + opening_cost(count, rows)), 2)


def _bootstrap(course: Course, race: Race, space: Space, baseline: Trial, rng: random.Random) -> None:
    """Demos from the program's own right answers, where labelled rows cannot show everything that a part writes."""
    parts = course.subject.parts
    reasoning = {key(part.name, "reasoning"): True for part in parts if True in part.reasoning}
    blind = [part for part in parts if not any(course.subject.shown(part, row) for row in course.subject.demos)]
    whole = [part for part in parts if "reasoning" in part.outputs]
    if not (reasoning or blind or whole) or course.room < 2 * (len(race.rows) + TRIED):
        return
    params = {**space.declared, **reasoning}
    candidate = course.build(space.choose(params)) if reasoning else baseline.candidate
    bootstrap(course.subject, space, course.bootstrap(candidate), rng, BOOTSTRAPPED)


def _openings(space: Space) -> list[dict[str, Any]]:
    """Choices worth trying before anything is known: the usual winners, each in all parts at once."""
    declared = space.declared

    def everywhere(what: str, choose: Callable[[Any], Any]) -> dict[str, Any]:
        found = {key(name, what): choose(options) for name, options in space.options.items()}
        return {name: value for name, value in found.items() if value is not None}

    def demos(kind: str, place: int) -> dict[str, Any]:
        def choose(options: Any) -> str | None:
            names = [known.name for known in options.demos if known.name.startswith(kind)]
            return names[min(place, len(names) - 1)] if names else None

        return everywhere("demos", choose)

    reasoning = everywhere("reasoning", lambda options: True if True in options.part.reasoning else None)
    another = everywhere(
        "format", lambda options: next((f for f in options.part.formats if f != options.default.format), None)
    )
    scored = everywhere("scored", lambda options: True if options.part.scorable else None)
    covering, drawn, own = demos("covering", 0), demos("labelled", 1), demos("bootstrapped", 0)
    wanted: list[dict[str, Any]] = []
    if reasoning:
        wanted += [{**reasoning, **own}, reasoning]
    elif own:
        wanted.append({**covering, **own})
    if covering:
        wanted.append(covering)
    if scored:
        wanted.append(scored)  # as declared, less the model's favourite label: the cheapest gain there is
    if covering:
        wanted += [{**covering, **another}, drawn]
    if scored:
        wanted.append({**drawn, **scored})
    return [{**declared, **each} for each in wanted]
