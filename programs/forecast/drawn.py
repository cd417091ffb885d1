"""A forecast from what was seen: runs that may follow from it, drawn many times and summed up.

In each run the cells have shares that fit what was seen of them, rows repeat themselves the
more the more there are, quotas are filled as the schedule fills them, and each call takes as
many tokens and seconds as calls were seen to take, give or take what a mean of so many can
be off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from stillroom.engines import Engine, Price, price_of
from stillroom.programs.flow import Flow
from stillroom.programs.flow.runner import DEPTH
from stillroom.programs.flow.wanted import most_of

from .bounds import worst_call
from .quotas import Cells, Played, play_input, play_quotas
from .seen import Cell, Moments, Seen, Usage
from .shares import share_draws, variety_draws
from .standing import Standing, begun_at_most, limits_of, quotas_of
from .value import Estimate, Forecast, Limit, Model, Stratum

__all__ = ["drawn"]

RUNS, DRAWS = (200, 1000), 100_000
"""Runs that are drawn at the least and most; as many as make so many draws of a cell."""
TOLD = 3  # gates that are named as what stopped the rows of a cell

Draws = npt.NDArray[np.float64]


def drawn(
    flow: Flow, engines: Sequence[Engine], seen: Seen, standing: Standing, *, level: float, seed: int
) -> Forecast:
    """Forecast where a run of `flow` ends.

    Args:
        flow: What is run.
        engines: The run's own, and those beside it.
        seen: What the forecast rests on; at least one row.
        standing: Where the run stands.
        level: How many forecasts of a hundred are to hold what comes, as a share.
        seed: Of the draws: the same forecast comes out each time.
    """
    return _Drawing(flow, engines, _as_if_of(engines[0], seen), standing, level, np.random.default_rng(seed)).forecast


@dataclass
class _Drawing:
    """Runs that were drawn."""

    flow: Flow
    engines: Sequence[Engine]
    seen: Seen
    standing: Standing
    level: float
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.quotas = quotas_of(self.flow)
        named = zip(self.flow.names, self.flow.parts, strict=True)
        self.remember = [name for name, part in named if hasattr(getattr(part, "gate", part), "fresh")]
        self.runs = int(np.clip(DRAWS // max(len(self.quotas), 1), *RUNS))
        self.shares, self.variety = self._seen()
        self.played = self._played()
        self.rows = np.minimum(self.played.accepted.sum(1), self.wanted).astype(np.float64)
        self.calls = self._calls()
        self.more = self.calls - self.standing.spent.calls
        many = sum(usage.calls for usage in self.seen.models.values())
        self.models = {model: self._model(usage, usage.calls / many) for model, usage in self.seen.models.items()}

    @cached_property
    def wanted(self) -> int:
        """Accepted rows wanted in all."""
        return sum(self.quotas.values())

    @property
    def window(self) -> int:
        """Rows under way at once."""
        flow = self.flow
        return flow.window or flow.block * math.ceil(DEPTH * self.engines[0].max_concurrency / flow.block)

    # -- rows and calls ------------------------------------------------------------------

    def _seen(self) -> tuple[Draws, Draws | None]:
        """What share of the rows passes that are new, and how much variety there is."""
        names = [*self.quotas, *(name for name in self.seen.cells if name not in self.quotas)]
        cells = [self.seen.cells.get(name, Cell()) for name in names]
        repeated = [sum(cell.stopped.get(gate, 0) for gate in self.remember) for cell in cells]
        seen = [(cell.begun - again, cell.gave) for cell, again in zip(cells, repeated, strict=True)]
        shares = share_draws(seen, self.runs, self.rng)[:, : len(self.quotas)]
        if not self.remember:
            return shares, None
        pools = [(cell.begun, again) for cell, again in zip(cells, repeated, strict=True)]
        return shares, variety_draws(pools, self.runs, self.rng)

    def _played(self) -> Played:
        flow, cells = self.flow, Cells.of(self.quotas, self.standing.cells)
        if flow.source.quotas is None and most_of(flow.source) is None:
            return play_input(cells, self.shares, self.rng, attempts=flow.attempts, variety=self.variety)
        return play_quotas(
            cells,
            self.shares,
            self.rng,
            variety=self.variety,
            attempts=flow.attempts,
            most=begun_at_most(flow),
            window=self.window,
            block=flow.block,
            together=flow.source.together,
            size=self.seen.size,
        )

    def _calls(self) -> Draws:
        """Calls at the end. What was paid and not used yet, as by a probe, is used first."""
        repeated = self.played.repeated.sum(1)
        new = self.played.begun.sum(1) - self.standing.seen.begun - repeated
        old = [moments for gate, moments in self.seen.asked.items() if gate in self.remember]
        rest = [moments for gate, moments in self.seen.asked.items() if gate not in self.remember]
        found = self.standing.asked + new * self._asks(rest or old, new) + repeated * self._asks(old, repeated)
        return np.maximum(found, self.standing.spent.calls)

    def _asks(self, parts: Sequence[Moments], more: Draws) -> Draws:
        """Calls for each of so many `more` rows like those seen; the least that any took where none were seen."""
        asked = _together(parts)
        if not asked.count:
            return np.full(self.runs, self._least)
        # as if half a row had asked for one call more: never to have seen it does not mean that it never happens
        variance = max(asked.variance, 0.5 / asked.count)
        return np.maximum(self._mean(asked, more, variance), asked.least)

    @property
    def _least(self) -> float:
        """Calls of a row that is stopped at once, as far as it was seen."""
        return min(moments.least for moments in self.seen.asked.values())

    def _mean(self, moments: Moments, more: npt.NDArray[Any], variance: float | None = None) -> Draws:
        """The mean of so many `more` numbers like those seen: Student's t of the prediction."""
        variance = moments.variance if variance is None else variance
        off = np.sqrt(variance * (1 / moments.count + 1 / np.maximum(more, 1)))
        return np.asarray(moments.mean + off * self.rng.standard_t(max(moments.count - 1, 1), self.runs))

    def _model(self, usage: Usage, share: float) -> dict[str, Draws]:
        calls = self.more * share
        each = {name: getattr(usage, name) for name in ("tokens_in", "tokens_out")}
        return {
            "calls": calls,
            **{name: calls * np.maximum(self._mean(moments, calls), 0) for name, moments in each.items()},
        }

    # -- totals --------------------------------------------------------------------------

    @cached_property
    def prices(self) -> Mapping[str, Price | None]:
        """What the models cost."""
        known = {engine.model: engine.price for engine in self.engines}
        return {model: known.get(model) or price_of(model, self.engines[0].prices) for model in self.models}

    @cached_property
    def totals(self) -> dict[str, Draws]:
        """What the runs will have taken."""
        spent = self.standing.spent
        found = {"calls": self.calls}
        if self.models:
            for name in ("tokens_in", "tokens_out"):
                found[name] = getattr(spent, name) + sum(
                    (each[name] for each in self.models.values()), np.zeros(self.runs)
                )
            found["tokens"] = found["tokens_in"] + found["tokens_out"]
        if self.models and None not in self.prices.values():
            found["usd"] = spent.usd + sum((self._usd(model) for model in self.models), np.zeros(self.runs))
        if self.seen.pace:
            found["seconds"] = spent.seconds + self.more * self._seconds
        return found

    def _usd(self, model: str) -> Draws:
        price, each = self.prices[model], self.models[model]
        assert price is not None
        return np.asarray(price.input * each["tokens_in"] + price.output * each["tokens_out"]) / 1_000_000

    @cached_property
    def _seconds(self) -> Draws:
        """Seconds by the clock for each call, at the pace that was seen."""
        usual = 1 / self.seen.pace
        each = _together([usage.seconds for usage in self.seen.models.values()])
        return (
            np.maximum(usual * self._mean(each, self.more) / each.mean, 0) if each.mean else np.full(self.runs, usual)
        )

    # -- what is said of them ------------------------------------------------------------

    @property
    def forecast(self) -> Forecast:
        """All of it, summed up."""
        told = {name: self._estimate(draws) for name, draws in self.totals.items()}
        if "seconds" in told:
            told["seconds"] = self._widened(told["seconds"])
        per_row = {name: self._estimate(draws / np.maximum(self.rows, 1)) for name, draws in self.totals.items()}
        return Forecast(
            "",
            self.seen.origin,
            self.level,
            **{name: told.get(name) for name in ("calls", "tokens_in", "tokens_out", "usd", "seconds")},  # type: ignore[arg-type]
            rows=self._estimate(self.rows),
            wanted=self.wanted,
            spent=self.standing.spent,
            per_row=per_row,
            per_begun=_together(list(self.seen.asked.values())).mean,
            by_fate={
                **dict.fromkeys(self.remember, self._least),
                **{gate: moments.mean for gate, moments in self.seen.asked.items()},
            },
            models=tuple(self._told(model) for model in self.models),
            strata=() if self.flow.source.quotas is None else tuple(self._strata()),
            limits=tuple(self._limits()),
            notes=tuple(self._notes()),
        )

    def _estimate(self, draws: Draws) -> Estimate:
        return Estimate.of(draws, self.level)

    def _widened(self, seconds: Estimate) -> Estimate:
        """With more calls under way it may be faster, as far as the engine takes them; with what gates compute, slower."""
        seen, most = self.seen.under_way, self.engines[0].max_concurrency
        spent = self.standing.spent.seconds
        faster = min(1.0, seen / most) if seen else 1.0
        slower = max(1.0, self.seen.wall / self.seen.seconds)
        return replace(
            seconds,
            low=spent + (seconds.low - spent) * faster,
            high=spent + ((seconds.high or 0.0) - spent) * slower,
        )

    def _told(self, model: str) -> Model:
        each = self.models[model]
        usd = None if self.prices[model] is None else self._estimate(self._usd(model))
        calls, tokens_in, tokens_out = (self._estimate(each[name]) for name in ("calls", "tokens_in", "tokens_out"))
        return Model(model, calls, tokens_in, tokens_out, usd)

    def _strata(self) -> list[Stratum]:
        found = []
        for at, (name, wanted) in enumerate(self.quotas.items()):
            cell, accepted = self.seen.cells.get(name, Cell()), self.played.accepted[:, at].astype(np.float64)
            stopped = sorted(cell.stopped.items(), key=lambda each: (-each[1], each[0]))[:TOLD]
            found.append(
                Stratum(
                    name,
                    wanted,
                    cell.begun,
                    cell.gave,
                    self._estimate(self.shares[:, at]),
                    self._estimate(accepted),
                    float((accepted >= wanted).mean()),
                    "; ".join(f"{gate} stopped {rows}" for gate, rows in stopped),
                )
            )
        return found

    def _limits(self) -> list[Limit]:
        """Limits that end more runs than a forecast may be wrong about, the first to end them first."""
        found = []
        before = self.standing.accepted
        for name, quantity, limit, spent, told in limits_of(self.standing, worst_call(self.flow, self.engines)):
            total = self.totals.get(quantity)
            if total is None:
                continue
            over = total > limit
            if over.mean() <= (1 - self.level) / 2:
                continue
            far = np.clip((limit - spent) / np.maximum(total[over] - spent, 1e-12), 0, 1)
            rows = before + (self.rows[over] - before) * far
            found.append((float(far.mean()), Limit(name, told, float(over.mean()), self._estimate(rows))))
        return [limit for _, limit in sorted(found, key=lambda each: each[0])]

    def _notes(self) -> list[str]:
        found = [f"no price known for {model}" for model, price in self.prices.items() if price is None]
        if self.remember:
            found.append(
                f"{', '.join(self.remember)}: rows repeat themselves the more the more there are;"
                f" how soon is a guess from {self.seen.begun:,} rows"
            )
        if "seconds" not in self.totals:
            found.append("time is not known: nobody has seen this model at it")
        elif self.seen.under_way:
            found.append(
                f"time is that of {self.seen.under_way:.1f} calls under way, as seen; low is that of"
                f" {self.engines[0].max_concurrency}, high has what gates computed beside them"
            )
        return found


def _together(parts: Sequence[Moments]) -> Moments:
    return sum(parts, Moments())


def _as_if_of(engine: Engine, seen: Seen) -> Seen:
    """Calls of the one model of another run, as if this run's model had made them, at a pace that nobody knows."""
    if len(seen.models) != 1 or engine.model in seen.models:
        return seen
    ((model, usage),) = seen.models.items()
    return replace(seen, models={engine.model: usage}, origin=f"{seen.origin}, of {model}", calls=0)
