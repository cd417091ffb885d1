"""What is ordered of a published system: the one value that running it, forecasting it and compiling a call of it begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from stillroom.engines import Engine, open_engine
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig, near
from stillroom.programs.flow import Flow
from stillroom.programs.plan import Plan
from stillroom.signatures import shape_of

from .job import TEACHER, Job
from .preset import Preset
from .shelf import preset as named
from .shelf import sample

__all__ = ["Order", "Ready"]

_NOBODY = ScriptedEngine({}, name="nobody")


@dataclass(frozen=True)
class Order:
    """A preset with the user's models, rows and settings. What cannot work is said when the job is put together.

    Attributes:
        preset: The published system.
        lm: The teacher: an engine, or a name as `stillroom.engines.open_engine` takes it. None where no model is asked.
        roles: Further models by role: "judge", "student", ...; the teacher has every role that is not named.
        given: The user's rows by name: paths, DataFrames or rows.
        samples: Whether rows of our own stand in for those that are not given.
        rows: Accepted rows wanted; the preset's where None.
        params: Parameters that differ from the preset's.
        plans: Compiled plans by name of the call they stand in for.
        seed: Of everything drawn.
    """

    preset: Preset
    lm: str | Engine | None = None
    roles: Mapping[str, str | Engine] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    samples: bool = False
    rows: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def of(cls, what: Order | Preset | str, **said: Any) -> Order:
        """An order of a preset, or of its name; or an order that was made before, but for what is said here.

        Args:
            what: Of what.
            said: The attributes, by name.

        Raises:
            BadConfig: If no preset is called so.
        """
        if isinstance(what, Order):
            return replace(what, **said)
        return cls(named(what) if isinstance(what, str) else what, **said)

    @contextmanager
    def opened(self) -> Iterator[Ready]:
        """Open the engines that are given by name, and put the job together; they are closed at the end."""
        with ExitStack() as stack:
            engines: dict[str, Engine] = {}
            opened: dict[str, Engine] = {}
            for role, model in {**({} if self.lm is None else {TEACHER: self.lm}), **self.roles}.items():
                if isinstance(model, str) and model not in opened:
                    opened[model] = open_engine(model)
                    stack.callback(opened[model].close)
                engines[role] = opened[model] if isinstance(model, str) else model
            job = self.job(engines)
            yield Ready(job, job.method.flow(job))

    def job(self, engines: Mapping[str, Engine]) -> Job[Any]:
        """The job on these engines, by role; "teacher" at least. Nothing is asked.

        Raises:
            BadConfig, BadData: For what cannot work.
        """
        preset, given = self.preset, dict(self.given)
        method = preset.load()
        if TEACHER not in engines and method.calls:
            raise BadConfig(f"a recipe needs an engine for the role {TEACHER!r}, got {sorted(engines)}")
        for what, names, known in (("source", given, method.given), ("call", self.plans, method.calls)):
            unknown = sorted(set(names) - set(known))
            if unknown:
                has = f"It has {', '.join(known) or 'none'}."
                raise BadConfig(f"{preset.name} has no {what} {unknown[0]!r}", mend=near(unknown[0], known, has))
        for name, plan in self.plans.items():
            _fits(preset, name, plan)
        if self.samples:
            given = {**{name: sample(file) for name, file in preset.sample.items()}, **given}
        if self.rows is not None and self.rows < 1:
            raise BadConfig(f"rows must be at least 1, got {self.rows!r}")
        settled = method.settle({**preset.params, **self.params})
        rows = preset.rows if self.rows is None else self.rows
        return Job(preset, method, settled, engines, given, rows, self.seed, self.plans)


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
