"""Checkers of written proofs: they read the text and nothing else, and share no code with what wrote it."""

from __future__ import annotations

from .confirmed import confirmed
from .reading import Line, Proof, read_proof

__all__ = ["Line", "Proof", "confirmed", "read_proof"]
