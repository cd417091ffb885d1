"""The symbolic recipe as a flow: wanted are theorems of each domain and depth, no model is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stillroom.engines import open_session
from stillroom.engines.scripted import ScriptedEngine
from stillroom.errors import BadConfig
from stillroom.evals import as_gate
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty
from stillroom.evals.proofs import confirmed
from stillroom.programs.flow import At, Do, Emitted, Flow, Quotas, State, Wanted, run_flow
from stillroom.rows import EmittedRow
from stillroom.signatures.records import SCHEMAS, Record, build

from .domain import Domain
from .theorem import DOMAINS, theorem, written

__all__ = ["SIZES", "VERSION", "records", "symbolic_flow", "symbolic_rows"]

VERSION = "1"
"""Of what is drawn for a seed: another one where the same seed gives other rows."""
SIZES: Mapping[str, int] = {
    "horn/3": 60, "horn/4": 90, "horn/5": 100, "horn/6": 90,
    "geometry/2": 60, "geometry/3": 110, "geometry/4": 110, "geometry/5": 60,
    "linear/1": 80, "linear/2": 110, "linear/3": 110, "linear/4": 20,
}  # fmt: skip
"""Rows of each domain and proof depth by default, 1,000 in all. Few theorems of small depth are different ones."""

Schema = Literal["text", "steps", "verifiable"]
_EMITS = ("domain", "depth", "auxiliary", "text", "steps", "corrupted", "verifiable", "form")


@dataclass(frozen=True)
class _Drawn(Wanted):
    """A wanted row whose fields tell the attempt: another one must not draw the same theorem again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {**self.fields, "attempt": self.attempt})


def symbolic_flow(
    sizes: Mapping[str, int] = SIZES, *, seed: int = 0, domains: Mapping[str, Domain] = DOMAINS, attempts: int = 6
) -> Flow:
    """Make the flow: draw a theorem, refuse it if it is another one renamed, have it confirmed.

    The rows are a function of `sizes` and `seed`. A slot whose theorem is refused draws another.

    Args:
        sizes: Rows wanted of each cell, written "domain/depth".
        domains: Where theorems come from; the gate knows those of `DOMAINS` only.
        attempts: Theorems drawn for each row wanted, at most.

    Raises:
        BadConfig: If a cell is no domain and depth.
    """
    for cell in sizes:
        name, _, depth = cell.partition("/")
        if name not in domains or not depth.isdecimal() or int(depth) < 1:
            raise BadConfig(f"cells must be one of {sorted(domains)} with a depth, as in 'horn/3', got {cell!r}")

    def work(row: State) -> Mapping[str, Any]:
        name, depth = str(row["cell"]).split("/")
        rng = random.Random(f"{VERSION} {seed} {row['cell']} {row['slot']} {row['attempt']}")
        return written(name, domains[name], theorem(domains[name], int(depth), rng), rng)

    return Flow(
        f"symbolic-{VERSION}",
        Quotas(sizes, lambda cell, slot: _Drawn(cell, slot, {"cell": cell, "slot": slot}, asked={"cell": cell})),
        (
            Do("prove", work, reads=("cell", "slot", "attempt"), adds=_EMITS),
            At(Novelty("new up to renaming", Exact), ("form",)),
            At(as_gate(confirmed()), _EMITS),
        ),
        emits=_EMITS,
        text=("text",),
        attempts=attempts,
        seed=seed,
    )


def symbolic_rows(
    run: Path | str,
    sizes: Mapping[str, int] = SIZES,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Emitted:
    """Emit the rows into the run folder `run`; again, and what is there is taken up.

    Raises:
        BadConfig: If a cell is no domain and depth.
        RunError: If the folder cannot be used, or holds something else.
    """
    flow = symbolic_flow(sizes, seed=seed)
    nobody = ScriptedEngine({}, name="nobody")  # a session has an engine; a flow without `Ask` never asks it
    with open_session(nobody, run, "emit", {"flow": flow.key, "sizes": dict(sizes)}) as session:
        return run_flow(flow, session, on_progress=on_progress)


def records(rows: Iterable[EmittedRow], schema: Schema, *, seed: int | None = None) -> Iterator[Record]:
    """The rows as records of `stillroom.signatures.records`.

    Args:
        rows: As they were emitted.
        schema: `text`, `steps` (the proof, all true, then its corrupted copy) or `verifiable`.
        seed: Of the run.

    Raises:
        BadConfig: If there is no such schema.
    """
    if schema not in ("text", "steps", "verifiable"):
        raise BadConfig(f"schema must be text, steps or verifiable, got {schema!r}")
    for row in rows:
        for name in ("steps", "corrupted") if schema == "steps" else (schema,):
            value = row.values[name]
            fields = value if isinstance(value, Mapping) else {name: value}
            yield build(SCHEMAS[schema], replace(row, values=fields), seed=seed)
