"""A probe: a few of the wanted rows are run for real, to see what the others will take.

Their calls are those that the run itself would make, and are recorded in it: it finds them and
does not pay again. Their rows are looked at and not kept, because a row is committed in its
turn and not before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stillroom.database import reading
from stillroom.engines import Engine, Session
from stillroom.errors import BadConfig
from stillroom.programs.flow import Flow, run_flow
from stillroom.programs.flow.aside import aside
from stillroom.store import Store
from stillroom.values import digest

from .seen import Seen, counted, models_in
from .some import Few

__all__ = ["PROBED", "probe", "probed"]

PROBED = "probe"
"""The kind of the note that keeps what a probe saw."""


def probe(flow: Flow, session: Session, rows: int = 16, *, engines: Sequence[Engine] = ()) -> Seen:
    """Run `rows` of the rows that `flow` wants, spread over its cells, with their gates; and note what was seen.

    Args:
        flow: What is to be run.
        session: Of the run itself; what is spent is spent from its budget.
        rows: How many, at least 2; as many as are wanted at the most.
        engines: Further engines, as for `run_flow`.

    Raises:
        BadConfig: If `rows` is under 2, or the flow wants none.
        BudgetExceeded, EngineError: As the run itself would raise them; what was answered is kept.
    """
    if rows < 2:
        raise BadConfig(f"a probe needs at least 2 rows, got {rows!r}", mend="16 is a good number.")
    before = probed(session.store, flow)
    spent, busy, started = session.ledger.spent.calls, session.ledger.busy, time.monotonic()
    few = replace(flow, source=Few.of(flow.source, rows), attempts=1, recipe=digest(["probe", flow.key]))
    with aside(few, session, engines) as other:
        run_flow(few, other, engines=engines)
        with reading(other.store.folder / "run.db") as db:
            cells, asked = counted(db, few.key)
    begun = sum(cell.begun for cell in cells.values())
    if not begun:
        raise BadConfig("a probe runs rows that are wanted, there are none", mend="Ask for some rows.")
    session.store.flush()
    with reading(Path(session.store.folder) / "run.db") as db:
        models = models_in(db, session.engine.phase)
    calls, seconds = session.ledger.spent.calls - spent, session.ledger.busy - busy
    wall = time.monotonic() - started if calls else 0.0
    if before:  # a probe that is run again finds its calls: how long they took is known from the first time
        calls, seconds, wall = calls + before.calls, seconds + before.seconds, wall + before.wall
    seen = Seen(f"a probe of {begun} rows", cells, asked, models, calls, seconds, wall)
    session.store.put_note(PROBED, _key(flow), seen.as_json())
    return seen


def probed(store: Store, flow: Flow) -> Seen | None:
    """What the last probe of a flow saw, if there was one; however many rows were wanted then."""
    noted = store.notes(PROBED).get(_key(flow))
    return None if noted is None else Seen.from_json(noted)


def _key(flow: Flow) -> str:
    """What is done for each row, whichever are wanted."""
    return digest(flow.as_json())
