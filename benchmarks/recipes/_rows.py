"""Real rows of presets, made by a local model of their sample sources, as the pages about them show."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from stillroom.engines import Engine
from stillroom.errors import BudgetExceeded
from stillroom.ledger import Budget
from stillroom.programs.published import preset, run_preset
from stillroom.rows import EmittedRow
from stillroom.store import Store
from stillroom.values import pretty, write_atomic

__all__ = ["FOLDER", "store_rows"]

FOLDER = Path(__file__).parents[1] / "results" / "recipes" / "rows"
KEPT = 6
"""Rejected rows that are kept to be shown."""


def store_rows(
    name: str, engine: Engine, rows: int, run: Path, into: Path = FOLDER, *, minutes: float | None = None
) -> dict[str, Any]:
    """Run a preset for real on its samples, and keep what came of it.

    Args:
        name: Of the preset.
        engine: The teacher, which has all roles.
        rows: Accepted rows wanted.
        run: The run folder: a run that was stopped goes on there.
        into: Where the record is kept, as NAME.json.
        minutes: The most that it may take, over all its sessions; what was made by then is kept.
    """
    recipe, ended, funnel = preset(name), "", []
    try:
        emitted = run_preset(recipe, run, lm=engine, samples=True, rows=rows, budget=Budget(minutes=minutes))
        funnel = [list(each) for each in emitted.funnel]
    except BudgetExceeded as error:
        ended = str(error)
    with Store(run) as store:
        spent, made = store.spent("emit"), list(store.rows())
    accepted = [row for row in made if row.status == "accepted"]
    others = [row for row in made if row.status != "accepted"]
    record = {
        "recipe": recipe.name,
        "model": engine.model,
        "wanted": rows,
        "ended": ended,
        "rows": [_shortened(row, bool(recipe.gated)) for row in accepted],
        "rejects": dict(Counter(row.gate for row in others)),
        "rejected": [_shortened(row, bool(recipe.gated)) for row in others[:KEPT]],
        # where the time was up, only what was stopped is known
        "funnel": funnel or [[gate, None, count] for gate, count in Counter(row.gate for row in others).items()],
        "cost": {
            "calls": spent.calls,
            "tokens_in": spent.tokens_in,
            "tokens_out": spent.tokens_out,
            "calls_per_row": round(spent.calls / len(accepted), 2) if accepted else None,
        },
        "seconds": round(spent.seconds, 1),
    }
    into.mkdir(parents=True, exist_ok=True)
    write_atomic(into / f"{recipe.name}.json", pretty(record))
    return record


def _shortened(row: EmittedRow, gated: bool) -> dict[str, Any]:
    """A row with what its passport says of its checks; the rest of it, and what gated rows say, stand in the run alone."""
    passport = row.passport
    return {
        "id": row.id,
        "status": row.status,
        "values": {} if gated else dict(row.values),
        "gate": row.gate,
        "why": row.why,
        "passport": {
            "model": passport.model,
            "licence": passport.licence,
            "calls": passport.calls,
            "tokens": passport.tokens,
            "verdicts": [{name: each[name] for name in ("gate", "by", "passed")} for each in passport.verdicts],
        },
    }
