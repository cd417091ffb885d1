"""Emit rows: fill every quota of a recipe with texts that passed every gate, keep every reject.

The emitted set is a function of task, plan, recipe, gates and engine digest: a
run that was killed goes on from its recorded calls and ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stillroom.engines import Session
from stillroom.evals.gates import Gate
from stillroom.licences import inherited
from stillroom.signatures import Task

from .flow import Ask, Emitted, Flow, Quotas, State, Wanted, run_flow
from .plan import Plan
from .recipes import Recipe
from .write import shows_demos, writer, writing_inputs

__all__ = ["Emitted", "emission", "emit_rows"]


def emit_rows(
    task: Task,
    program: Plan,
    recipe: Recipe,
    gates: Sequence[Gate],
    session: Session,
    *,
    retry: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Emitted:
    """Run a recipe to its quotas, or until its attempts are used up.

    Args:
        task: Whose rows are wanted.
        program: The compiled program; its instruction guides the writing.
        recipe: What is wanted.
        gates: In their order; their judges' calls go through the session.
        session: Store, ledger and engine.
        retry: Whether rows lost to faults are tried once more, where their quotas are not full.
        on_progress: Called with (accepted, wanted) as rows are committed.

    Raises:
        BudgetExceeded: When the budget ends first; what was emitted stays and a resume goes on.
        EngineError: When the engine fails for every row; likewise. A row that fails alone is quarantined.
    """
    flow = emission(task, program, recipe, gates)
    licence = inherited(program.model, session.engine.licence, [task.licence])
    return run_flow(flow, session, licence=licence, retry=retry, on_progress=on_progress)


def emission(task: Task, program: Plan, recipe: Recipe, gates: Sequence[Gate]) -> Flow:
    """The flow of a recipe: draw what is wanted, write a text for it, let it pass the gates."""
    plan = writer(task, program, recipe)
    shown = shows_demos(plan, task, recipe)

    def draw(cell: str, place: int) -> Wanted:
        target = recipe.draw(task, cell, place, recipe.seed)
        asked = {"outputs": dict(target.outputs), "style": dict(target.style)}
        return Wanted(cell, place, writing_inputs(target), target.outputs, asked)

    def vary(wanted: Wanted, state: State) -> Plan:
        # another try sees other demos
        return shown(wanted.cell, wanted.slot // recipe.together + 1000 * wanted.attempt)

    return Flow(
        recipe.name,
        Quotas(recipe.quotas(task), draw, recipe.together),
        (Ask("write", plan, vary=vary), *gates),
        emits=tuple(each.name for each in task.shape.fields),
        text=tuple(each.name for each in task.shape.inputs),
        recipe=recipe.digest,
        attempts=recipe.attempts,
        seed=recipe.seed,
    )
