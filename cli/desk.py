"""What verbs work with: the engine of a job, opened and watched, and the program of its run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .job import Job
from .progress import Bars
from .show import Screen
from .watched import Watched, stoppable

if TYPE_CHECKING:
    from stillroom.engines import Engine, PriceTable
    from stillroom.optimizers import Program
    from stillroom.programs import Plan

__all__ = [
    "Desk",
    "allowed",
    "for_gates",
    "lm_of_plan",
    "lm_of_run",
    "need",
    "open_desk",
    "open_prompter",
    "open_watched",
    "program_of",
]


@dataclass(frozen=True)
class Desk:
    """What a verb works with: its job, its engine under watch, and where it shows what it does."""

    job: Job
    engine: Watched
    bars: Bars
    screen: Screen


@contextmanager
def open_watched(
    lm: str,
    screen: Screen,
    *,
    run: Path,
    licence: str | None = None,
    on: str | None = None,
    prices: PriceTable | None = None,
    reach: bool = True,
) -> Iterator[tuple[Watched, Bars]]:
    """Open an engine, see that it can be reached (unless nothing will be asked), and let Ctrl-C stop it between calls."""
    from stillroom.engines import open_engine
    from stillroom.store import Store

    if run.exists():  # a run that cannot be used is found before a model is loaded
        with Store(run):
            pass
    told = {"licence": licence, "on": on if reach else None}
    inner = open_engine(lm, **{name: value for name, value in told.items() if value})
    try:
        if prices is not None:
            inner.prices = prices
        check = getattr(inner, "check", None)
        if reach and callable(check):
            check()
        with Bars(screen) as bars:
            engine = Watched(inner, bars.spend)
            with stoppable(engine):
                yield engine, bars
    finally:
        inner.close()


@contextmanager
def open_desk(job: Job, screen: Screen, lm: str, *, reach: bool = True) -> Iterator[Desk]:
    """Open the engine of a job, as `open_watched` does."""
    with open_watched(lm, screen, run=job.run, licence=job.lm_licence, on=job.on, prices=job.prices, reach=reach) as (
        engine,
        bars,
    ):
        yield Desk(job, engine, bars, screen)


@contextmanager
def open_prompter(desk: Desk) -> Iterator[Engine | None]:
    """The engine that writes proposals, if it is another one. What it has under way is recorded when the phase ends."""
    from stillroom.engines import open_engine

    if desk.job.prompt_lm is None:
        yield None
        return
    inner = open_engine(desk.job.prompt_lm)
    inner.prices = desk.job.prices
    try:
        yield inner
    finally:
        inner.close()


def allowed(job: Job, engine: Engine) -> None:
    """Find out before the search is paid for whether its rows may be used. Raises `LicenceForbids`."""
    from stillroom.licences import inherited
    from stillroom.optimizers.distil import FAMILIES
    from stillroom.release import Purpose, blocks, refuse

    purpose = job.purpose or Purpose()
    wanted = [purpose, *(replace(purpose, train=True, student=FAMILIES[kind]) for kind in job.students)]
    licences = {inherited(engine.model, engine.licence, [job.task.licence]): ()}
    found = [block for each in wanted for block in blocks(licences, each, overrides=job.overrides)]
    refuse(found, "rows may be emitted and students trained")


def for_gates(job: Job) -> set[str]:
    """Names of the model files that its gates need."""
    return {"minilm"} if job.gates is None else set()


def need(models: set[str]) -> None:
    """Find out before anything is paid for. Raises `ModelMissing` if one of `models` is not here."""
    from stillroom.engines.files import find

    for name in sorted(models):
        find(name)


def lm_of_run(job: Job) -> str:
    """The model by option; else the one the run was compiled for, where its name opens it; else the task file's."""
    from stillroom.programs import Plan

    if not (job.run / "plan.json").is_file():
        raise BadConfig(
            f"a run folder must hold plan.json, got {str(job.run)!r}",
            mend="Run `stillroom compile` first, or give its --run folder.",
        )
    return lm_of_plan(Plan.load(job.run / "plan.json"), job.lm, job.file_lm)


def lm_of_plan(plan: Plan, asked: str | None, file_lm: str | None = None) -> str:
    """The model that was asked for; else the one the plan was made for, where its name opens it; else the task file's."""
    from stillroom.engines.files import known

    named = plan.model.partition("@")[0] in {f"local/{card.name}" for card in known()}
    return asked or (plan.model if named else file_lm or plan.model)


def program_of(desk: Desk) -> Program:
    """The compiled program of the run."""
    from stillroom.optimizers import load_program

    return load_program(desk.job.task, desk.job.run, desk.engine)
