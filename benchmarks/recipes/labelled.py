"""What rows written for a small labelled set are worth to a student, and how far they can be told from real ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stillroom.evals import EmbeddingClassifier
from stillroom.evals.diversity import realism
from stillroom.evals.embedding import default_embedder
from stillroom.evals.stats import macro_f1
from stillroom.programs.published import run_preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

DATA = Path(__file__).parents[3] / "shared" / "data" / "banking77"
CLASSES, SEEDS, WRITTEN = 10, 8, 20
"""Classes of the set, labelled rows of each, and rows wanted of each."""
ABOUT = "Name the intent of a bank customer's message."


def worth(models: Models) -> Measured:
    """Macro-F1 of a head on rows held out, trained on the labelled rows with and without the written ones.

    Held out are the set's test rows of the classes and its training rows that are not among the labelled ones: 320
    rather than 200 of them. What the test rows alone say is kept beside it.
    """
    seed, held_out, test = _rows()
    written = _written(models, seed, held_out)
    heads = {"seed": _fitted(seed), "seed + synthetic": _fitted([*seed, *written])}
    found, alone = (_gain(heads, rows) for rows in (held_out, held_out[:test]))
    figures = {"labelled": len(seed), "written": len(written), **found, "test rows alone": alone}
    return Measured(figures, found["interval"][0], -0.01, n=len(held_out))


def _gain(heads: dict[str, Any], rows: list[dict[str, str]]) -> dict[str, Any]:
    gold, texts = [row["label"] for row in rows], [row["text"] for row in rows]
    said = {name: head.predict(texts).tolist() for name, head in heads.items()}
    f1 = {name: macro_f1(gold, got) for name, got in said.items()}
    low, high = _interval(gold, said["seed"], said["seed + synthetic"])
    return {
        "rows": len(rows), "macro_f1": {name: round(value, 4) for name, value in f1.items()},
        "gain": round(f1["seed + synthetic"] - f1["seed"], 4), "interval": [round(low, 4), round(high, 4)],
    }  # fmt: skip


def told_apart(models: Models) -> Measured:
    """AUROC of a classifier of real and written texts; it is printed, whatever it is: 1.0 means that style leaks."""
    seed, held_out, test = _rows()
    written = [row["text"] for row in _written(models, seed, held_out)]
    embedder = default_embedder()
    real = [row["text"] for row in held_out[:test]][: len(written)]
    found = realism(embedder.embed(written[: len(real)]), embedder.embed(real))
    figures = {"real": len(real), "written": len(written), "auroc": str(found), "style_leaks": bool(found.mean >= 0.99)}
    return Measured(figures, found.mean, 1.0, "<=", n=2 * len(real))


def _rows() -> tuple[list[dict[str, str]], list[dict[str, str]], int]:
    """The labelled rows of the first classes in alphabetical order; all others, test rows first; how many those are."""
    read = {
        name: [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("train", "test")
    }
    names = sorted({row["label"] for row in read["train"]})[:CLASSES]
    of = {part: [_plain(row) for row in rows if row["label"] in names] for part, rows in read.items()}
    seed, left, seen = list[dict[str, str]](), list[dict[str, str]](), Counter[str]()
    for row in of["train"]:
        seen[row["label"]] += 1
        (seed if seen[row["label"]] <= SEEDS else left).append(row)
    return sorted(seed, key=lambda row: names.index(row["label"])), [*of["test"], *left], len(of["test"])


def _plain(row: dict[str, Any]) -> dict[str, str]:
    return {"text": row["text"], "label": row["label"]}


def _written(models: Models, seed: list[dict[str, str]], held_out: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows of the preset; both checks have the same ones where they share their run."""
    emitted = run_preset(
        "labelled", models.run / "rows", lm=models("qwen"), given={"labelled": seed, "held_out": held_out},
        rows=CLASSES * WRITTEN, params={"about": ABOUT},
    )  # fmt: skip
    return [{"text": str(row.values["text"]), "label": str(row.values["label"])} for row in emitted.rows]


def _fitted(rows: list[dict[str, str]]) -> Any:
    return EmbeddingClassifier().fit([row["text"] for row in rows], [row["label"] for row in rows])


def _interval(gold: list[str], before: list[str], after: list[str], n: int = 1000) -> tuple[float, float]:
    """The 95 % interval of the gain in macro-F1, by a paired bootstrap over the test rows."""
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(n):
        at = rng.integers(0, len(gold), len(gold))
        drawn = [gold[i] for i in at]
        gains.append(macro_f1(drawn, [after[i] for i in at]) - macro_f1(drawn, [before[i] for i in at]))
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


CHECKS = [
    Check(
        "2.2 M1", "banking77, 10 intents, 8 rows each: written rows do not lower a student's macro-F1", worth, "qwen"
    ),
    Check("2.2 M2", "how far written rows can be told from real ones is printed", told_apart, "qwen"),
]
