"""The verbs that work on a task file, and the report of a run."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig
from stillroom.ledger import Spent

from .begun import remember, taken_up
from .desk import Desk, allowed, for_gates, lm_of_run, need, open_desk, open_prompter, program_of, spent_of
from .job import DEFAULT_LM, Job, read_job
from .progress import Bars, spelled
from .report_origin import origin_lines
from .show import Ending, Screen, table
from .students import emitted_rows, saved, seats, train

if TYPE_CHECKING:
    from stillroom.optimizers import Program, Proof
    from stillroom.programs import Emitted

__all__ = ["compile", "distil", "emit", "prove", "report", "retry", "run"]

BASES = {"minilm+logreg": "minilm", "smollm2-135m+lora": "smollm2-135m"}
"""The model file that each kind of student is made from."""

SHORT = 6  # exit code of an emission that left quotas unfilled


def compile(args: Namespace, screen: Screen) -> Ending:
    """Search the best program for a task."""
    job = read_job(args)
    with open_desk(job, screen, job.lm or job.file_lm or DEFAULT_LM) as desk:
        return Ending(_compiled(desk)[1])


def emit(args: Namespace, screen: Screen, *, again: bool = False) -> Ending:
    """Write rows with the compiled program; exit code 6 if a quota stays unfilled."""
    _begins(args)
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
    return emit(taken_up(args) if args.task.is_dir() else args, screen, again=True)


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
    _begins(args)
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
    plan, facts = program.plan, program.facts
    value = {
        "run": str(job.run),
        "model": plan.model,
        "verdict": program.verdict,
        **{name: facts[name] for name in ("established", "p", "best", "baseline", "trials", "ended")},
        "format": plan.format,
        "demos": len(plan.demos),
        "plan": str(job.run / "plan.json"),
        "spent": spent_of(desk, "compile"),
    }
    desk.screen.say(
        f"{job.task.name}: compiled for {plan.model}",
        f"  {program.verdict}",
        *_indented(
            [
                ("what", "search score", "format", "demos"),
                ("baseline", facts["baseline"], program.baseline.format, len(program.baseline.demos)),
                ("chosen", facts["best"] if facts["established"] else facts["baseline"], plan.format, len(plan.demos)),
            ]
        ),
        f"  {facts['trials']} candidates, {facts['ended']}; {_words(value['spent'])}",
        f"  plan: {value['plan']}",
    )
    return program, value


def _emitted(desk: Desk, program: Program, *, again: bool = False) -> dict[str, Any]:
    job = desk.job
    emitted = program.emit(
        job.recipe,
        gates=job.gates,
        budget=job.budget,
        purpose=job.purpose,
        overrides=job.overrides,
        retry=again,
        on_progress=lambda done, of: desk.bars.report("emit", done, of),
    )
    desk.bars.done()
    origin = emitted.provenance.as_json() if emitted.provenance else None
    value: dict[str, Any] = {
        "run": str(job.run),
        "accepted": len(emitted.rows),
        "written": emitted.written,
        "funnel": [{"gate": gate, "in": reached, "stopped": stopped} for gate, reached, stopped in emitted.funnel],
        "shortfall": dict(emitted.shortfall),
        "why": emitted.why(),
        "fates": dict(emitted.fates),
        **{name: emitted.counts.get(name, 0) for name in ("repaired", "reasked")},
        "rows": str(job.run / "rows.jsonl"),
        "rejects": str(job.run / "rejects.jsonl"),
        "contamination": str(job.run / "contamination.jsonl"),
        "provenance": origin,
        "spent": spent_of(desk, "emit"),
        "cost": emitted.cost.as_json() if emitted.cost else None,
    }
    desk.screen.say(
        f"{job.task.name}: {len(emitted.rows)} rows accepted of {emitted.written} written",
        *_indented([("gate", "reached", "stopped"), *emitted.funnel]),
        f"  {_stopped(emitted)}; {_words(value['spent'])}",
        *(f"  not filled: {line}" for line in emitted.why()),
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
        *_indented([columns, *([each[column] for column in columns] for each in made)]),
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
        *_indented([("system", "score", "95% interval", "calls", "tokens", "rows/s"), *rows]),
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


# -- what they share -----------------------------------------------------------------


def _begins(args: Namespace) -> None:
    """See that no option is given that only looks ahead. Raises `BadConfig`."""
    ahead = [f"--{name}" for name in ("probe", "like") if getattr(args, name, None) is not None]
    if ahead:
        raise BadConfig(f"{ahead[0]} looks ahead, got it without --dry-run", mend="Add --dry-run, or leave it out.")


def _words(spent: dict[str, Any]) -> str:
    return f"{spelled(Spent(**spent))}, {spent['seconds']:.0f} s"


def _stopped(emitted: Emitted) -> str:
    fates = emitted.fates
    told = [f"{fates.get('rejected', 0)} rejected", f"{fates.get('audit', 0)} for a person to look at"]
    if fates.get("surplus"):
        told.append(f"{fates['surplus']} beyond their quotas")
    if fates.get("quarantined"):
        told.append(f"{fates['quarantined']} lost to faults (`stillroom retry RUN` tries them again)")
    return ", ".join(told)


def _indented(rows: list[Any]) -> list[str]:
    return [f"  {line}" for line in table(rows)]
