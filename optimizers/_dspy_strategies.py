"""DSPy's own optimizers on our engines, each as it comes. Importing this module imports DSPy."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from stillroom.engines import Metered, as_lm, quick_adapters, unwrap
from stillroom.errors import BadConfig, BudgetExceeded, StillroomError
from stillroom.signatures import Example, Task

from ._dspy_halt import Gate, Halt, Switch, Watch, quiet, too_long
from .systems import plain_outputs

__all__ = ["PEERS", "Answer", "PeerRun", "Setting", "run_peer"]


class Answer(dspy.Module):
    """Answer one row."""

    def __init__(self, signature: type[dspy.Signature], reasoning: bool = False) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought(signature) if reasoning else dspy.Predict(signature)

    def forward(self, **inputs: Any) -> Any:
        """Ask the one predictor."""
        return self.answer(**inputs)


# -- what peers are given --------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What a peer works with besides the task.

    Attributes:
        options: Of the peer's constructor and `compile`, by name.
        seed: Of everything the peer draws, and of the order of the demos split.
        reasoning: Whether the student is a `ChainOfThought`.
        adapter: DSPy's adapter of every call.
        task_lm, prompt_lm: Defaults of calls, as `as_lm` takes them.
        threads: Calls under way at once.
        max_errors: Answers that may fail before DSPy gives an evaluation up.
    """

    options: Mapping[str, Any]
    seed: int
    reasoning: bool
    adapter: dspy.Adapter
    task_lm: Mapping[str, Any]
    prompt_lm: Mapping[str, Any]
    threads: int
    max_errors: int


@dataclass(frozen=True)
class Given:
    """One peer's arguments, ready made."""

    student: dspy.Module
    demos: list[dspy.Example]
    search: list[dspy.Example]
    score: Callable[..., Any]
    feedback: Callable[..., Any]
    prompt_lm: dspy.LM
    seed: int
    calls: int | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class PeerRun:
    """How a peer's run ended.

    Attributes:
        program: What it returned; the best it had scored in full when the budget ended; else the student.
        student: What it started from.
        ended: `finished`, `budget...` or `crashed: ...`.
        trajectory: (ledger calls, best score on the whole search split) as the peer went on.
    """

    program: dspy.Module
    student: dspy.Module
    ended: str
    trajectory: tuple[tuple[int, float], ...]


def run_peer(name: str, task: Task, setting: Setting, engine: Metered, prompt_engine: Metered) -> PeerRun:
    """Run the peer `name` from the beginning; calls in the store are free.

    Raises:
        BadConfig: If the peer does not take one of the options.
        StillroomError: If the infrastructure failed. The budget's end and the peer's own crashes are no errors.
    """
    switch = Switch()
    rows = {split: [_row(task, each) for each in getattr(task, split)] for split in ("demos", "search")}
    random.Random(setting.seed).shuffle(rows["demos"])
    watch = Watch(rows["search"], engine.ledger, engine.store)
    student = Answer(task.signature, setting.reasoning)
    score, feedback = _metrics(task)
    lm = as_lm(Gate(engine, switch), **setting.task_lm)
    prompt_lm = as_lm(Gate(prompt_engine, switch), **setting.prompt_lm)
    given = Given(
        student.deepcopy(),
        rows["demos"],
        rows["search"],
        score,
        feedback,
        prompt_lm,
        setting.seed,
        engine.ledger.budget.calls,
        setting.options,
    )
    program: dspy.Module | None = None
    crash: Exception | None = None
    try:
        with (
            quiet(),
            quick_adapters(),
            dspy.context(
                lm=lm,
                adapter=setting.adapter,
                num_threads=setting.threads,
                max_errors=setting.max_errors,
                callbacks=[*dspy.settings.callbacks, watch],
            ),
        ):
            program = PEERS[name](given)
    except Halt as halt:
        switch.error = switch.error or halt.error
    except BadConfig:
        raise
    except Exception as error:  # a peer's own crash is a result: it is reported with its type and message
        crash = error
    finally:
        switch.close()
    return _ended(program, student, watch, switch.error, crash)


def _ended(
    program: dspy.Module | None,
    student: dspy.Module,
    watch: Watch,
    halted: StillroomError | None,
    crash: Exception | None,
) -> PeerRun:
    points = tuple(watch.points)
    inner = None if crash is None else unwrap(crash)
    if halted is None and isinstance(inner, StillroomError) and not too_long(inner):
        raise inner from crash
    if isinstance(halted, BudgetExceeded):
        if watch.best is None:
            return PeerRun(student, student, "budget: no program was scored in full, the start is kept", points)
        return PeerRun(_unpatched(watch.best[0]), student, "budget", points)
    if halted is not None:
        raise halted
    if crash is not None or program is None:
        said = f"{type(crash).__name__}: {crash}" if crash is not None else "no program was returned"
        return PeerRun(student, student, f"crashed: {' '.join(said.split())[:300]}", points)
    return PeerRun(_unpatched(program), student, "finished", points)


def _unpatched(program: dspy.Module) -> dspy.Module:
    """Without the `forward` that DSPy's trace bootstrapping puts on an instance: it asks the program it was copied from."""
    vars(program).pop("forward", None)
    return program


def _row(task: Task, example: Example) -> dspy.Example:
    return dspy.Example(**example.values).with_inputs(*(each.name for each in task.shape.inputs))


def _metrics(task: Task) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The task's metric as most peers want it (a number; with a trace, whether it may be a demo), and as GEPA does."""
    names = tuple(each.name for each in task.shape.outputs)

    def judge(gold: Any, prediction: Any) -> tuple[float, str]:
        found = task.metric(dict(gold.items()), plain_outputs(prediction, names))
        return found.score or 0.0, found.why

    def score(gold: Any, prediction: Any, trace: Any = None) -> float | bool:
        if prediction is None:
            return 0.0
        value, _ = judge(gold, prediction)
        return value >= 1.0 if trace is not None else value

    def feedback(gold: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        value, why = judge(gold, prediction)
        return dspy.Prediction(score=value, feedback=why or "The answer is right.")

    return score, feedback


# -- the peers -------------------------------------------------------------------------------


def _make(kind: type, given: Given, own: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The optimizer with `own` settings under the user's options, and what is left of these for its `compile`."""
    settings = {**own, **given.options}
    taken = {
        method: set(inspect.signature(getattr(kind, method)).parameters) - {"self", "_kwargs"}
        for method in ("__init__", "compile")
    }
    given_already = {"metric", "student", "trainset", "valset", "teacher", "prompt_model", "reflection_lm"}
    possible = (taken["__init__"] | taken["compile"]) - given_already
    unknown = sorted(set(given.options) - possible)
    if unknown:
        raise BadConfig(
            f"{kind.__name__} takes no {', '.join(unknown)}", mend=f"It takes {', '.join(sorted(possible))}."
        )
    first = {key: value for key, value in settings.items() if key in taken["__init__"]}
    rest = {key: value for key, value in settings.items() if key in taken["compile"] and key not in first}
    return kind(**first), rest


def _bootstrap(given: Given) -> Any:
    optimizer, rest = _make(dspy.BootstrapFewShot, given, {"metric": given.score})
    return optimizer.compile(given.student, trainset=given.demos, **rest)


def _random_search(given: Given) -> Any:
    optimizer, rest = _make(dspy.BootstrapFewShotWithRandomSearch, given, {"metric": given.score})
    return optimizer.compile(given.student, trainset=given.demos, valset=given.search, **rest)


def _copro(given: Given) -> Any:
    # it has one set only, shows none of its rows and picks by its scores: that is the search split
    optimizer, rest = _make(dspy.COPRO, given, {"metric": given.score, "prompt_model": given.prompt_lm})
    return optimizer.compile(given.student, trainset=given.search, **{"eval_kwargs": {}, **rest})


def _miprov2(given: Given) -> Any:
    own = {"metric": given.score, "prompt_model": given.prompt_lm, "seed": given.seed}
    if {"num_candidates", "num_trials"} & set(given.options):
        own["auto"] = None
    optimizer, rest = _make(dspy.MIPROv2, given, own)
    return optimizer.compile(given.student, trainset=given.demos, valset=given.search, **rest)


def _simba(given: Given) -> Any:
    # it has one set only and shows its rows: that is the demos split
    own = {"bsize": min(32, len(given.demos)), "num_candidates": 6, **given.options}
    if given.calls is not None and "max_steps" not in own:
        own["max_steps"] = _simba_steps(given.calls, own["bsize"], own["num_candidates"], len(given.demos))
    own |= {"metric": given.score, "prompt_model": given.prompt_lm, "seed": given.seed}
    optimizer, rest = _make(dspy.SIMBA, given, own)
    return optimizer.compile(given.student, trainset=given.demos, **rest)


def _simba_steps(calls: int, bsize: int, candidates: int, rows: int) -> int:
    """Most steps (1 to its default of 8) that fit `calls`: SIMBA scores nothing in full before its very end."""
    for steps in range(8, 1, -1):
        step = bsize * (2 * candidates + 1) + candidates + 1
        if steps * step + min(candidates + 1, steps + 1) * rows <= calls:
            return steps
    return 1


def _gepa(given: Given) -> Any:
    own: dict[str, Any] = {"metric": given.feedback, "reflection_lm": given.prompt_lm, "seed": given.seed}
    if not {"auto", "max_full_evals", "max_metric_calls"} & set(given.options):
        own["auto"] = "light"
    optimizer, rest = _make(dspy.GEPA, given, own)
    return optimizer.compile(given.student, trainset=given.demos, valset=given.search, **rest)


PEERS: Mapping[str, Callable[[Given], Any]] = {
    "bootstrap": _bootstrap,
    "random-search": _random_search,
    "copro": _copro,
    "miprov2": _miprov2,
    "simba": _simba,
    "gepa": _gepa,
}
