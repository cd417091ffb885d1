"""MAP-Elites (Mouret and Clune 2015, arXiv:1504.04909): a grid of features that keeps the best of each cell."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate
from stillroom.rows import By, EmittedRow, Status

__all__ = ["Archive", "Child", "Placed", "binned", "bleu", "child_of", "grown", "targets"]

Cell = tuple[int, ...]


@dataclass(frozen=True)
class Child:
    """Something that may take a cell.

    Attributes:
        cell: A place on each axis.
        fitness: Higher is better.
        value: What it is.
        rival: The value it was compared with, "" where with nothing.
        won: Whether it was found better than its rival.
        answer: What was answered to it, where something was.
    """

    cell: Cell
    fitness: float
    value: Any
    rival: Any = ""
    won: bool = False
    answer: str = ""


@dataclass
class Archive:
    """The best child of each cell so far.

    Attributes:
        sizes: Cells along each axis.
        elites: By cell.
    """

    sizes: Sequence[int]
    elites: dict[Cell, Child] = field(default_factory=dict)

    def takes(self, child: Child) -> bool:
        """Whether a child gets its cell: it is empty, or the child is better than who has it.

        Better is who won the comparison, where the child was compared with just this elite; else whose fitness is
        higher. Equals do not displace.
        """
        elite = self.elites.get(child.cell)
        if elite is None:
            return True
        return child.won if child.rival and child.rival == elite.value else child.fitness > elite.fitness

    def place(self, child: Child) -> bool:
        """Let it take its cell if it may; say whether it did."""
        taken = self.takes(child)
        if taken:
            self.elites[child.cell] = child
        return taken

    @property
    def coverage(self) -> float:
        """Share of cells that are taken."""
        return len(self.elites) / math.prod(self.sizes)

    @property
    def qd_score(self) -> float:
        """Sum of the fitness of all elites."""
        return sum(each.fitness for each in self.elites.values())

    def near(self, cell: Cell, count: int, rng: random.Random) -> list[Child]:
        """Different elites, likelier the nearer they are to a cell: drawn with weights 1 / (1 + distance ** 3).

        The weights are those of QDAIF's code (CarperAI/OpenELM, `lmx_near`).
        """
        left, drawn = dict(sorted(self.elites.items())), list[Child]()
        while left and len(drawn) < count:
            weights = [1 / (1 + math.dist(cell, each) ** 3) for each in left]
            drawn.append(left.pop(rng.choices(list(left), weights)[0]))
        return drawn


def targets(archive: Archive, temperature: float) -> dict[Cell, float]:
    """The probability of each cell to be aimed at: proportional to exp(-fitness / temperature), 0 the fitness of nobody.

    Rainbow Teaming (Samvelyan et al. 2024, arXiv:2402.16822) says that it aims at cells of low fitness; the sign in its
    pseudo-code would aim at high ones.
    """
    cells = list(product(*map(range, archive.sizes)))
    fitness = [archive.elites[cell].fitness if cell in archive.elites else 0.0 for cell in cells]
    least = min(fitness)  # taken off first: what is left cannot overflow
    weights = [math.exp(-(each - least) / temperature) for each in fitness]
    return {cell: weight / sum(weights) for cell, weight in zip(cells, weights, strict=True)}


def binned(value: float, edges: Sequence[float]) -> int:
    """Which bin a value falls into; one on an edge is in the bin above it.

    >>> [binned(value, (0.2, 0.5)) for value in (0.1, 0.2, 0.49, 0.9)]
    [0, 1, 1, 2]
    """
    return bisect_right(list(edges), value)


def bleu(text: str, parent: str) -> float:
    """BLEU of a text with its parent, 0..1, up to 4-grams and smoothed; 1 for equal words, whatever their number."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    words, reference = text.lower().split(), parent.lower().split()
    if not words or not reference:
        return float(words == reference)
    longest = min(4, len(words), len(reference))
    weights = [1 / longest] * longest
    return float(sentence_bleu([reference], words, weights, smoothing_function=SmoothingFunction().method1))


def child_of(values: Mapping[str, Any]) -> Child:
    """The child that a row's fields describe."""
    place, answer = tuple(values["cell"]), values.get("response", "")
    return Child(place, values["fitness"], values["text"], values["rival"], values["won"], answer)


class Placed:
    """The gate of an archive: rows pass that take their cell, in their order, and are its elites from then on.

    A row that was compared with an elite that has been displaced meanwhile is judged by its fitness.
    """

    by: By = "judge"
    on_fail: Status = "rejected"

    def __init__(self, sizes: Sequence[int]) -> None:
        """An empty archive of these sizes."""
        self._archive = Archive(tuple(sizes))
        self.name = f"takes a cell of {'x'.join(map(str, sizes))}"

    def fresh(self) -> Placed:
        """The same with nothing placed."""
        return Placed(self._archive.sizes)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order: an earlier one may take the cell of a later one."""
        here = Archive(self._archive.sizes, dict(self._archive.elites))
        return [self._one(each, here) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Place rows that passed, of this session and of those before."""
        for each in passed:
            child = child_of(each.values)
            self._archive.elites[child.cell] = child

    def _one(self, candidate: Candidate, here: Archive) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        child = child_of(candidate.values)
        if here.place(child):
            return Verdict.ok()
        return Verdict.fail(
            f"cell {list(child.cell)} has {here.elites[child.cell].fitness:.3f}, got {child.fitness:.3f}"
        )


def grown(sizes: Sequence[int], rows: Iterable[EmittedRow]) -> Archive:
    """The archive that accepted rows of a run have left, in the order they were committed."""
    archive = Archive(tuple(sizes))
    for row in rows:
        archive.elites[tuple(row.values["cell"])] = child_of(row.values)
    return archive
