"""What a symbolic domain is: how premises are drawn, what follows, and how facts are written."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from .deduce import Fact, Rule

__all__ = ["Domain", "Question"]

Question = tuple[str, str]
"""What is asked, and the answer."""


class Domain(Protocol):
    """A domain of facts. Facts are values; every name in them is a string that may be renamed."""

    @property
    def title(self) -> str:
        """First line of every text."""

    @property
    def rules(self) -> Sequence[Rule]:
        """What follows from what."""

    @property
    def letters(self) -> str:
        """The names that texts use, in their order."""

    def sample(self, rng: random.Random, depth: int) -> list[Fact]:
        """Draw premises from which something of that depth may follow; in the order they were constructed in."""

    def links(self, fact: Fact) -> Iterable[tuple[Hashable, Any]]:
        """Under which keys rules find a fact."""

    def worth(self, fact: Fact) -> bool:
        """Whether a fact may be what a theorem shows."""

    def names(self, fact: Fact) -> tuple[str, ...]:
        """The names in a fact, as its text has them."""

    def renamed(self, fact: Fact, names: Mapping[str, str]) -> Fact:
        """The same fact about other names."""

    def form(self, fact: Fact) -> Any:
        """The fact as nested tuples (order matters) and frozensets (it does not), for comparing up to renaming."""

    def auxiliary(self, premises: Sequence[Fact], goal: Fact) -> list[Fact]:
        """Those of a proof's premises that construct what its statement does not speak of."""

    def write(self, fact: Fact) -> str:
        """The fact as a claim."""

    def spoiled(self, fact: Fact, rng: random.Random, names: Sequence[str]) -> Fact | None:
        """Another claim of the same shape, which need not hold; None where there is none."""

    def question(self, goal: Fact) -> Question:
        """What to ask about the goal, and the answer while every premise is there."""
