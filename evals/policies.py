"""Rules over whole sets of rows, each a verdict with its reason: what must hold before data is released.

Who may use rows is in `stillroom.release`, how much people had to do with them in
`stillroom.involvement`.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillroom.errors import BadConfig
from stillroom.rows import EmittedRow

from .copies.duplicates import words
from .stats import Interval, wilson
from .verdict import Verdict

if TYPE_CHECKING:
    from .diversity import Coverage, Description

__all__ = [
    "Audit",
    "accounted",
    "audit",
    "audit_sample",
    "balanced",
    "best_teacher",
    "canary",
    "diverse",
    "fit_for_text",
    "longest_overlap",
    "no_long_quotes",
    "one_version",
    "verified",
]

LEAST_ROWS = 20
"""Texts of a set under which its nearest neighbours say nothing."""
AUDITED = ("instruction valid", "input matches", "output correct", "all valid")


def best_teacher(chosen: str, scores: Mapping[str, float]) -> Verdict:
    """Fail where another configured teacher scores higher on the task's development metric; both are named.

    Unverified where the chosen one was not measured.
    """
    if chosen not in scores:
        return Verdict.unverified(f"{chosen} was not measured")
    best = max(scores, key=lambda name: scores[name])
    if scores[best] <= scores[chosen]:
        return Verdict.ok()
    return Verdict.fail(f"{chosen} scores {scores[chosen]:.3f}, {best} scores {scores[best]:.3f}")


def canary(before: Sequence[float], after: Sequence[float], *, most: float = 0.25, least_rows: int = 20) -> Verdict:
    """Fail where a judge's mean score of the same rows moved by over `most` points from start to end of a run.

    Unverified with under `least_rows` rows.

    Raises:
        BadConfig: If the two are not scores of the same rows.
    """
    if len(before) != len(after):
        raise BadConfig(f"a canary scores the same rows twice, got {len(before)} and {len(after)} scores")
    if len(before) < least_rows:
        return Verdict.unverified(f"a canary needs {least_rows} rows, got {len(before)}")
    moved = statistics.fmean(after) - statistics.fmean(before)
    return Verdict.ok() if abs(moved) <= most + 1e-12 else Verdict.fail(f"the judge's mean moved by {moved:+.2f}")


def diverse(found: Description, *, most: float = 0.1, waived: str = "") -> Verdict:
    """Fail a set whose nearest-neighbour cosine is over the reference's by more than `most`, both cut to one size.

    Unverified without a reference or an embedder, or with under `LEAST_ROWS` texts of each set.
    A waiver is the reason to let it pass all the same: it passes with the reason kept in `why`.
    """
    name = "nearest cosine"
    here, there = found["texts"].get(name), found.get("reference", {}).get(name)
    if here is None or there is None or here != here or there != there:  # NaN: nothing was embedded
        return Verdict.unverified("diversity is judged beside a reference set, with an embedder")
    if found["texts"]["looked at"] < LEAST_ROWS:
        return Verdict.unverified(f"diversity needs {LEAST_ROWS} texts, got {found['texts']['looked at']:.0f}")
    if here - there <= most + 1e-12:
        return Verdict.ok()
    why = f"nearest neighbours are at cosine {here:.2f}, the reference's at {there:.2f}"
    return Verdict(1.0, f"{why}; waived: {waived}") if waived.strip() else Verdict.fail(why)


def balanced(found: Coverage) -> Verdict:
    """Fail where a declared cell is more than a row off its quota, or a row stands in no declared cell."""
    if found.balanced:
        return Verdict.ok()
    off = [
        f"{cell}: {count} of {found.quotas[cell]:g}"
        for cell, count in found.counts.items()
        if abs(count - found.quotas[cell]) > 1
    ]
    strays = [f"{cell}: {count} not declared" for cell, count in found.strays.items()]
    return Verdict.fail("; ".join([*off, *strays][:10]))


def verified(rows: Iterable[EmittedRow], gates: Sequence[str]) -> Verdict:
    """Fail where an accepted row lacks the verdict of a gate, or has one that did not pass.

    A later verdict that passed does not outweigh one that failed: no judge overrules a verifier.
    A person overrules a judge, and nothing else.
    """
    wrong = []
    for row in rows:
        if row.status != "accepted":
            continue
        verdicts = row.passport.verdicts
        seen = {str(each.get("gate", "")) for each in verdicts}
        wrong += [f"row {row.id} has no verdict of {gate}" for gate in gates if gate not in seen]
        wrong += [
            f"row {row.id} was accepted though {each.get('gate', '')} did not pass"
            for at, each in enumerate(verdicts)
            if each.get("passed") is not True and not _overruled(each, verdicts[at + 1 :])
        ]
    return Verdict.fail("; ".join(wrong[:10])) if wrong else Verdict.ok()


def _overruled(verdict: Mapping[str, object], later: Sequence[Mapping[str, object]]) -> bool:
    people = [each.get("passed") is True for each in later if each.get("by") == "person"]
    return verdict.get("by") == "judge" and bool(people) and all(people)


def accounted(written: int, rows: Iterable[EmittedRow]) -> Verdict:
    """Fail unless what was written is what was accepted, rejected by a named gate, or sent to audit; each place once."""
    counts: Counter[str] = Counter()
    nameless, twice = [], []
    seen: set[str] = set()
    for row in rows:
        counts[row.status] += 1
        if row.status != "accepted" and not (row.gate and row.why):
            nameless.append(row.place)
        if row.place in seen:
            twice.append(row.place)
        seen.add(row.place)
    problems = [f"{place} was stopped without gate or reason" for place in nameless[:5]]
    problems += [f"{place} stands twice" for place in twice[:5]]
    if counts.total() != written:
        shares = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        problems.append(f"{written} were written, {counts.total()} are accounted for ({shares})")
    return Verdict.fail("; ".join(problems)) if problems else Verdict.ok()


def one_version(rows: Iterable[EmittedRow]) -> Verdict:
    """Fail where rows of one model were written by several versions of it: an endpoint that changed under the run.

    A version is what an endpoint says of itself in its answers (`decoding["served"]`); rows whose
    endpoint says nothing are left out. Each row's passport tells its own.
    """
    versions: dict[str, Counter[str]] = {}
    for row in rows:
        if served := str(row.passport.decoding.get("served", "")):
            versions.setdefault(row.passport.model, Counter())[served] += 1
    changed = [
        f"{model} changed under the run: {', '.join(f'{served} wrote {count} rows' for served, count in counts.items())}"
        for model, counts in sorted(versions.items())
        if len(counts) > 1
    ]
    return Verdict.fail("; ".join(changed)) if changed else Verdict.ok()


# --- quotes ----------------------------------------------------------------------


def longest_overlap(text: str, sources: Sequence[str]) -> tuple[int, int]:
    """Longest run of words that `text` shares with a source, as (words, index of the source); (0, -1) with none.

    Whether a run of n is shared only gets rarer as n grows, so n is found by halving.
    """
    mine = words(text)
    split = [words(source) for source in sources]
    low, where, high = 0, -1, len(mine)
    while low < high:
        size = (low + high + 1) // 2
        grams = {tuple(mine[i : i + size]) for i in range(len(mine) - size + 1)}
        holder = next((at for at, each in enumerate(split) if _holds(each, grams, size)), None)
        if holder is None:
            high = size - 1
        else:
            low, where = size, holder
    return low, where


def no_long_quotes(text: str, sources: Sequence[str], *, most: int = 50) -> Verdict:
    """Fail a text that quotes over `most` words in a row from a source."""
    run, where = longest_overlap(text, sources)
    return Verdict.ok() if run <= most else Verdict.fail(f"{run} words in a row are those of source {where}")


def _holds(split: Sequence[str], grams: set[tuple[str, ...]], size: int) -> bool:
    return any(tuple(split[i : i + size]) in grams for i in range(len(split) - size + 1))


# --- audit by people -------------------------------------------------------------


@dataclass(frozen=True)
class Audit:
    """What people found in a sample: share and interval of each field, and the kinds of error.

    Attributes:
        rows: How many were labelled; 0 means nobody looked.
        shares: Field to the share of rows that are right in it.
        errors: Kind of error to how often it was named.
    """

    rows: int
    shares: Mapping[str, Interval]
    errors: Mapping[str, int]

    @property
    def statement(self) -> str:
        """The sentence for the card; "Unaudited." where nobody looked."""
        if not self.rows:
            return "Unaudited: no person looked at these rows."
        shares = "; ".join(
            f"{name} {share.mean:.0%} [{share.low:.0%}, {share.high:.0%}]" for name, share in self.shares.items()
        )
        errors = ", ".join(f"{count} {kind}" for kind, count in self.errors.items())
        return f"{self.rows} rows audited by people: {shares}." + (f" Errors: {errors}." if errors else "")


def audit_sample(
    rows: Sequence[EmittedRow], strata: Sequence[Hashable], *, size: int = 200, seed: int = 0
) -> list[EmittedRow]:
    """Draw rows for people to label, from every stratum in proportion; no row twice, whatever order they came in.

    Args:
        rows: To draw from.
        strata: One value for each row, such as its label.
        size: How many; all rows where there are fewer.
        seed: Of the draw.

    Raises:
        BadConfig: If there is not one stratum for each row, or `size` is under 1.
    """
    if len(rows) != len(strata) or size < 1:
        raise BadConfig(
            f"a sample needs a stratum for each of {len(rows)} rows and size >= 1, got {len(strata)}, {size}"
        )
    rng = random.Random(seed)
    groups: dict[str, dict[str, EmittedRow]] = {}
    for row, stratum in zip(rows, strata, strict=True):
        groups.setdefault(repr(stratum), {})[row.id] = row
    queues = {name: rng.sample(sorted(group), len(group)) for name, group in sorted(groups.items())}
    total = sum(map(len, queues.values()))
    # a row's place in its stratum over the stratum's size: cutting there is proportional to within a row
    ranked = sorted(
        (((at + 0.5) / len(ids), name, each) for name, ids in queues.items() for at, each in enumerate(ids))
    )
    return [groups[name][each] for _, name, each in ranked[: min(size, total)]]


def audit(labels: Sequence[Mapping[str, object]], *, fields: Sequence[str] = AUDITED, level: float = 0.95) -> Audit:
    """Sum up people's labels, one mapping a row: each of `fields` to a bool, and "error" to a kind where there is one.

    Raises:
        BadConfig: If a row lacks a field, or has something else than a bool there.
    """
    wrong = [(at, name) for at, each in enumerate(labels) for name in fields if not isinstance(each.get(name), bool)]
    if wrong:
        raise BadConfig(f"a label says true or false of every field, got none for {wrong[0][1]!r} in row {wrong[0][0]}")
    shares = {name: wilson(sum(bool(each[name]) for each in labels), len(labels), level) for name in fields if labels}
    errors = Counter(str(each["error"]) for each in labels if each.get("error"))
    return Audit(len(labels), shares, dict(errors.most_common()))


def fit_for_text(found: Audit, *, least: float = 0.9) -> Verdict:
    """Fail rows audited under `least` right for pretraining text; unverified where nobody looked."""
    share = found.shares.get("all valid")
    if share is None:
        return Verdict.unverified("nobody audited these rows")
    return Verdict.ok() if share.mean >= least else Verdict.fail(f"audited right: {share}, under {least:.0%}")
