"""Run a preset: its flow over the user's rows and engines, in a run folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stillroom.engines import Engine, open_session
from stillroom.ledger import Budget
from stillroom.licences import inherited
from stillroom.programs.export import write_rows
from stillroom.programs.flow import Emitted, run_flow
from stillroom.programs.forecast import COST, Forecast, Standing, compared, forecast, foresee, remember
from stillroom.programs.records import HandOver, made_of
from stillroom.rows import EmittedRow
from stillroom.signatures.records import Record
from stillroom.values import pretty, write_atomic

from .job import Job
from .method import Emit
from .order import Order
from .preset import Preset

__all__ = ["NOTE", "foresee_preset", "prepare", "records", "run_preset"]

NOTE = "recipe.json"
"""The file of a run folder that says which preset made it, with which parameters."""


def prepare(what: Order | Preset | str, engines: Mapping[str, Engine], **ordered: Any) -> Job[Any]:
    """The job of an order, on engines by role; otherwise as `Order.job`."""
    return Order.of(what, **ordered).job(engines)


def run_preset(
    what: Order | Preset | str,
    run: Path | str,
    *,
    budget: Budget | None = None,
    licence: str = "",
    reuse: Sequence[Path | str] = (),
    retry: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **ordered: Any,
) -> Emitted:
    """Run a published system into the folder `run`; called again, it goes on where it stopped and pays nothing twice.

    Args:
        what: An order, a preset, or its name.
        run: The run folder, made when missing.
        budget: Limits of all calls together.
        licence: Of the given rows; the user's own where "".
        reuse: Run folders whose finished calls are taken over.
        retry: Whether rows lost to faults before are tried once more.
        on_progress: Called with (accepted, wanted).
        ordered: What is ordered: lm, roles, given, samples, rows, params, plans, seed, as `Order` has them.

    Returns:
        The rows, and their cost beside what was forecast.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
        FingerprintChanged: If the folder was begun with something else.
    """
    with Order.of(what, **ordered).opened() as ready:
        flow, teacher, others = ready.flow, ready.teacher, ready.others
        with open_session(teacher, run, "emit", ready.fingerprint, budget, reuse=reuse) as session:
            write_atomic(Path(run) / NOTE, pretty(noted(ready.job)))
            remember(flow, session, engines=others)
            own = inherited(teacher.model, teacher.licence, [licence])
            emitted = run_flow(flow, session, engines=others, licence=own, retry=retry, on_progress=on_progress)
            cost = compared(session.store, "emit", flow.key, flow=flow, engines=[teacher, *others])
            if cost is not None:
                session.store.put_note(COST, flow.key, cost.as_json())
    write_rows(emitted, Path(run))
    return replace(emitted, cost=cost)


def foresee_preset(
    what: Order | Preset | str,
    run: Path | str | None = None,
    *,
    budget: Budget | None = None,
    reuse: Sequence[Path | str] = (),
    probe: int = 0,
    **ordered: Any,
) -> Forecast:
    """Forecast what `run_preset` will take and give, before it is begun or while it is not ended.

    Args:
        run: The run folder; nothing is read or written where there is none and nothing is probed.
        probe: Run so many of the wanted rows for real; their calls are kept in the run, which does not pay again.
        what, budget, reuse, ordered: As `run_preset` takes them.

    Raises:
        BadInput, FingerprintChanged: As `run_preset` does.
        BudgetExceeded, EngineError: From the probe; what was answered is kept.
    """
    with Order.of(what, **ordered).opened() as ready:
        if run is None or not (probe or (Path(run) / "run.db").is_file()):
            standing = Standing(budget=budget or Budget())
            return forecast(ready.flow, [ready.teacher, *ready.others], standing=standing)
        with open_session(ready.teacher, run, "emit", ready.fingerprint, budget, reuse=reuse, begin=False) as session:
            return foresee(ready.flow, session, engines=ready.others, rows=probe)


def noted(job: Job[Any]) -> dict[str, Any]:
    """What the run folder says of the job, for people and for exports."""
    return {
        "preset": job.preset.name,
        "method": job.method.name,
        "version": job.method.version,
        "params": asdict(job.params),
        "models": {role: engine.model for role, engine in job.engines.items()},
        "plans": {name: job.plan(name).digest for name in job.method.calls},
        "rows": job.rows,
        "seed": job.seed,
        "gated": job.preset.gated,
        "emits": {name: asdict(job.method.emits[name]) for name in job.preset.emits},
        "caps": [asdict(each) for each in job.method.caps(job.params)],
    }


def records(
    emit: Emit,
    schema: str,
    rows: Sequence[EmittedRow],
    rejects: Sequence[EmittedRow] = (),
    *,
    seed: int | None = None,
    round: int = 0,
) -> Iterator[Record]:
    """The rows of a run as records.

    Args:
        emit: How, from the method's `emits`.
        schema: Of the record schemas.
        rows: Accepted rows.
        rejects: The others, where records are made of them too.
        seed, round: For the papers.
    """
    wish = HandOver(schema, "jsonl", emit.columns, emit.rejects, seed=seed, round=round, field=emit.field)
    return made_of(lambda: rows, lambda: rejects, wish)
