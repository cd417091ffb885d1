"""Which command began the rows of a run: noted in the run, so that `stillroom retry RUN` can take them up again."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig

__all__ = ["begins", "remember", "taken_up"]

KIND, ROWS = "command", "rows"
PASSING = {"verb", "home", "json", "progress", "run"}
"""What says how one command is told, or where, and nothing of the rows."""
PATHS = ("task", "program", "compiled", "rows")


def begins(args: Namespace) -> None:
    """See that no option is given that only looks ahead. Raises `BadConfig`."""
    ahead = [f"--{name}" for name in ("probe", "like") if getattr(args, name, None) is not None]
    if ahead:
        raise BadConfig(f"{ahead[0]} looks ahead, got it without --dry-run", mend="Add --dry-run, or leave it out.")


def remember(run: Path, args: Namespace) -> None:
    """Note in `run` that the command of `args` begins rows there, unless rows of an earlier one stand there."""
    from stillroom.store import Store

    given = {name: value for name, value in vars(args).items() if name not in PASSING}
    given |= {name: str(given[name].absolute()) for name in PATHS if given.get(name)}
    if given.get("reuse"):
        given["reuse"] = [str(each.absolute()) for each in given["reuse"]]
    with Store(run) as store:
        if not store.notes(KIND) or next(store.rows(), None) is None:
            store.put_note(KIND, ROWS, given)


def taken_up(args: Namespace) -> Namespace:
    """The options of the command that began the rows of the run folder `args.task`, with what `args` gives laid over them.

    Raises:
        BadConfig: If the folder holds no run, the run does not know its command, or a file of it has moved.
        RunError: If the run cannot be used.
    """
    folder: Path = args.task
    if not (folder / "run.db").is_file():
        raise BadConfig(
            f"a run folder must hold run.db, got {str(folder)!r}",
            mend="Give the folder that `stillroom emit`, `stillroom answer` or `stillroom recipes run` named, or the task file.",
        )
    if args.run is not None:
        raise BadConfig(
            f"retry takes one run, got {str(folder)!r} and --run {str(args.run)!r}", mend="Leave out --run."
        )
    noted = _noted(folder)
    paths = {name: Path(noted[name]) for name in PATHS if noted.get(name)}
    for name, path in paths.items():
        if not path.exists():
            elsewhere = (
                f", or name it where it is now: stillroom retry TASK.py --run {folder}" if name == "task" else ""
            )
            raise BadConfig(
                f"what the rows were made from must be where it was, got no {path}", mend=f"Put it back{elsewhere}."
            )
    given = {name: value for name, value in vars(args).items() if value is not None and name != "task"}
    unfit = (
        sorted(given.keys() & {"per_label", "n", "seed", "override"}) if noted.keys() & {"program", "recipe"} else []
    )
    if unfit:
        raise BadConfig(f"rows of this run take no --{unfit[0].replace('_', '-')}", mend="Leave it out.")
    return Namespace(**{**dict.fromkeys(vars(args)), **noted, **paths, **given, "run": folder})


def _noted(folder: Path) -> dict[str, Any]:
    from stillroom.store import Store

    with Store(folder) as store:
        noted: dict[str, Any] | None = store.notes(KIND).get(ROWS)
    if noted is None:
        raise BadConfig(
            f"a run must know which command began its rows, got none in {str(folder)!r}",
            mend="Emit first. Rows that Python code began are tried again by the same code, with `retry=True`; "
            f"those of an older run by: stillroom retry TASK.py --run {folder}",
        )
    return noted
