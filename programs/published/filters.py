"""The filters that published systems share, as gates: length, words, first character, novelty by ROUGE-L."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals import Verdict
from stillroom.evals.copies.duplicates import Embeds, Match
from stillroom.evals.copies.nearest import closest
from stillroom.evals.copies.novelty import RougeFilter
from stillroom.evals.gates import Candidate, tried_before
from stillroom.rows import By, Status
from stillroom.values import digest

from .rule import Rule

__all__ = ["Apart", "RougeNovelty", "banned", "first_character", "sized"]


def sized(field: str, least: int, most: int) -> Rule:
    """F1: the text has `least` to `most` words, as Self-Instruct counts them: split at whitespace."""

    def why(row: Mapping[str, Any]) -> str:
        count = len(row[field].split())
        return "" if least <= count <= most else f"{field} must have {least} to {most} words, got {count}"

    return Rule(f"length({field}, {least}..{most})", why)


def banned(field: str, words: Sequence[str], prefixes: Sequence[str] = ()) -> Rule:
    """F2: the text has none of these words, whatever their case, and none of these beginnings."""
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE) if words else None

    def why(row: Mapping[str, Any]) -> str:
        text = row[field]
        found = pattern.search(text) if pattern else None
        if found:
            return f"{field} must not ask for {found[0]!r}"
        start = next((each for each in prefixes if text.startswith(each)), None)
        return f"{field} must not begin with {start!r}" if start else ""

    return Rule(f"words({field}, {len(words)} words, {len(prefixes)} beginnings)", why)


def first_character(field: str) -> Rule:
    """F3: the text begins with neither punctuation nor a character outside ASCII."""

    def why(row: Mapping[str, Any]) -> str:
        first = row[field][:1]
        if first and first in string.punctuation:
            return f"{field} must not begin with punctuation, got {first!r}"
        return "" if first.isascii() else f"{field} must begin with an ASCII character, got {first!r}"

    return Rule(f"first character({field})", why)


class RougeNovelty:
    """F5: the text has a ROUGE-L F1 of at most `limit` with every text of the pool and every row that passed before.

    Earlier tries of the same slot do not count: nothing of them was accepted.
    """

    by: By = "form"
    on_fail: Status = "rejected"

    def __init__(self, pool: Iterable[str] = (), limit: float = 0.7) -> None:
        """Compare with `pool`, and with what passes."""
        self._texts, self._limit = tuple(pool), limit
        self.name = f"ROUGE-L <= {limit:g}"
        self._filter = RougeFilter(limit, kin=tried_before)
        self._seen: set[str] = set()
        # each on its own: near copies within the given pool are the user's to keep
        for at, text in enumerate(self._texts):
            self._filter.admit([(f"given {at}", text)])

    def fresh(self) -> RougeNovelty:
        """The same with nothing but the given texts in its pool."""
        return RougeNovelty(self._texts, self._limit)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order: an earlier one stops a later one."""
        whole = [each for each in batch if not each.fault]
        found = dict(
            zip(
                (each.place for each in whole),
                self._filter.admit((each.place, each.text) for each in whole),
                strict=True,
            )
        )
        self._seen.update(place for place, match in found.items() if match is None)
        return [self._verdict(each, found) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Learn rows of a run that goes on; those just checked are known."""
        self._filter.admit((each.place, each.text) for each in passed if each.place not in self._seen)

    def _verdict(self, candidate: Candidate, found: Mapping[str, Match | None]) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        match = found[candidate.place]
        if match is None:
            return Verdict.ok()
        return Verdict.fail(f"ROUGE-L {match.similarity:.2f} with {match.other_id}")


class Apart:
    """The text has a cosine below `limit` with every one of some texts."""

    by: By = "form"
    on_fail: Status = "rejected"

    def __init__(self, texts: Sequence[str], embedder: Embeds, limit: float = 0.95) -> None:
        """Keep apart from `texts`, by the vectors that `embedder` makes. Raises `BadConfig` for a limit outside (0, 1]."""
        if not 0 < limit <= 1:
            raise BadConfig(f"limit must be in 0..1, got {limit!r}")
        self._texts, self._embedder, self._limit = tuple(texts), embedder, limit
        self.name = f"cosine < {limit:g} with {len(self._texts)} texts"

    @property
    def pin(self) -> str:
        """Its name, with a digest of the texts."""
        return f"{self.name} {digest(list(self._texts))}"

    @cached_property
    def _vectors(self) -> Any:
        return self._embedder.embed(self._texts)

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order."""
        whole = [each for each in batch if not each.fault]
        if not whole or not self._texts:
            return [Verdict.fail(each.fault) if each.fault else Verdict.ok() for each in batch]
        _, cosines = closest(self._embedder.embed([each.text for each in whole]), self._vectors)
        found = dict(zip((each.place for each in whole), cosines, strict=True))
        return [self._verdict(each, found) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def _verdict(self, candidate: Candidate, found: Mapping[str, float]) -> Verdict:
        if candidate.fault:
            return Verdict.fail(candidate.fault)
        cosine = found[candidate.place]
        return Verdict.ok() if cosine < self._limit else Verdict.fail(f"cosine {cosine:.2f} with a text to keep from")
