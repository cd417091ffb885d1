"""Theorems by deduction alone: drawn, proved, brought to their least premises, and confirmed by checkers of another kind.

AlphaGeometry (Trinh et al. 2024, Nature 625, pages 476-482): what a proof needs and its statement does not speak of
is auxiliary. No model is asked; `stillroom.programs.symbolic` draws and proves, this makes a recipe of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stillroom.programs.flow import Do, Flow, State
from stillroom.programs.published import Emit, Job, Method
from stillroom.programs.published.shares import spread
from stillroom.programs.symbolic import SIZES, VERSION, symbolic_flow

__all__ = ["METHOD", "Params"]


@dataclass(frozen=True)
class Params:
    """What is proved.

    Attributes:
        cells: How rows are spread over domains and proof depths, written "domain/depth", in any unit.
        attempts: Theorems drawn for each row wanted, at most: few of small depth are different ones.
    """

    cells: Mapping[str, int] = field(default_factory=lambda: dict(SIZES))
    attempts: int = 6


def flow(job: Job[Params]) -> Flow:
    """The symbolic recipe's own flow, under the job's name; each row has its proof and its corrupted copy side by side."""
    made = symbolic_flow(spread(job.rows, job.params.cells), seed=job.seed, attempts=job.params.attempts)

    def both(row: State) -> Mapping[str, object]:
        return {"proofs": [row["steps"], row["corrupted"]]}

    return replace(
        made,
        name=job.preset.name,
        recipe=job.digest,
        parts=(*made.parts, Do("side by side", both, reads=("steps", "corrupted"), adds=("proofs",))),
        emits=("domain", "depth", "auxiliary", "text", "proofs", "verifiable", "form"),
    )


METHOD = Method(
    "symbolic",
    VERSION,
    Params,
    given={},
    calls={},
    flow=flow,
    emits={"text": Emit(), "steps": Emit(field="proofs"), "verifiable": Emit(field="verifiable")},
)
