"""What grounded tasks must be: sections that people wrote, answers that stand in their texts, documents of a length."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.evals import Verdict
from stillroom.evals.copies.duplicates import words
from stillroom.evals.copies.minhash import jaccard
from stillroom.evals.gates import Candidate
from stillroom.programs.published import Rule
from stillroom.rows import By, Status

__all__ = ["Evidence", "bucket", "found_at", "noisy", "plain_header", "repeats"]

NAVIGATION = re.compile(
    r"\b(?:advertis\w*|sponsored|forums?|quick links?|newsletter|subscribe|sign (?:in|up)|log ?in|menu|navigation|"
    r"share this|related (?:posts?|articles?)|comments?|cookies?|copyright|contact us|site ?map|search)\b",
    re.IGNORECASE,
)


def repeats(text: str, most: float) -> str:
    """Two sentences of the text whose word 3-grams overlap by more than `most` (Jaccard, 0..1), or ""."""
    known: list[frozenset[str]] = []
    for each in re.split(r"(?<=[.!?])\s+|\n+", text):
        bare = words(each)
        if len(bare) < 4:
            continue
        grams = frozenset(" ".join(bare[at : at + 3]) for at in range(len(bare) - 2))
        if any(jaccard(grams, other) > most for other in known):
            return each.strip()
        known.append(grams)
    return ""


def plain_header(header: str) -> str:
    """Why a heading tells that no text of people stands under it, or ""."""
    if not header:
        return "there is no heading"
    if header.isupper():
        return f"heading in capitals: {header!r}"
    found = NAVIGATION.search(header)
    return f"heading of a page's furniture: {header!r}" if found else ""


def noisy(least: int, most: int, alike: float) -> tuple[Rule, ...]:
    """What a section must be, in the published order: `least` to `most` characters, a heading, no sentence twice."""

    def size(row: Mapping[str, Any]) -> str:
        long = len(row["text"])
        if least <= long <= most:
            return ""
        return f"a section has {least} to {most} characters, got {long}"

    def repeated(row: Mapping[str, Any]) -> str:
        found = repeats(row["text"], alike)
        return f"a sentence is repeated: {found[:60]!r}" if found else ""

    return (
        Rule(f"section length({least}..{most})", size),
        Rule("heading", lambda row: plain_header(row["header"])),
        Rule(f"repeated sentences({alike:g})", repeated),
    )


@dataclass(frozen=True)
class Evidence:
    """The answer stands word for word in its chunk, or follows from it surely enough; where, goes into the papers.

    Looks at `answer`, `passage`, `start` (of the passage in its document) and `entailment` (0..1 or None).
    """

    entailed: float = 0.0
    on_fail: Status = "rejected"

    @property
    def name(self) -> str:
        """With its setting."""
        return f"evidence({self.entailed:g})"

    @property
    def by(self) -> By:
        """A program, unless a model may say that the answer follows."""
        return "judge" if self.entailed else "verifier"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate; `found` has the offsets of the evidence in the document."""
        return [self._one(each.values) if not each.fault else Verdict.fail(each.fault) for each in batch]

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def _one(self, row: Mapping[str, Any]) -> Verdict:
        passage, base = row["passage"], row["start"]
        span = found_at(row["answer"], passage)
        if span is not None:
            return Verdict(1.0, "", {"start": base + span[0], "end": base + span[1]})
        sure = row.get("entailment")
        if self.entailed and sure is not None and sure >= self.entailed:
            return Verdict(1.0, "", {"start": base, "end": base + len(passage), "entailment": sure})
        return Verdict.fail(f"the answer {str(row['answer'])[:60]!r} does not stand in its chunk")


def found_at(answer: str, passage: str) -> tuple[int, int] | None:
    """Where an answer stands in a passage: whole words, whatever the case and the white space; None if nowhere."""
    parts = answer.strip().strip("\"'").rstrip(".").split()
    if not parts:
        return None
    found = re.search(r"(?<!\w)" + r"\s+".join(map(re.escape, parts)) + r"(?!\w)", passage, re.IGNORECASE)
    return found.span() if found else None


def bucket(size: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds a document of so many tokens; 0 without buckets, None if it is too long."""
    return next((each for each in sorted(buckets) if size <= each), None) if buckets else 0
