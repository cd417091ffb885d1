"""What was forecast beside what came: the cost of an accepted row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stillroom.engines import Engine
from stillroom.programs.flow import Flow
from stillroom.store import Store

from .forecast import NOTED, standing_in
from .funnel import asked_by, must_have_asked
from .value import Estimate

__all__ = ["CLOSE", "COST", "Compared", "compared"]

COST = "row cost"
"""The kind of the note that keeps it, by the key of the flow."""
CLOSE = 0.1
"""How far off a forecast may be for the funnel that came: more points to a mistake."""


@dataclass(frozen=True)
class Compared:
    """Forecast and observed cost of an accepted row.

    Attributes:
        basis: What the forecast rested on.
        level: How often it is to hold.
        forecast: Calls, tokens, dollars and seconds for an accepted row, as far as they were forecast.
        observed: The same as they came; dollars are left out where they are unknown.
        at_funnel: Calls for an accepted row that the forecast gives for the funnel that came: so many rows begun, and
            so many stopped by each gate. None where it rested on arithmetic alone.
        must: The same by arithmetic: what the rows must have asked for, at the least and at the most, where each of
            them ended being known. None where the flow was not at hand.
        asked: Calls that they did ask for, for an accepted row, answers on record included; 0 where `must` is None.
    """

    basis: str
    level: float
    forecast: Mapping[str, Estimate]
    observed: Mapping[str, float]
    at_funnel: float | None
    must: Estimate | None = None
    asked: float = 0.0

    @property
    def off(self) -> float | None:
        """How far what is forecast for the funnel that came is off, as a share of what was observed.

        Above 0 if less came than was forecast. Of bounds it is the nearer one that counts; None where nothing can be said.
        """
        if self.at_funnel is not None:
            seen = self.observed["calls"]
            return self.at_funnel / seen - 1 if seen else None
        if self.must is None or not self.asked:
            return None
        most = self.asked if self.must.high is None else self.must.high
        return max(self.must.low, min(self.asked, most)) / self.asked - 1

    @property
    def close(self) -> bool:
        """Whether it is off by no more than it may be; so too where nothing can be said."""
        return self.off is None or abs(self.off) <= CLOSE

    def as_json(self) -> dict[str, Any]:
        """As a plain JSON value."""
        return {**asdict(self), "off": self.off, "close": self.close, "words": str(self)}

    def __str__(self) -> str:
        said = [f"{self.observed['calls']:.2f} calls", f"{self.observed['tokens']:,.0f} tokens"]
        if self.observed.get("usd"):
            said.append(f"${self.observed['usd']:.6f}")
        calls = self.forecast["calls"]
        told = f"{calls.low:.2f}" if calls.high is None else f"{calls.low:.2f} to {calls.high:.2f}"
        more = "" if calls.high is not None else " or more"
        words = f"cost of an accepted row: {', '.join(said)}; forecast {told}{more} calls, from {self.basis}"
        if self.off is None:
            return words
        if self.at_funnel is None:
            assert self.must is not None
            top = "any number" if self.must.high is None else f"{self.must.high:.2f}"
            sure = f"{self.must.low:.2f}" if self.must.high == self.must.low else f"{self.must.low:.2f} to {top}"
            return f"{words}; for the funnel that came arithmetic gives {sure}, asked were {self.asked:.2f} ({self.off:+.1%})"
        return f"{words}; for the funnel that came it gives {self.at_funnel:.2f} ({self.off:+.1%})"


def compared(
    store: Store, phase: str, key: str, *, flow: Flow | None = None, engines: Sequence[Engine] = ()
) -> Compared | None:
    """Compare what was forecast before a run began with what it has taken; None where nothing was, or no row was accepted.

    Args:
        store: Of the run, which is closed to no one else.
        phase: Whose calls are meant.
        key: Of the flow.
        flow, engines: What was run, for arithmetic where the forecast rested on nothing else.
    """
    noted = store.notes(NOTED).get(key)
    standing = standing_in(store, phase, key, None)
    if noted is None or not standing.accepted:
        return None
    spent, rows = standing.spent, standing.accepted
    observed = {"calls": spent.calls / rows, "tokens": spent.tokens / rows, "seconds": spent.seconds / rows}
    if "usd" in noted["per_row"]:
        observed["usd"] = spent.usd / rows
    each, fates = noted["per_begun"], noted["by_fate"]
    asked = (
        None if each is None else sum(fates.get(gate, each) * rows.count for gate, rows in standing.seen.asked.items())
    )
    must = None
    if flow is not None:
        found = must_have_asked(flow, engines, store.rows(key))
        must = Estimate(found.low / rows, None, None if found.high is None else found.high / rows)
    return Compared(
        noted["basis"],
        noted["level"],
        {name: Estimate(**value) for name, value in noted["per_row"].items()},
        observed,
        None if asked is None else asked / rows,
        must,
        0.0 if must is None else asked_by(store.rows(key)) / rows,
    )
