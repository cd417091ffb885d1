"""Theorems with proofs, written by deduction alone: premises are sampled, closed under rules and traced back."""

from __future__ import annotations

from .recipe import SIZES, VERSION, records, symbolic_flow, symbolic_rows
from .theorem import DOMAINS, Theorem, theorem

__all__ = ["DOMAINS", "SIZES", "VERSION", "Theorem", "records", "symbolic_flow", "symbolic_rows", "theorem"]
