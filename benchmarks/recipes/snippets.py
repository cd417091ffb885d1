"""What the snippets method's calls give with a local model: problems with solutions, and what they take of the seed."""

from __future__ import annotations

import itertools
from dataclasses import replace

from stillroom.programs.flow import Flow, run_flow
from stillroom.programs.methods.snippets import identifiers, source
from stillroom.programs.published import Once, prepare

from ._check import Check, Measured, Models

__all__ = ["CHECKS", "ground"]

SEEDS, TOKENS = 20, 700
ASKED = "propose and solve"


def ground(models: Models, name: str = "qwen") -> Measured:
    """Twenty seeds of our own code, asked once each: how many answers are whole problems with solutions."""
    with models.session(name) as session:
        teacher = {"teacher": session.engine}
        plan = prepare("oss-instruct", teacher, samples=True).plan(ASKED)
        # an answer that rambles on is cut off, and counts as not whole, before it costs the whole time
        plans = {ASKED: replace(plan, decoding=replace(plan.decoding, max_tokens=TOKENS))}
        job = prepare("oss-instruct", teacher, samples=True, rows=SEEDS, plans=plans)
        wanted = list(itertools.islice(source(job).wanted(""), SEEDS))
        flow = Flow("2.4 M1", Once(lambda: wanted, SEEDS), job.method.flow(job).parts[:3], recipe=job.digest)
        emitted = run_flow(flow, session)
    rows = list(emitted.rows)
    shared = [len(identifiers(row.values["seed"]) & identifiers(row.values["problem"])) for row in rows]
    figures = {
        "seeds": SEEDS,
        "whole": len(rows),
        "share_with_2_identifiers": sum(count >= 2 for count in shared) / len(rows) if rows else None,
        "stopped": {name: stopped for name, _, stopped in emitted.funnel if stopped},
        "examples": [row.values["problem"][:300] for row in rows[:3]],
    }
    return Measured(figures, len(rows) / SEEDS, 0.6, n=SEEDS)


CHECKS = [Check("2.4 M1", "of 20 seeds at least 60% give a problem with its solution", ground, "qwen")]
