"""Verifiers, metrics, statistics, duplicates, leakage and gates."""

from __future__ import annotations

from .classifier import EmbeddingClassifier
from .duplicates import Embeds, Match, NearDuplicates, folded, rouge_l
from .embedding import Embedder, default_embedder
from .leakage import Leakage
from .verdict import Metric, Verdict, Verifier, mean, named
from .verifiers import evaluate, exact, expression, fields, normalised, numeric

__all__ = [
    "Embedder",
    "Embeds",
    "EmbeddingClassifier",
    "Leakage",
    "Match",
    "Metric",
    "NearDuplicates",
    "Verdict",
    "Verifier",
    "default_embedder",
    "evaluate",
    "exact",
    "expression",
    "fields",
    "folded",
    "mean",
    "named",
    "normalised",
    "numeric",
    "rouge_l",
]
