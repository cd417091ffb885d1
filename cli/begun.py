"""Which command began the rows of a run: noted in the run, so that `stillroom retry RUN` can take them up again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig

__all__ = ["remember", "taken_up"]

KIND, ROWS = "command", "rows"
PASSING = {"verb", "home", "json", "progress", "run"}
"""What says how one command is told, or where, and nothing of the rows."""
PATHS = ("task",)


def remember(run: Path, args: Namespace) -> None:
    """Note in `run` that the command of `args` begins rows there, unless rows of an earlier one stand there."""
    from stillroom.store import Store

    given = {name: value for name, value in vars(args).items() if name not in PASSING and value is not None}
    given |= {name: str(given[name].absolute()) for name in PATHS if name in given}
    with Store(run) as store:
        if not store.notes(KIND) or next(store.rows(), None) is None:
            store.put_note(KIND, ROWS, {"verb": args.verb, "given": given})


def taken_up(args: Namespace) -> Namespace:
    """The command that began the rows of the run folder `args.task`, with what `args` gives laid over it.

    Raises:
        BadConfig: If the folder holds no run, the run does not know its command, or a file of it has moved.
        RunError: If the run cannot be used.
    """
    from stillroom.store import Store

    folder: Path = args.task
    if not (folder / "run.db").is_file():
        raise BadConfig(
            f"a run folder must hold run.db, got {str(folder)!r}",
            mend="Give the folder that `stillroom emit` named, or the task file.",
        )
    if args.run is not None:
        raise BadConfig(
            f"retry takes one run, got {str(folder)!r} and --run {str(args.run)!r}", mend="Leave out --run."
        )
    with Store(folder) as store:
        known: dict[str, Any] | None = store.notes(KIND).get(ROWS)
    if known is None:
        raise BadConfig(
            f"a run must know which command began its rows, got none in {str(folder)!r}",
            mend="Emit first. Rows that Python code began are tried again by the same code, with `retry=True`; "
            f"those of an older run by: stillroom retry TASK.py --run {folder}",
        )
    given = known["given"] | {name: Path(known["given"][name]) for name in PATHS if name in known["given"]}
    for name in PATHS:
        if name in given and not given[name].exists():
            raise BadConfig(
                f"the file that rows were made from must be where it was, got no {given[name]}",
                mend=f"Put it back, or name it where it is now: stillroom retry TASK.py --run {folder}",
            )
    laid_over = {name: value for name, value in vars(args).items() if value is not None and name != "task"}
    return Namespace(**{**dict.fromkeys(vars(args)), **given, **laid_over, "run": folder})
