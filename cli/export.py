"""`stillroom export`: hand the rows of a run over as records, for a trainer or for people."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig

from .job import columns_of, read_overrides
from .show import Ending, Screen

if TYPE_CHECKING:
    from stillroom.rows import EmittedRow

__all__ = ["export"]


def export(args: Namespace, screen: Screen) -> Ending:
    """Write records of a run's rows to a folder."""
    from stillroom.programs.records import HandOver, hand_over
    from stillroom.release import Purpose

    wish = HandOver(
        args.schema,
        args.to,
        columns_of(args.column),
        args.rejects,
        args.per_prompt or None,
        args.rank,
        args.seed,
        args.round,
    )
    accepted = _lines(args.run, "rows.jsonl")
    rejected = _lines(args.run, "rejects.jsonl")
    purpose = Purpose(wish.schema != "audit", args.student_family, args.commercial, args.publish)
    handed = hand_over(
        lambda: _read(accepted),
        lambda: _read(rejected),
        wish,
        args.folder,
        purpose=purpose,
        overrides=read_overrides(args.override),
    )
    if wish.to == "trl" and not handed.card["trainers"]:
        screen.note(f"TRL has no trainer for {wish.schema!r}: the table is for one of your own")
    trainers = f" for {' and '.join(handed.card['trainers'])}" if handed.card["trainers"] else ""
    screen.say(
        f"{handed.records} records of schema {wish.schema}{trainers}: {handed.path}", handed.card["people"]["statement"]
    )
    return Ending({"run": str(args.run), "path": str(handed.path), **handed.card})


def _lines(run: Path, name: str) -> Path:
    path: Path = run / name
    if not path.is_file():
        raise BadConfig(
            f"a run folder must hold {name} to be exported, got {str(run)!r}", mend="Run `stillroom emit` first."
        )
    return path


def _read(path: Path) -> Iterator[EmittedRow]:
    from stillroom.programs.export import emitted_lines

    return emitted_lines(path)
