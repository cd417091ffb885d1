"""Compile one call of a recipe: the plan that its rows are best made with, by the recipe's own gates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stillroom.engines import Engine, open_engine, open_session
from stillroom.errors import BadConfig
from stillroom.ledger import Budget
from stillroom.programs import Plan
from stillroom.programs.forecast import Forecast
from stillroom.programs.published import Order, Preset
from stillroom.programs.published.asked import asked_calls
from stillroom.programs.published.order import Ready
from stillroom.values import digest

from .ahead import foresee_search
from .kept import facts_of, keep
from .recipe_subject import RecipeSubject
from .search import Progress, search
from .settings import Settings, settings_value

__all__ = ["ROWS", "CompiledCall", "compile_call", "foresee_call"]

ROWS = 160
"""Wanted rows that a search has where nobody says how many: 64 to score candidates on, the others to learn from and for the end."""


@dataclass(frozen=True)
class CompiledCall:
    """What was found for one call.

    Attributes:
        recipe: Name of the preset.
        call: Which of its calls.
        plan: The plan to run it with; the baseline where nothing better was established.
        baseline: The call as the recipe asks it.
        run: The run folder; `plan.json` and `run.db` are in it.
        verdict: What the search established, in words.
        facts: The same in figures.
    """

    recipe: str
    call: str
    plan: Plan
    baseline: Plan
    run: Path
    verdict: str
    facts: Mapping[str, Any]


def compile_call(
    what: Order | Preset | str,
    call: str = "",
    *,
    prompt_lm: str | Engine | None = None,
    run: Path | str | None = None,
    budget: Budget | None = None,
    settings: Settings | None = None,
    on_progress: Progress | None = None,
    **ordered: Any,
) -> CompiledCall:
    """Search the plan of one call of a recipe; keep the recipe's own unless a better one is established.

    Args:
        what, ordered: As `run_preset` takes them. Rows are wanted rows to learn from, to score on and to confirm with,
            `ROWS` where nobody says how many; they are drawn with the settings' seed.
        call: Name of the call; the first one that the recipe asks where "".
        prompt_lm: Writes the proposals, under the same budget; the teacher by default.
        run: Folder of the run; `runs/<recipe>-<call>` by default. An interrupted search goes on there.
        budget: Hard limits of the search.
        settings: How to search. A call that samples keeps its temperature, unless the settings name others: what is
            written greedily may pass the gates and still be the same each time.
        on_progress: Called as the search goes on.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
    """
    with _opened(Order.of(what, **ordered), call, settings or Settings()) as (ready, call, settings):
        job = ready.job
        folder = Path(run) if run is not None else Path("runs") / f"{job.preset.name}-{call.replace(' ', '-')}"
        prompter = open_engine(prompt_lm) if isinstance(prompt_lm, str) else prompt_lm
        fingerprint: dict[str, Any] = {
            "recipe": job.digest,
            "call": call,
            "rows": job.rows,
            "settings": digest(settings_value(settings)),
            **({} if prompter is None else {"prompt model": prompter.model}),
        }
        with open_session(ready.teacher, folder, "compile", fingerprint, budget) as session:
            subject = RecipeSubject(job, call, session, settings, ready.others)
            writes = session.beside(prompter) if prompter else None
            found = search(subject, session, settings, writes, on_progress)
            facts = facts_of(found)
            session.store.put_note("compile", "latest", facts)
        plan, baseline = keep(found, folder)
    return CompiledCall(job.preset.name, call, plan, baseline, folder, found.verdict, facts)


def foresee_call(
    what: Order | Preset | str,
    call: str = "",
    *,
    prompt_lm: Engine | None = None,
    run: Path | str = "",
    budget: Budget | None = None,
    settings: Settings | None = None,
    **ordered: Any,
) -> Forecast:
    """Say what `compile_call` may take at the least and at the most. Nothing is asked.

    Args:
        run: The run folder, where a search may have begun.
        what, call, prompt_lm, budget, settings, ordered: As `compile_call` takes them.

    Raises:
        BadInput: As `compile_call` does.
    """
    with (
        _opened(Order.of(what, **ordered), call, settings or Settings()) as (ready, call, settings),
        TemporaryDirectory(prefix="stillroom-") as folder,
        open_session(ready.teacher, folder, "compile", {}) as session,
    ):
        subject = RecipeSubject(ready.job, call, session, settings, ready.others)
        engines = [ready.teacher, *ready.others]
        return foresee_search(subject, engines, settings, writer=prompt_lm, budget=budget, run=run)


@contextmanager
def _opened(order: Order, call: str, settings: Settings) -> Iterator[tuple[Ready, str, Settings]]:
    """The recipe with its engines open, which of its calls is searched, and how."""
    with replace(order, rows=order.rows or ROWS, seed=settings.seed).opened() as ready:
        job = ready.job
        asked = asked_calls(job)
        if not asked:
            raise BadConfig(f"{job.preset.name} asks no model, so that there is nothing to compile")
        call = call or asked[0]
        if call in job.method.calls and tuple(settings.temperatures) == (0.0,):
            settings = replace(settings, temperatures=(job.plan(call).decoding.temperature,))
        yield ready, call, settings
