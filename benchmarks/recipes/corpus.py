"""Rephrased texts and the filter of quality: do rephrases mean the same, do styles differ, does a forest tell good texts?"""

from __future__ import annotations

import ast
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks._result import Goal
from stillroom.evals.embedding import default_embedder
from stillroom.evals.filters.readability import readability
from stillroom.evals.quality import QualityScore
from stillroom.programs.flow import Flow, Quotas, Wanted, run_flow
from stillroom.programs.methods._rephrased import kept_facts, stripped
from stillroom.programs.methods._texts import chunks
from stillroom.programs.published import prepare

from ._check import Check, Measured, Models
from .ground import passages

__all__ = ["CHECKS"]

SOURCES = Path(__file__).parents[2]
N = 20
WIDTH = 120  # tokens of a chunk: longer ones take the time that a check has


def rephrased(models: Models, name: str = "qwen", most: int = N) -> Measured:
    """Twenty chunks in three styles each: cosine with their own source and with another, and their grade."""
    with models.session(name) as session:
        job = prepare("wrap", {"teacher": session.engine}, samples=True)
        parts = [chunks(each["text"].partition("\n\n")[2], WIDTH)[0].text for each in passages(most)]
        styles = {each: job.params.styles[each] for each in ("easy", "medium", "hard")}
        wanted = [
            Wanted("chunks", at, {"passage": part, "style": style, "name": each})
            for at, (part, (each, style)) in enumerate((part, pair) for part in parts for pair in styles.items())
        ]
        source = Quotas({"chunks": len(wanted)}, lambda cell, slot: wanted[slot])
        flow = Flow("check", source, (job.ask("rephrase"),), emits=("passage", "name", "text"), seed=job.seed)
        rows = [dict(row.values) for row in run_flow(flow, session).rows]
    rows = [{**row, "text": stripped(row["text"])} for row in rows]
    embedder = default_embedder()
    known = embedder.embed([row["passage"] for row in rows])
    said = embedder.embed([row["text"] for row in rows])
    own = float((known * said).sum(axis=1).mean())
    texts = [row["passage"] for row in rows]
    # every pairing of a rephrase with a chunk that it was not made of
    apart = np.array([[mine != theirs for theirs in texts] for mine in texts])
    shuffled = float((said @ known.T)[apart].mean())
    grades = {each: _grade([row["text"] for row in rows if row["name"] == each]) for each in styles}
    figures: dict[str, Any] = {
        "rephrased": len(rows),
        "cosine_own": round(own, 3),
        "cosine_other": round(shuffled, 3),
        "grades": {each: round(grade, 2) for each, grade in grades.items()},
        "kept_facts": round(fmean(kept_facts(row["passage"], row["text"]) for row in rows), 3) if rows else None,
        "examples": rows[:3],
    }
    also = (
        Goal("own minus shuffled", own - shuffled, 0.3),
        Goal("medium above easy in grade", float(grades["medium"] > grades["easy"]), 1.0),
        Goal("hard above medium in grade", float(grades["hard"] > grades["medium"]), 1.0),
    )
    return Measured(figures, own, 0.7, n=len(rows), also=also)


def _grade(texts: list[str]) -> float:
    found = [each.grade for text in texts if (each := readability(text)) is not None]
    return fmean(found) if found else 0.0


def forest(models: Models) -> Measured:
    """400 labelled texts of two planted classes, scored in five folds."""
    texts, labels = planted(400, Random(11))
    score = QualityScore().fit(texts, labels)
    kept, precision = score.kept(0.5)
    harder = QualityScore().fit(*planted(400, Random(11), renamed=False))
    figures = {
        "texts": len(texts),
        "auroc": [round(each, 3) for each in (score.auroc_.low, score.auroc_.mean, score.auroc_.high)],
        "kept": round(kept, 3),
        "precision_at_0.5": precision,
        "brier": round(score.brier_, 3),
        "auroc_where_names_stay": round(harder.auroc_.mean, 3),
    }
    return Measured(figures, score.auroc_.mean, 0.8, n=len(texts))


def planted(count: int, rng: Random, *, renamed: bool = True) -> tuple[list[str], list[int]]:
    """Functions of this project, half of them spoilt for a learner: no docstring, and where `renamed` names that say nothing.

    No function stands in both classes, so that it is told by what teaches and not by what it is about.
    """
    found = [
        each
        for path in sorted(each for folder in ("evals", "programs") for each in (SOURCES / folder).rglob("*.py"))
        for each in _explained(path)
    ]
    chosen = rng.sample(found, min(count, len(found)))
    return [
        ast.unparse(each) if at % 2 else ast.unparse(_Bare(renamed).visit(each)) for at, each in enumerate(chosen)
    ], [at % 2 for at in range(len(chosen))]


def _explained(path: Path) -> list[ast.FunctionDef]:
    """Functions with a docstring, of a size that the embedder reads whole."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and ast.get_docstring(each)]
    return [each for each in functions if 4 <= len(ast.unparse(each).splitlines()) <= 25]


class _Bare(ast.NodeTransformer):
    """Takes docstrings away, and may number all names."""

    def __init__(self, renamed: bool) -> None:
        self._renamed = renamed
        self._names: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return name if not self._renamed else self._names.setdefault(name, f"x{len(self._names)}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """The function under another name, without its docstring."""
        node.name, node.body = self._name(node.name), node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name by number."""
        node.id = self._name(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """An argument by number, without its type."""
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """An attribute by number."""
        node.attr = self._name(node.attr)
        return self.generic_visit(node)


CHECKS = [
    Check("2.11 M1", "WRAP, 20 chunks: rephrases mean what their source means, and grades rise from easy to hard", rephrased, "qwen"),
    Check("2.11 M2", "a forest on embeddings tells two planted classes of quality apart", forest),
]  # fmt: skip
