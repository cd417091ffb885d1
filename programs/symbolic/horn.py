"""Horn clauses: letters that are given, implications between them, and what they make true."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .deduce import Dag, Fact, Rule
from .domain import Question

__all__ = ["Horn", "detach"]

_MOST = 12  # letters: what a truth table can decide


def detach(dag: Dag, fact: Fact) -> Iterator[tuple[Fact | None, tuple[Fact, ...]]]:
    """From a clause and every letter of its body, its head (modus ponens, all of the body at once)."""
    clauses = [clause for _, clause in dag.near(("body", fact[1]))] if fact[0] == "atom" else [fact]
    for clause in clauses:
        body = tuple(("atom", name) for name in clause[1])
        if all(each in dag.parents for each in body):
            yield ("atom", clause[2]), (*body, clause)


class Horn:
    """Facts are ("atom", p) and ("if", (p, q), r)."""

    title = "Horn clauses"
    rules: Sequence[Rule] = (detach,)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def sample(self, rng: random.Random, depth: int) -> list[Fact]:
        """Draw layers of letters: each layer's clauses use a letter of the layer below it, and any earlier ones."""
        layers = [[f"x{number}" for number in range(rng.randint(2, 4))]]
        clauses: list[Fact] = []
        for _ in range(depth):
            count = sum(map(len, layers))
            room = _MOST - count - (depth - len(layers))  # a letter is left for each layer above
            layer = [f"x{count + number}" for number in range(min(rng.choice((1, 1, 2)), room))]
            before = [name for each in layers for name in each]
            for head in layer:
                body = {rng.choice(layers[-1]), *rng.sample(before, min(rng.choice((0, 1, 1, 2)), len(before)))}
                clauses.append(("if", tuple(sorted(body)), head))
            layers.append(layer)
        return [("atom", name) for name in layers[0]] + clauses

    def links(self, fact: Fact) -> Iterable[tuple[Hashable, Any]]:
        """Clauses by the letters of their bodies."""
        return [(("body", name), fact) for name in fact[1]] if fact[0] == "if" else []

    def worth(self, fact: Fact) -> bool:
        """Letters are shown, clauses are given."""
        return bool(fact[0] == "atom")

    def names(self, fact: Fact) -> tuple[str, ...]:
        """Its letters."""
        return (fact[1],) if fact[0] == "atom" else (*fact[1], fact[2])

    def renamed(self, fact: Fact, names: Mapping[str, str]) -> Fact:
        """The same with other letters."""
        if fact[0] == "atom":
            return ("atom", names[fact[1]])
        return ("if", tuple(sorted(names[name] for name in fact[1])), names[fact[2]])

    def form(self, fact: Fact) -> Any:
        """The order of a body says nothing."""
        return fact if fact[0] == "atom" else ("if", frozenset(fact[1]), fact[2])

    def auxiliary(self, premises: Sequence[Fact], goal: Fact) -> list[Fact]:
        """Nothing is constructed."""
        return []

    def write(self, fact: Fact) -> str:
        """As `p` or `p & q -> r`."""
        return str(fact[1]) if fact[0] == "atom" else f"{' & '.join(fact[1])} -> {fact[2]}"

    def spoiled(self, fact: Fact, rng: random.Random, names: Sequence[str]) -> Fact | None:
        """Another letter; it may well be true, but not for the reasons given."""
        others = [name for name in names if name not in self.names(fact)]
        return ("atom", rng.choice(others)) if others else None

    def question(self, goal: Fact) -> Question:
        """Whether it follows."""
        return f"Does it follow that {self.write(goal)}? Answer yes or no.", "yes"
