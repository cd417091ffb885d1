"""How far operations of evolution change an instruction: words added in depth, and distance in breadth."""

from __future__ import annotations

from statistics import mean

from benchmarks._result import Goal
from stillroom.evals.copies.duplicates import rouge_l
from stillroom.evals.copies.novelty import rouge_words
from stillroom.programs.flow import Flow, Quotas, Wanted, run_flow
from stillroom.programs.methods.evolve import TABLES
from stillroom.programs.published import prepare, sample
from stillroom.signatures import read_rows

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

PARENTS = 30


def distance(models: Models) -> Measured:
    """Thirty parents, each evolved once in depth (the five operations in turn) and once in breadth."""
    files = ("tasks.jsonl", "domain_tasks.jsonl")
    parents = [str(row["instruction"]) for file in files for _, row in read_rows(sample(file))][:PARENTS]
    deep = [each for each in TABLES["general"] if each.kind == "depth"]
    broad = next(each for each in TABLES["general"] if each.kind == "breadth")
    asked = [(parent, deep[at % len(deep)]) for at, parent in enumerate(parents)]
    asked += [(parent, broad) for parent in parents]
    wanted = [
        Wanted("children", at, {"instruction": parent, "op": operation.text, "kind": operation.kind})
        for at, (parent, operation) in enumerate(asked)
    ]
    with models.session("qwen") as session:
        job = prepare("wizardlm", {"teacher": session.engine}, samples=True)
        quotas = Quotas({"children": len(wanted)}, lambda cell, slot: wanted[slot])
        emits = ("instruction", "kind", "evolved")
        emitted = run_flow(Flow("check", quotas, (job.ask("evolve"),), emits=emits, seed=job.seed), session)
    pairs = {
        kind: [(row.values["instruction"], row.values["evolved"]) for row in emitted.rows if row.values["kind"] == kind]
        for kind in ("depth", "breadth")
    }
    added = [len(child.split()) - len(parent.split()) for parent, child in pairs["depth"]]
    near = [rouge_l(rouge_words(parent), rouge_words(child)) for parent, child in pairs["breadth"]]
    far = sum(each <= 0.7 for each in near) / len(near) if near else None
    figures = {
        "children": {kind: len(each) for kind, each in pairs.items()},
        "words_added": round(mean(added), 1) if added else None,
        "rouge_l_breadth": {"mean": round(mean(near), 3), "max": round(max(near), 3)} if near else None,
        "breadth_at_most_0.7": far,
        "examples": [child for each in pairs.values() for _, child in each[:2]],
    }
    value = mean(added) if added else None
    also = (Goal("words added", value, 40, "<="), Goal("breadth children at ROUGE-L <= 0.7", far, 1.0))
    return Measured(figures, value, 5, n=len(added) + len(near), also=also)


CHECKS = [
    Check("2.3 M1", "Qwen, 30 parents: in depth 5 to 40 words are added; in breadth ROUGE-L is 0.7 at most", distance, "qwen")
]  # fmt: skip
