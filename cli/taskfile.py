"""Read TASK.py: a Python file of the user's own that defines `task`, and what else it likes to set.

It is the one file that is executed, because it is the user's program.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, StillroomError

if TYPE_CHECKING:
    from stillroom.evals.gates import Gate
    from stillroom.ledger import Budget
    from stillroom.optimizers import Settings
    from stillroom.programs import Recipe
    from stillroom.release import Override, Purpose
    from stillroom.signatures import Task

__all__ = ["TaskFile", "execute", "read_task_file"]


@dataclass(frozen=True)
class TaskFile:
    """What a task file defines. `None` stands for what it leaves out.

    Attributes:
        task: The task.
        lm: A model, as `stillroom.open_engine` takes it.
        lm_licence: The licence of its weights, where the model does not tell.
        prompt_lm: Another model to write proposals.
        budget: Limits of each phase.
        settings: How to search.
        recipe: What to emit.
        gates: In place of the default gates.
        students: Kinds of student to distil, of `stillroom.optimizers.STUDENTS`.
        real: Rows to train the full-real student on, as `Task` takes data.
        purpose: What the rows are for, as licences ask.
        overrides: Who answers for which licence.
        prices: What models cost, before all other tables; as `stillroom.engines.prices.price_table` takes it.
    """

    task: Task
    lm: str | None = None
    lm_licence: str | None = None
    prompt_lm: str | None = None
    budget: Budget | None = None
    settings: Settings | None = None
    recipe: Recipe | None = None
    gates: Sequence[Gate] | None = None
    students: tuple[str, ...] | None = None
    real: Any = None
    purpose: Purpose | None = None
    overrides: Sequence[Override] = ()
    prices: Any = None


def read_task_file(path: Path) -> TaskFile:
    """Run the Python file at `path` and take what it defines.

    Raises:
        BadConfig: If it does not exist, does not run (with the line), lacks `task`, or a name
            holds something of another kind.
        BadData: As `Task` raises it, when its rows are bad.
    """
    if path.is_dir():
        raise BadConfig(f"a task file must be a Python file, got the folder {str(path)!r}", mend=_in_folder(path))
    if not path.exists():
        raise BadConfig(f"a task file must exist, got {str(path)!r}", mend="Give the path of a Python file.")
    if path.suffix != ".py":
        raise BadConfig(
            f"a task file must end in .py, got {path.name!r}",
            mend="Write a Python file that defines `task = stillroom.Task(...)`.",
        )
    found = vars(execute(path))
    if found.get("task") is None:
        raise BadConfig(f"{path} must define `task`, got no such name", mend="Add: task = stillroom.Task(...)")
    values = {name: found[name] for name in TaskFile.__dataclass_fields__ if found.get(name) is not None}
    for name, value in values.items():
        _check(path, name, value)
    values |= {name: tuple(values[name]) for name in ("students", "overrides") if name in values}
    return TaskFile(**values)


def execute(path: Path) -> ModuleType:
    """Run the Python file at `path`, which is the user's own, and give it as a module.

    Raises:
        BadConfig: If it does not run, with the line.
    """
    spec = spec_from_file_location(f"stillroom_task_{path.stem}", path.absolute())
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # annotations are looked up in the module by its name; neighbours of the file may be imported, last of all
    sys.modules[module.__name__] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        spec.loader.exec_module(module)
    except StillroomError:
        raise
    except (Exception, SystemExit) as error:
        text = str(error).splitlines()[0] if str(error) else "no reason given"
        raise BadConfig(
            f"a task file must run, got {type(error).__name__} at {_line(path, error)}: {text}",
            mend="Correct that line.",
        ) from error
    return module


def _line(path: Path, error: BaseException) -> str:
    """Where in the user's own file it happened: the innermost of its lines."""
    if isinstance(error, SyntaxError):
        return (
            f"{path}:{error.lineno}" if error.filename == str(path.absolute()) else f"{error.filename}:{error.lineno}"
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.absolute()]
    return f"{path}:{frames[-1].lineno}" if frames else str(path)


def _in_folder(path: Path) -> str:
    return f"Give {path / 'task.py'}." if (path / "task.py").is_file() else "Give a file inside it."


def _check(path: Path, name: str, value: Any) -> None:
    from stillroom.ledger import Budget
    from stillroom.optimizers import STUDENTS, Settings
    from stillroom.programs import Recipe
    from stillroom.release import Override, Purpose
    from stillroom.signatures import Task

    kinds: dict[str, tuple[Any, str]] = {
        "task": (Task, "a stillroom.Task"),
        "lm": (str, "a model's name"),
        "lm_licence": (str, "a licence's name"),
        "prompt_lm": (str, "a model's name"),
        "budget": (Budget, "a stillroom.Budget"),
        "settings": (Settings, "stillroom.Settings"),
        "recipe": (Recipe, "a recipe such as stillroom.recipes.labelled(50)"),
        "gates": ((list, tuple), "a list of gates"),
        "students": ((list, tuple), f"some of {', '.join(STUDENTS)}"),
        "real": (object, "rows"),
        "purpose": (Purpose, "a stillroom.Purpose"),
        "overrides": ((list, tuple), "a list of stillroom.Override"),
        "prices": (object, "prices"),
    }
    kind, what = kinds[name]
    wrong = value if not isinstance(value, kind) else None
    if wrong is None and name == "gates":
        wrong = next((gate for gate in value if not (hasattr(gate, "check") and hasattr(gate, "name"))), None)
    if wrong is None and name == "students":
        wrong = next((student for student in value if student not in STUDENTS), None)
    if wrong is None and name == "overrides":
        wrong = next((each for each in value if not isinstance(each, Override)), None)
    if wrong is not None:
        shown = repr(wrong) if isinstance(wrong, (str, int, float)) else f"a {type(wrong).__name__}"
        raise BadConfig(f"`{name}` in {path} must be {what}, got {shown}")
