"""Run a preset: its flow over the user's rows and engines, in a run folder that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stillroom.engines import Engine, open_engine, open_session
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, near
from stillroom.ledger import Budget
from stillroom.licences import inherited
from stillroom.programs.export import write_rows
from stillroom.programs.flow import Emitted, Flow, run_flow
from stillroom.programs.forecast import COST, Forecast, Standing, compared, forecast, foresee, remember
from stillroom.programs.plan import Plan
from stillroom.programs.records import HandOver, made_of
from stillroom.rows import EmittedRow
from stillroom.signatures import shape_of
from stillroom.signatures.records import Record
from stillroom.values import pretty, write_atomic

from .job import TEACHER, Job
from .method import Emit
from .preset import Preset
from .shelf import preset as named
from .shelf import sample

__all__ = ["NOTE", "Ready", "foresee_preset", "open_job", "prepare", "records", "run_preset"]

NOTE = "recipe.json"
"""The file of a run folder that says which preset made it, with which parameters."""


def prepare(
    preset: Preset | str,
    engines: Mapping[str, Engine],
    *,
    given: Mapping[str, Any] | None = None,
    samples: bool = False,
    rows: int | None = None,
    params: Mapping[str, Any] | None = None,
    plans: Mapping[str, Plan] | None = None,
    seed: int = 0,
) -> Job[Any]:
    """Put a job together and check it. Nothing is asked.

    Args:
        preset: Or its name.
        engines: By role; "teacher" at least.
        given: The user's rows by name: paths, DataFrames or rows.
        samples: Whether rows of our own stand in for those that are not given.
        rows: Accepted rows wanted; the preset's where None.
        params: Parameters that differ from the preset's.
        plans: Compiled plans by name of the call they stand in for.
        seed: Of everything drawn.

    Raises:
        BadConfig, BadData: For what cannot work.
    """
    preset = named(preset) if isinstance(preset, str) else preset
    method, given = preset.load(), dict(given or {})
    if TEACHER not in engines and method.calls:
        raise BadConfig(f"a recipe needs an engine for the role {TEACHER!r}, got {sorted(engines)}")
    for what, names, known in (("source", given, method.given), ("call", plans or {}, method.calls)):
        unknown = sorted(set(names) - set(known))
        if unknown:
            has = f"It has {', '.join(known) or 'none'}."
            raise BadConfig(f"{preset.name} has no {what} {unknown[0]!r}", mend=near(unknown[0], known, has))
    for name, plan in (plans or {}).items():
        _fits(preset, name, plan)
    if samples:
        given = {**{name: sample(file) for name, file in preset.sample.items()}, **given}
    if rows is not None and rows < 1:
        raise BadConfig(f"rows must be at least 1, got {rows!r}")
    settled = method.settle({**preset.params, **(params or {})})
    return Job(preset, method, settled, engines, given, preset.rows if rows is None else rows, seed, plans or {})


def _fits(preset: Preset, call: str, plan: Plan) -> None:
    """See that a compiled plan asks what the call asks."""
    shape = shape_of(preset.call(call).signature)
    sides = [[each.name for each in side] for side in (shape.inputs, shape.outputs)]
    got = [[each.name for each in side] for side in (plan.shape.inputs, plan.shape.outputs)]
    if sides != got:
        spelled = " -> ".join(", ".join(side) for side in sides)
        raise BadConfig(
            f"a plan for the call {call!r} must have the fields {spelled}, got {' -> '.join(map(', '.join, got))}",
            mend=f"Compile one: stillroom compile --recipe {preset.name} --call {call!r}.",
        )


_NOBODY = ScriptedEngine({}, name="nobody")


@contextmanager
def open_job(
    preset: Preset | str, lm: str | Engine | None, roles: Mapping[str, str | Engine] | None, **settings: Any
) -> Iterator[Ready]:
    """Open the engines that are given by name, and put the job together; they are closed at the end."""
    with ExitStack() as stack:
        engines: dict[str, Engine] = {}
        opened: dict[str, Engine] = {}
        for role, model in {**({} if lm is None else {TEACHER: lm}), **(roles or {})}.items():
            if isinstance(model, str) and model not in opened:
                opened[model] = open_engine(model)
                stack.callback(opened[model].close)
            engines[role] = opened[model] if isinstance(model, str) else model
        job = prepare(preset, engines, **settings)
        yield Ready(job, job.method.flow(job))


@dataclass(frozen=True)
class Ready:
    """A job whose engines are open, and its flow."""

    job: Job[Any]
    flow: Flow

    @property
    def teacher(self) -> Engine:
        """Whose session it is: a session has an engine, asked or not."""
        return self.job.engines.get(TEACHER) or _NOBODY

    @property
    def others(self) -> list[Engine]:
        """The engines of other models, each once."""
        return [each for each in dict.fromkeys(self.job.engines.values()) if each.model != self.teacher.model]

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the rows are a function of, beside the teacher."""
        return {"recipe": self.job.digest, "rows": self.job.rows}


def run_preset(
    preset: Preset | str,
    run: Path | str,
    *,
    lm: str | Engine | None = None,
    roles: Mapping[str, str | Engine] | None = None,
    given: Mapping[str, Any] | None = None,
    samples: bool = False,
    rows: int | None = None,
    params: Mapping[str, Any] | None = None,
    plans: Mapping[str, Plan] | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    licence: str = "",
    reuse: Sequence[Path | str] = (),
    retry: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Emitted:
    """Run a published system into the folder `run`; called again, it goes on where it stopped and pays nothing twice.

    Args:
        preset, given, samples, rows, params, plans, seed: As `prepare` takes them.
        run: The run folder, made when missing.
        lm: The teacher: an engine, or a name as `stillroom.engines.open_engine` takes it. None where no model is asked.
        roles: Further models by role: "judge", "student", ...; the teacher has every role that is not named.
        budget: Limits of all calls together.
        licence: Of the given rows; the user's own where "".
        reuse: Run folders whose finished calls are taken over.
        retry: Whether rows lost to faults before are tried once more.
        on_progress: Called with (accepted, wanted).

    Returns:
        The rows, and their cost beside what was forecast.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
        FingerprintChanged: If the folder was begun with something else.
    """
    settings = {"given": given, "samples": samples, "rows": rows, "params": params, "plans": plans, "seed": seed}
    with open_job(preset, lm, roles, **settings) as ready:
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
    preset: Preset | str,
    run: Path | str | None = None,
    *,
    lm: str | Engine | None = None,
    roles: Mapping[str, str | Engine] | None = None,
    given: Mapping[str, Any] | None = None,
    samples: bool = False,
    rows: int | None = None,
    params: Mapping[str, Any] | None = None,
    plans: Mapping[str, Plan] | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    reuse: Sequence[Path | str] = (),
    probe: int = 0,
) -> Forecast:
    """Forecast what `run_preset` will take and give, before it is begun or while it is not ended.

    Args:
        run: The run folder; nothing is read or written where there is none and nothing is probed.
        probe: Run so many of the wanted rows for real; their calls are kept in the run, which does not pay again.
        preset, lm, roles, given, samples, rows, params, plans, seed, budget, reuse: As `run_preset` takes them.

    Raises:
        BadInput, FingerprintChanged: As `run_preset` does.
        BudgetExceeded, EngineError: From the probe; what was answered is kept.
    """
    settings = {"given": given, "samples": samples, "rows": rows, "params": params, "plans": plans, "seed": seed}
    with open_job(preset, lm, roles, **settings) as ready:
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
