"""The five verbs as functions: compile, emit, distil and prove, over one run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine, open_engine, open_session
from stillroom.errors import BadConfig, EngineError
from stillroom.evals import Embedder, default_embedder
from stillroom.evals.gates import Gate, default, pins
from stillroom.ledger import Budget
from stillroom.licences import inherited
from stillroom.programs import Emitted, Plan, Recipe, agreement, answer, emit_rows
from stillroom.programs.agreed import agreed
from stillroom.programs.answers import answer_many
from stillroom.programs.emit import emission
from stillroom.programs.export import save_emitted
from stillroom.programs.forecast import COST, Forecast, Standing, compared, forecast, foresee, remember, seen_in, unlike
from stillroom.programs.provenance import provenance
from stillroom.release import Override, Purpose, blocks, refuse
from stillroom.signatures import Task, Unparsed
from stillroom.values import digest

from .distil import Student
from .kept import facts_of, keep
from .proof import Proof, prove_systems
from .search import Progress, search
from .settings import Settings, settings_value
from .systems import PlanSystem, System
from .task_subject import TaskSubject

if TYPE_CHECKING:
    import dspy

__all__ = ["Program", "compile_task", "load_program", "prove"]


@dataclass(frozen=True)
class Program:
    """A compiled program bound to its task, engine and run folder.

    Attributes:
        task: What it answers.
        plan: How.
        baseline: The task as declared.
        engine: Where its text comes from.
        run: The run folder; `plan.json` and `run.db` are in it.
        verdict: What the search established, in words.
    """

    task: Task
    plan: Plan
    baseline: Plan
    engine: Engine
    run: Path
    verdict: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Answer one row, outside any budget. Raises `Unparsed` if the answer does not fit, `EngineError` without one."""
        (answer,) = answer_many(self.plan, self.engine, [inputs])
        if isinstance(answer, EngineError):
            raise answer
        if answer.outputs is None:
            raise Unparsed(answer.problem)
        return answer.outputs

    def module(self) -> dspy.Module:
        """The program as a DSPy module on its own engine."""
        from stillroom.engines import as_lm

        return self.plan.module(as_lm(self.engine))

    def emit(
        self,
        recipe: Recipe,
        *,
        gates: Sequence[Gate] | None = None,
        budget: Budget | None = None,
        embedder: Embedder | None = None,
        purpose: Purpose | None = None,
        overrides: Sequence[Override] = (),
        reuse: Sequence[Path | str] = (),
        retry: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Emitted:
        """Emit rows that passed the gates, into the run folder, as `save_emitted` writes them.

        Args:
            recipe: What is wanted.
            gates: `None` for the default gates, with agreement by a head trained on the labelled
                rows or, where it disagrees, by this program.
            budget: Limits of the phase.
            embedder: For agreement, paraphrases and diversity; MiniLM by default with the default gates.
            purpose: What the rows are for; to train a model of no known family by default.
            overrides: Who answers for licences that would forbid it; recorded in the run.
            reuse: Folders of other runs whose finished calls may be taken over, as `open_session` says; free of charge.
            retry: Whether rows lost to faults before are tried once more, where their quotas are not full.
            on_progress: Called with (accepted, wanted).

        Raises:
            LicenceForbids: If the licence of the model or of the labelled rows forbids it, before any call.
            BudgetExceeded, EngineError: What was emitted so far is kept, and a second call goes on.
            FingerprintChanged: If the run's emission was started with something else.
        """
        purpose = purpose or Purpose()
        self._allowed(purpose, overrides)
        gates, embedder = self._gates(gates, embedder)
        fingerprint = self._fingerprint(recipe, gates)
        with open_session(self.engine, self.run, "emit", fingerprint, budget, reuse=reuse) as session:
            for each in overrides:
                session.store.put_note("override", each.licence, asdict(each))
            remember(emission(self.task, self.plan, recipe, gates), session)
            emitted = emit_rows(self.task, self.plan, recipe, gates, session, retry=retry, on_progress=on_progress)
            chosen = self.plan.digest != self.baseline.digest
            measured = [agreed(self.task, gate, session.store, chosen=chosen) for gate in gates]
            worth = [each for each in measured if each is not None]
            found = provenance(
                self.task, session.engine, gates, emitted, embedder=embedder, overrides=overrides, agreed=worth
            )
            session.store.put_note("provenance", recipe.digest, found.as_json())
            cost = compared(session.store, "emit", recipe.digest)
            if cost is not None:
                session.store.put_note(COST, recipe.digest, cost.as_json())
        save_emitted(emitted, self.run, purpose=purpose, overrides=overrides)
        return replace(emitted, provenance=found, cost=cost)

    def forecast(
        self,
        recipe: Recipe,
        *,
        gates: Sequence[Gate] | None = None,
        budget: Budget | None = None,
        embedder: Embedder | None = None,
        purpose: Purpose | None = None,
        overrides: Sequence[Override] = (),
        reuse: Sequence[Path | str] = (),
        probe: int = 0,
        like: Path | str | None = None,
        level: float = 0.9,
    ) -> Forecast:
        """Forecast what `emit` will take and give, before it is begun or while it is not ended.

        Args:
            recipe, gates, budget, embedder, purpose, overrides, reuse: As `emit` takes them.
            probe: Run so many of the wanted rows for real, spread over the recipe's cells. Their calls are recorded
                in the run, which finds them and does not pay again. 0 spends nothing.
            like: Another run's folder, from whose rows to forecast.
            level: How many forecasts of a hundred are to hold what comes, as a share.

        Returns:
            A forecast from the probe, the other run, this run's rows so far or a probe of it before; where there is
            none of these, bounds by arithmetic.

        Raises:
            LicenceForbids, FingerprintChanged: As `emit` does.
            RunError: If `like` holds no rows.
            BudgetExceeded, EngineError: From the probe; what was answered is kept.
        """
        self._allowed(purpose or Purpose(), overrides)
        seen = None if like is None else seen_in(like)
        gates, _ = self._gates(gates, embedder)
        flow = emission(self.task, self.plan, recipe, gates)
        fingerprint = self._fingerprint(recipe, gates)
        if not probe and not (self.run / "run.db").is_file():
            standing = Standing(budget=budget or Budget())
            made = forecast(flow, [self.engine], seen, standing=standing, level=level)
        else:
            with open_session(self.engine, self.run, "emit", fingerprint, budget, reuse=reuse, begin=False) as session:
                made = foresee(flow, session, rows=probe, like=seen, level=level)
        other = [] if like is None or probe else unlike(like, "emit", {"model": self.engine.model, **fingerprint})
        told = f"{like} had another {', '.join(other)}: the less alike they are, the less it tells"
        return replace(made, notes=(*made.notes, told)) if other else made

    def _licence(self) -> str:
        return inherited(self.engine.model, self.engine.licence, [self.task.licence])

    def _allowed(self, purpose: Purpose, overrides: Sequence[Override]) -> None:
        refuse(blocks({self._licence(): ()}, purpose, overrides=overrides), "rows may be emitted")

    def _gates(self, gates: Sequence[Gate] | None, embedder: Embedder | None) -> tuple[Sequence[Gate], Embedder | None]:
        """The gates of an emission, and the embedder to measure its rows with."""
        if gates is not None:
            return gates, embedder
        embedder = embedder or default_embedder()
        judge = agreement(self.task, self.plan, self.engine, embedder)
        shown = [{**demo.inputs, **demo.outputs} for demo in self.plan.demos]
        return default(self.task, judge, embedder=embedder, demos=shown), embedder

    def _fingerprint(self, recipe: Recipe, gates: Sequence[Gate]) -> dict[str, Any]:
        """All that an emission is a function of."""
        return {
            **self.task.fingerprint,
            "plan": self.plan.digest,
            "recipe": recipe.digest,
            "licence": self._licence(),
            **pins(gates),
        }

    def answer(
        self,
        rows: Any,
        *,
        run: Path | str | None = None,
        **settings: Any,
    ) -> Emitted:
        """Answer every row of the user's own input, in a run folder of its own; `stillroom.answer` says how.

        Args:
            run: The folder, for one input; `answers` in the program's run by default.
            rows, settings: As `stillroom.answer` takes them.

        Raises:
            BadInput, BudgetExceeded, EngineError, FingerprintChanged: As `stillroom.answer` does.
        """
        return answer(self.plan, rows, lm=self.engine, run=self.run / "answers" if run is None else run, **settings)


def compile_task(
    task: Task,
    *,
    lm: str | Engine,
    prompt_lm: str | Engine | None = None,
    run: Path | str | None = None,
    budget: Budget | None = None,
    settings: Settings | None = None,
    on_progress: Progress | None = None,
) -> Program:
    """Search prompts, demos, formats and decoding for `task`; keep the baseline unless a winner is established.

    Args:
        task: Signature, rows and metric.
        lm: An engine, or a name as `stillroom.engines.open_engine` takes it.
        prompt_lm: Writes the proposals, under the same budget; `lm` by default.
        run: Folder of the run; `runs/<task name>` by default. An interrupted compile goes on there.
        budget: Hard limits of the search.
        settings: How to search.
        on_progress: Called as the search goes on.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
    """
    engine = open_engine(lm) if isinstance(lm, str) else lm
    prompter = open_engine(prompt_lm) if isinstance(prompt_lm, str) else prompt_lm
    settings = settings or Settings()
    run = Path(run) if run is not None else Path("runs") / task.name
    fingerprint = {**task.fingerprint, "settings": digest(settings_value(settings))}
    if prompter is not None:
        fingerprint["prompt model"] = prompter.model
    with open_session(engine, run, "compile", fingerprint, budget) as session:
        subject = TaskSubject(task, session.engine, session.store, settings)
        found = search(subject, session, settings, session.beside(prompter) if prompter else None, on_progress)
        facts = facts_of(found)
        session.store.put_note("compile", "latest", facts)
    plan, baseline = keep(found, run)
    return Program(task, plan, baseline, engine, run, found.verdict, facts)


def load_program(task: Task, run: Path | str, lm: str | Engine) -> Program:
    """Open a compiled program from its run folder.

    Raises:
        BadConfig: If nothing was compiled there, or it was compiled for another model.
    """
    run = Path(run)
    if not (run / "plan.json").exists():
        raise BadConfig(f"a run folder must hold plan.json, got {str(run)!r}", mend="Run `stillroom compile` first.")
    plan, baseline = Plan.load(run / "plan.json"), Plan.load(run / "baseline.json")
    engine = open_engine(lm) if isinstance(lm, str) else lm
    if plan.model != engine.model:
        raise BadConfig(
            f"the program in {run} was compiled for {plan.model}, got {engine.model}",
            mend="Use the model it was compiled for, or compile again in a new --run folder.",
        )
    return Program(task, plan, baseline, engine, run)


def prove(
    task: Task,
    *,
    program: Program,
    students: Mapping[str, Student] | None = None,
    run: Path | str | None = None,
    budget: Budget | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Proof:
    """Score baseline, program and students on the test split, with paired intervals.

    Args:
        task: Whose test split is opened.
        program: The compiled program; its baseline is proved beside it.
        students: By the name they get in the table; each is compared with the first one.
        run: Folder of the run; the program's by default.
        budget: Limits of the phase.
        on_progress: Called with (systems done, systems, name of the next).
    """
    systems: list[System] = [PlanSystem("baseline", program.baseline, program.engine)]
    pairs: list[tuple[str, str]] = []
    # a kept baseline is one system, not two that tie
    if program.plan.digest != program.baseline.digest:
        systems.append(PlanSystem("compiled", program.plan, program.engine))
        pairs.append(("compiled", "baseline"))
    named = [student.named(name).system for name, student in (students or {}).items()]
    pairs += [(system.name, named[0].name) for system in named[1:]]
    # the student that is meant to take the teacher's place: the one after the seed-only student, if there is one
    pairs += [(named[min(1, len(named) - 1)].name, systems[-1].name)] if named else []
    return prove_systems(task, [*systems, *named], pairs, run or program.run, budget=budget, on_progress=on_progress)
