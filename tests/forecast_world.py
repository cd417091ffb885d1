"""Flows that are forecast: rows that pass by chance, and what is looked at beforehand."""

from __future__ import annotations

import json
from pathlib import Path

from flow_world import Model, flow, plan, said
from scripted_world import chance

from stillroom.engines import open_session
from stillroom.evals import Verdict
from stillroom.evals.gates import Agreement, Schema
from stillroom.ledger import Budget
from stillroom.programs import blind
from stillroom.programs.flow import Ask, Flow, Inputs
from stillroom.programs.forecast import (
    Forecast,
    foresee,
)
from stillroom.store import Store

SHARES = {"x": 0.8, "y": 0.4}


class Coin:
    """A gate that lets rows of each cell pass by chance: a fixed function of what was written."""

    name, on_fail, by = "coin", "rejected", "verifier"

    def __init__(self, shares=SHARES, salt: int = 0) -> None:
        self.shares, self.salt = shares, salt

    def check(self, batch):
        return [Verdict.ok() if self._lucky(each) else Verdict.fail("bad luck") for each in batch]

    def keep(self, passed):
        pass

    def _lucky(self, candidate) -> bool:
        cell = candidate.place.split("/")[0]
        return chance(candidate.text, self.salt) < self.shares.get(cell, 1.0)


def judged(engine: Model, quotas=None, *, shares=SHARES, salt=0, **settings) -> Flow:
    """Write, let chance decide, then let a model that did not see the wish read it."""
    reader = blind(plan("a", "verdict", name="Judge", temperature=0.0), engine, lambda wished, outputs: Verdict.ok())
    parts = (Ask("write", plan()), Schema(plan().shape), Coin(shares, salt), Agreement(reader))
    return flow(quotas or {"x": 24, "y": 12}, parts, **{"attempts": 6, **settings})


def says(request):
    """Answers of writer and reader."""
    if "verdict" in str(request.system):
        return json.dumps({"verdict": "yes"})
    return json.dumps({"a": f"re {said(request)} {request.config.seed}"})


def model(**settings) -> Model:
    return Model(says, **settings)


def look(folder: Path, made: Flow, engine: Model, budget: Budget | None = None, **how) -> Forecast:
    """Forecast in the run's folder without beginning it."""
    with open_session(engine, folder, "emit", {"flow": made.key}, budget, begin=False) as session:
        return foresee(made, session, **how)


def spent(folder: Path):
    with Store(folder) as store:
        return store.spent("emit")


def source(text: str) -> Inputs:
    return Inputs([{"q": text}] * 4, plan().shape.inputs, plan().shape.outputs)
