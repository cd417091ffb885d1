"""The child of the tests on a real Ray cluster: an emission whose engine is on its nodes, or in this process.

python ray_run.py RUN LOG [WHERE]

In the environment of a node: NODE, its name in the log; DIES_AT, the answer at which it loses
its power; KILLS_AT, the answer at which it kills the process that asks.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

import psutil
import scripted_world as world

import stillroom as st
from stillroom.engines import Engine, ScriptedEngine, open_session
from stillroom.engines.metered import call_key
from stillroom.engines.ray import RayEngine
from stillroom.evals import gates
from stillroom.optimizers.task_subject import baseline_plan
from stillroom.programs import blind, emit_rows
from stillroom.programs.export import save_emitted

AT_ONCE = 4  # requests that one engine has under way
PER_LABEL = 24


class Noting(ScriptedEngine):
    """The world's model; what it is asked and what it answers is in the log before anybody hears of it."""

    def __init__(self, log: Path, asks: int) -> None:
        super().__init__(self._say, name="world", latency=0.02, max_concurrency=AT_ONCE)
        self._to, self._asks, self._said = log, asks, 0

    async def acomplete(self, request):
        self._note("asked", request)
        return await super().acomplete(request)

    def _say(self, request):
        self._note("answered", request)
        self._said += 1
        if self._said == int(os.environ.get("DIES_AT", 0)):
            lose_power()
        if self._said == int(os.environ.get("KILLS_AT", 0)):
            os.kill(self._asks, signal.SIGKILL)
        return world.answer(request)

    def _note(self, what, request) -> None:
        file = os.open(self._to, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{os.environ.get('NODE', 'here')} {what} {call_key(request)[0]}\n".encode())
        os.close(file)


def lose_power() -> None:
    """Kill -9 everything of the node that this process is a worker of, this process last."""
    raylet = psutil.Process().parent()
    minder = raylet.parent()
    for process in [minder, raylet, *minder.children(recursive=True)]:
        if process.pid != os.getpid():
            process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def main(run: Path, log: Path, where: str = "") -> None:
    """Emit; whatever was done before is found again."""
    task, opener = world.task(), partial(Noting, log, os.getpid())
    engine: Engine = RayEngine(opener, where) if where else opener()
    try:
        program, recipe = baseline_plan(task, engine.model), st.recipes.labelled(per_label=PER_LABEL, attempts=10)
        with open_session(engine, run, "emit", {"recipe": recipe.digest}) as session:
            judge = blind(program, session.engine, task.metric)
            emitted = emit_rows(task, program, recipe, gates.default(task, judge), session)
            save_emitted(emitted, run)
    finally:
        engine.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
