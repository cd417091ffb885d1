"""Theorems: sampled, proved, brought to their minimal premises, and written down."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.errors import BadConfig

from .canonical import canonical
from .deduce import Dag, Fact, closure, minimal
from .domain import Domain
from .figure import Geometry
from .horn import Horn
from .linear import Linear

__all__ = ["DOMAINS", "NotFound", "Theorem", "theorem", "written"]

DOMAINS: Mapping[str, Domain] = {"horn": Horn(), "geometry": Geometry(), "linear": Linear()}
_SAMPLES = 400  # of premises, before a depth is given up
_GOALS = 6  # of one sample that are looked at


class NotFound(LookupError):
    """No theorem of that depth came up."""


@dataclass(frozen=True)
class Theorem:
    """A theorem with its proof, in the names of its text.

    Attributes:
        given: The premises of the statement: none of them can be left out of the proof.
        built: Auxiliary constructions, of objects that the statement does not speak of.
        goal: What is shown.
        steps: What is derived, parents first, each with the facts it is derived from; the last is the goal.
        depth: Length of the longest chain of steps: the measure of difficulty.
    """

    given: tuple[Fact, ...]
    built: tuple[Fact, ...]
    goal: Fact
    steps: tuple[tuple[Fact, tuple[Fact, ...]], ...]
    depth: int


def theorem(domain: Domain, depth: int, rng: random.Random) -> Theorem:
    """Draw a theorem whose proof has that depth.

    Raises:
        BadConfig: If depth is not at least 1.
        NotFound: If none came up in some hundred samples of premises.
    """
    if depth < 1:
        raise BadConfig(f"depth must be at least 1, got {depth!r}")
    for _ in range(_SAMPLES):
        dag = closure(domain.sample(rng, depth), domain.rules, domain.links, rounds=depth)
        goals = [fact for fact, deep in dag.depth.items() if deep == depth and domain.worth(fact)]
        for goal in rng.sample(goals, min(_GOALS, len(goals))):
            # with fewer premises a shorter proof may come first, or only a longer one be left
            least, order = minimal(dag, goal, domain.rules, domain.links, rounds=depth)
            if least.depth[goal] == depth and (found := _named(domain, least, order, goal, rng)).given:
                return found
    raise NotFound(f"no theorem of depth {depth} in {_SAMPLES} samples of premises ({domain.title})")


def _named(domain: Domain, dag: Dag, order: Sequence[Fact], goal: Fact, rng: random.Random) -> Theorem:
    """The theorem in its own names: the first letters, as they are met in the text (so AlphaGeometry's model has them)."""
    premises = [fact for fact in order if not dag.parents[fact]]
    built = domain.auxiliary(premises, goal)
    given = [fact for fact in premises if fact not in built]
    rng.shuffle(given)  # the order of premises must not tell the order of the proof
    steps = [fact for fact in order if dag.parents[fact]]
    met = dict.fromkeys(name for fact in (*given, goal, *built, *steps) for name in domain.names(fact))
    names = dict(zip(met, domain.letters, strict=False))
    new = {fact: domain.renamed(fact, names) for fact in order}
    return Theorem(
        tuple(new[fact] for fact in given),
        tuple(new[fact] for fact in built),
        new[goal],
        tuple((new[fact], tuple(new[parent] for parent in dag.parents[fact])) for fact in steps),
        dag.depth[goal],
    )


def written(name: str, domain: Domain, found: Theorem, rng: random.Random) -> dict[str, Any]:
    """The records of a theorem: a text, its steps, its steps with a wrong one at the end, a question; and its form."""
    numbers = {
        fact: number for number, fact in enumerate((*found.given, *found.built, *(s for s, _ in found.steps)), 1)
    }
    head = [domain.title, "Given:", *_numbered(domain, found.given)]
    prompt = "\n".join([*head, f"Show: {domain.write(found.goal)}"])
    lines = [f"{numbers[fact]}. {domain.write(fact)} [construct]" for fact in found.built]
    lines += [
        _line(domain, fact, [numbers[parent] for parent in parents], numbers[fact]) for fact, parents in found.steps
    ]
    wrong, kept = _wrong(domain, found, numbers, rng)
    return {
        "domain": name,
        "depth": found.depth,
        "auxiliary": len(found.built),
        "text": "\n".join([prompt, "Proof:", *lines]),
        "steps": {"prompt": prompt, "completions": lines, "labels": [True] * len(lines)},
        "corrupted": {
            "prompt": prompt,
            "completions": [*lines[:kept], wrong],
            "labels": [*[True] * kept, False],
        },
        "verifiable": _question(domain, found, rng),
        "form": form(domain, found),
    }


def form(domain: Domain, found: Theorem) -> str:
    """The statement up to renaming: equal for two theorems exactly if they say the same of differently named things."""
    facts = (*found.given, found.goal)
    value = (domain.title, frozenset(map(domain.form, found.given)), domain.form(found.goal))
    return canonical(value, (name for fact in facts for name in domain.names(fact)))


def _numbered(domain: Domain, facts: Sequence[Fact]) -> list[str]:
    return [f"{number}. {domain.write(fact)}" for number, fact in enumerate(facts, start=1)]


def _line(domain: Domain, fact: Fact, cites: Sequence[int], number: int) -> str:
    return f"{number}. {domain.write(fact)} [{', '.join(map(str, sorted(cites)))}]"


def _wrong(domain: Domain, found: Theorem, numbers: Mapping[Fact, int], rng: random.Random) -> tuple[str, int]:
    """A line that should not follow from what it cites, and how many lines of the proof come before it."""
    names = sorted({name for each in numbers for name in domain.names(each)})
    for at in rng.sample(range(len(found.steps)), len(found.steps)):
        fact, parents = found.steps[at]
        cites, number = [numbers[parent] for parent in parents], numbers[fact]
        spoiled = domain.spoiled(fact, rng, names) if rng.random() < 0.6 else None
        if spoiled is not None and spoiled not in numbers:
            return _line(domain, spoiled, cites, number), len(found.built) + at
        others = [other for other in range(1, number) if other not in cites]
        if others or len(cites) > 1:
            cites.remove(rng.choice(cites))
            return _line(domain, fact, [*cites, *rng.sample(others, min(1, len(others)))], number), len(
                found.built
            ) + at
    raise NotFound("no step of the proof can be spoiled")


def _question(domain: Domain, found: Theorem, rng: random.Random) -> dict[str, str]:
    """Ask about the goal; where the answer is yes or no, it is no half of the time: a premise is left out."""
    asked, answer = domain.question(found.goal)
    given = list(found.given)
    if answer == "yes" and len(given) > 1 and rng.random() < 0.5:
        given.remove(rng.choice(given))
        answer = "no"
    prompt = "\n".join([domain.title, "Given:", *_numbered(domain, given), f"Question: {asked}"])
    return {"prompt": prompt, "solution": answer}
