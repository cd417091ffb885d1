"""Choosing from a whole set at once: shares of classes, phrases that come too often, copies of which the better stays.

What each gate lets pass does not depend on the order of its rows. All rows of a run must reach it in one block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate
from stillroom.programs.published.shares import spread
from stillroom.rows import By, Status

from ._chosen import kept_apart, ranked

__all__ = ["Apart", "Balanced", "Best", "Rare", "balanced"]


def balanced(classes: Sequence[str], weights: Mapping[str, float], most: int) -> dict[str, int]:
    """How many rows of each class to keep: the most rows in all of which each class has its share, within one row.

    Args:
        classes: Of each row.
        weights: Wanted shares, as weights of any sum; equal for all classes there are where empty.
        most: Rows in all, at most.
    """
    there = Counter(classes)
    weights = {name: weight for name, weight in (weights or dict.fromkeys(sorted(there), 1.0)).items() if weight > 0}
    if not weights:
        return {}
    for total in range(min(most, sum(there[name] for name in weights)), 0, -1):
        counts = spread(total, weights)
        if all(count <= there[name] for name, count in counts.items()):
            return {name: counts.get(name, 0) for name in weights}
    return dict.fromkeys(weights, 0)


class _Whole:
    """A gate whose rows come all at once."""

    by: ClassVar[By] = "form"

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""


@dataclass(frozen=True)
class Balanced(_Whole):
    """Classes have their shares, within one row; of each class the rows with the highest score pass.

    Looks at `label`, `score` and `text`.
    """

    weights: Mapping[str, float]
    most: int
    on_fail: Status = "surplus"

    @property
    def name(self) -> str:
        """With its settings."""
        return f"balance({', '.join(f'{name} {weight:g}' for name, weight in self.weights.items()) or 'equal'})"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        classes = [str(each.values["label"]) for each in batch]
        left = balanced(classes, self.weights, self.most)
        verdicts = [Verdict.ok()] * len(batch)
        for at in _best_first(batch):
            if left.get(classes[at], 0) > 0:
                left[classes[at]] -= 1
            else:
                verdicts[at] = Verdict.fail(f"the share of {classes[at]!r} is full")
        return verdicts


@dataclass(frozen=True)
class Apart(_Whole):
    """No two rows of a cluster lie closer than `most` (cosine); of those that do the one with the higher score stays.

    Looks at `label` (the cluster), `score` and `text`.
    """

    most: float
    on_fail: Status = "rejected"

    @property
    def name(self) -> str:
        """With its setting."""
        return f"cosine <= {self.most:g}"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        from stillroom.evals.embedding import default_embedder

        if not batch:
            return []
        vectors = default_embedder().embed([_text(each) for each in batch])
        verdicts = [Verdict.ok()] * len(batch)
        for cluster in sorted({str(each.values["label"]) for each in batch}):
            places = [at for at, each in enumerate(batch) if str(each.values["label"]) == cluster]
            order = _best_first([batch[at] for at in places])
            for at, near in zip(places, kept_apart(vectors[places], order, self.most), strict=True):
                if near is not None:
                    verdicts[at] = Verdict.fail(f"it lies close to {_text(batch[places[near]])[:60]!r}")
        return verdicts


@dataclass(frozen=True)
class Rare(_Whole):
    """Rows with one of some phrases are at most a share of all that pass; of those the ones with the highest score.

    Looks at `response` for the phrases, `score` and `text`.
    """

    phrases: tuple[str, ...]
    most: float
    on_fail: Status = "rejected"

    @property
    def name(self) -> str:
        """With its settings."""
        return f"overused phrases({len(self.phrases)}) <= {self.most:g}"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        said = [
            any(phrase.lower() in str(each.values["response"]).lower() for phrase in self.phrases) for each in batch
        ]
        others = len(batch) - sum(said)
        share = Fraction(str(self.most))
        left = len(batch) if share >= 1 else int(share * others / (1 - share))
        verdicts = [Verdict.ok()] * len(batch)
        for at in _best_first(batch):
            if said[at] and left == 0:
                verdicts[at] = Verdict.fail("one more row with an overused phrase would be too many")
            left -= said[at] and left > 0
        return verdicts


@dataclass(frozen=True)
class Best(_Whole):
    """So many rows pass, those with the highest scores. Looks at `score` and `text`."""

    most: int
    on_fail: Status = "surplus"

    @property
    def name(self) -> str:
        """With its setting."""
        return f"best({self.most})"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        order = _best_first(batch)
        best = set(order[: self.most])
        return [
            Verdict.ok() if at in best else Verdict.fail(f"{self.most} rows score higher") for at in range(len(batch))
        ]


def _best_first(batch: Sequence[Candidate]) -> list[int]:
    return ranked([_text(each) for each in batch], [float(each.values["score"]) for each in batch])


def _text(candidate: Candidate) -> str:
    return str(candidate.values["text"])
