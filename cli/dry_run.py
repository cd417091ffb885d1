"""`--dry-run` of compile, emit, answer, run and recipes: say what they will take and give. Nothing is spent, unless a probe is asked for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .answer import read_work
from .compiled import recipe_is_meant
from .desk import Desk, allowed, for_gates, lm_of_run, need, open_desk, program_of
from .job import DEFAULT_LM, read_job
from .order import read_order
from .recipe_call import foresee_recipe
from .show import Ending, Screen, table

if TYPE_CHECKING:
    from stillroom.optimizers import Program
    from stillroom.programs.forecast import Estimate, Forecast

__all__ = ["answer", "compile", "emit", "lines", "recipes_run", "run"]

UNKNOWN = "?"


def compile(args: Namespace, screen: Screen) -> Ending:
    """Say what a search can take."""
    if recipe_is_meant(args):
        name, run, made = foresee_recipe(args, screen)
        return _told(name, run, [made], screen)
    job = read_job(args)
    with open_desk(job, screen, job.lm or job.file_lm or DEFAULT_LM, reach=False) as desk:
        return _told(job.task.name, job.run, [_compile(desk)], screen)


def emit(args: Namespace, screen: Screen) -> Ending:
    """Say what an emission will take and give."""
    job = read_job(args)
    if args.probe is not None and args.like is not None:
        raise BadConfig("a forecast rests on a probe or on another run, got --probe and --like")
    _enough(args.probe)
    lm = lm_of_run(job)
    need(for_gates(job))
    with open_desk(job, screen, lm, reach=args.probe is not None) as desk:
        made = _emit(desk, program_of(desk), args, args.probe or 0)
        desk.bars.done()
        return _told(job.task.name, job.run, [made], screen)


def answer(args: Namespace, screen: Screen) -> Ending:
    """Say what answering the rows of a file will take."""
    from stillroom.programs.answering import foresee_answers

    _enough(args.probe)
    work, probe = read_work(args), args.probe or 0
    with work.opened(screen, reach=probe > 0) as (engine, bars):
        made = foresee_answers(
            work.what, lm=engine, run=work.run, budget=work.budget, reuse=args.reuse or (), probe=probe
        )
        bars.done()
        return _told(args.rows.name, work.run, [made], screen)


def recipes_run(args: Namespace, screen: Screen) -> Ending:
    """Say what a recipe will take and give."""
    _enough(args.probe)
    order, probe = read_order(args), args.probe or 0
    with order.opened(screen, reach=probe > 0) as (what, bars):
        made = order.foreseen(what, probe)
        bars.done()
        return _told(order.preset.name, order.run, [made], screen)


def run(args: Namespace, screen: Screen) -> Ending:
    """Say what all verbs will take, as far as that can be said before the first of them."""
    from stillroom.optimizers import Program, foresee_proof
    from stillroom.optimizers.task_subject import baseline_plan

    job = read_job(args)
    need(for_gates(job))
    with open_desk(job, screen, job.lm or job.file_lm or DEFAULT_LM, reach=False) as desk:
        allowed(job, desk.engine)
        baseline = baseline_plan(job.task, desk.engine.model)
        if (job.run / "plan.json").is_file():
            program = program_of(desk)
            plans = [program.baseline, program.plan]
        else:
            program, plans = Program(job.task, baseline, baseline, desk.engine, job.run), [baseline]
            screen.note("the program is not compiled yet: emission and proof are forecast for the task as declared")
        emitted = _emit(desk, program, args, 0)
        proved = foresee_proof(job.task, desk.engine, plans, budget=job.budget, run=job.run)
        return _told(job.task.name, job.run, [_compile(desk), emitted, proved], screen)


def _enough(probe: int | None) -> None:
    if probe is not None and probe < 2:
        raise BadConfig(f"a probe needs at least 2 rows, got {probe}", mend="16 is a good number.")


def _compile(desk: Desk) -> Forecast:
    from stillroom.optimizers import foresee_compile

    job = desk.job
    made = foresee_compile(job.task, desk.engine, job.settings, budget=job.budget, run=job.run)
    if job.prompt_lm:
        made = replace(made, notes=(*made.notes, f"proposals are written by {job.prompt_lm}, at its own price"))
    return made


def _emit(desk: Desk, program: Program, args: Namespace, rows: int) -> Forecast:
    job = desk.job
    return program.forecast(
        job.recipe,
        gates=job.gates,
        budget=job.budget,
        purpose=job.purpose,
        overrides=job.overrides,
        reuse=job.reuse,
        probe=rows,
        like=args.like,
    )


# -- as tables -----------------------------------------------------------------------


def _told(name: str, run: Path, made: list[Forecast], screen: Screen) -> Ending:
    for each in made:
        screen.say(*lines(name, each))
        for warning in each.warnings:
            screen.note(f"{each.phase}: {warning}")
    return Ending({"run": str(run), "dry_run": True, "forecasts": [each.as_json() for each in made]})


def lines(name: str, made: Forecast) -> list[str]:
    """A forecast for people."""
    sure = "bounds" if made.level == 1 else f"{made.level:.0%} between low and high"
    spent = made.spent
    told = [
        f"{name}: forecast of {made.phase} from {made.basis} ({sure})",
        *_columns([("what", "low", "mean", "high"), *_quantities(made)]),
    ]
    if spent.calls:
        told.append(f"  spent already, and counted above: {spent.calls:,} calls, {spent.tokens:,} tokens")
    if len(made.models) > 1:
        each = [(model.model, *_cells(model.calls, _count)) for model in made.models]
        told += _columns([("calls by model", "low", "mean", "high"), *each])
    return [*told, *(f"  {note}" for note in made.notes)]


def _quantities(made: Forecast) -> Iterator[tuple[str, ...]]:
    priced = made.usd is not None or any(model.usd for model in made.models)
    yield "model calls", *_cells(made.calls, _count)
    yield "prompt tokens", *_cells(made.tokens_in, _count)
    yield "written tokens", *_cells(made.tokens_out, _count)
    yield "US dollars", *(_cells(made.usd, _dollars) if priced else ("no price", "known", ""))
    yield "time", *_cells(made.seconds, _time)
    if made.rows is not None:
        yield f"accepted rows of {made.wanted:,}", *_cells(made.rows, _count)
        yield "calls per accepted row", *_cells(made.per_row.get("calls"), lambda value: f"{value:.2f}")


def _cells(estimate: Estimate | None, spell: Callable[[float], str]) -> tuple[str, str, str]:
    if estimate is None:
        return (UNKNOWN, UNKNOWN, UNKNOWN)
    low, mean, high = (
        UNKNOWN if part is None else spell(part) for part in (estimate.low, estimate.mean, estimate.high)
    )
    return low, mean, high


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _dollars(value: float) -> str:
    return f"{value:,.2f}" if value >= 10 else f"{value:.4f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table whose columns stand to the right, but for the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [(row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))) for row in rows]
    return [f"  {line}" for line in table(padded)]
