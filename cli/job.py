"""What a verb works on: the task file with the command line's options laid over it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig

from .taskfile import TaskFile, read_task_file

if TYPE_CHECKING:
    from stillroom.engines import PriceTable
    from stillroom.evals.gates import Gate
    from stillroom.ledger import Budget
    from stillroom.optimizers import Settings
    from stillroom.programs import Recipe
    from stillroom.release import Override, Purpose
    from stillroom.signatures import Example, Task

__all__ = ["DEFAULT_LM", "Job", "budget_of", "columns_of", "read_job", "read_overrides"]

DEFAULT_LM = "local/qwen2.5-coder-1.5b"
QUICK_LM = "local/smollm2-135m"
QUICK_TRIALS, QUICK_PER_LABEL, QUICK_N, QUICK_EPOCHS = 8, 5, 20, 1


@dataclass(frozen=True)
class Job:
    """A task and how to work on it.

    Attributes:
        task: The task.
        run: The run folder.
        lm: The model that was asked for by option, or `None`.
        file_lm: The model that the task file names, or `None`.
        on: The Ray cluster whose machines are asked, or `None` for this process.
        lm_licence: The licence of its weights, where the user declares it.
        prompt_lm: The model that writes proposals; `None` for the same.
        budget: Limits of each phase.
        settings: How to search.
        recipe: What to emit.
        gates: In place of the default ones.
        students: Kinds of student.
        epochs: Of LoRA training; its default otherwise.
        real: Labelled rows for the full-real student; none makes no such student.
        purpose: What rows and students are for; `None` for nothing in particular.
        overrides: Who answers for licences that would forbid it.
        prices: What models cost, before all other tables.
        reuse: Folders of other runs whose finished calls may be taken over.
    """

    task: Task
    run: Path
    lm: str | None
    file_lm: str | None
    on: str | None
    lm_licence: str | None
    prompt_lm: str | None
    budget: Budget
    settings: Settings
    recipe: Recipe
    gates: Sequence[Gate] | None
    students: tuple[str, ...]
    epochs: int | None
    real: tuple[Example, ...]
    purpose: Purpose | None
    overrides: tuple[Override, ...]
    prices: PriceTable
    reuse: tuple[Path, ...]


def read_job(args: Namespace) -> Job:
    """Read the task file of `args` and lay the options over it; an option that a verb lacks is not given.

    Raises:
        BadInput: If the task file, its rows or an option cannot work.
    """
    from stillroom.engines import price_table

    given = vars(args)
    quick = bool(given.get("quick"))
    file = read_task_file(args.task)
    return Job(
        task=file.task,
        run=args.run or Path("runs") / (f"{file.task.name}-quick" if quick else file.task.name),
        lm=given.get("lm") or (QUICK_LM if quick else None),
        file_lm=file.lm,
        on=given.get("on"),
        lm_licence=given.get("lm_licence") or file.lm_licence,
        prompt_lm=given.get("prompt_lm") or file.prompt_lm,
        budget=budget_of(given, file.budget),
        settings=_settings(file, given, quick),
        recipe=_recipe(file, given, quick),
        gates=file.gates,
        students=_students(file, given, quick),
        epochs=_epochs(given, quick),
        real=_real(file),
        purpose=file.purpose,
        overrides=(*file.overrides, *read_overrides(given.get("override"))),
        prices=price_table(file.prices, f"`prices` of {args.task}"),
        reuse=tuple(map(Path, given.get("reuse") or ())),
    )


def budget_of(given: Mapping[str, Any], otherwise: Budget | None = None) -> Budget:
    """The limits that options give, laid over those that hold otherwise."""
    from stillroom.ledger import Budget

    limits = {name: given[name] for name in ("calls", "tokens", "minutes", "usd") if given.get(name) is not None}
    return replace(otherwise or Budget(), **limits)


def columns_of(given: Iterable[str] | None) -> dict[str, tuple[str, ...]]:
    """Read each `FIELD=COLUMN` or `FIELD=COLUMN,COLUMN`. Raises `BadConfig` for what is neither."""
    columns = {}
    for text in given or ():
        name, _, sources = text.partition("=")
        found = tuple(each.strip() for each in sources.split(","))
        if not name.strip() or not all(found):
            raise BadConfig(f"a column must be FIELD=COLUMN or FIELD=COLUMN,COLUMN, got {text!r}")
        columns[name.strip()] = found
    return columns


def _settings(file: TaskFile, given: dict[str, Any], quick: bool) -> Settings:
    from stillroom.optimizers import Settings

    settings = file.settings or Settings()
    if quick:
        settings = replace(settings, trials=min(settings.trials, QUICK_TRIALS))
    options = {name: given[name] for name in ("trials", "seed", "prefer") if given.get(name) is not None}
    return replace(settings, **options)


def _recipe(file: TaskFile, given: dict[str, Any], quick: bool) -> Recipe:
    from stillroom.programs import labelled, varied

    labels = file.task.shape.label_field is not None
    recipe = file.recipe or (labelled() if labels else varied())
    own = "per_label" if recipe.name == "labelled" else "n"
    wrong = {"per_label", "n"} - {own}
    if any(given.get(name) is not None for name in wrong):
        flag = {"per_label": "--per-label", "n": "--n"}
        raise BadConfig(
            f"{flag[wrong.pop()]} does not fit the recipe {recipe.name!r} of {file.task.name}", mend=f"Use {flag[own]}."
        )
    count = given.get(own)
    if count is None and quick:
        count = QUICK_PER_LABEL if own == "per_label" else QUICK_N
    if count is not None:
        recipe = recipe.sized(count)
    return recipe if given.get("seed") is None else replace(recipe, seed=given["seed"])


def _students(file: TaskFile, given: dict[str, Any], quick: bool) -> tuple[str, ...]:
    from stillroom.optimizers import STUDENTS

    kinds = tuple(dict.fromkeys(given.get("student") or ()))
    unknown = [kind for kind in kinds if kind not in STUDENTS]
    if unknown:
        raise BadConfig(f"a student must be one of {', '.join(STUDENTS)}, got {unknown[0]!r}")
    usual = "minilm+logreg" if file.task.shape.label_field is not None else "smollm2-135m+lora"
    return kinds or (file.students if file.students and not quick else (usual,))


def _epochs(given: dict[str, Any], quick: bool) -> int | None:
    epochs = given.get("epochs")
    if epochs is not None and epochs < 1:
        raise BadConfig(f"epochs must be at least 1, got {epochs}")
    return QUICK_EPOCHS if epochs is None and quick else epochs


def read_overrides(given: Iterable[str] | None) -> list[Override]:
    """Read what `--override` was given, as of today."""
    from stillroom.release import Override

    today = datetime.now(UTC).date().isoformat()
    return [Override.parse(text, today) for text in given or ()]


def _real(file: TaskFile) -> tuple[Example, ...]:
    """The rows for the full-real student, without those of the test split."""
    if file.real is None:
        return ()
    held_out = {example.id for example in file.task.held_out}
    return tuple(example for example in file.task.read(file.real, "real").values() if example.id not in held_out)
