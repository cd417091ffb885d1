"""Verifiers, metrics, statistics, duplicates, leakage and gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .copies.decontaminate import Decontamination, decontaminate
from .copies.duplicates import Embeds, Match, NearDuplicates, folded, rouge_l
from .copies.leakage import Leakage
from .embedding import Embedder, default_embedder
from .faces import as_dspy_metric, as_gate, as_reward
from .gates import Clean
from .verdict import Metric, Verdict, Verifier, mean, named
from .verifiers import evaluate, exact, expression, fields, normalised, numeric

if TYPE_CHECKING:
    from .classifier import EmbeddingClassifier

__all__ = [
    "Clean",
    "Decontamination",
    "Embedder",
    "EmbeddingClassifier",
    "Embeds",
    "Leakage",
    "Match",
    "Metric",
    "NearDuplicates",
    "Verdict",
    "Verifier",
    "as_dspy_metric",
    "as_gate",
    "as_reward",
    "decontaminate",
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


def __getattr__(name: str) -> Any:
    """The classifier derives from scikit-learn, which is imported when it is first asked for."""
    if name == "EmbeddingClassifier":
        from .classifier import EmbeddingClassifier

        return EmbeddingClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
