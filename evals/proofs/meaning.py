"""What a checker must know of a domain: when a claim follows from others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Meaning"]


class Meaning(Protocol):
    """When a claim follows, decided by what the claims mean and not by rules of deduction."""

    constructs: bool
    """Whether a proof may name objects that the statement does not have."""

    def follows(self, premises: Sequence[str], claim: str) -> bool:
        """Whether `claim` holds wherever all `premises` hold.

        Raises:
            ValueError: If a text is no claim of the domain, or the premises hold nowhere.
        """

    def names(self, claim: str) -> frozenset[str]:
        """The objects that a claim speaks of."""

    def answers(self, asked: str, premises: Sequence[str], solution: str) -> str:
        """Why `solution` is not the answer to the question `asked` about `premises`; "" where it is."""
