"""Plans (compiled programs), recipes and the emission of rows."""

from __future__ import annotations

from .answering import answer
from .answers import Answer, Cost, answer_many, calibrated, scorable
from .emit import Emitted, emit_rows
from .evaluate import Evaluator, Outcome, mean_cost, mean_score
from .judges import agreement, blind, either
from .plan import Decoding, Demo, Plan
from .recipes import Recipe, labelled, varied

__all__ = [
    "Answer",
    "Cost",
    "Decoding",
    "Demo",
    "Emitted",
    "Evaluator",
    "Outcome",
    "Plan",
    "Recipe",
    "agreement",
    "answer",
    "answer_many",
    "blind",
    "calibrated",
    "either",
    "emit_rows",
    "labelled",
    "mean_cost",
    "mean_score",
    "scorable",
    "varied",
]
