"""Gates that count: at most so many rows of a kind, or so large a share of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.evals.gates import Candidate
from stillroom.rows import By, Status
from stillroom.values import digest

__all__ = ["Capped", "Share"]


class Capped:
    """At most `most` rows pass of each value of a field, such as a problem: easy ones must not fill the set.

    Raises:
        BadConfig: If `most` is under 1.
    """

    by: By = "form"
    on_fail: Status = "rejected"

    def __init__(self, field: str, most: int) -> None:
        if most < 1:
            raise BadConfig(f"most must be at least 1, got {most!r}")
        self._field, self._most = field, most
        self.name = f"at most {most} of each {field}"
        self._passed: Counter[str] = Counter()

    def fresh(self) -> Capped:
        """The same with nothing counted."""
        return Capped(self._field, self._most)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order: earlier ones count."""
        here = self._passed.copy()
        return [self._one(each, here) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Count rows that passed."""
        self._passed.update(self._key(each) for each in passed)

    def _one(self, candidate: Candidate, here: Counter[str]) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        key = self._key(candidate)
        if here[key] >= self._most:
            return Verdict.fail(f"there are {self._most} rows of this {self._field} already")
        here[key] += 1
        return Verdict.ok()

    def _key(self, candidate: Candidate) -> str:
        return digest(candidate.values.get(self._field))


class Share:
    """Rows whose field has a value are at most a share of those that passed, at any moment.

    A row that would be one too many waits for a person (`audit`). So whatever is kept of the rows from the
    first on, the share holds.

    Raises:
        BadConfig: If `most` is not in 0..1.
    """

    by: By = "form"
    on_fail: Status = "audit"

    def __init__(self, field: str, value: str, most: float) -> None:
        if not 0 <= most <= 1:
            raise BadConfig(f"a share must be in 0..1, got {most!r}")
        self._field, self._value, self._most = field, value, most
        self.name = f"{field} {value} <= {most:g} of all"
        self._all = self._such = 0

    def fresh(self) -> Share:
        """The same with nothing counted."""
        return Share(self._field, self._value, self._most)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order: earlier ones count."""
        every, such, verdicts = self._all, self._such, []
        for each in batch:
            if each.fault:
                verdicts.append(Verdict.fail(each.fault))
                continue
            mine = self._is(each)
            # as a fraction of what is written: 0.15 of 20 is 3
            fits = not mine or such + 1 <= Fraction(str(self._most)) * (every + 1)
            every, such = every + fits, such + (fits and mine)
            verdicts.append(Verdict.ok() if fits else Verdict.fail(self._why(such, every)))
        return verdicts

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Count rows that passed."""
        self._all += len(passed)
        self._such += sum(map(self._is, passed))

    def _is(self, candidate: Candidate) -> bool:
        return bool(candidate.values.get(self._field) == self._value)

    def _why(self, such: int, every: int) -> str:
        return f"one more would be {such + 1} of {every + 1} rows with {self._field} {self._value!r}"
