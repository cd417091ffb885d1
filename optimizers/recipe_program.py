"""Compile one call of a recipe: the plan that its rows are best made with, by the recipe's own gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stillroom.engines import Engine, open_engine, open_session
from stillroom.errors import BadConfig
from stillroom.ledger import Budget
from stillroom.programs import Plan
from stillroom.programs.published import Preset
from stillroom.programs.published.asked import asked_calls
from stillroom.programs.published.run import open_job
from stillroom.values import digest

from .kept import facts_of, keep
from .recipe_subject import RecipeSubject
from .search import Progress, search
from .settings import Settings, settings_value

__all__ = ["ROWS", "CompiledCall", "compile_call"]

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
    preset: Preset | str,
    call: str = "",
    *,
    lm: str | Engine,
    roles: Mapping[str, str | Engine] | None = None,
    given: Mapping[str, Any] | None = None,
    samples: bool = False,
    rows: int | None = None,
    params: Mapping[str, Any] | None = None,
    plans: Mapping[str, Plan] | None = None,
    prompt_lm: str | Engine | None = None,
    run: Path | str | None = None,
    budget: Budget | None = None,
    settings: Settings | None = None,
    on_progress: Progress | None = None,
) -> CompiledCall:
    """Search the plan of one call of a recipe; keep the recipe's own unless a better one is established.

    Args:
        preset, lm, roles, given, samples, params, plans: As `run_preset` takes them; rows are drawn with the settings' seed.
        call: Name of the call; the first one that the recipe asks where "".
        rows: Wanted rows to learn from, to score on and to confirm with; `ROWS` where None.
        prompt_lm: Writes the proposals, under the same budget; `lm` by default.
        run: Folder of the run; `runs/<recipe>-<call>` by default. An interrupted search goes on there.
        budget: Hard limits of the search.
        settings: How to search. A call that samples keeps its temperature, unless the settings name others: what is
            written greedily may pass the gates and still be the same each time.
        on_progress: Called as the search goes on.

    Raises:
        BadInput: Before any call, for what cannot work.
        BudgetExceeded, EngineError: Finished calls are kept, and a second call goes on.
    """
    settings = settings or Settings()
    drawn = {"given": given, "samples": samples, "rows": rows or ROWS, "params": params, "plans": plans}
    with open_job(preset, lm, roles, **drawn, seed=settings.seed) as ready:
        job = ready.job
        asked = asked_calls(job)
        if not asked:
            raise BadConfig(f"{job.preset.name} asks no model, so that there is nothing to compile")
        call = call or asked[0]
        folder = Path(run) if run is not None else Path("runs") / f"{job.preset.name}-{call.replace(' ', '-')}"
        prompter = open_engine(prompt_lm) if isinstance(prompt_lm, str) else prompt_lm
        if call in job.method.calls and tuple(settings.temperatures) == (0.0,):
            settings = replace(settings, temperatures=(job.plan(call).decoding.temperature,))
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
