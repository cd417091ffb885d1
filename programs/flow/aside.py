"""Run a flow beside the rows of a run: its calls are the run's own, what it gives is kept for the moment only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

from stillroom.engines import Engine, Session
from stillroom.evals.gates import bound
from stillroom.store import Store

from .flow import Flow

__all__ = ["aside"]


@contextmanager
def aside(flow: Flow, session: Session, engines: Sequence[Engine] = ()) -> Iterator[Session]:
    """A session like `session`, with a store for rows that is gone at the end.

    Args:
        flow: What will be run in it.
        session: Of the run; calls are recorded in it and spent from its budget.
        engines: Further engines, as for `run_flow`.
    """
    for part in flow.parts:  # calls of gates are the run's own too, wherever the rows go: their engines are made known
        bound(part, session)
    for engine in engines:
        session.beside(engine)
    with TemporaryDirectory(prefix="stillroom-") as folder, Store(folder) as store:
        yield replace(session, store=store)
