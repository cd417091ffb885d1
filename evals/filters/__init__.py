"""Filters: named gates against text that should not leave: boilerplate, refusals, toxic words, hard reading."""

from __future__ import annotations

from .boilerplate import RULES, Echo, boilerplate, echoes, refusal, refusal_rise, refuses
from .readability import Readability, readability, readable, syllables
from .texts import TextGate
from .toxicity import read_words, toxic_words, toxicity

__all__ = [
    "RULES",
    "Echo",
    "Readability",
    "TextGate",
    "boilerplate",
    "echoes",
    "read_words",
    "readability",
    "readable",
    "refusal",
    "refusal_rise",
    "refuses",
    "syllables",
    "toxic_words",
    "toxicity",
]
