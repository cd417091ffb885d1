"""`stillroom export`: hand the rows of a run over as records, for a trainer or for people."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .job import columns_of, read_overrides
from .order import allowed
from .show import Ending, Screen

if TYPE_CHECKING:
    from stillroom.rows import EmittedRow

__all__ = ["export"]


def export(args: Namespace, screen: Screen) -> Ending:
    """Write records of a run's rows to a folder."""
    from stillroom.programs.records import Cap, HandOver, hand_over
    from stillroom.release import Purpose

    made = _made_by(args)
    how = {} if args.column else made.get("emits", {}).get(args.schema, {})
    wish = HandOver(
        args.schema,
        args.to,
        how.get("columns") or columns_of(args.column),
        args.rejects or how.get("rejects", False),
        args.per_prompt or None,
        args.rank,
        made.get("seed") if args.seed is None else args.seed,
        args.round,
        how.get("field", ""),
        [Cap(**each) for each in made.get("caps", ())],
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


def _made_by(args: Namespace) -> dict[str, Any]:
    """What a run of a recipe says of itself; it names the schema where the command does not. Empty for other runs.

    Raises:
        BadConfig: If no schema is known, or the recipe is gated and its rows are not asked for as such.
    """
    path: Path = args.run / "recipe.json"
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if made:
        allowed(made["preset"], made.get("gated", ""), args)
    args.schema = args.schema or next(iter(made.get("emits", ())), None)
    if args.schema is None:
        raise BadConfig(
            "an export needs a schema, got none", mend="Add --schema sft, say; see stillroom export --help."
        )
    return made


def _lines(run: Path, name: str) -> Path:
    path: Path = run / name
    if not path.is_file():
        raise BadConfig(
            f"a run folder must hold {name} to be exported, got {str(run)!r}",
            mend="Run `stillroom emit` or `stillroom recipes run` first.",
        )
    return path


def _read(path: Path) -> Iterator[EmittedRow]:
    from stillroom.programs.export import emitted_lines

    return emitted_lines(path)
