"""Forecast a run: from what was seen of it, of a probe or of another run; or, where nothing was, by arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stillroom.database import reading
from stillroom.engines import Engine, Session
from stillroom.errors import BadConfig
from stillroom.ledger import Budget
from stillroom.programs.flow import Flow
from stillroom.store import Store

from .arithmetic import bounds_forecast
from .drawn import drawn
from .probe import probe, probed
from .seen import Seen, recorded
from .standing import Standing, check_payable
from .value import Forecast

__all__ = ["NOTED", "forecast", "foresee", "remember", "standing_in"]

NOTED = "forecast"
"""The kind of the note that keeps what was forecast before a run began, by the key of its flow."""
LEVEL = 0.9


def forecast(
    flow: Flow,
    engines: Sequence[Engine],
    seen: Seen | None = None,
    *,
    standing: Standing | None = None,
    phase: str = "emit",
    level: float = LEVEL,
    seed: int = 0,
) -> Forecast:
    """Forecast what a run of `flow` will have taken and given when it ends. Nothing is asked and nothing is spent.

    Args:
        flow: What is run.
        engines: The run's own, and those beside it.
        seen: What the forecast rests on: rows of a probe, or of a run (`seen_in`); bounds by arithmetic where None.
        standing: Where the run stands, if it has begun, and its budget.
        phase: Its name.
        level: How many forecasts of a hundred are to hold what comes, as a share.
        seed: Of the draws: the same forecast comes out each time.

    Raises:
        BadConfig: If `level` is not in 0..1, the flow has an input that can be read once only, or the budget is in
            dollars and a model has no known price.
    """
    if not 0 < level < 1:
        raise BadConfig(f"level must be between 0 and 1, got {level!r}")
    standing = standing or Standing()
    check_payable(engines, standing.budget)
    if seen is None or not seen.begun:
        return replace(bounds_forecast(flow, engines, standing), phase=phase)
    return replace(drawn(flow, engines, seen, standing, level=level, seed=seed), phase=phase)


def foresee(
    flow: Flow,
    session: Session,
    *,
    engines: Sequence[Engine] = (),
    rows: int = 0,
    like: Seen | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Forecast:
    """Forecast a run in its own session: by a probe, from another run, else from its own rows or a probe of it before.

    Args:
        flow: What is run.
        session: Of the run; nothing is spent but what a probe takes.
        engines: Further engines, as for `run_flow`.
        rows: Rows of the probe, whose calls are kept for the run; 0 for none.
        like: What was seen of another run.
        level, seed: As `forecast` takes them.

    Raises:
        BudgetExceeded, EngineError: From the probe.
    """
    found = probe(flow, session, rows, engines=engines) if rows else like
    phase = session.engine.phase
    standing = standing_in(session.store, phase, flow.key, session.ledger.budget)
    found = found or _own(session.store, flow, standing)
    return forecast(flow, [session.engine, *engines], found, standing=standing, phase=phase, level=level, seed=seed)


def remember(flow: Flow, session: Session, *, engines: Sequence[Engine] = ()) -> None:
    """Note what is forecast of a run before its first row is committed, so that it can be compared with what comes."""
    store = session.store
    if flow.key not in store.notes(NOTED) and not store.count_rows(flow.key):
        store.put_note(NOTED, flow.key, foresee(flow, session, engines=engines).as_json())


def standing_in(store: Store, phase: str, key: str, budget: Budget | None) -> Standing:
    """Where the run of one flow stands."""
    store.flush()
    with reading(store.folder / "run.db") as db:
        seen = recorded(db, phase, key, "this run")
    return Standing(seen, store.spent(phase), budget or Budget())


def _own(store: Store, flow: Flow, standing: Standing) -> Seen | None:
    """The most that was seen of the run itself: its rows, or a probe of it."""
    known = [seen for seen in (standing.seen, probed(store, flow)) if seen is not None and seen.begun]
    return max(known, key=lambda seen: seen.begun, default=None)
