"""A job: one preset with the user's rows, engines and parameters, from which a method builds its flow."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from stillroom.engines import Engine
from stillroom.errors import BadConfig, BadData
from stillroom.programs.answers import scorable
from stillroom.programs.flow import Ask, Flow, Part, Source
from stillroom.programs.plan import Demo, Plan
from stillroom.signatures import Shape, read_rows, shape_of
from stillroom.values import digest

from .method import Method
from .preset import Preset

__all__ = ["TEACHER", "Job"]

P = TypeVar("P")
TEACHER = "teacher"


def _natural(shape: Shape) -> str:
    """How a call is asked where its method names no format."""
    if not all(each.is_text for each in shape.outputs):
        return "json"
    return "bare" if len(shape.outputs) == 1 else "tags"


@dataclass(frozen=True)
class Job(Generic[P]):
    """Everything that a method's rows are a function of.

    Attributes:
        preset: The published system.
        method: Its method.
        params: The method's parameters: its defaults, the preset's, then the user's.
        engines: By role; the teacher's stands in for all others.
        given: The user's rows by name, as `stillroom.signatures.read_rows` takes them.
        rows: Accepted rows wanted.
        seed: Of everything drawn.
        plans: Compiled plans, by name of the call they stand in for.
    """

    preset: Preset
    method: Method[P]
    params: P
    engines: Mapping[str, Engine]
    given: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 100
    seed: int = 0
    plans: Mapping[str, Plan] = field(default_factory=dict)

    def engine(self, role: str) -> Engine:
        """Who has a role."""
        return self.engines.get(role, self.engines[TEACHER])

    def plan(self, call: str, demos: Sequence[Demo] = (), role: str = "") -> Plan:
        """The plan of a call: the compiled one where there is one, else the signature as the preset asks it.

        Args:
            call: Its name in the method.
            demos: Worked examples shown; a compiled plan has its own.
            role: Whose engine answers, where not the call's own: one of several candidate models, say.
        """
        asked = self.preset.call(call)
        engine = self.engine(role or asked.role)
        if call in self.plans:
            return replace(self.plans[call], model=engine.model)
        shape = shape_of(asked.signature)
        plan = Plan(
            shape,
            engine.model,
            asked.instruction or shape.instruction,
            tuple(demos),
            format=asked.format or _natural(shape),
            reasoning=asked.reasoning,
            decoding=asked.decoding,
        )
        if asked.scored and scorable(plan, engine):
            label = shape.label_field
            assert label is not None  # or it could not be scored
            return replace(plan, scored=dict.fromkeys(label.labels, 0.0))
        return plan

    def ask(self, call: str, name: str = "", *, role: str = "", demos: Sequence[Demo] = (), **settings: Any) -> Ask:
        """A step that asks a call.

        Args:
            call: Its name in the method.
            name: Of the step, where a call is asked several times.
            role, demos: As `plan` takes them.
            settings: Of `Ask`.
        """
        return Ask(name or call, self.plan(call, demos, role), **settings)

    def source(self, name: str) -> list[dict[str, Any]]:
        """The user's rows called `name`, all of them; none where they are optional and not given.

        Raises:
            BadData: If a row lacks a field, saying which, or there are no rows.
        """
        return self._sources.setdefault(name, list(self.stream(name)))

    def needed(self, name: str) -> list[dict[str, Any]]:
        """The same of rows that a method can do without, but not with these parameters. Raises as `need` does."""
        self.need(name)
        return self.source(name)

    def need(self, *names: str) -> None:
        """See that rows are given without which what is wanted cannot be made, although other kinds can do without.

        Raises:
            BadConfig: Naming those that are not, and their fields.
        """
        for name in names:
            if next(iter(self.stream(name)), None) is None:
                raise self._lacking(name)

    def stream(self, name: str) -> Iterable[dict[str, Any]]:
        """The user's rows one at a time. Raises as `source` does."""
        wants, source = self.method.given[name], self.given.get(name)
        if source is None:
            if wants.optional:
                return
            raise self._lacking(name)
        number = 0
        for number, row in read_rows(source):
            missing = [each for each in wants.needed if row.get(each) is None]
            if missing:
                raise BadData(f"rows of {name!r} must have {wants.named}, row {number} lacks {missing}")
            yield row
        if not number and not wants.optional:
            raise BadData(f"{name!r} must hold rows, got none")

    def _lacking(self, name: str) -> BadConfig:
        wants = self.method.given[name]
        return BadConfig(
            f"{self.preset.name} needs rows called {name!r} ({wants.about}), got none",
            mend=f"Give a file with the fields {wants.named}.",
        )

    @cached_property
    def _sources(self) -> dict[str, list[dict[str, Any]]]:
        return {}

    def rng(self, *parts: Any) -> random.Random:
        """A generator of its own for each thing that is drawn: what is drawn elsewhere does not move it."""
        return random.Random(digest([self.seed, self.preset.name, *parts]))

    def flow(
        self,
        source: Source,
        parts: Sequence[Part],
        *,
        emits: Sequence[str],
        text: Sequence[str] = (),
        attempts: int = 4,
        window: int | None = None,
        ahead: int = 1,
    ) -> Flow:
        """The flow of the job; its digest is that of everything the rows are a function of.

        Args:
            source: What is wanted.
            parts: Steps and gates.
            emits, text, attempts: As `Flow` has them.
            window: Rows committed together, where what is drawn must see what came before: a pool that is to grow
                has a small one.
            ahead: How many windows are under way at once: more than one keeps an engine busy while one ends.
        """
        return Flow(
            self.preset.name,
            source,
            tuple(parts),
            emits=tuple(emits),
            text=tuple(text),
            recipe=self.digest,
            attempts=attempts,
            seed=self.seed,
            **({} if window is None else {"block": window, "window": window * ahead}),
        )

    @cached_property
    def digest(self) -> str:
        """Content hash of preset, method, parameters, models, plans, sources and seed."""
        return digest(
            {
                "preset": self.preset.name,
                "method": [self.method.name, self.method.version],
                "params": asdict(self.params),  # type: ignore[call-overload]
                "models": {role: engine.model for role, engine in self.engines.items()},  # plans name one role each
                "plans": {name: self.plan(name).digest for name in self.method.calls},
                "given": {name: digest([digest(row) for row in self.stream(name)]) for name in self.method.given},
                "seed": self.seed,
            }
        )
