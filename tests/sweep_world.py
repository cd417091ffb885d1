"""A small sweep with a scripted model: for this process, for spawned workers, and as a child that is killed.

python sweep_world.py LOG LATENCY [sweep SPEC ...]      (SWEEP_KILL_AT=N kills it at the Nth served call)
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import types
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import scripted_world as world
from scripted_cli import TASK

import stillroom.engines
from stillroom.engines import ScriptedEngine, open_session
from stillroom.errors import EngineBusy
from stillroom.ledger import Budget, Spent
from stillroom.optimizers.sweep import Sweep, cells_of
from stillroom.optimizers.systems import PlanSystem
from stillroom.programs import Evaluator, Plan, mean_score
from stillroom.store import Store

STRATEGIES = ("baseline", "steps", "crash", "outage")
SERVED = itertools.count(1)
TOPICS = TASK.replace('data=Path(__file__).parent / "{data}"', "data=world.rows(60)").replace(
    "import stillroom as st", "import scripted_world as world\nimport stillroom as st"
)


@dataclass(frozen=True)
class Found:
    """What a strategy gives back."""

    program: PlanSystem
    search_score: float
    baseline_score: float
    spent: Spent
    trajectory: tuple
    ended: str


def run_strategy(name, task, *, lm, prompt_lm=None, run, budget=None, seed=0, options=None) -> Found:
    """Score the task under an instruction that the seed decides, in one session of the run folder, as strategies do."""
    if name == "crash":
        raise ZeroDivisionError("the peer divided by <b>zero</b>")
    if name == "outage" and not os.environ.get("SWEEP_UP"):
        raise EngineBusy("the endpoint must answer, got 503")
    plan = Plan(task.shape, lm.model, f"{task.shape.instruction} Take {seed}.")
    with open_session(lm, run, "compile", {**task.fingerprint, "name": name, "seed": seed}, budget) as session:
        outcomes = Evaluator(session.engine, session.store, task.metric, task.metric_name).run(plan, task.search)
        spent = session.ledger.spent
    score = mean_score(outcomes)
    return Found(PlanSystem(name, plan, lm), score, score, spent, ((spent.calls, score),), "finished")


TASK = world.task(60)


def sweep(**changes) -> Sweep:
    """Two strategies, two seeds, one budget."""
    settings = {
        "name": "topics",
        "tasks": [TASK],
        "models": ["local/world"],
        "strategies": ["baseline", "steps"],
        "budgets": [Budget(calls=200)],
        "seeds": [0, 1],
    }
    return Sweep(**{**settings, **changes})


def cells(**changes):
    return cells_of(sweep(**changes), lambda path: TASK)


def spec(folder: Path, more: str = "", *, strategies: str = '["baseline", "steps"]', seeds: str = "[0, 1]") -> Path:
    """A spec and its task file."""
    (folder / "topics.py").write_text(TOPICS, encoding="utf-8")
    path = folder / "topics.toml"
    path.write_text(
        f'name = "topics"\ntasks = ["topics.py"]\nmodels = ["local/world"]\nstrategies = {strategies}\nseeds = {seeds}\n{more}\n[[budgets]]\ncalls = 200\n',
        encoding="utf-8",
    )
    return path


def engine(log: Path, latency: float = 0.0) -> ScriptedEngine:
    """The world's model; it writes down every call, and may be the end of its process."""
    kill_at = int(os.environ.get("SWEEP_KILL_AT", "0"))

    def answer(request):
        if next(SERVED) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return world.answer(request)

    return ScriptedEngine(answer, name="world", log=log, latency=latency, max_concurrency=4)


@contextmanager
def engines(log: Path, latency: float = 0.0):
    """As a worker opens them."""
    opened = engine(log, latency)
    try:
        yield opened
    finally:
        opened.close()


def install(log: Path, latency: float) -> None:
    """Put the scripted model and strategies in place of all others."""
    stillroom.engines.open_engine = lambda spec, **_: engine(log, latency)
    module = types.ModuleType("stillroom.optimizers.strategies")
    module.STRATEGIES, module.run_strategy = STRATEGIES, run_strategy
    sys.modules[module.__name__] = module


def recorded(folder: Path) -> dict[str, int]:
    """Finished calls of each cell's run, by folder name."""
    found = {}
    for path in sorted(folder.glob("*/run.db")):
        with Store(path.parent) as store:
            found[path.parent.name] = store.call_counts().get("done", 0)
    return found


# a spawned worker imports this file again, under another name, with the arguments of its parent
if __name__ in ("__main__", "__mp_main__"):
    install(Path(sys.argv[1]), float(sys.argv[2]))
if __name__ == "__main__":
    from stillroom.cli import main

    sys.exit(main(sys.argv[3:]))
