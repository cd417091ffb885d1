"""The opening of a search: the usual winners first, and a first incumbent by successive halving."""

from __future__ import annotations

import random
from collections.abc import Callable
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


def open_race(course: Course, race: Race, space: Space, baseline: Trial, rng: random.Random) -> None:
    """Race the openings; the baseline sees all rows, whatever becomes of them."""
    settings, subject = course.settings, course.subject
    course.progress("open", 0, 1, "choosing openings")
    embedded = vectors(subject.demos, settings.embedding)
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
    course.reserve = len(race.rows) * len(subject.parts)  # for the baseline, which must see all rows
    try:
        if openings and course.left >= 2 * course.reserve:
            race.open_with([*openings[: _how_many(course, len(race.rows)) - 1], baseline])
            _take_up(race, openings)
    except Reserved:
        pass  # the others stay open until the baseline is through
    course.reserve = 0
    if baseline.state != "complete":
        race.finish(baseline)
    _take_up(race, openings)


def _take_up(race: Race, openings: list[Trial]) -> None:
    """Race the openings that were left behind against the incumbent, those with the best start first."""
    for trial in sorted((trial for trial in openings if trial.state == "open"), key=lambda each: -each.mean):
        race.run(trial)


def _limited_otherwise(budget: Budget) -> bool:
    return any(limit is not None for limit in (budget.tokens, budget.minutes, budget.usd))


def _how_many(course: Course, rows: int) -> int:
    """Openings, the baseline among them, whose bracket fits beside the baseline's rows; at least two."""
    parts = len(course.subject.parts)
    for count in range(OPENINGS, 2, -1):
        if course.left >= course.reserve + opening_cost(count, rows) * parts:
            return count
    return 2


def _bootstrap(course: Course, race: Race, space: Space, baseline: Trial, rng: random.Random) -> None:
    """Demos from the program's own right answers, where labelled rows cannot show everything that a part writes."""
    parts = course.subject.parts
    reasoning = {key(part.name, "reasoning"): True for part in parts if True in part.reasoning}
    blind = [part for part in parts if not any(course.subject.shown(part, row) for row in course.subject.demos)]
    whole = [part for part in parts if "reasoning" in part.outputs]
    if not (reasoning or blind or whole) or course.left < 2 * len(parts) * (len(race.rows) + TRIED):
        return
    params = {**space.declared, **reasoning}
    candidate = course.build(space.choose(params)) if reasoning else baseline.candidate
    rows = course.subject.demos[:TRIED]
    course.learnt |= {row.id for row in rows}
    found = course.subject.bootstrap(candidate, rows)
    course.used += len(rows) * len(parts)
    bootstrap(course.subject, space, found, rng, BOOTSTRAPPED)


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
