"""Strategies beside ours: DSPy's optimizers under the same ledger, budget, store and final test.

    found = run_strategy("miprov2", task, lm="local/qwen2.5-coder-1.5b", run="runs/mipro", budget=Budget(calls=600))
    prove_systems(task, [found.program], [], "runs/mipro")

A peer runs as it comes, with its own defaults: MIPROv2 and GEPA on `light`, DSPy's
chat adapter (whose second call in JSON after an answer that does not parse is paid
for, as it is everywhere). It is given the demos split to train on and the search
split to pick by. Three things differ from a bare `compile`: every call goes through
the run's ledger and store; the budget's end stops it, and then the best program it
had scored on the whole search split counts; one answer that fails is one wrong
answer, however many there are (DSPy gives an evaluation up at the tenth).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine, Metered, open_engine, open_session
from stillroom.errors import BadConfig, BudgetExceeded
from stillroom.ledger import Budget, Ledger, Spent
from stillroom.programs import Evaluator, Plan, mean_score
from stillroom.signatures import Task
from stillroom.store import Store
from stillroom.values import digest

from .systems import ModuleSystem, PlanSystem, System, answers

if TYPE_CHECKING:
    import dspy

    from ._dspy_strategies import Setting

__all__ = ["STRATEGIES", "Found", "run_strategy"]

STRATEGIES = ("stillroom", "baseline", "bootstrap", "random-search", "copro", "miprov2", "simba", "gepa")

ANSWER_ROOM, REASONED_ROOM, PROMPT_ROOM = 256, 512, 1024  # tokens of an answer, with reasoning, of the prompt model
ADAPTERS = {"chat": "ChatAdapter", "json": "JSONAdapter", "xml": "XMLAdapter"}


@dataclass(frozen=True)
class Found:
    """What a strategy found.

    Attributes:
        strategy: Its name.
        program: The program; it proves like any other system.
        start: What the strategy began with.
        search_score: Mean of the program on the whole search split, 0..1, scored again by us.
        baseline_score: The same of `start`.
        spent: On the ledger when the strategy had ended, before we scored again.
        trajectory: (ledger calls so far, score of the best program so far on the whole search
            split), as the strategy saw it, never by what it saw of parts of the split. The last
            entry is the program itself if it was never scored in full before.
        ended: `finished`, `budget...`, or `crashed: Type: message` for a crash of the peer's own,
            which leaves `start` as its program.
    """

    strategy: str
    program: System
    start: System
    search_score: float
    baseline_score: float
    spent: Spent
    trajectory: tuple[tuple[int, float], ...]
    ended: str


def run_strategy(
    name: str,
    task: Task,
    *,
    lm: Engine | str,
    prompt_lm: Engine | str | None = None,
    run: Path | str,
    budget: Budget | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Found:
    """Run one strategy on `task` in the folder `run`. A run that ended, or was interrupted, goes on there for free.

    Args:
        name: One of `STRATEGIES`.
        task: Its demos and search splits are used; its test split stays shut.
        lm: The model that answers.
        prompt_lm: The model that writes and reflects on prompts; `lm` by default.
        run: Folder of the run, one for each strategy.
        budget: Hard limits of the strategy; scoring its program again is not on it.
        seed: Of all that is drawn.
        options: For `stillroom`, fields of `Settings`. For a peer, arguments of its constructor and
            `compile`, and these: `reasoning` (a `ChainOfThought` instead of a `Predict`), `adapter`
            ("chat", "json" or "xml"), `temperature` (0), `max_tokens`, `prompt_temperature` (1),
            `prompt_max_tokens`, `num_threads`, `max_errors`.

    Raises:
        BadConfig: If the name or an option is unknown.
        EngineError: If the infrastructure failed; a second call goes on.
    """
    if name not in STRATEGIES:
        raise BadConfig(f"strategy must be one of {', '.join(STRATEGIES)}, got {name!r}")
    engine = open_engine(lm) if isinstance(lm, str) else lm
    prompt = open_engine(prompt_lm) if isinstance(prompt_lm, str) else prompt_lm
    job = _Job(name, task, engine, prompt, Path(run), budget, seed, dict(options or {}))
    if name == "baseline":
        return _baseline(job)
    return _ours(job) if name == "stillroom" else _peer(job)


@dataclass(frozen=True)
class _Job:
    name: str
    task: Task
    engine: Engine
    prompt: Engine | None
    run: Path
    budget: Budget | None
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a peer's run is a function of, besides the model."""
        prompt = self.prompt or self.engine
        return {
            **self.task.fingerprint,
            "strategy": self.name,
            "seed": self.seed,
            "options": digest(self.options),
            "prompt model": prompt.model,
        }


# -- plans: ours, and none ----------------------------------------------------------------------


def _baseline(job: _Job) -> Found:
    from .task_subject import baseline_plan

    if job.options:
        raise BadConfig(f"the baseline takes no options, got {sorted(job.options)}")
    plan = baseline_plan(job.task, job.engine.model)
    with Store(job.run) as store:
        return _of_plans(job, store, plan, plan, Spent(), (), "finished")


def _ours(job: _Job) -> Found:
    from .program import compile_task
    from .settings import Settings

    unknown = sorted(set(job.options) - set(Settings.__dataclass_fields__))
    if unknown:
        raise BadConfig(f"stillroom takes no {', '.join(unknown)}", mend="Options are the fields of Settings.")
    more: dict[str, Any] = {} if job.prompt is None else {"prompt_lm": job.prompt}
    settings = Settings(**{"seed": job.seed, **job.options})
    try:
        program = compile_task(job.task, lm=job.engine, run=job.run, budget=job.budget, settings=settings, **more)
    except BudgetExceeded:
        from .task_subject import baseline_plan

        plan = start = baseline_plan(job.task, job.engine.model)
        ended = "budget: the search could not end, the start is kept"
    else:
        plan, start = program.plan, program.baseline
        ended = "budget" if "budget" in str(program.facts.get("ended", "")) else "finished"
    with Store(job.run) as store:
        trials = [note for note in store.notes("trial").values() if note.get("incumbent") is not None]
        points = sorted((int(note["calls"]), float(note["incumbent"])) for note in trials)
        return _of_plans(job, store, plan, start, store.spent("compile"), tuple(points), ended)


def _of_plans(
    job: _Job,
    store: Store,
    plan: Plan,
    start: Plan,
    spent: Spent,
    trajectory: tuple[tuple[int, float], ...],
    ended: str,
) -> Found:
    with _rescoring(job, store) as engine:
        evaluator = Evaluator(engine, engine.store, job.task.metric, job.task.metric_name)
        scores = [mean_score(evaluator.run(each, job.task.search)) for each in (plan, start)]
    return Found(
        job.name,
        PlanSystem(job.name, plan, job.engine),
        PlanSystem("start", start, job.engine),
        scores[0],
        scores[1],
        spent,
        _with_end(trajectory, spent, scores[0]),
        ended,
    )


# -- peers --------------------------------------------------------------------------------------


def _peer(job: _Job) -> Found:
    from ._dspy_halt import quiet
    from ._dspy_strategies import run_peer

    setting = _setting(job)
    with open_session(job.engine, job.run, "compile", job.fingerprint, job.budget) as session:
        prompt = session.beside(job.prompt or job.engine)
        peer = run_peer(job.name, job.task, setting, session.engine, prompt)
        spent = session.ledger.spent
        program, start = (
            ModuleSystem(name, module, job.engine, setting.task_lm, setting.adapter)
            for name, module in ((job.name, peer.program), ("start", peer.student))
        )
        with _rescoring(job, session.store) as rescoring, quiet():
            scores = [
                mean_score(answers(system, job.task.metric, job.task.search, rescoring)) for system in (program, start)
            ]
    peer.program.save(job.run / "program.json")
    return Found(
        job.name,
        program,
        start,
        scores[0],
        scores[1],
        spent,
        _with_end(peer.trajectory, spent, scores[0]) if peer.ended == "finished" else peer.trajectory,
        peer.ended,
    )


def _setting(job: _Job) -> Setting:
    """The options that are ours, taken off; what is left is the peer's."""
    import dspy

    from ._dspy_strategies import Setting

    left = dict(job.options)
    adapter = left.pop("adapter", "chat")
    if adapter not in ADAPTERS:
        raise BadConfig(f"adapter must be one of {', '.join(ADAPTERS)}, got {adapter!r}")
    reasoning = bool(left.pop("reasoning", False))
    prompt = job.prompt or job.engine
    task_lm = {
        "temperature": left.pop("temperature", 0.0),
        "max_tokens": left.pop("max_tokens", REASONED_ROOM if reasoning else ANSWER_ROOM),
    }
    prompt_lm = {
        "temperature": left.pop("prompt_temperature", 1.0),
        "max_tokens": left.pop("prompt_max_tokens", PROMPT_ROOM),
    }
    made: dspy.Adapter = getattr(dspy, ADAPTERS[adapter])()
    threads = left.pop("num_threads", min(job.engine.max_concurrency, 16))
    errors = left.pop("max_errors", 1_000_000)
    return Setting(
        left,
        job.seed,
        reasoning,
        made,
        _seeded(task_lm, job.engine, job.seed),
        _seeded(prompt_lm, prompt, job.seed),
        threads,
        errors,
    )


def _seeded(settings: dict[str, Any], engine: Engine, seed: int) -> dict[str, Any]:
    """What the engine honours of the settings, with the seed from which DSPy's rollouts make theirs."""
    return {key: value for key, value in {**settings, "seed": seed}.items() if key in engine.supported_params}


# -- both -----------------------------------------------------------------------------------------


class _Beside(Store):
    """A store that finds what `first` holds as well, and writes nothing to it.

    Scoring again may pay for rows that the budget kept from the strategy. Were they
    in its own store, a resumed run would find them and take another course.
    """

    def __init__(self, folder: Path, first: Store) -> None:
        super().__init__(folder)
        self._first = first

    def find_call(self, key: str) -> str | None:
        return self._first.find_call(key) or super().find_call(key)

    def find_eval(self, key: str) -> tuple[str, float | None, str, Any] | None:
        return self._first.find_eval(key) or super().find_eval(key)


@contextmanager
def _rescoring(job: _Job, store: Store) -> Iterator[Metered]:
    """An engine off the strategy's own bill; what it paid for already is free."""
    with _Beside(job.run / "rescore", store) as beside:
        metered = Metered(job.engine, Ledger(Budget(), beside.spent("rescore")), beside, "rescore")
        try:
            yield metered
        finally:
            metered.drain()


def _with_end(trajectory: tuple[tuple[int, float], ...], spent: Spent, score: float) -> tuple[tuple[int, float], ...]:
    """The course, and where it ended if that is the first time its program was scored in full."""
    if trajectory and trajectory[-1][1] >= score - 1e-9:
        return trajectory
    return (*trajectory, (spent.calls, score))
