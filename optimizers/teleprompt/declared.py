"""A DSPy module with rows and a metric, checked before anything is asked or written.

Importing this module imports DSPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import dspy

from stillroom.engines import Engine
from stillroom.errors import BadConfig
from stillroom.optimizers.settings import Settings
from stillroom.optimizers.subject import Part
from stillroom.values import digest

from ._lms import Sources, call_settings
from ._rows import Rows, module_rows, plain
from .metrics import ModuleMetric, module_metric
from .module_plan import inner_lms, module_parts, structure

__all__ = ["DeclaredModule", "predictors_of"]


@dataclass(frozen=True)
class DeclaredModule:
    """A module with rows and a metric, checked before anything is asked or written.

    Args:
        student: Any DSPy module with predictors that are not frozen.
        metric: As `module_metric` takes it.
        trainset, valset: `dspy.Example`s with inputs, as `module_rows` takes them.
        lm: For predictors without an LM of their own: an engine, a name or a `dspy.LM`;
            DSPy's configured one by default.
        teacher: A module with predictors of the same names, whose answers demos are made of.
        settings: Which formats and reasoning may be tried, and the seed of the split.

    Raises:
        BadConfig: If the student or teacher cannot be compiled, or a predictor has no LM.
        BadData: If rows are missing, too few or without inputs.
    """

    student: dspy.Module
    metric: Any
    trainset: Sequence[Any]
    valset: Sequence[Any] | None = None
    lm: Any = None
    teacher: dspy.Module | None = None
    settings: Settings = field(default_factory=Settings)
    sources: Sources = field(default_factory=Sources)

    def __post_init__(self) -> None:
        # each is made here once, so that what cannot work is refused before a call is paid for
        self.parts, self.judge, self.rows, self.lms  # noqa: B018
        if self.teacher is not None:
            self._check_teacher(self.teacher)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The student's predictors."""
        formats = None if self.settings.formats is None else tuple(self.settings.formats)
        return tuple(module_parts(self.student, formats, self.settings.reasoning is not False))

    @cached_property
    def judge(self) -> ModuleMetric:
        """The metric, as one that gives verdicts."""
        return module_metric(self.metric)

    @cached_property
    def rows(self) -> Rows:
        """The labelled rows."""
        return module_rows(self.trainset, self.valset, self.settings.seed)

    @property
    def ambient(self) -> Any:
        """The LM of predictors that have none."""
        return self.lm if self.lm is not None else dspy.settings.lm

    @cached_property
    def lms(self) -> tuple[Any, ...]:
        """Every LM that may be asked, the main one first."""
        modules = [self.student] if self.teacher is None else [self.student, self.teacher]
        found = [] if self.ambient is None else [self.ambient]
        for module in modules:
            lacking = [
                name
                for name, each in module.named_sub_modules(dspy.Predict)
                if each.lm is None and self.ambient is None
            ]
            if lacking:
                raise BadConfig(
                    f"every predictor needs an LM, got none for {', '.join(name.removeprefix('self.') for name in lacking)}",
                    mend="Pass Compile(lm=...), or configure DSPy: dspy.configure(lm=dspy.LM(...)).",
                )
            found += [lm for _, _, lm in inner_lms(module)]
        for lm in found:
            self.sources.engine(lm)
        return tuple(found)

    @property
    def engine(self) -> Engine:
        """The engine of the main LM, for `open_session`."""
        return self.sources.engine(self.lms[0])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a search of it is a function of, in parts that a refusal can name."""
        teacher = {} if self.teacher is None else {"teacher": digest(structure(self.teacher))}
        return {
            "program": f"{type(self.student).__name__} {digest(structure(self.student), 8)}",
            "rows": f"{len(self.rows.demos)} to show, {len(self.rows.search)} to search on, {self.rows.digest}",
            "metric": self.judge.name,
            "models": self.answering,
            **teacher,
        }

    @property
    def models(self) -> list[str]:
        """Names of the engines behind the LMs, each once."""
        return list(dict.fromkeys(self.sources.engine(lm).model for lm in self.lms))

    @property
    def answering(self) -> list[Any]:
        """The same with the settings that each LM adds to its calls."""
        settings = {self.sources.engine(lm).model: plain(call_settings(lm)) for lm in reversed(self.lms)}
        return [[model, settings[model]] for model in self.models]

    def _check_teacher(self, teacher: dspy.Module) -> None:
        if not isinstance(teacher, dspy.Module):
            raise BadConfig(f"a teacher must be a dspy.Module, got {type(teacher).__name__}")
        mine, theirs = {part.name for part in self.parts}, predictors_of(teacher)
        if not mine & theirs.keys():
            raise BadConfig(
                f"a teacher must have predictors of the student's names, got {', '.join(theirs) or 'none'}",
                mend=f"The student's are {', '.join(mine)}.",
            )


def predictors_of(module: dspy.Module) -> dict[str, dspy.Predict]:
    """The predictors that are not frozen, by name."""
    return dict(module.named_predictors())
