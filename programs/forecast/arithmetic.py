"""A forecast before anything was seen: what a run takes at the least and at the most, and nothing in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from stillroom.engines import Engine, price_of
from stillroom.programs.flow import Flow

from .bounds import UNSEEN, Asking, askings
from .standing import Standing, begun_at_most, limits_of, quotas_of
from .value import Estimate, Forecast, Limit, Model

__all__ = ["BASIS", "bounds_forecast", "plus", "with_limits"]

BASIS = "arithmetic alone, nothing was run"


def bounds_forecast(flow: Flow, engines: Sequence[Engine], standing: Standing) -> Forecast:
    """Forecast where a run of `flow` ends, at the least and at the most.

    Args:
        flow: What is run.
        engines: The run's own, and those beside it.
        standing: Where the run stands.
    """
    asked, wanted, spent = askings(flow, engines), sum(quotas_of(flow).values()), standing.spent
    tries = sum(begun_at_most(flow).values()) - standing.seen.begun
    tasks = _Tasks(wanted - standing.accepted, tries, flow.attempts, asked)
    models = tuple(_model(name, asked, tasks, engines) for name in dict.fromkeys(each.model for each in asked))
    calls = plus(max(spent.calls, standing.asked), (each.calls for each in models))
    assert calls is not None
    found = Forecast(
        "",
        BASIS,
        1.0,
        calls,
        plus(spent.tokens_in, (each.tokens_in for each in models)),
        plus(spent.tokens_out, (each.tokens_out for each in models)),
        plus(spent.usd, (each.usd for each in models)),
        None,
        Estimate(standing.accepted, None, wanted),
        wanted,
        spent,
        {"calls": Estimate(calls.low / max(wanted, 1), None, None)},
        models=models,
        notes=tuple(_notes(asked, models)),
    )
    return with_limits(found, standing)


def with_limits(forecast: Forecast, standing: Standing) -> Forecast:
    """With the limits of the budget that a run of these bounds runs into, or may run into; the surer ones first."""
    totals = {
        "calls": forecast.calls,
        "tokens": plus(0, (forecast.tokens_in, forecast.tokens_out)),
        "usd": forecast.usd,
        "seconds": forecast.seconds,
    }
    found = []
    for name, quantity, limit, spent, told in limits_of(standing):
        total = totals[quantity]
        if total is None or (total.high is not None and total.high <= limit):
            continue
        sure = total.low > limit
        rows = None
        if forecast.rows is not None:
            share = (limit - spent) / (total.low - spent) if sure else 1.0
            rows = Estimate(standing.accepted, None, max(int(forecast.wanted * share), standing.accepted))
        found.append(Limit(name, told, 1.0 if sure else None, rows))
    return replace(forecast, limits=tuple(sorted(found, key=lambda each: each.chance is None)))


def plus(start: float, parts: Iterable[Estimate | None]) -> Estimate | None:
    """The sum of some bounds and what there is already; None if one of them is."""
    low: float = start
    high: float | None = start
    for part in parts:
        if part is None:
            return None
        low += part.low
        high = None if high is None or part.high is None else high + part.high
    return Estimate(low, None, high)


@dataclass(frozen=True)
class _Tasks:
    """What is left to do: rows that are `missing`, rows that may be begun (`tries`), tries of each, and what each asks."""

    missing: int
    tries: int
    attempts: int
    asked: Sequence[Asking]

    def least(self, asking: Asking) -> int:
        """Calls at the least: for each missing row, either all that an accepted one takes, or all tries up to the first gate."""
        accepted = sum(each.least / each.gives for each in self.asked if each.gives)
        in_vain = self.attempts * sum(each.least for each in self.asked if each.always)
        if accepted <= in_vain:
            return ceil(self.missing * asking.least / asking.gives) if asking.gives else 0
        return self.missing * self.attempts * asking.least * asking.always

    def most(self, asking: Asking) -> int | None:
        """Calls at the most."""
        return None if asking.most is None else self.tries * asking.most


def _model(name: str, asked: Sequence[Asking], tasks: _Tasks, engines: Sequence[Engine]) -> Model:
    own = [each for each in asked if each.model == name]
    calls = plus(0, (Estimate(tasks.least(each), None, tasks.most(each)) for each in own))
    tokens_in = plus(0, (_times(tasks, each, each.least_in, each.most_in) for each in own))
    tokens_out = plus(0, (_times(tasks, each, min(each.most_out, 1), each.most_out) for each in own))
    assert calls is not None
    assert tokens_in is not None
    assert tokens_out is not None
    known = {engine.model: engine.price for engine in engines}
    price = known.get(name) or (None if name == UNSEEN else price_of(name, engines[0].prices))
    if price is None:
        return Model(name, calls, tokens_in, tokens_out, None)
    most = None if tokens_in.high is None or tokens_out.high is None else price.usd(tokens_in.high, tokens_out.high)
    return Model(
        name,
        calls,
        tokens_in,
        tokens_out,
        Estimate(price.usd(tokens_in.low, tokens_out.low), None, most if price.input or price.output else 0.0),
    )


def _times(tasks: _Tasks, asking: Asking, least: int, most: int | None) -> Estimate:
    calls = tasks.most(asking)
    return Estimate(tasks.least(asking) * least, None, None if calls is None or most is None else calls * most)


def _notes(asked: Sequence[Asking], models: Sequence[Model]) -> Iterable[str]:
    yield "bounds: a row may pass at once or use up all its tries, and an answer may be as long as it is allowed to be"
    unseen = [each.part for each in asked if each.model == UNSEEN]
    if unseen:
        yield f"{', '.join(unseen)}: asks models, nobody knows how often"
    endless = [each.part for each in asked if each.model != UNSEEN and (each.most is None or each.most_in is None)]
    if endless:
        yield f"{', '.join(endless)}: no upper bound, as it depends on what was made before"
    yield from (f"no price known for {each.model}" for each in models if each.usd is None and each.model != UNSEEN)
    yield "a probe says more: --probe 16 runs a few rows, whose calls are not paid for again"
