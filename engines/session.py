"""One phase of one run: the store, its ledger and a metered engine, opened and closed together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    _others: list[Metered] = field(default_factory=list, repr=False, compare=False)

    def beside(self, engine: Engine) -> Metered:
        """A second engine (of proposals, say) on the same store, ledger and phase; `engine` is not closed at the end.

        The session's own engine where both are the same model, so that equal requests are one call.

        Raises:
            BadConfig: If the budget is in dollars and the model has no known price.
        """
        for known in (self.engine, *self._others):
            if known.model == engine.model:
                return known
        engine.resume_in(self.store.folder)
        self._others.append(Metered(engine, self.ledger, self.store, self.engine.phase))
        return self._others[-1]

    def drain(self) -> None:
        """Wait until every call under way is recorded."""
        for metered in (self.engine, *self._others):
            metered.drain()


@contextmanager
def open_session(
    engine: Engine,
    run: Path | str,
    phase: str,
    fingerprint: Mapping[str, Any],
    budget: Budget | None = None,
    *,
    reuse: Sequence[Path | str] = (),
    begin: bool = True,
) -> Iterator[Session]:
    """Hold the run folder `run` for one `phase`.

    Args:
        engine: Where text comes from; it is not closed at the end.
        run: Folder of the run, made when missing.
        phase: `compile`, `emit`, `prove`, ...
        fingerprint: What the phase is a function of; a resume with another one is refused.
        budget: Limits of the phase over all its sessions.
        reuse: Folders of other runs. A call that one of them has finished (same model, messages, decoding and
            seed) is taken over with a note of where it comes from, and costs nothing here. This is the consent to
            do so for models that may change without notice (`@live`); nothing is shared without it.
        begin: Whether the phase begins with it. A look ahead does not: what it asks is recorded and charged, and the
            phase may still be begun with another fingerprint.

    Raises:
        RunError: If the folder is locked, read-only, damaged, or was started from something else; or if a folder in
            `reuse` cannot be read. At the end: if the last records could not be written.
    """
    with Store(run, reuse) as store:
        store.claim(phase, {"model": engine.model, **fingerprint}, begin=begin)
        engine.resume_in(store.folder)
        ledger = Ledger(budget or Budget(), store.spent(phase))
        session = Session(store, ledger, Metered(engine, ledger, store, phase))
        try:
            yield session
        finally:
            session.drain()  # what is under way is paid for: record it before the store closes
