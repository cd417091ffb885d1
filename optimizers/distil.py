"""Distil rows into a small student that answers in the teacher's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, BadData
from stillroom.licences import OWN_DATA
from stillroom.programs import Plan
from stillroom.release import Override, Purpose, blocks, export_allowed, refuse
from stillroom.rows import EmittedRow
from stillroom.signatures import Example, Task
from stillroom.values import pretty, write_atomic

from .students import lora
from .systems import HeadSystem, PlanSystem, label_name
from .task_subject import baseline_plan

if TYPE_CHECKING:
    import dspy

__all__ = ["FAMILIES", "STUDENTS", "Student", "distil", "load_student"]

STUDENTS = ("minilm+logreg", "smollm2-135m+lora")
FAMILIES = {"minilm+logreg": "minilm", "smollm2-135m+lora": "smollm2"}
"""Families as licences mean them: whose model it is, not how it is built."""


@dataclass(frozen=True)
class Student:
    """A trained student: where it is saved, what it answers with, what it was trained on.

    Attributes:
        kind: One of `STUDENTS`.
        folder: Holds `student.json` and the files it names; none of them is a pickle.
        system: Answers a task, for `prove`.
        trained_on: How many labelled and how many emitted rows.
    """

    kind: str
    folder: Path
    system: HeadSystem | PlanSystem
    trained_on: dict[str, int]

    def named(self, name: str) -> Student:
        """The same student under another name in tables."""
        return replace(self, system=replace(self.system, name=name))

    def module(self) -> dspy.Module:
        """The student as a DSPy module, usable in the teacher's place."""
        if isinstance(self.system, PlanSystem):
            from stillroom.engines import as_lm

            return self.system.plan.module(as_lm(self.system.engine))
        from .students.module import HeadModule

        return HeadModule(self.system.head, self.system.shape)


def distil(
    task: Task,
    rows: Sequence[EmittedRow] = (),
    *,
    to: str = "minilm+logreg",
    folder: Path | str,
    labelled: Sequence[Example] | None = None,
    epochs: int | None = None,
    purpose: Purpose | None = None,
    overrides: Sequence[Override] = (),
    on_progress: Callable[[int, int, float], None] | None = None,
) -> Student:
    """Train a student on labelled rows of the demos and search splits, and on emitted `rows`.

    Args:
        task: What the student answers. Its test split is never used.
        rows: Accepted rows; none trains the seed-only student.
        to: `minilm+logreg` for one categorical output, `smollm2-135m+lora` for anything.
        folder: Where the student is saved; a finished student trained on the same is reused.
        labelled: Labelled rows to train on in place of those of the two splits.
        epochs: Of LoRA training, exactly; otherwise its default, and more for few rows.
        purpose: Whether the student is commercial; that it is trained, and its family, are known.
        overrides: Who answers for licences that would forbid it; recorded on the student's card.
        on_progress: Called with (step, steps, loss) while a LoRA student trains.

    Raises:
        LicenceForbids: If a licence of the rows does not allow training this student on them.
        BadConfig: If the kind is unknown or does not fit the task.
        BadData: If a row to train on is also a test row.
        ModelMissing: If a model file is missing.
    """
    if to not in STUDENTS:
        raise BadConfig(f"a student must be one of {', '.join(STUDENTS)}, got {to!r}")
    wanted = replace(purpose or Purpose(), train=True, student=FAMILIES[to])
    stopped = [
        *blocks({task.licence or OWN_DATA: ()}, wanted, overrides=overrides),
        *export_allowed(rows, wanted, overrides=overrides),
    ]
    refuse(stopped, f"a student {to} may be trained")
    seeds = list(task.demos + task.search if labelled is None else labelled)
    emitted = [task.example(row.values) for row in rows]
    held_out = {example.id for example in task.held_out}
    leaked = [example.id for example in seeds + emitted if example.id in held_out]
    if leaked:
        raise BadData(f"no row to train on may be a test row, got {len(leaked)}: {', '.join(leaked[:5])}")
    trained_on = {"labelled": len(seeds), "emitted": len(emitted)}
    folder = Path(folder)
    system: HeadSystem | PlanSystem
    if to == "minilm+logreg":
        system = _train_head(task, seeds + emitted, folder)
    else:
        system = _train_lora(task, seeds + emitted, folder, epochs, on_progress)
    _save(folder, to, task, system, trained_on, overrides)
    return Student(to, folder, system, trained_on)


def _train_head(task: Task, examples: Sequence[Example], folder: Path) -> HeadSystem:
    from stillroom.evals import EmbeddingClassifier

    name = label_name(task.shape)
    head = EmbeddingClassifier().fit(
        [example.text for example in examples], [example.outputs[name] for example in examples]
    )
    head.save(folder)
    return HeadSystem("student", head, task.shape)


def _train_lora(
    task: Task, examples: Sequence[Example], folder: Path, epochs: int | None, on_progress: Any
) -> PlanSystem:
    from stillroom.engines.files import find

    plan = student_plan(task, "local/student@untrained")
    # epochs that were asked for are not stretched to the usual least number of steps
    settings = lora.LoraSettings() if epochs is None else lora.LoraSettings(epochs=epochs, min_steps=1)
    trained = lora.train(
        find("smollm2-135m").path,
        [_conversation(plan, example) for example in examples],
        folder,
        settings,
        on_progress=on_progress,
    )
    return _lora_system(plan, trained.path, trained.sha256)


def _lora_system(plan: Plan, path: Path, sha256: str) -> PlanSystem:
    from stillroom.engines.local import LocalEngine

    engine = LocalEngine(path, name="student", digest=sha256[:12])
    return PlanSystem("student", replace(plan, model=engine.model), engine)


def student_plan(task: Task, model: str) -> Plan:
    """The short prompt a text student is trained and asked with: no demos, the plainest format that fits."""
    plan = baseline_plan(task, model)
    return replace(plan, format="bare") if task.shape.label_field else plan


def _conversation(plan: Plan, example: Example) -> list[dict[str, str]]:
    from stillroom.signatures import FORMATS

    request = plan.render(example.inputs)
    turns = [{"role": message.role, "content": message.text or ""} for message in request.messages]
    answer = FORMATS[plan.format].write(plan.asked, example.outputs)
    return [{"role": "system", "content": plan.system}, *turns, {"role": "assistant", "content": answer}]


def _save(
    folder: Path,
    kind: str,
    task: Task,
    system: HeadSystem | PlanSystem,
    trained_on: dict[str, int],
    overrides: Sequence[Override],
) -> None:
    value: dict[str, Any] = {"stillroom": 1, "kind": kind, "shape": task.shape.as_json(), "trained_on": trained_on}
    if overrides:
        value["overrides"] = [asdict(each) for each in overrides]
    if isinstance(system, PlanSystem):
        value["plan"] = system.plan.as_json()
    write_atomic(folder / "card.json", pretty(value))


def load_student(folder: Path | str) -> Student:
    """Open a saved student from its files. Nothing in them is run as code.

    Raises:
        BadConfig: If the folder holds no student.
    """
    import json

    from stillroom.evals import EmbeddingClassifier
    from stillroom.signatures import Shape

    folder = Path(folder)
    try:
        value = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        kind, shape = value["kind"], Shape.from_json(value["shape"])
        if kind == "minilm+logreg":
            return Student(
                kind, folder, HeadSystem("student", EmbeddingClassifier.load(folder), shape), value["trained_on"]
            )
        plan = Plan.from_json(value["plan"])
    except (FileNotFoundError, KeyError, ValueError, TypeError) as error:
        raise BadConfig(f"{str(folder)!r} holds no saved student ({type(error).__name__}: {error})") from error
    trained = lora.load(folder)
    if trained is None:
        raise BadConfig(f"{str(folder)!r} holds no finished student", mend="Train it again.")
    return Student(kind, folder, _lora_system(plan, trained.path, trained.sha256), value["trained_on"])
