"""The child of the kill -9 tests: compile, then emit, and write down every call that is served.

python killed_run.py RUN LOG [LOCAL_MODEL]
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from pathlib import Path

import scripted_world as world

import stillroom as st
from stillroom.engines import Engine, ScriptedEngine, open_engine
from stillroom.engines.metered import call_key

GUARD = threading.Lock()
KILL_AT = int(
    os.environ.get("KILL_AT", "0")
)  # the served call of a phase at which this process kills itself; 0 for never
KILL_IN = os.environ.get("KILL_IN", "")  # that phase: compile or emit
PHASE = ["compile"]
SERVED = itertools.count(1)


def note(log: Path, request) -> None:
    """One line with the call's key, on disk before the answer is given; at the chosen call the process is no more."""
    with GUARD, log.open("a", encoding="utf-8") as file:
        file.write(call_key(request)[0] + "\n")
        file.flush()
        if PHASE[0] == KILL_IN and next(SERVED) == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def scripted(log: Path) -> Engine:
    """The scripted model, slow enough to be killed in the middle."""

    def answer(request):
        note(log, request)
        return world.answer(request)

    return ScriptedEngine(answer, name="world", latency=0.004, max_concurrency=8)


class Noted(Engine):
    """A real engine whose finished calls are written down."""

    charges_unanswered = False

    def __init__(self, inner: Engine, log: Path) -> None:
        self.inner, self.log = inner, log
        self.model, self.max_concurrency, self.licence = inner.model, inner.max_concurrency, inner.licence

    def submit(self, request):
        future = self.inner.submit(request)
        future.add_done_callback(
            lambda done: note(self.log, request) if not done.cancelled() and not done.exception() else None
        )
        return future

    def close(self) -> None:
        self.inner.close()


def main(run: Path, log: Path, model: str = "") -> None:
    """Do the whole job; whatever was done before is found again."""
    engine = Noted(open_engine(f"local/{model}"), log) if model else scripted(log)
    task = world.task(90 if model else 240)
    settings = st.Settings(trials=3 if model else 8, proposals=1 if model else 2)
    program = st.compile(task, lm=engine, run=run, settings=settings)
    PHASE[0] = "emit"
    program.emit(st.recipes.labelled(per_label=6 if model else 12, attempts=2), gates=st.gates.default(task, None))
    engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
