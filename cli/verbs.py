"""The verbs that work on a task file, and the report of a run."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .begun import begins, remember, taken_up
from .compiled import recipe_is_meant, told
from .desk import Desk, allowed, for_gates, lm_of_run, need, open_desk, open_prompter, program_of
from .emission import SHORT, facts_of, indented, lines_of
from .job import DEFAULT_LM, Job, read_job
from .progress import Bars
from .report_origin import origin_lines
from .show import Ending, Screen
from .students import emitted_rows, saved, seats, train

if TYPE_CHECKING:
    from stillroom.optimizers import Program, Proof

__all__ = ["compile", "distil", "emit", "prove", "report", "retry", "run"]

BASES = {"minilm+logreg": "minilm", "smollm2-135m+lora": "smollm2-135m"}
"""The model file that each kind of student is made from."""


def compile(args: Namespace, screen: Screen) -> Ending:
    """Search the best program for a task, or the best plan for a call of a recipe."""
    if recipe_is_meant(args):
        from .recipe_call import compile_recipe

        return compile_recipe(args, screen)
    job = read_job(args)
    with open_desk(job, screen, job.lm or job.file_lm or DEFAULT_LM) as desk:
        return Ending(_compiled(desk)[1])


def emit(args: Namespace, screen: Screen, *, again: bool = False) -> Ending:
    """Write rows with the compiled program; exit code 6 if a quota stays unfilled."""
    begins(args)
    job = read_job(args)
    lm = lm_of_run(job)
    need(for_gates(job))
    with open_desk(job, screen, lm) as desk:
        program = program_of(desk)
        remember(job.run, args)
        value = _emitted(desk, program, again=again)
        return Ending(value, SHORT if value["shortfall"] else 0)


def retry(args: Namespace, screen: Screen) -> Ending:
    """Emit once more what calls that failed and answers that did not parse have cost, of a run or of a task's run."""
    if not args.task.exists():
        raise BadConfig(
            f"retry takes the folder of a run, or a task file, got {str(args.task)!r}, which is not there",
            mend="Give the folder that holds run.db.",
        )
    if not args.task.is_dir():
        return emit(args, screen, again=True)
    from .answer import answer
    from .recipes import recipes_run

    began = taken_up(args)
    again = answer if "program" in began else recipes_run if "recipe" in began else emit
    return again(began, screen, again=True)


def distil(args: Namespace, screen: Screen) -> Ending:
    """Train the students of a run; no teacher is needed for it."""
    job = read_job(args)
    with Bars(screen) as bars:
        return Ending(_distilled(job, screen, bars, seed_only=args.seed_only))


def prove(args: Namespace, screen: Screen) -> Ending:
    """Score everything that the run has on the test split."""
    job = read_job(args)
    with open_desk(job, screen, lm_of_run(job)) as desk:
        return Ending(_proved(desk, program_of(desk)))


def run(args: Namespace, screen: Screen) -> Ending:
    """All verbs one after the other, with one engine."""
    begins(args)
    job = read_job(args)
    need(for_gates(job) | {BASES[kind] for kind in job.students})
    with open_desk(job, screen, job.lm or job.file_lm or DEFAULT_LM) as desk:
        allowed(job, desk.engine)
        program, compiled = _compiled(desk)
        remember(job.run, args)
        emitted = _emitted(desk, program)
        if emitted["shortfall"]:
            screen.note(
                f"{sum(emitted['shortfall'].values())} wanted rows could not be filled; the run goes on with fewer"
            )
        distilled = _distilled(job, screen, desk.bars, seed_only=not emitted["accepted"])
        proved = _proved(desk, program)
    page = _report(job.run, None, screen)
    return Ending(
        {
            "run": str(job.run),
            "compile": compiled,
            "emit": emitted,
            "distil": distilled,
            "prove": proved,
            "report": str(page),
        }
    )


def report(args: Namespace, screen: Screen) -> Ending:
    """Write the HTML page of a run."""
    if not (args.run / "run.db").is_file():
        raise BadConfig(
            f"a run folder must hold run.db, got {str(args.run)!r}",
            mend="Give the folder that `stillroom compile` named.",
        )
    from .facts import read_facts

    page = _report(args.run, args.out, screen)
    origins = {each.recipe: each.provenance for each in read_facts(args.run).emissions}
    for recipe, origin in origins.items():
        screen.say(f"recipe {recipe}", *origin_lines(origin))
    return Ending({"report": str(page), "provenance": origins})


# -- one phase each ------------------------------------------------------------------


def _compiled(desk: Desk) -> tuple[Program, dict[str, Any]]:
    from stillroom.optimizers import compile as compile_task

    job = desk.job
    with open_prompter(desk) as prompter:
        program = compile_task(
            job.task,
            lm=desk.engine,
            prompt_lm=prompter,
            run=job.run,
            budget=job.budget,
            settings=job.settings,
            on_progress=desk.bars.report,
        )
    desk.bars.done()
    return program, told(desk.screen, job.task.name, program, program.facts)


def _emitted(desk: Desk, program: Program, *, again: bool = False) -> dict[str, Any]:
    job = desk.job
    emitted = program.emit(
        job.recipe,
        gates=job.gates,
        budget=job.budget,
        purpose=job.purpose,
        overrides=job.overrides,
        reuse=job.reuse,
        retry=again,
        on_progress=lambda done, of: desk.bars.report("emit", done, of),
    )
    desk.bars.done()
    origin = emitted.provenance.as_json() if emitted.provenance else None
    value = {
        **facts_of(emitted, job.run, "emit"),
        "contamination": str(job.run / "contamination.jsonl"),
        "provenance": origin,
        "cost": emitted.cost.as_json() if emitted.cost else None,
    }
    desk.screen.say(
        f"{job.task.name}: {len(emitted.rows)} rows accepted of {emitted.written} written",
        *lines_of(emitted, value["spent"]),
        *([f"  {emitted.cost}"] if emitted.cost else []),
        *origin_lines(origin),
        f"  rows: {value['rows']}",
    )
    if emitted.cost and not emitted.cost.close:
        desk.screen.note(
            f"the forecast was {abs(emitted.cost.off or 0):.0%} off for the funnel that came: it or the bill is wrong"
        )
    for warning in origin["warnings"] if origin else ():
        desk.screen.note(warning)
    return value


def _distilled(job: Job, screen: Screen, bars: Bars, *, seed_only: bool) -> dict[str, Any]:
    rows = [] if seed_only else emitted_rows(job)
    made = []
    for seat in seats(job, seed_only=seed_only):
        student = train(job, seat, rows, partial(_step, bars, seat.name))
        made.append({"name": seat.name, "kind": seat.kind, "folder": str(seat.folder), **student.trained_on})
    bars.done()
    columns = ("name", "kind", "labelled", "emitted", "folder")
    screen.say(
        f"{job.task.name}: {len(made)} students distilled",
        *indented([columns, *([each[column] for column in columns] for each in made)]),
    )
    return {"run": str(job.run), "students": made}


def _step(bars: Bars, name: str, done: int, of: int, loss: float) -> None:
    bars.report(f"distil {name}", done, of, f"loss {loss:.3f}")


def _proved(desk: Desk, program: Program) -> dict[str, Any]:
    from stillroom.optimizers import prove as prove_task
    from stillroom.values import pretty, write_atomic

    job = desk.job
    students = {seat.name: student for seat, student in saved(job)}
    if not students:
        desk.screen.note("no student was distilled in this run: baseline and program are proved alone")
    proof = prove_task(
        job.task,
        program=program,
        students=students,
        run=job.run,
        budget=job.budget,
        on_progress=partial(desk.bars.report, "prove"),
    )
    desk.bars.done()
    path = job.run / "proof.json"
    write_atomic(path, pretty(proof.as_json()))
    _show_proof(desk.screen, proof, path)
    return {"run": str(job.run), **proof.as_json(), "proof": str(path)}


def _show_proof(screen: Screen, proof: Proof, path: Path) -> None:
    rows = [
        (
            each.name,
            each.score,
            f"{each.low:.3f} to {each.high:.3f}",
            each.calls,
            each.tokens,
            _speed(each.rows_per_second),
        )
        for each in proof.results
    ]
    screen.say(
        f"{proof.task}: {proof.metric} on {proof.rows} test rows",
        *indented([("system", "score", "95% interval", "calls", "tokens", "rows/s"), *rows]),
        *(f"  {line}" for line in proof.words),
        f"  proof: {path}",
    )


def _speed(rows_per_second: float | None) -> float | int | None:
    return round(rows_per_second) if rows_per_second is not None and rows_per_second >= 10 else rows_per_second


def _report(folder: Path, out: Path | None, screen: Screen) -> Path:
    from .report import write_report

    page = write_report(folder, out)
    screen.say(f"report: {page}")
    return page
