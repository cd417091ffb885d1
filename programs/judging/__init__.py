"""Judges: programs with typed signatures that say how good answers are, and certificates of what they are worth."""

from __future__ import annotations

from .asking import by_scores
from .certificate import LEAST_KAPPA, Certificate
from .certifying import Drift, Labelled, certify, read_labels, recheck
from .check import YesNo
from .faces import JudgeGate, as_dspy_metric, as_gate, as_verifier, certified
from .make import judge_of, pairwise, ranking, reference, rubric, yes_no
from .opinion import Bill, Judge, Opinion, with_engine
from .orders import Ranking
from .pairs import Pairwise
from .points import Rubric
from .shapes import KINDS, judge_task, split_by_prompt

__all__ = [
    "KINDS",
    "LEAST_KAPPA",
    "Bill",
    "Certificate",
    "Drift",
    "Judge",
    "JudgeGate",
    "Labelled",
    "Opinion",
    "Pairwise",
    "Ranking",
    "Rubric",
    "YesNo",
    "as_dspy_metric",
    "as_gate",
    "as_verifier",
    "by_scores",
    "certified",
    "certify",
    "judge_of",
    "judge_task",
    "pairwise",
    "ranking",
    "read_labels",
    "recheck",
    "reference",
    "rubric",
    "split_by_prompt",
    "with_engine",
    "yes_no",
]
