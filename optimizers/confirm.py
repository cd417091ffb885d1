"""The honest end: announce a program only when rows that did not pick it, or a corrected test, say so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from stillroom.evals.selection import max_t_p
from stillroom.evals.stats import exact_paired_p, p_words, paired_bootstrap
from stillroom.signatures import Example

from .course import TRIED
from .race import Run, Trial
from .rules import balanced_order
from .subject import Candidate, Part, Subject, strata

__all__ = ["Evidence", "corrected_p", "fresh_rows", "keep_fresh", "look_again", "verdict"]

FEWEST = 12  # fresh rows that are worth asking: fewer cannot say anything
LEARNT = 2 * TRIED  # demos rows that a search needs before any are kept from it


@dataclass(frozen=True)
class Evidence:
    """What speaks for the picked program against the baseline.

    Attributes:
        p: One-sided p on the search rows, corrected for picking the best of all candidates.
        fresh: Rows that no choice was made on, asked at the end; 0 where there were none, no budget for
            them, or nothing to confirm because the program is not ahead.
        fresh_best, fresh_baseline: Mean scores on them.
        fresh_p: One-sided exact paired p on them; 1 without any.
        alpha: What `judged` must reach.
        rows: Search rows.
    """

    p: float
    alpha: float
    rows: int
    fresh: int = 0
    fresh_best: float = 0.0
    fresh_baseline: float = 0.0
    fresh_p: float = 1.0

    @property
    def judged(self) -> float:
        """The p that decides, one-sided.

        Half as many fresh rows as search rows or more decide alone: nothing was picked on them, so
        they need no correction. Fewer are combined with the corrected p (Fisher 1932). Without any
        the corrected p counts twice: candidates bred from the best inherit its luck, which the
        correction knows only in part (docs/racing.md has the simulations).
        """
        from scipy.stats import combine_pvalues

        if not self.fresh:
            return min(1.0, 2 * self.p)
        return self.fresh_p if self.alone else float(combine_pvalues([self.p, self.fresh_p]).pvalue)

    @property
    def alone(self) -> bool:
        """Whether the fresh rows are enough to decide by themselves."""
        return 2 * self.fresh >= self.rows

    @property
    def established(self) -> bool:
        """Whether the program may be announced."""
        return self.judged <= self.alpha


def corrected_p(trials: Sequence[Trial], baseline: Trial, chosen: Trial, seed: int) -> float:
    """One-sided max-T p of `chosen` over the baseline among all `trials`; see `stillroom.evals.selection`."""
    rows = sorted(baseline.outcomes)
    others = [trial for trial in trials if trial is not baseline and trial.outcomes]
    table = [[trial.outcomes[row].score if row in trial.outcomes else None for row in rows] for trial in others]
    return max_t_p(table, [baseline.outcomes[row].score for row in rows], others.index(chosen), seed=seed)


def keep_fresh(
    rows: Sequence[Example], parts: Sequence[Part], most: int, seed: int
) -> tuple[list[Example], list[Example]]:
    """Part the demos split: rows that may be shown and learnt from, and rows kept from all that for the end.

    At most `most` rows and half of the split are kept. None are where they would be fewer than 12,
    or leave fewer than 32 to learn from.

    Args:
        rows: The demos split; what may be learnt from keeps its order.
        parts: Their labels balance both sides, and every beginning of what is kept.
        most: At most so many are kept.
        seed: Draws.
    """
    count = min(most, len(rows) // 2, len(rows) - LEARNT)
    if count < FEWEST:
        return list(rows), []
    kept = balanced_order(strata(parts, rows), random.Random(f"fresh/{seed}"))[:count]
    return [row for place, row in enumerate(rows) if place not in set(kept)], [rows[place] for place in kept]


def fresh_rows(subject: Subject, candidates: Sequence[Candidate], most: int) -> list[Example]:
    """At most `most` fresh rows to compare `candidates` on; none if too few.

    A row that one of them shows is left out: a module may come with demos of its own.
    """
    shown = [demo.inputs for each in candidates for choice in each.choices.values() for demo in choice.demos]
    rows = [row for row in subject.fresh if row.inputs not in shown][:most]
    return rows if len(rows) >= FEWEST else []


def look_again(run: Run, best: Trial, baseline: Trial, rows: Sequence[Example], p: float, alpha: float) -> Evidence:
    """Compare the two on `rows`; costs a run of each."""
    mine = [outcome.score for outcome in run(best.candidate, rows)]
    theirs = [outcome.score for outcome in run(baseline.candidate, rows)]
    return Evidence(
        p,
        alpha,
        len(best.outcomes),
        len(rows),
        sum(mine) / len(mine),
        sum(theirs) / len(theirs),
        exact_paired_p(mine, theirs, alternative="greater"),
    )


def verdict(best: Trial, baseline: Trial, trials: int, evidence: Evidence | None, seed: int) -> str:
    """What was found, in words, with the figures; without evidence the baseline is the best."""
    if evidence is None:
        return f"no candidate scored above the baseline ({baseline.mean:.3f} on {len(baseline.outcomes)} search rows); the baseline is kept"
    gain = paired_bootstrap(best.scores, baseline.scores, seed=seed)
    facts = (
        f"{best.mean:.3f} against {baseline.mean:.3f} on {len(best.outcomes)} search rows, difference {gain.mean:+.3f} "
        f"(95% interval {gain.low:+.3f} to {gain.high:+.3f}, {p_words(evidence.p)} corrected for the best of {trials} candidates)"
    )
    if evidence.fresh:
        facts += (
            f"; {evidence.fresh_best:.3f} against {evidence.fresh_baseline:.3f} on {evidence.fresh} fresh rows "
            f"({p_words(evidence.fresh_p)}; {'these decide' if evidence.alone else f'together {p_words(evidence.judged)}'})"
        )
    else:
        facts += f"; no fresh rows, so twice that counts ({p_words(evidence.judged)})"
    if evidence.established:
        return f"winner confirmed: {facts}"
    return f"not established at p <= {evidence.alpha:g}: {facts}; the baseline is kept"
