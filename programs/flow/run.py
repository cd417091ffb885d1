"""Run a flow from code that is not asynchronous, and sum up what it gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stillroom.engines import Engine, Session
from stillroom.errors import BudgetExceeded, Interrupted

from .emitted import NOT_ACCEPTED, Emitted, Stored
from .flow import INPUT, QUOTA, Flow
from .loop import run
from .runner import Run
from .wanted import Inputs

__all__ = ["run_flow"]


def run_flow(
    flow: Flow,
    session: Session,
    *,
    engines: Sequence[Engine] = (),
    licence: str | None = None,
    retry: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Emitted:
    """Run `flow` until every quota is met or cannot be. Called again, it goes on and pays for nothing twice.

    Args:
        flow: What is run.
        session: Store, ledger and engine.
        engines: Further engines, for plans of other models; under the same budget.
        licence: Of the rows, as far as the session's engine and the sources decide it; the engine's where not given.
            Rows inherit those of the other engines too.
        retry: Whether rows lost to faults are tried once more: failed calls, and answers that did not parse.
        on_progress: Called with (accepted, wanted) as blocks are committed; of an input, wanted are the rows begun.

    Raises:
        BadInput: Before anything is asked, for what cannot work.
        BudgetExceeded: When the budget ends first. What was under way is finished; a second call goes on.
        EngineError: When nothing works at all; likewise.
        FingerprintChanged: If the run began with something else.
    """
    if isinstance(flow.source, Inputs):
        flow.source.check()
    under_way = Run(flow, session, engines=engines, licence=licence, on_progress=on_progress)
    try:
        run(under_way.run(retry=retry))
    except Interrupted as error:
        raise KeyboardInterrupt from error
    except BudgetExceeded as error:
        for line in _summed(flow, session, under_way).why():
            error.add_note(line)
        raise
    emitted = _summed(flow, session, under_way)
    session.store.put_note("funnel", flow.key, emitted.as_json())
    session.store.flush()  # the rows are read by whoever asks, through another connection
    return emitted


def _summed(flow: Flow, session: Session, done: Run) -> Emitted:
    fates, key, folder = done.tally.fates, flow.key, session.store.folder
    shortfall = done.schedule.shortfall
    return Emitted(
        Stored(folder, key, ("accepted",), fates["accepted"]),
        Stored(folder, key, NOT_ACCEPTED, done.tally.written - fates["accepted"]),
        done.tally.funnel([INPUT, *flow.names, QUOTA], flow.gates),
        shortfall,
        done.tally.reasons(shortfall),
        dict(fates),
        dict(done.tally.notes),
    )
