"""Whether an archive covers more of its grid than as many independent samples."""

from __future__ import annotations

from statistics import quantiles
from typing import Any

from benchmarks._result import Goal
from stillroom.programs.flow import Emitted, Flow, Quotas, Wanted, run_flow
from stillroom.programs.methods._elites import Archive, child_of
from stillroom.programs.methods.archive import crossed, flow, measured
from stillroom.programs.published import Job, prepare, preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

STEPS, CELLS = 60, 16


def coverage(models: Models) -> Measured:
    """Sixty steps of QDAIF on stories, and sixty stories from the same prompt with seeds alone as examples.

    Bins are cut at the quartiles of what the same model says of the seeds: where else its probabilities lie is not
    known before, and neither of the two is favoured. The first children of the archive come of seeds alone, as many
    as it has cells: the 50 of 2,000 that the paper's code begins with would leave ten steps to evolve.
    """
    with models.session("smol", folder="seeds") as session:
        engine = session.engine
        edges = _quartiles(_job(engine, {}), session)
    features = {
        name: {"question": each["question"], "edges": edges[name]}
        for name, each in preset("qdaif").params["features"].items()
    }
    with models.session("smol", folder="archive") as session:
        job = _job(session.engine, {"features": features, "init": CELLS, "tries": 1, "batch": 4})
        evolved = run_flow(flow(job), session)
    with models.session("smol", folder="samples") as session:
        job = _job(session.engine, {"features": features})
        seeds = [str(row["text"]) for row in job.source("seeds")]
        empty = Archive(job.params.sizes)
        quotas = Quotas({"samples": STEPS}, lambda cell, slot: Wanted(cell, slot, crossed(job, empty, seeds, slot, 0)))
        emits = ("text", "cell", "fitness", "rival", "won", "response")
        sampled = run_flow(Flow("check", quotas, tuple(measured(job)[:-1]), emits=emits, seed=job.seed), session)
    archives = {"archive": _filled(evolved, job), "samples": _filled(sampled, job)}
    figures: dict[str, Any] = {
        name: {"coverage": round(each.coverage, 4), "qd_score": round(each.qd_score, 3)}
        for name, each in archives.items()
    }
    figures |= {"steps": {"archive": evolved.written, "samples": sampled.written}, "edges": edges}
    gain = archives["archive"].coverage - archives["samples"].coverage
    above = Goal("cells more than independent samples", round(gain * CELLS), 1.0)
    return Measured(figures, archives["archive"].coverage, 0.5, n=STEPS, also=(above,))


def _job(engine: Any, params: dict[str, Any]) -> Job[Any]:
    return prepare("qdaif", {"teacher": engine}, samples=True, rows=STEPS, params=params)


def _filled(made: Emitted, job: Job[Any]) -> Archive:
    found = Archive(job.params.sizes)
    for row in made.rows:
        found.place(child_of(row.values))
    return found


def _quartiles(job: Job[Any], session: Any) -> dict[str, list[float]]:
    """For each feature the quartiles of P(yes) over the seeds."""
    texts = [str(row["text"]) for row in job.source("seeds")]
    found = {}
    for name, each in job.params.features.items():
        ask = job.ask("measure", shares="p")
        wanted = [Wanted(name, at, {"text": text, "question": each.question}) for at, text in enumerate(texts)]
        quotas = Quotas({name: len(texts)}, lambda cell, slot, wanted=wanted: wanted[slot])  # type: ignore[misc]
        made = run_flow(Flow(name, quotas, (ask,), emits=("p",)), session)
        found[name] = [round(cut, 6) for cut in quantiles([row.values["p"]["yes"] for row in made.rows], n=4)]
    return found


CHECKS = [
    Check(
        "2.18 M1", "Smol stories, 2 features of 4 bins, 60 steps: coverage, and independent samples'", coverage, "smol"
    )
]
