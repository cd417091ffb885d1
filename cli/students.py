"""The students of a run: which there are, where they lie, what tables call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .job import Job

if TYPE_CHECKING:
    from stillroom.optimizers import Student
    from stillroom.rows import EmittedRow

__all__ = ["VARIANTS", "Seat", "saved", "seats", "train"]

VARIANTS = {"seed": "student (seed)", "synthetic": "student (seed + synthetic)", "real": "student (real)"}
"""By the end of the folder's name: what tables call a student trained on labelled rows alone, on
these and the emitted rows, and on the task file's own real rows."""


@dataclass(frozen=True)
class Seat:
    """The place of one student in a run."""

    kind: str
    variant: str
    folder: Path
    name: str


def seats(job: Job, *, seed_only: bool = False) -> list[Seat]:
    """The students that a job asks for, seed-only ones first: the others are compared with the first."""
    variants = ["seed"] if seed_only else ["seed", "synthetic", *(["real"] if job.real else [])]
    return [_seat(job, kind, variant) for variant in variants for kind in job.students]


def train(job: Job, seat: Seat, rows: Sequence[EmittedRow], on_step: Callable[[int, int, float], None]) -> Student:
    """Train the student of a seat and save it there. Raises as `stillroom.distil` does."""
    from stillroom.optimizers import distil

    return distil(
        job.task,
        rows if seat.variant == "synthetic" else (),
        to=seat.kind,
        folder=seat.folder,
        labelled=job.real if seat.variant == "real" else None,
        epochs=job.epochs,
        purpose=job.purpose,
        overrides=job.overrides,
        on_progress=on_step,
    )


def saved(job: Job) -> Iterator[tuple[Seat, Student]]:
    """The students that were distilled in the run, in the order of `seats`."""
    from stillroom.optimizers import load_student

    for seat in seats(job):
        if (seat.folder / "card.json").is_file():
            yield seat, load_student(seat.folder)


def emitted_rows(job: Job) -> list[EmittedRow]:
    """The accepted rows of the run. Raises `BadConfig` if nothing was emitted."""
    from stillroom.programs.export import read_emitted

    path = job.run / "rows.jsonl"
    if not path.is_file():
        raise BadConfig(
            f"a run folder must hold rows.jsonl to distil from, got {str(job.run)!r}",
            mend="Run `stillroom emit` first, or distil with --seed-only.",
        )
    return read_emitted(path)


def _seat(job: Job, kind: str, variant: str) -> Seat:
    name = VARIANTS[variant] if len(job.students) == 1 else f"{VARIANTS[variant][:-1]}, {kind})"
    return Seat(kind, variant, job.run / "students" / f"{kind}-{variant}", name)
