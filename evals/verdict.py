"""Verdicts: what a check says about one answer, and how checks combine.

A verdict has three states, not two: a score from 0 to 1, or *unverified* where
the check could not be made (no gold value, no judge). Unverified is never zero.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stillroom.errors import BadConfig

__all__ = ["Metric", "Row", "Verdict", "Verifier", "mean", "metric_name", "named"]

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a check says: `score` in 0..1 (higher is better), or None for unverified.

    Attributes:
        score: 1.0 is right in full, 0.0 is wrong, between them partial credit.
        why: What was wrong or missing. Empty only where nothing was.
        found: The same in fields that a program may read, where the check has more to say; plain JSON values.

    Raises:
        BadConfig: If `score` is neither None nor a number from 0 to 1.
    """

    score: float | None
    why: str = ""
    found: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        if self.score is not None and not 0.0 <= self.score <= 1.0:  # also refuses NaN
            raise BadConfig(f"a score must be in 0..1 or None, got {self.score!r}")

    @property
    def passed(self) -> bool:
        """Whether the answer was verified and is right in full (score 1.0).

        Half-right is not a pass: a demo or a row with one wrong field is wrong.
        Ask `reaches` where partial credit is enough.
        """
        return self.reaches(1.0)

    @property
    def verified(self) -> bool:
        """Whether the check could be made at all."""
        return self.score is not None

    def reaches(self, least: float) -> bool:
        """Say whether the answer was verified and scores at least `least`."""
        return self.score is not None and self.score >= least

    @classmethod
    def ok(cls) -> Verdict:
        """Give full credit."""
        return cls(1.0)

    @classmethod
    def fail(cls, why: str) -> Verdict:
        """Give no credit, and say why."""
        return cls(0.0, why)

    @classmethod
    def unverified(cls, why: str) -> Verdict:
        """Say that the check could not be made, and why."""
        return cls(None, why)


# Called as metric(expected, outputs): `expected` holds the inputs and the gold
# outputs of a row, `outputs` what the program answered.
Metric: TypeAlias = Callable[[Row, Row], Verdict]


@dataclass(frozen=True)
class Verifier:
    """A metric with a name. The name enters fingerprints, so it states every setting.

    Combine with `&` (the worst of both), `|` (the best of both) and `~` (the
    opposite). Unverified spreads only where it could change the outcome: a failed
    `&` stays failed, a full `|` stays full (Kleene's strong three-valued logic,
    with min, max and 1 - x for partial credit).

    >>> short = Verifier("short", lambda row, out: Verdict.ok() if len(out["a"]) < 3 else Verdict.fail("long"))
    >>> (~short).name, (~short)({}, {"a": "yes"}).passed
    ('not(short)', True)
    """

    name: str
    check: Metric

    def __post_init__(self) -> None:
        if not self.name:
            raise BadConfig("a verifier needs a name, got an empty one")

    def __call__(self, expected: Row, outputs: Row) -> Verdict:
        """Check `outputs` against the inputs and gold outputs in `expected`."""
        return self.check(expected, outputs)

    def __and__(self, other: Verifier) -> Verifier:
        def both(expected: Row, outputs: Row) -> Verdict:
            return _worst(self(expected, outputs), other(expected, outputs))

        return Verifier(f"({self.name} & {other.name})", both)

    def __or__(self, other: Verifier) -> Verifier:
        def either(expected: Row, outputs: Row) -> Verdict:
            return _best(self(expected, outputs), other(expected, outputs))

        return Verifier(f"({self.name} | {other.name})", either)

    def __invert__(self) -> Verifier:
        def opposite(expected: Row, outputs: Row) -> Verdict:
            found = self(expected, outputs)
            if found.score is None:
                return found
            score = 1.0 - found.score
            return Verdict(score, "" if score == 1.0 else f"{self.name} holds, and must not")

        return Verifier(f"not({self.name})", opposite)


def mean(*verifiers: Verifier, weights: tuple[float, ...] | None = None) -> Verifier:
    """Average `verifiers`, equally or by `weights`. Unverified if one of them is.

    Raises:
        BadConfig: If there is nothing to average, or weights are not one positive number each.
    """
    if not verifiers:
        raise BadConfig("mean needs at least one verifier, got none")
    shares = weights if weights is not None else (1.0,) * len(verifiers)
    if len(shares) != len(verifiers) or not all(0 < share < math.inf for share in shares):
        raise BadConfig(f"mean needs one positive weight for each of {len(verifiers)} verifiers, got {weights!r}")

    def average(expected: Row, outputs: Row) -> Verdict:
        found = [verifier(expected, outputs) for verifier in verifiers]
        scores = [verdict.score for verdict in found if verdict.score is not None]
        if len(scores) < len(found):
            return Verdict.unverified(_join(*(verdict for verdict in found if verdict.score is None)))
        # fsum on both sides, so that all-right is exactly 1.0
        score = math.fsum(w * s for w, s in zip(shares, scores, strict=True)) / math.fsum(shares)
        return Verdict(min(score, 1.0), _join(*found))

    names = [v.name if weights is None else f"{w:g}*{v.name}" for v, w in zip(verifiers, shares, strict=True)]
    return Verifier(f"mean({', '.join(names)})", average)


def named(metric: Callable[[Row, Row], Verdict | bool | float | None], name: str = "") -> Verifier:
    """Turn any function of (expected, outputs) into a `Verifier`; a `Verifier` comes back as it is.

    The function may return a Verdict, a bool, a number from 0 to 1 or None. Without
    a `name` it is called as `metric_name` says, so that editing the function changes
    the fingerprint.
    """
    if isinstance(metric, Verifier):
        return metric

    def check(expected: Row, outputs: Row) -> Verdict:
        found = metric(expected, outputs)
        if isinstance(found, Verdict):
            return found
        if found is None:
            return Verdict.unverified(f"{label} gave no score")
        score = float(found)
        return Verdict(score, "" if score == 1.0 else f"{label} gave {score:g}")

    label = name or metric_name(metric)
    return Verifier(label, check)


def metric_name(metric: Any) -> str:
    """The name a metric has in fingerprints: its own, else its qualified name and a digest of its source.

    An edited metric is another one; what it calls is not followed. A partial shows its arguments.

    Raises:
        BadConfig: If it has no name, and no source to make one from.
    """
    name = getattr(metric, "name", None)
    if isinstance(name, str) and name:
        return name
    if isinstance(metric, functools.partial):
        given = [*map(repr, metric.args), *(f"{key}={value!r}" for key, value in sorted(metric.keywords.items()))]
        return f"{metric_name(metric.func)}({', '.join(given)})"
    made = metric if inspect.isroutine(metric) or inspect.isclass(metric) else type(metric)
    qualified = f"{made.__module__}.{made.__qualname__}"
    try:
        source = inspect.getsource(made)
    except (OSError, TypeError) as error:
        raise BadConfig(
            f"the source of metric {qualified} cannot be read, so it has no stable name",
            mend="Give it one: metric.name = 'my_metric-v1', or put it in a file.",
        ) from error
    return f"{qualified}#{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def _worst(left: Verdict, right: Verdict) -> Verdict:
    if left.score is None or right.score is None:
        known = right if left.score is None else left
        return known if known.score == 0.0 else Verdict.unverified(_join(*(v for v in (left, right) if not v.verified)))
    return Verdict(min(left.score, right.score), _join(left, right))


def _best(left: Verdict, right: Verdict) -> Verdict:
    if left.score is None or right.score is None:
        known = right if left.score is None else left
        return known if known.score == 1.0 else Verdict.unverified(_join(*(v for v in (left, right) if not v.verified)))
    score = max(left.score, right.score)
    return Verdict(score, "" if score == 1.0 else _join(left, right))


def _join(*verdicts: Verdict) -> str:
    return "; ".join(dict.fromkeys(verdict.why for verdict in verdicts if verdict.why))
