"""Diversity and coverage of a set of texts, beside a set it is measured against."""

from __future__ import annotations

from .centres import k_centres
from .coverage import Coverage, coverage
from .describe import Description, describe
from .lexical import distinct, rouge_maxima, self_bleu
from .spread import auroc_of_folds, cluster_balance, nearest, realism, vendi
from .verbs import verb_object, verb_objects

__all__ = [
    "Coverage",
    "Description",
    "auroc_of_folds",
    "cluster_balance",
    "coverage",
    "describe",
    "distinct",
    "k_centres",
    "nearest",
    "realism",
    "rouge_maxima",
    "self_bleu",
    "vendi",
    "verb_object",
    "verb_objects",
]
