"""Whether an instruction that a local model writes for a text leads back to that text, among fifty."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from benchmarks._result import Goal
from stillroom.evals.copies.nearest import closest
from stillroom.evals.embedding import default_embedder
from stillroom.programs.methods._grounding import plain_header
from stillroom.programs.methods._texts import sections
from stillroom.programs.published import run_preset, sample

from ._check import Check, Measured, Models

__all__ = ["CHECKS", "passages"]

DOCS = Path(__file__).parents[2] / "docs"
N = 50


def passages(most: int = N) -> list[dict[str, str]]:
    """Documents of one section each: those of the sample pages, then of this project's own pages."""
    pages = [json.loads(line)["text"] for line in sample("pages.jsonl").read_text(encoding="utf-8").splitlines()]
    pages += [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md")) if path.name != "ARCHITECTURE.md"]
    found = [
        {"text": f"## {each.header}\n\n{each.text}"}
        for page in pages
        for each in sections(page)
        if 600 <= len(each.text) <= 3000 and not plain_header(each.header)
    ]
    return found[:most]


def leads_back(models: Models, name: str = "qwen", most: int = N) -> Measured:
    """Each instruction's nearest text by MiniLM, and that of instructions dealt to other texts."""
    emitted = run_preset(
        "humpback", models.run, lm=models(name), given={"texts": passages(most)}, samples=True, rows=most,
        params={"judgements": 0, "alike": 1.0},
    )  # fmt: skip
    rows = list(emitted.rows)
    embedder = default_embedder()
    texts = embedder.embed([row.values["response"] for row in rows])
    places, _ = closest(embedder.embed([row.values["instruction"] for row in rows]), texts)
    dealt = Random(0).sample(range(len(rows)), len(rows))
    own = sum(place == at for at, place in enumerate(places)) / max(1, len(rows))
    other = sum(place == dealt[at] for at, place in enumerate(places)) / max(1, len(rows))
    figures = {
        "rows": len(rows),
        "own_text_first": round(own, 3),
        "dealt_text_first": round(other, 3),
        "examples": [row.values["instruction"] for row in rows[:5]],
    }
    also = (Goal("share of shuffled pairs", other, 0.1, "<="), Goal("rows", len(rows), most))
    return Measured(figures, own, 0.6, n=len(rows), also=also)


CHECKS = [
    Check("2.10 M1", "the instruction ranks its own text first among 50 in >= 60%, shuffled pairs <= 10%", leads_back, "qwen"),
]  # fmt: skip
