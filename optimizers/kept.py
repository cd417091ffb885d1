"""What is kept of a search for one plan: the plan, the baseline, the front, and what was found, for reports."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stillroom.programs import Plan

from .front import amount
from .race import Trial
from .search import Compiled
from .settings import COSTS

__all__ = ["facts_of", "keep"]


def keep(found: Compiled, run: Path) -> tuple[Plan, Plan]:
    """Save the announced plan, the baseline and the front of a search into its run folder; give the first two."""
    plan: Plan = replace(found.winner.program, notes=found.notes)
    baseline = _scored(found.baseline)
    plan.save(run / "plan.json")
    baseline.save(run / "baseline.json")
    for place, trial in enumerate(found.front):
        _scored(trial).save(run / "front" / f"{place}.json")
    return plan, baseline


def _scored(trial: Trial) -> Plan:
    """A trial's plan that notes what it scored."""
    plan: Plan = trial.candidate.program
    return replace(plan, notes={"search_score": round(trial.mean, 6), "search_rows": len(trial.outcomes)})


def facts_of(found: Compiled) -> dict[str, Any]:
    """What the search found, for reports."""
    evidence = found.evidence
    return {
        "established": found.established,
        "p": found.p,
        "verdict": found.verdict,
        "best": found.best.mean,
        "baseline": found.baseline.mean,
        "announced": found.announced.mean,
        "trials": len(found.trials),
        "ended": found.ended,
        "evidence": None if evidence is None else asdict(evidence),
        "front": [
            {
                "trial": trial.number,
                "score": trial.mean,
                "demos": sum(len(choice.demos) for choice in trial.candidate.choices.values()),
                **{cost: amount(trial, cost) for cost in COSTS},
            }
            for trial in found.front
        ],
    }
