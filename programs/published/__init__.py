"""Published data-generation systems as recipes: methods, the presets that tell systems apart, and how they run."""

from __future__ import annotations

from .growing import Growing
from .job import TEACHER, Job
from .method import Call, Emit, Given, Method
from .once import Once, OnceEach, made_from
from .order import Order
from .preset import Preset, read_preset
from .rounds import Rounds
from .rule import Rule
from .run import NOTE, foresee_preset, prepare, records, run_preset
from .shelf import System, preset, presets, sample, systems

__all__ = [
    "NOTE",
    "TEACHER",
    "Call",
    "Emit",
    "Given",
    "Growing",
    "Job",
    "Method",
    "Once",
    "OnceEach",
    "Order",
    "Preset",
    "Rounds",
    "Rule",
    "System",
    "foresee_preset",
    "made_from",
    "prepare",
    "preset",
    "presets",
    "read_preset",
    "records",
    "run_preset",
    "sample",
    "systems",
]
