"""Our search as a DSPy optimizer: `Compile(metric).compile(student, trainset=...)`.

Importing this module imports DSPy, whose `Teleprompter` it derives from.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
from dspy.teleprompt import Teleprompter

from stillroom.engines import open_session
from stillroom.ledger import Budget
from stillroom.optimizers.settings import Settings, settings_value

from ._lms import Sources
from .declared import DeclaredModule
from .module_plan import FILE, Compilation, save_choices
from .modules import ModuleSubject

__all__ = ["Compile"]


class Compile(Teleprompter):
    """Search instructions, demos, formats, reasoning and decoding of every predictor of a module.

    A drop-in for DSPy's optimizers, inside a hard budget. All calls go through one ledger and
    one store, so that a compilation that was stopped goes on where it was, and pays for nothing
    twice. The student comes back as it is when nothing better was established.

    Args:
        metric: A DSPy metric (bool, number in 0..1, `Prediction` with `score` and `feedback`), one in
            GEPA's form, or one of our verifiers or judges.
        budget: Limits of the compilation over all its sessions.
        lm: For predictors without an LM of their own, which are then bound to it: an engine, a name
            or a `dspy.LM`. By default they ask DSPy's configured LM, then and later.
        prompt_lm: Writes proposals; the main LM by default.
        settings: How to search.
        run: The run folder; `runs/<class name of the student>` by default.
        on_progress: Called with (stage, done, of, remark).
    """

    def __init__(
        self,
        metric: Any,
        *,
        budget: Budget | None = None,
        lm: Any = None,
        prompt_lm: Any = None,
        settings: Settings | None = None,
        run: Path | str | None = None,
        on_progress: Any = None,
    ) -> None:
        super().__init__()
        self.metric, self.budget, self.lm, self.prompt_lm = metric, budget, lm, prompt_lm
        self.settings, self.run, self.on_progress = settings or Settings(), run, on_progress

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: Sequence[Any],
        teacher: dspy.Module | None = None,
        valset: Sequence[Any] | None = None,
    ) -> dspy.Module:
        """Compile a deep copy of `student`; its attribute `stillroom` says what was established.

        Args:
            student: Any module; its compiled sub-modules are left alone.
            trainset: `dspy.Example`s with inputs; shown as demos and, without a `valset`, searched on.
            teacher: A module with predictors of the same names, whose right answers are shown.
            valset: Rows that candidates are scored on and that are never shown.

        Raises:
            BadConfig, BadData: If something cannot work; nothing was asked.
            BudgetExceeded, EngineError: If it ended early; what was paid for is kept.
            FingerprintChanged: If the run folder was made from something else.
        """
        sources = Sources()
        try:
            declared = DeclaredModule(student, self.metric, trainset, valset, self.lm, teacher, self.settings, sources)
            return self._compile(declared, sources)
        finally:
            sources.close()

    def _compile(self, declared: DeclaredModule, sources: Sources) -> dspy.Module:
        from stillroom.optimizers.search import search

        run = Path(self.run) if self.run is not None else Path("runs", type(declared.student).__name__.lower())
        prompt = sources.engine(self.prompt_lm) if self.prompt_lm is not None else declared.engine
        fingerprint = {
            **declared.fingerprint,
            "settings": settings_value(self.settings),
            "prompt model": prompt.model,
        }
        with open_session(declared.engine, run, "compile", fingerprint, self.budget) as session:
            subject = ModuleSubject(declared, session)
            try:
                asked = session.engine if self.prompt_lm is None else subject.meters.engine(self.prompt_lm)
                found = search(subject, session, self.settings, asked, self.on_progress)
            finally:
                subject.meters.drain()
            scores = (found.notes["search_score"], found.notes["baseline_score"])
            said = Compilation(found.verdict, found.established, *scores, str(run))
            notes = {**found.notes, "verdict": found.verdict, "models": declared.models}
            save_choices(run / FILE, declared.student, found.winner.choices, declared.ambient, notes)
        module = subject.finished(found.winner.choices)
        self._bind(module)
        module._compiled = True
        module.stillroom = said
        return module

    def _bind(self, module: dspy.Module) -> None:
        """Let predictors without an LM ask the one they were compiled for."""
        if self.lm is None:
            return
        from stillroom.engines import Engine, as_lm, open_engine

        lm = self.lm if isinstance(self.lm, dspy.BaseLM) else None
        if lm is None:
            lm = as_lm(self.lm if isinstance(self.lm, Engine) else open_engine(self.lm))
        for _, predictor in module.named_sub_modules(dspy.Predict):
            if predictor.lm is None:
                predictor.lm = lm
