"""One phase of one run: the store, its ledger and a metered engine, opened and closed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.ledger import Budget, Ledger
from stillroom.store import Store

from .contract import Engine
from .metered import Metered

__all__ = ["Session", "open_session"]


@dataclass(frozen=True)
class Session:
    """What a phase works with."""

    store: Store
    ledger: Ledger
    engine: Metered


@contextmanager
def open_session(
    engine: Engine, run: Path | str, phase: str, fingerprint: Mapping[str, Any], budget: Budget | None = None
) -> Iterator[Session]:
    """Hold the run folder `run` for one `phase`.

    Args:
        engine: Where text comes from; it is not closed at the end.
        run: Folder of the run, made when missing.
        phase: `compile`, `emit`, `prove`, ...
        fingerprint: What the phase is a function of; a resume with another one is refused.
        budget: Limits of the phase over all its sessions.

    Raises:
        RunError: If the folder is locked, read-only, or was started from something else.
    """
    with Store(run) as store:
        store.claim(phase, {"model": engine.model, **fingerprint})
        ledger = Ledger(budget or Budget(), store.spent(phase))
        metered = Metered(engine, ledger, store, phase)
        try:
            yield Session(store, ledger, metered)
        finally:
            metered.drain()  # what is under way is paid for: record it before the store closes
