"""Deduction: close premises under rules, trace a fact back, and leave out what its proof does not need.

The three steps of AlphaGeometry's data (Trinh et al. 2024, "Solving olympiad geometry without human
demonstrations", figure 3): the closure is a graph of facts, each with the facts it was
first derived from; traceback gives a fact's proof; premises that the proof can do without are dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Dag", "Fact", "Links", "Rule", "closure", "minimal", "traced"]

Fact: TypeAlias = tuple[Any, ...]
"""A predicate and its arguments, in the one order that the domain writes them in."""
Links: TypeAlias = Callable[[Fact], Iterable[tuple[Hashable, Any]]]
"""Under which keys rules find a fact, and what they find there."""


@dataclass
class Dag:
    """Facts with the facts they were first derived from, and how deep they lie; premises at 0, with none.

    Facts are found in rounds, so that the first derivation of a fact is one of the least depth.
    """

    parents: dict[Fact, tuple[Fact, ...]] = field(default_factory=dict)
    depth: dict[Fact, int] = field(default_factory=dict)
    _found: defaultdict[Hashable, list[tuple[Any, Fact]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, fact: Fact, parents: tuple[Fact, ...], links: Links) -> None:
        """Put in a new fact."""
        self.parents[fact] = parents
        self.depth[fact] = 1 + max((self.depth[parent] for parent in parents), default=-1)
        for key, value in links(fact):
            self._found[key].append((value, fact))

    def near(self, key: Hashable) -> Sequence[tuple[Any, Fact]]:
        """What is known under a key, each with its fact."""
        return self._found.get(key, ())


Rule: TypeAlias = Callable[[Dag, Fact], Iterator[tuple[Fact | None, tuple[Fact, ...]]]]
"""What follows from a fact and what is known: conclusions (None for one that says nothing) with their parents."""


def closure(
    premises: Iterable[Fact],
    rules: Sequence[Rule],
    links: Links,
    *,
    rounds: int,
    most: int = 250,
    goal: Fact | None = None,
) -> Dag:
    """Apply `rules` until nothing new follows, for at most `rounds` rounds and `most` facts, or until `goal` is there."""
    dag = Dag()
    fresh: list[Fact] = []
    for fact in premises:
        if fact not in dag.parents:
            dag.add(fact, (), links)
            fresh.append(fact)
    for _ in range(rounds):
        if not fresh or goal in dag.parents or len(dag.parents) >= most:
            break
        # collected first: a fact of this round is no parent in it, so that depths are those of the rounds
        found: dict[Fact, tuple[Fact, ...]] = {}
        for fact in fresh:
            for rule in rules:
                for made, parents in rule(dag, fact):
                    if made is not None and made not in dag.parents and made not in parents:
                        found.setdefault(made, parents)
        fresh = list(found)[: most - len(dag.parents)]
        for fact in fresh:
            dag.add(fact, found[fact], links)
    return dag


def traced(dag: Dag, goal: Fact) -> list[Fact]:
    """The facts that `goal` rests on and itself, parents before children."""
    order: dict[Fact, None] = {}

    def visit(fact: Fact) -> None:
        if fact not in order:
            for parent in dag.parents[fact]:
                visit(parent)
            order[fact] = None

    visit(goal)
    return list(order)


def minimal(dag: Dag, goal: Fact, rules: Sequence[Rule], links: Links, *, rounds: int) -> tuple[Dag, list[Fact]]:
    """A proof of `goal` from premises none of which can be left out: the closure of those, and the facts in order.

    Premises are dropped one at a time, the last first, wherever the goal is still derived without.
    """
    order = traced(dag, goal)
    kept = [fact for fact in order if not dag.parents[fact]]
    for fact in reversed(tuple(kept)):
        rest = [each for each in kept if each != fact]
        if goal in closure(rest, rules, links, rounds=rounds, goal=goal).parents:
            kept = rest
    dag = closure(kept, rules, links, rounds=rounds, goal=goal)
    return dag, traced(dag, goal)
