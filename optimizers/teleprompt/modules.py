"""A DSPy module as a subject: every predictor a part, run as DSPy runs it, scored as we score.

Importing this module imports DSPy.
"""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import dspy
from dspy.utils.exceptions import AdapterParseError, ContextWindowExceededError, LMError

from stillroom.engines import Session, quick_adapters, unwrap
from stillroom.errors import BadConfig, EngineRefused, StillroomError
from stillroom.optimizers.confirm import keep_fresh
from stillroom.optimizers.subject import Candidate, Choice, Part, Step
from stillroom.programs import Demo, Outcome
from stillroom.programs.evaluate import remembered
from stillroom.signatures import Example
from stillroom.values import digest

from ._adapters import ambient_adapter
from ._lms import RECORD, Meters, RowRecord
from ._rows import plain
from .declared import DeclaredModule, predictors_of
from .metrics import outputs_of
from .module_plan import copy_module, default_choice, inner_lms, module_code, overrides, put, structure

__all__ = ["ModuleSubject"]

THREADS = 32
MARK = "stillroom_part"  # survives the copies that modules such as BestOfN make of themselves


class ModuleSubject:
    """A declared module under a session. Fulfils `Subject`.

    Rows are answered on threads with DSPy's settings as they were when `run` was called. What an
    LM's infrastructure did wrong is never a score, also where the module swallows it. An answer
    that an adapter cannot parse, a prompt too long for its model, and an exception of the
    module's, a tool's or the metric's own code are outcomes of kind `unparsed` with the reason.
    """

    def __init__(self, declared: DeclaredModule, session: Session) -> None:
        self.declared, self.session = declared, session
        self.meters = Meters(declared.sources, session)
        self._predictors = predictors_of(declared.student)
        self._lm = None if declared.ambient is None else self.meters.lm(declared.ambient)
        self._alive = False

    @property
    def name(self) -> str:
        """The student's class."""
        return type(self.declared.student).__name__

    @property
    def parts(self) -> Sequence[Part]:
        """The student's predictors."""
        return self.declared.parts

    @cached_property
    def code(self) -> str:
        """Source of the user's own module classes."""
        return module_code(self.declared.student)

    @property
    def demos(self) -> Sequence[Example]:
        """Rows that may be shown and learnt from."""
        return self._parted[0]

    @property
    def fresh(self) -> Sequence[Example]:
        """Rows that might have been, and are kept for the end."""
        return self._parted[1]

    @cached_property
    def _parted(self) -> tuple[list[Example], list[Example]]:
        settings = self.declared.settings
        return keep_fresh(self.declared.rows.demos, self.parts, settings.confirm, settings.seed)

    @property
    def search(self) -> Sequence[Example]:
        """Rows that candidates are scored on."""
        return self.declared.rows.search

    def default(self, part: Part) -> Choice:
        """As declared: the signature's instructions, the predictor's demos and decoding, DSPy's adapter."""
        return default_choice(self._predictors[part.name], self.declared.ambient)

    @cached_property
    def baseline(self) -> Candidate:
        """The student as declared."""
        return self.build({})

    # -- candidates -------------------------------------------------------------------

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """A copy of the student asked as `choices` say; parts that are not named are as declared.

        Raises:
            BadConfig: If a choice is none of its part's.
        """
        unknown = sorted(choices.keys() - self._predictors.keys())
        if unknown:
            raise BadConfig(f"choices must name parts of {self.name}, got {', '.join(unknown)}")
        whole = {part.name: self._fitting(part, choices.get(part.name)) for part in self.parts}
        decided = {name: choice.as_json() for name, choice in whole.items()}
        module = self.finished(whole)
        self._meter(module)
        return Candidate(whole, digest([self._structure, plain(decided)]), module)

    def finished(self, choices: Mapping[str, Choice]) -> dspy.Module:
        """The student asked as `choices` say, on the LMs it came with."""
        module = copy_module(self.declared.student)
        for name, predictor in module.named_predictors():
            if name in choices:
                default = default_choice(self._predictors[name], self.declared.ambient)
                put(predictor, choices[name], overrides(choices[name], default))
        return module

    def _fitting(self, part: Part, choice: Choice | None) -> Choice:
        default = self.default(part)
        if choice is None:
            return default
        if choice.format not in part.formats or choice.reasoning not in part.reasoning or choice.scored:
            asked = f"{choice.format}{', reasoning' * choice.reasoning}{', scored' * choice.scored}"
            raise BadConfig(f"{part.name} can be asked in {', '.join(part.formats)}, got {asked}")
        # adapters decide on constraints themselves, so that two choices that differ there are one
        return replace(choice, decoding=replace(choice.decoding, constrained=default.decoding.constrained))

    def _meter(self, module: dspy.Module) -> None:
        for name, predictor in module.named_predictors():
            setattr(predictor, MARK, name)
        for holder, name, lm in list(inner_lms(module)):
            setattr(holder, name, self.meters.lm(lm))

    @cached_property
    def _structure(self) -> str:
        return digest(structure(self.declared.student))

    # -- answers ------------------------------------------------------------------------

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """One outcome per example, in order; outcomes known to the store cost nothing.

        Raises:
            EngineError: If a call failed for good; all other outcomes were recorded first.
            BudgetExceeded: If the budget ends before the examples do; likewise.
            BadConfig: If the metric gives no score of 0..1, or every row of the first run raised the same.
        """
        declared = self.declared
        keys = [
            digest([candidate.digest, example.id, digest(example.values), declared.answering, declared.judge.name])
            for example in examples
        ]

        def answer(missing: Sequence[Example]) -> list[Outcome | BaseException]:
            found = self._answers(candidate.program, missing)
            self._check_alive(found, whole=len(missing) == len(set(keys)))
            return found

        return remembered(self.session.store, candidate.digest, keys, examples, answer)

    def steps(self, example: Example, outcome: Outcome) -> Sequence[Step]:
        """The calls of parts behind `outcome`, in order."""
        return [Step(each["part"], each["inputs"], each["outputs"]) for each in outcome.outputs.get("steps", ())]

    def shown(self, part: Part, example: Example) -> Demo | None:
        """The row as a demo, where it has every field of `part` (reasoning may be missing)."""
        values = example.values
        needed = [*part.inputs, *(name for name in part.outputs if name != "reasoning")]
        if any(name not in values for name in needed):
            return None
        outputs = {name: values[name] for name in part.outputs if name in values}
        return Demo(example.id, {name: values[name] for name in part.inputs}, outputs)

    def bootstrap(self, candidate: Candidate, examples: Sequence[Example]) -> list[tuple[Example, Outcome]]:
        """Answers to make demos of: the teacher's where there is one, else the candidate's. Raises as `run`."""
        answering = self._teacher if self.declared.teacher is not None else candidate
        return list(zip(examples, self.run(answering, examples), strict=True))

    @cached_property
    def _teacher(self) -> Candidate:
        assert self.declared.teacher is not None
        module = copy_module(self.declared.teacher)
        self._meter(module)
        return Candidate({}, digest(["teacher", structure(self.declared.teacher)]), module)

    def _answers(self, program: dspy.Module, examples: Sequence[Example]) -> list[Outcome | BaseException]:
        """Outcomes and failures. DSPy's settings and callbacks go with each row, as in `dspy.Parallel`."""
        if not examples:
            return []
        threads = min(THREADS, self.meters.max_concurrency, len(examples))
        with quick_adapters(), ThreadPoolExecutor(threads, thread_name_prefix="stillroom-row") as pool:
            futures = [
                pool.submit(contextvars.copy_context().run, self._answer, program, example) for example in examples
            ]
            try:
                return [future.result() for future in futures]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _answer(self, program: dspy.Module, example: Example) -> Outcome | BaseException:
        record, original = RowRecord(), self.declared.rows.originals[example.id]
        steps: list[Any] = []
        with self._settings(steps, record):
            try:
                prediction = program(**dict(original.inputs().items()))
                if prediction is None:
                    raise TypeError(f"{type(program).__name__} returned None")
                cost = record.cost  # a metric that asks an LM is not what the row costs
                with dspy.context(trace=[]):
                    verdict = self.declared.judge.judge(original, prediction)
            except Exception as error:
                return self._failed(example, error, steps, record)
        if record.failures:  # the module swallowed it, and went on with something else than an answer
            return record.failures[0]
        outputs = {"prediction": plain(outputs_of(prediction)), "steps": self._told(steps)}
        kind: Literal["scored", "unverified"] = "unverified" if verdict.score is None else "scored"
        return Outcome(example.id, kind, verdict.score or 0.0, verdict.why, outputs, cost)

    def _settings(self, steps: list[Any], record: RowRecord) -> Any:
        return dspy.context(
            lm=self._lm,
            adapter=ambient_adapter(),
            trace=steps,
            max_trace_size=10_000,
            disable_history=True,
            send_stream=None,
            **{RECORD: record},
        )

    def _failed(
        self, example: Example, error: Exception, steps: list[Any], record: RowRecord
    ) -> Outcome | BaseException:
        """Sort what a row raised: the infrastructure's failures are given back, the rest is an outcome."""
        if record.failures:
            return record.failures[0]
        if not _among(error, ContextWindowExceededError):
            inner = unwrap(error)
            if isinstance(inner, StillroomError):
                return inner
            if isinstance(error, LMError):
                return EngineRefused(f"an LM that {self.name} holds out of sight must answer, got {_words(error)}")
        outputs = {"prediction": {}, "steps": self._told(steps), "raised": type(error).__name__}
        return Outcome(example.id, "unparsed", 0.0, _words(error), outputs, record.cost)

    def _told(self, steps: Sequence[Any]) -> list[dict[str, Any]]:
        """The trace of one row, without calls of frozen predictors."""
        return [
            {
                "part": part,
                "inputs": _only(inputs, each.signature.input_fields),
                "outputs": _only(outputs, each.signature.output_fields),
            }
            for each, inputs, outputs in steps
            if (part := getattr(each, MARK, None)) in self._predictors
        ]

    def _check_alive(self, found: Sequence[Outcome | BaseException], *, whole: bool) -> None:
        """A program that raises the same on every row of the first run is broken, not bad."""
        raised = {each.outputs.get("raised") if isinstance(each, Outcome) else None for each in found}
        bad = {None, AdapterParseError.__name__, ContextWindowExceededError.__name__}
        broken = whole and len(raised) == 1 and not raised & bad
        if broken and not self._alive:
            why = next(each.why for each in found if isinstance(each, Outcome))
            raise BadConfig(
                f"{self.name} and its metric must run, got the same error on all {len(found)} rows: {why}",
                mend="Call the module on one of the rows, and the metric on what it returns.",
            )
        self._alive = self._alive or not broken


def _only(values: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(values[name]) for name in fields if name in values}


def _among(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__
    return error is not None


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500]
