"""A forecast as a value: what a phase will take and give, each from low to high."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stillroom.ledger import Spent

__all__ = ["Estimate", "Forecast", "Limit", "Model", "Stratum"]


@dataclass(frozen=True)
class Estimate:
    """A number that is not known yet, between `low` and `high`; None for what cannot be said of it.

    `mean` is what is to be expected; bounds by arithmetic alone have none.
    """

    low: float
    mean: float | None
    high: float | None

    @classmethod
    def of(cls, draws: npt.NDArray[Any], level: float) -> Estimate:
        """The middle `level` of some draws, and their mean, which is within even where most draws are one number."""
        (low, high), mean = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]), float(draws.mean())
        return cls(min(float(low), mean), mean, max(float(high), mean))

    @property
    def best(self) -> float:
        """The mean; where there is none, the least that it can be."""
        return self.low if self.mean is None else self.mean


@dataclass(frozen=True)
class Model:
    """What one model will be asked, and what its tokens cost."""

    model: str
    calls: Estimate
    tokens_in: Estimate | None
    tokens_out: Estimate | None
    usd: Estimate | None


@dataclass(frozen=True)
class Stratum:
    """One cell of a quota.

    Attributes:
        cell: Its name.
        wanted: Accepted rows wanted of it.
        begun: Rows of it that were seen, and
        passed: how many of those passed.
        share: Of the rows begun, how many will pass, 0..1.
        rows: Accepted rows at the end.
        chance: That its quota is met within its tries, 0..1.
        why: What stopped the rows that were seen.
    """

    cell: str
    wanted: int
    begun: int
    passed: int
    share: Estimate
    rows: Estimate
    chance: float
    why: str = ""


@dataclass(frozen=True)
class Limit:
    """A limit of the budget that may end the run.

    Attributes:
        name: calls, tokens, minutes or usd.
        limit: Its amount.
        chance: That it ends the run, 0..1; None where only bounds are known.
        rows: Accepted rows there are then; None where rows are not what the phase gives.
    """

    name: str
    limit: float
    chance: float | None
    rows: Estimate | None

    def __str__(self) -> str:
        sure = "may end" if self.chance is None else f"would end (chance {self.chance:.0%})"
        if self.chance is not None and self.chance > 0.995:
            sure = "would end"
        told = f"the budget of {self.limit:g} {self.name} {sure} the run"
        if self.rows is None:
            return told
        low, high = round(self.rows.low), None if self.rows.high is None else round(self.rows.high)
        return f"{told} at {low:,} rows" if low == high else f"{told} at {low:,} to {high:,} rows"


@dataclass(frozen=True)
class Forecast:
    """What a phase will have taken and given when it ends, what was spent before included.

    Attributes:
        phase: compile, emit, ...
        basis: What it rests on, in words.
        level: The share of such forecasts whose low and high hold what comes; 1 for bounds by arithmetic.
        calls: Model calls.
        tokens_in, tokens_out: Their tokens.
        usd: US dollars; None where a price is not known.
        seconds: By the clock; None where nothing was seen.
        rows: Accepted rows; None where rows are not what the phase gives.
        wanted: Accepted rows wanted.
        spent: What was spent before.
        per_row: Calls, tokens, dollars and seconds for each accepted row.
        per_begun: Calls for each row begun, as they were seen; None where nothing was.
        by_fate: The same by the gate or step that stopped the row, "" for rows that passed.
        models: By model.
        strata: By cell.
        limits: Those of the budget that may end the run, the first one first.
        notes: What it takes for granted, and what it cannot say.
    """

    phase: str
    basis: str
    level: float
    calls: Estimate
    tokens_in: Estimate | None
    tokens_out: Estimate | None
    usd: Estimate | None
    seconds: Estimate | None
    rows: Estimate | None
    wanted: int = 0
    spent: Spent = field(default_factory=Spent)
    per_row: Mapping[str, Estimate] = field(default_factory=dict)
    per_begun: float | None = None
    by_fate: Mapping[str, float] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    strata: tuple[Stratum, ...] = ()
    limits: tuple[Limit, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def short(self) -> tuple[Stratum, ...]:
        """Cells that are not likely to be filled within their tries, the worst first."""
        return tuple(sorted((each for each in self.strata if each.chance < 0.5), key=lambda each: each.chance))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be known before anything is spent: limits that are too low, cells that look impossible."""
        cells = tuple(
            f"{each.cell}: {each.passed} of {each.begun} rows passed, {each.rows.best:.0f} of {each.wanted} wanted rows"
            f" are to be expected within the tries{f' ({each.why})' if each.why else ''}"
            for each in self.short
        )
        return (*map(str, self.limits), *cells)

    def as_json(self) -> dict[str, Any]:
        """As a plain JSON value."""
        return {**asdict(self), "warnings": list(self.warnings)}
