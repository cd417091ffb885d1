"""The steps that put answers in order, one way for each form of a judge. Each gives the answers with their scores.

Every way adds `scored` (the answers, each with its score), `critiques` (what was said of them, as records have it)
and `consistency` (share of pairs of which both orders said the same; None where nobody asked in two orders).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import combinations, permutations
from statistics import fmean
from typing import Any

from stillroom.programs.flow import Do, Part, State
from stillroom.programs.plan import Plan
from stillroom.programs.published import Job
from stillroom.programs.published.rule import told

from ._orders import agreed, flagged, permutation, points, settled

__all__ = ["judged"]

_ADDS = ("scored", "critiques", "consistency", "broken")


_WHOLE = told("scores are whole", "broken")


def judged(job: Job[Any]) -> list[Part]:
    """The steps and gates of the judge that the parameters name."""
    ways: Mapping[str, Callable[[Job[Any]], list[Part]]] = {
        "order": _as_they_stand,
        "listwise": _listwise,
        "pointwise": _pointwise,
        "pairwise": _pairwise,
        "ranking": _ranking,
    }
    parts = ways[job.params.judge](job)
    return [*parts, *_overall(job)] if job.params.overall else parts


def _found(answers: Any, scores: Any, *, critiques: Any = (), consistency: float | None = None, **more: Any) -> Any:
    scored = [{**each, "score": score} for each, score in zip(answers, scores, strict=True)]
    return {"scored": scored, "critiques": list(critiques), "consistency": consistency, "broken": "", **more}


def _broken(why: str, **more: Any) -> dict[str, Any]:
    return {"scored": [], "critiques": [], "consistency": None, "broken": why, **more}


def _asking(job: Job[Any], call: str, **schemas: Mapping[str, Any]) -> Plan:
    """The call with decoding constrained to what can be read: engines that do not constrain are held to it by a gate."""
    plan = job.plan(call)
    return replace(plan, shape=plan.shape.asking(**schemas))


def _count(job: Job[Any], row: State) -> int:
    """How many answers there are; a forecast asks before there are any."""
    return len(row.get("answers") or job.params.sources)


def _points(params: Any) -> dict[str, Any]:
    return {"enum": list(range(params.lowest, params.highest + 1))}


def _ratings(n: int, params: Any) -> dict[str, Any]:
    """A list of so many ratings."""
    rating = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "points": _points(params)},
        "required": ["reason", "points"],
        "additionalProperties": False,
    }
    return _listed(rating, n)


def _listed(item: Mapping[str, Any], n: int) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": n, "maxItems": n}


def _as_they_stand(job: Job[Any]) -> list[Part]:
    """The first of the sources is the best: gold before a sample, a strong model before a weak one."""

    def work(row: State) -> Mapping[str, Any]:
        return _found(row["answers"], range(len(row["answers"]), 0, -1))

    return [Do("order", work, reads=("answers",), adds=_ADDS)]


def _listwise(job: Job[Any]) -> list[Part]:
    """Each aspect in an asking of its own, that shows all answers in an order of its own (UltraFeedback's code)."""
    params, parts = job.params, list[Part]()
    plans = {n: _asking(job, "rate", ratings=_ratings(n, params)) for n in range(1, len(params.sources) + 1)}
    for aspect in params.aspects:
        shown, order, rated = f"shown {aspect}", f"order {aspect}", f"rated {aspect}"

        def shuffle(row: State, aspect: str = aspect, shown: str = shown, order: str = order) -> Mapping[str, Any]:
            places = list(range(len(row["answers"])))
            job.rng("shown", row["number"], aspect).shuffle(places)
            return {order: places, shown: [row["answers"][at]["completion"] for at in places]}

        parts += [
            Do(f"shuffle {aspect}", shuffle, reads=("number", "answers"), adds=(order, shown)),
            job.ask(
                "rate",
                f"rate {aspect}",
                inputs={"instruction": "prompt", "responses": shown, "rubric": f"rubric {aspect}"},
                into=rated,
                vary=lambda wanted, row: plans[_count(job, row)],
            ),
        ]

    def work(row: State) -> Mapping[str, Any]:
        by_answer: list[list[list[float | None]]] = [[] for _ in row["answers"]]
        for aspect in params.aspects:
            said = [each["points"] for each in row[f"rated {aspect}"][0]["ratings"]]
            if len(said) != len(by_answer):
                return _broken(f"{aspect}: {len(said)} ratings of {len(by_answer)} answers")
            if any(not params.lowest <= each <= params.highest for each in said):
                return _broken(f"{aspect}: ratings must be {params.lowest} to {params.highest}, got {said}")
            for place, at in enumerate(row[f"order {aspect}"]):
                by_answer[at].append([said[place]])
        return _found(row["answers"], map(points, by_answer))

    return [*parts, Do("score", work, adds=_ADDS), _WHOLE]


def _pointwise(job: Job[Any]) -> list[Part]:
    """Each answer and aspect alone, several times; the mean counts (Self-Rewarding, section 2.2)."""
    params, parts = job.params, list[Part]()
    places = range(len(params.sources))
    plan = _asking(job, "judge", score=_points(params))
    for at in places:
        for aspect in params.aspects:
            parts.append(
                job.ask(
                    "judge",
                    f"judge {aspect} of {at}",
                    inputs={"instruction": "prompt", "response": f"completion {at}", "rubric": f"rubric {aspect}",
                            "reference": "none"},
                    samples=params.samples,
                    least=params.samples,
                    into=f"{aspect} of {at}",
                    vary=lambda wanted, row: plan,
                    when=lambda row, at=at: at < len(row["answers"]),
                )
            )  # fmt: skip

    def work(row: State) -> Mapping[str, Any]:
        scores, critiques = [], []
        for at, answer in enumerate(row["answers"]):
            readings: list[list[float | None]] = []
            for aspect, rubric in params.aspects.items():
                said = row[f"{aspect} of {at}"]
                wrong = [each["score"] for each in said if not params.lowest <= each["score"] <= params.highest]
                if wrong:
                    return _broken(f"{aspect}: points must be {params.lowest} to {params.highest}, got {wrong[0]}")
                readings.append([each["score"] for each in said])
                critiques += [_critique(row, answer, rubric, each) for each in said if each["feedback"].strip()]
            scores.append(points(readings))
        return _found(row["answers"], scores, critiques=critiques)

    return [*parts, Do("score", work, adds=_ADDS), _WHOLE]


def _pairwise(job: Job[Any]) -> list[Part]:
    """Each pair in both orders; an answer's score is its mean probability of being the better one."""
    params, parts = job.params, list[Part]()
    principle = f"rubric {next(iter(params.aspects))}"
    for one, two in permutations(range(len(params.sources)), 2):
        parts.append(
            job.ask(
                "compare",
                f"compare {one} with {two}",
                inputs={"instruction": "prompt", "a": f"completion {one}", "b": f"completion {two}",
                        "principle": principle},
                shares=f"p {one} {two}",
                when=lambda row, pair=(one, two): max(pair) < len(row["answers"]),
            )
        )  # fmt: skip

    def work(row: State) -> Mapping[str, Any]:
        count = len(row["answers"])
        wins: list[list[float]] = [[] for _ in range(count)]
        sure: list[list[int]] = []
        for one, two in combinations(range(count), 2):
            both = row[f"p {one} {two}"]["A"], row[f"p {two} {one}"]["B"]
            p = settled(*both)
            wins[one].append(p)
            wins[two].append(1 - p)
            if agreed(*both):
                sure.append([one, two] if p > 0.5 else [two, one])
        asked = count * (count - 1) / 2
        return _found(row["answers"], map(fmean, wins), consistency=len(sure) / asked, agreed=sure)

    return [*parts, Do("score", work, adds=(*_ADDS, "agreed")), _WHOLE]


def _ranking(job: Job[Any]) -> list[Part]:
    """All answers in random order, compared pair by pair in random order, then ranked at once (Nectar)."""
    plans = {
        n: _asking(
            job,
            "rank",
            comparisons=_listed({"type": "string"}, math.comb(n, 2)),
            order=_listed({"enum": list(range(1, n + 1))}, n),
        )
        for n in range(1, len(job.params.sources) + 1)
    }

    def shuffle(row: State) -> Mapping[str, Any]:
        rng = job.rng("shown", row["number"])
        places = list(range(len(row["answers"])))
        rng.shuffle(places)
        numbers = [rng.sample(pair, 2) for pair in combinations(range(1, len(places) + 1), 2)]
        rng.shuffle(numbers)
        shown = [row["answers"][at]["completion"] for at in places]
        return {"order shown": places, "shown": shown, "compared": [f"{one} and {two}" for one, two in numbers]}

    def work(row: State) -> Mapping[str, Any]:
        order = permutation(row["ranked"][0]["order"], len(row["answers"]))
        if order is None:
            return _broken(f"an order must name each answer once, got {row['ranked'][0]['order']}")
        scores = [0.0] * len(order)
        for place, at in enumerate(order):
            scores[row["order shown"][at]] = float(len(order) - place)
        return _found(row["answers"], scores)

    return [
        Do("shuffle", shuffle, reads=("number", "answers"), adds=("order shown", "shown", "compared")),
        job.ask(
            "rank",
            inputs={"instruction": "prompt", "responses": "shown", "pairs": "compared"},
            into="ranked",
            vary=lambda wanted, row: plans[_count(job, row)],
        ),
        Do("score", work, adds=_ADDS),
        _WHOLE,
    ]


def _overall(job: Job[Any]) -> list[Part]:
    """A critique of each answer, and a score from 1 to 10 that must not contradict the aspects."""
    places = range(len(job.params.sources))
    parts: list[Part] = [
        job.ask(
            "critique",
            f"critique of {at}",
            inputs={"instruction": "prompt", "response": f"completion {at}", "rubric": "overall", "reference": "none"},
            into=f"critiqued {at}",
            when=lambda row, at=at: at < len(row["answers"]),
        )
        for at in places
    ]

    def work(row: State) -> Mapping[str, Any]:
        said = [row[f"critiqued {at}"][0] for at in range(len(row["answers"]))]
        scored = [{**each, "overall": found["score"]} for each, found in zip(row["scored"], said, strict=True)]
        critiques = [
            _critique(row, each, row["overall"], found)
            for each, found in zip(scored, said, strict=True)
            if found["feedback"].strip() and 1 <= found["score"] <= 10
        ]
        odd = [each["score"] for each in scored if flagged(each["overall"], each["score"])]
        why = f"an overall score of 10 where the aspects have a mean of {odd[0]:.2f}" if odd else ""
        return {"scored": scored, "critiques": critiques, "odd": why}

    return [
        *parts,
        Do("criticise", work, adds=("scored", "critiques", "odd")),
        told("overall score and aspects agree", "odd", "judge", "audit"),
    ]


def _critique(row: State, answer: Mapping[str, Any], rubric: str, said: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "instruction": row["prompt"],
        "response": answer["completion"],
        "rubric": rubric,
        "feedback": said["feedback"],
        "score": said["score"],
    }
