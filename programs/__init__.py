"""Plans (compiled programs), recipes and the emission of rows."""

from __future__ import annotations

from .emit import Emitted, emit_rows
from .evaluate import Evaluator, Outcome, mean_score
from .judges import blind, either
from .plan import Decoding, Demo, Plan
from .recipes import Recipe, labelled, varied

__all__ = [
    "Decoding",
    "Demo",
    "Emitted",
    "Evaluator",
    "Outcome",
    "Plan",
    "Recipe",
    "blind",
    "either",
    "emit_rows",
    "labelled",
    "mean_score",
    "varied",
]
