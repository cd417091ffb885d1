"""Search, students and proofs: the verbs of stillroom."""

from __future__ import annotations

from .ahead import foresee_compile, foresee_proof
from .distil import STUDENTS, Student, distil, load_student
from .program import Program, load_program, prove
from .program import compile_task as compile
from .proof import Comparison, Proof, Result, prove_systems
from .search import Progress
from .settings import Settings
from .systems import HeadSystem, PlanSystem, System

__all__ = [
    "STUDENTS",
    "Comparison",
    "HeadSystem",
    "PlanSystem",
    "Program",
    "Progress",
    "Proof",
    "Result",
    "Settings",
    "Student",
    "System",
    "compile",
    "distil",
    "foresee_compile",
    "foresee_proof",
    "load_program",
    "load_student",
    "prove",
    "prove_systems",
]
