"""A sweep as a value: tasks x models x budgets x strategies x seeds, and the cells it is made of."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig
from stillroom.ledger import Budget
from stillroom.signatures import Task
from stillroom.values import canonical, digest

__all__ = ["Cell", "Sweep", "cells_of", "read_sweep_toml"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LIMITS = tuple(each.name for each in fields(Budget))
LISTS = ("tasks", "models", "strategies", "budgets", "seeds")


@dataclass(frozen=True)
class Sweep:
    """What is compared: every combination is one cell.

    Args:
        name: For folder, study and page: letters, digits, dots, dashes, underscores.
        tasks: Tasks, or paths of Python files that define `task`.
        models: As `stillroom.open_engine` takes them.
        strategies: Names of `stillroom.optimizers.strategies.STRATEGIES`.
        budgets: Hard limits of the search of a cell, one cell for each.
        seeds: Seeds of the strategies, 0 or more.
        options: Keyword settings of a strategy, by its name; JSON values.
        prompt_model: Writes proposals in place of the cell's model.
        prove: Whether each cell ends with its program on the test split, opened once.

    Raises:
        BadConfig: If a field holds something that cannot work.
    """

    name: str
    tasks: Sequence[Task | str | Path]
    models: Sequence[str]
    strategies: Sequence[str]
    budgets: Sequence[Budget]
    seeds: Sequence[int] = (0,)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt_model: str | None = None
    prove: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise BadConfig(
                f"a sweep's name must be 1 to 64 letters, digits, dots, dashes or underscores, got {self.name!r}",
                mend='For example name = "helpdesk".',
            )
        for axis in LISTS:
            object.__setattr__(self, axis, _listed(axis, getattr(self, axis)))
        _each("tasks", self.tasks, lambda task: isinstance(task, (Task, Path)) or _text(task), "a path or a Task")
        _each("models", self.models, lambda model: _text(model) and "/" in model.strip("/"), "provider/name")
        _each("strategies", self.strategies, _text, "a name")
        _each("budgets", self.budgets, lambda budget: isinstance(budget, Budget), "a stillroom.Budget")
        _each("seeds", self.seeds, lambda seed: type(seed) is int and seed >= 0, "a whole number >= 0")
        if self.prompt_model is not None and not (_text(self.prompt_model) and "/" in self.prompt_model):
            raise BadConfig(f"prompt_model must be provider/name, got {self.prompt_model!r}")
        if not isinstance(self.prove, bool):
            raise BadConfig(f"prove must be true or false, got {self.prove!r}")
        self._check_options()

    def _check_options(self) -> None:
        if not isinstance(self.options, Mapping):
            raise BadConfig(f"options must be a table by strategy, got {self.options!r}")
        for strategy, table in self.options.items():
            if strategy not in self.strategies:
                raise BadConfig(
                    f"options must be of a strategy of the sweep, got {strategy!r}",
                    mend=f"Its strategies are {', '.join(self.strategies)}.",
                )
            if not isinstance(table, Mapping) or not all(isinstance(key, str) for key in table):
                raise BadConfig(f"options of {strategy} must be a table, got {table!r}")
            try:
                canonical(dict(table))
            except (TypeError, ValueError) as error:
                raise BadConfig(f"options of {strategy} must be JSON values, got {error}") from error

    def as_json(self) -> dict[str, Any]:
        """The sweep as a plain JSON value, tasks by name or path."""
        return {
            "name": self.name,
            "tasks": [task.name if isinstance(task, Task) else str(task) for task in self.tasks],
            "models": list(self.models),
            "strategies": list(self.strategies),
            "budgets": [_limits(budget) for budget in self.budgets],
            "seeds": list(self.seeds),
            "options": {name: dict(table) for name, table in self.options.items()},
            "prompt_model": self.prompt_model,
            "prove": self.prove,
        }


@dataclass(frozen=True)
class Cell:
    """One combination of a sweep. Equal definitions are one cell, whatever the spec around them says."""

    task: Task
    model: str
    strategy: str
    budget: Budget
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    prompt_model: str | None = None
    prove: bool = True

    @property
    def run(self) -> str:
        """Content hash of what the search is a function of. A cell that is proved later searches in the same folder."""
        return digest(
            {
                "task": [self.task.name, self.task.digest],
                "model": self.model,
                "prompt model": self.prompt_model,
                "strategy": self.strategy,
                "options": dict(self.options),
                "budget": asdict(self.budget),
                "seed": self.seed,
            },
            12,
        )

    @property
    def digest(self) -> str:
        """Content hash of the whole cell: its place in the queue."""
        return digest([self.run, self.prove], 12)

    @property
    def folder(self) -> str:
        """Name of its run folder: readable, and unique by digest."""
        words = [self.task.name, self.model.rpartition("/")[2], self.strategy, spelled_budget(self.budget)]
        slug = "-".join(re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-.")[:28] for word in words)
        return f"{slug}-s{self.seed}-{self.run}"

    @property
    def facts(self) -> dict[str, Any]:
        """What distinguishes it, for tables."""
        return {
            "task": self.task.name,
            "model": self.model,
            "strategy": self.strategy,
            "budget": spelled_budget(self.budget),
            "seed": self.seed,
        }

    @property
    def worst_calls(self) -> int | None:
        """Most model calls it can make; `None` without a limit of calls.

        Besides the budget these are scoring the program and its start again on the search split,
        and the test split, each as far as the store does not know the answers.
        """
        if self.budget.calls is None:
            return None
        return self.budget.calls + 2 * len(self.task.search) + len(self.task.held_out) * self.prove


def cells_of(sweep: Sweep, read_task: Callable[[Path], Task], strategies: Collection[str] | None = None) -> list[Cell]:
    """All cells, a task and model at a time, so that a worker changes its model seldom.

    Args:
        sweep: What is compared.
        read_task: Gives the task that a Python file defines.
        strategies: The known names; `None` leaves them unchecked.

    Raises:
        BadConfig: If a strategy is unknown, or two tasks have one name.
        BadInput: As `read_task` raises it.
    """
    unknown = [name for name in sweep.strategies if strategies is not None and name not in strategies]
    if unknown:
        raise BadConfig(
            f"a strategy must be known, got {unknown[0]!r}", mend=f"Known are {', '.join(sorted(strategies or ()))}."
        )
    tasks = [task if isinstance(task, Task) else read_task(Path(task)) for task in sweep.tasks]
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise BadConfig(f"the tasks of a sweep need one name each, got {names}", mend="Set name= in their task files.")
    return [
        Cell(task, model, strategy, budget, seed, sweep.options.get(strategy, {}), sweep.prompt_model, sweep.prove)
        for task, model, budget, seed, strategy in product(
            tasks, sweep.models, sweep.budgets, sweep.seeds, sweep.strategies
        )
    ]


def read_sweep_toml(path: Path) -> Sweep:
    """Read SPEC.toml; the paths of its tasks are relative to it. `[settings]` is `[options.stillroom]`.

    Raises:
        BadConfig: If it is not TOML, has a key that nothing reads, or as `Sweep` does.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} must be TOML, got {error}") from error
    known = {each.name for each in fields(Sweep)} | {"settings"}
    _known(f"{path}", found, known)
    missing = [each for each in ("name", "tasks", "models", "strategies", "budgets") if each not in found]
    if missing:
        raise BadConfig(f"{path} must set {', '.join(missing)}, got no such key", mend=_SKETCH)
    settings = found.pop("settings", None)
    if settings is not None:
        options = found.setdefault("options", {})
        if not isinstance(options, dict) or "stillroom" in options:
            raise BadConfig(f"{path} must set [settings] or [options.stillroom], got both")
        options["stillroom"] = settings
    found["budgets"] = [_budget(path, each) for each in _listed("budgets", found["budgets"])]
    tasks = _listed("tasks", found["tasks"])
    found["tasks"] = [path.parent / task if _text(task) else task for task in tasks]
    return Sweep(**found)


_SKETCH = 'For example models = ["local/smollm2-135m"] and [[budgets]] with calls = 300.'


def spelled_budget(budget: Budget) -> str:
    """Spell a budget for names and tables.

    >>> spelled_budget(Budget(calls=300, minutes=2.5))
    '300 calls 2.5 minutes'
    """
    said = [
        f"{limit:g} {name}" if isinstance(limit, float) else f"{limit} {name}"
        for name, limit in _limits(budget).items()
    ]
    return " ".join(said) or "no limit"


def _limits(budget: Budget) -> dict[str, float]:
    return {name: limit for name, limit in asdict(budget).items() if limit is not None}


def _budget(path: Path, table: Any) -> Budget:
    if not isinstance(table, dict):
        raise BadConfig(f"budgets in {path} must be tables, got {table!r}", mend="Write [[budgets]] and calls = 300.")
    _known(f"a budget in {path}", table, set(LIMITS))
    return Budget(**table)


def _known(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    unknown = sorted(table.keys() - set(known))
    if unknown:
        raise BadConfig(
            f"{where} must hold known keys, got {unknown[0]!r}", mend=f"Known are {', '.join(sorted(known))}."
        )


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value == value.strip()


def _listed(axis: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise BadConfig(f"{axis} of a sweep must be a list of at least one, got {value!r}")
    return tuple(value)


def _each(axis: str, values: Sequence[Any], fits: Callable[[Any], bool], what: str) -> None:
    for place, value in enumerate(values):
        if not fits(value):
            raise BadConfig(f"each of {axis} must be {what}, got {value!r}")
        if value in values[:place]:
            raise BadConfig(f"{axis} of a sweep must differ, got {value!r} twice")
