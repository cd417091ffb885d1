"""Prove: every system on the untouched test split, side by side, with what it does and does not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, BadData
from stillroom.evals.stats import bootstrap_mean, detectable_difference, exact_paired_p, holm, p_words, paired_bootstrap
from stillroom.ledger import Budget, Ledger
from stillroom.programs import Outcome, mean_score
from stillroom.signatures import Example, Task
from stillroom.store import Store
from stillroom.values import digest

from .systems import Cost, System

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "Proof", "Result", "prove_systems"]

LEAST = 8  # test rows; with fewer no interval says anything


@dataclass(frozen=True)
class Result:
    """One system on the test split.

    Attributes:
        name: The system.
        score: Mean metric, 0..1.
        low, high: Bootstrap 95% interval of the score.
        unparsed: Share of answers that did not parse, 0..1.
        calls, tokens, seconds: What answering the split cost.
        rows_per_second: Rows answered a second; `None` when nothing had to be answered.
        optimism: Score on the search rows minus score here: what picking by those rows flattered,
            and for a baseline, which nobody picked, how much easier they are. `None` where no search
            rows were scored.
    """

    name: str
    score: float
    low: float
    high: float
    unparsed: float
    calls: int
    tokens: int
    seconds: float
    rows_per_second: float | None
    optimism: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same rows: difference, paired bootstrap 95% interval, exact two-sided p.

    `adjusted` is p after Holm's correction over all comparisons of the proof.
    """

    better: str
    worse: str
    difference: float
    low: float
    high: float
    p: float
    adjusted: float

    @property
    def words(self) -> str:
        """What the comparison established, or did not."""
        facts = f"{self.difference:+.3f}, 95% interval {self.low:+.3f} to {self.high:+.3f}, exact {p_words(self.p)}, corrected {p_words(self.adjusted)}"
        if self.adjusted <= 0.05:
            return f"Established: {self.better} scores {'above' if self.difference > 0 else 'below'} {self.worse} ({facts})."
        return f"Not established: no difference between {self.better} and {self.worse} was shown ({facts})."


@dataclass(frozen=True)
class Proof:
    """The table, the comparisons, and the same in words.

    `rows` were judged for every system; `unverified` more could not be, and are left out for all.
    """

    task: str
    metric: str
    rows: int
    unverified: int
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...]
    opened: int

    @property
    def words(self) -> tuple[str, ...]:
        """What was and was not established, the limits of the test included."""
        visible = detectable_difference(self.rows)
        limits = [
            f"With {self.rows} test rows, differences under about {100 * visible:.0f} points would usually not be seen."
        ]
        if self.unverified:
            limits.append(f"{self.unverified} test rows could not be verified and are left out for every system.")
        if self.opened > 1:
            limits.append(
                f"The test split of this run was opened for {self.opened} different sets of systems: choices made after looking weaken it."
            )
        limits += [
            f"Optimism of {each.name}: {each.optimism:+.3f}, from {each.score + each.optimism:.3f} on the search rows to {each.score:.3f} here."
            for each in self.results
            if each.optimism is not None
        ]
        return (*(comparison.words for comparison in self.comparisons), *limits)

    def frame(self) -> pd.DataFrame:
        """One row per system."""
        import pandas as pd

        return pd.DataFrame([asdict(result) for result in self.results])

    def as_json(self) -> dict[str, Any]:
        """The proof as a plain JSON value."""
        return {**asdict(self), "words": list(self.words)}

    def __str__(self) -> str:
        lines = [f"{self.task}: {self.metric} on {self.rows} test rows"]
        width = max(len(result.name) for result in self.results)
        for each in self.results:
            speed = "" if each.rows_per_second is None else f"  {each.rows_per_second:8.1f} rows/s"
            lines.append(
                f"  {each.name:<{width}}  {each.score:.3f} ({each.low:.3f} to {each.high:.3f})  {each.calls:5d} calls  {each.tokens:7d} tokens{speed}"
            )
        return "\n".join([*lines, *self.words])


def prove_systems(
    task: Task,
    systems: Sequence[System],
    pairs: Sequence[tuple[str, str]],
    run: Path | str,
    *,
    budget: Budget | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> Proof:
    """Score `systems` on the test split and compare the named `pairs` (first against second).

    `on_progress` is called with (systems done, systems, name of the next) before each.

    Raises:
        BadConfig: If two systems have one name, or a pair names none of them.
        BudgetExceeded, EngineError: If a system could not answer; what was answered is kept.
    """
    names = [system.name for system in systems]
    unknown = sorted({name for pair in pairs for name in pair} - set(names))
    if len(set(names)) < len(names) or unknown:
        raise BadConfig(
            f"systems need one name each and pairs must name them, got {names} and pairs of {unknown or 'nothing unknown'}"
        )
    examples = task.held_out
    with Store(run) as store:
        store.claim("prove", task.fingerprint)
        ledger = Ledger(budget or Budget(), store.spent("prove"))
        # the same question asked again is no second look; another set of systems is
        store.put_note("opened", digest(sorted(names)), names)
        answered = {}
        for place, system in enumerate(systems):
            if on_progress is not None:
                on_progress(place, len(systems), system.name)
            answered[system.name] = system.answer(task, examples, store, ledger)
        kept = _verified([outcomes for outcomes, _ in answered.values()])
        searched = {system.name: system.search_score for system in systems}
        results = tuple(
            _result(name, outcomes, kept, cost, searched[name]) for name, (outcomes, cost) in answered.items()
        )
        scores = {name: [outcomes[row].score for row in kept] for name, (outcomes, _) in answered.items()}
        opened = len(store.notes("opened"))
        proof = Proof(
            task.name, task.metric_name, len(kept), len(examples) - len(kept), results, _compare(scores, pairs), opened
        )
        store.put_note("proof", "latest", proof.as_json())
        store.put_note("misses", "latest", _misses(answered, examples))
    return proof


def _verified(answered: Sequence[Sequence[Outcome]]) -> list[int]:
    """The rows on which every system could be judged: unverified is not zero, for nobody."""
    rows = [
        row
        for row, outcomes in enumerate(zip(*answered, strict=True))
        if all(each.kind != "unverified" for each in outcomes)
    ]
    if len(rows) < LEAST:
        raise BadData(
            f"a proof needs {LEAST} test rows that the metric can verify, got {len(rows)}",
            mend="Look at the metric and the gold values.",
        )
    return rows


def _result(name: str, answered: Sequence[Outcome], kept: Sequence[int], cost: Cost, searched: float | None) -> Result:
    outcomes = [answered[row] for row in kept]
    interval = bootstrap_mean([outcome.score for outcome in outcomes], seed=0)
    unparsed = sum(outcome.kind == "unparsed" for outcome in outcomes) / len(outcomes)
    speed = len(answered) / cost.seconds if cost.seconds else None
    score = mean_score(outcomes)
    optimism = None if searched is None else searched - score
    return Result(
        name, score, interval.low, interval.high, unparsed, cost.calls, cost.tokens, cost.seconds, speed, optimism
    )


def _compare(scores: Mapping[str, Sequence[float]], pairs: Sequence[tuple[str, str]]) -> tuple[Comparison, ...]:
    ps = [exact_paired_p(scores[one], scores[other]) for one, other in pairs]
    made = []
    for (one, other), p, adjusted in zip(pairs, ps, holm(ps), strict=True):
        gain = paired_bootstrap(scores[one], scores[other], seed=0)
        made.append(Comparison(one, other, gain.mean, gain.low, gain.high, p, adjusted))
    return tuple(made)


def _misses(
    answered: Mapping[str, tuple[list[Outcome], Cost]], examples: Sequence[Example]
) -> dict[str, list[dict[str, Any]]]:
    """The first rows each system got wrong, for the report."""
    by_id = {example.id: example for example in examples}
    return {
        name: [
            {"row": by_id[each.example].values, "got": dict(each.outputs), "why": each.why}
            for each in outcomes
            if each.score < 1
        ][:20]
        for name, (outcomes, _) in answered.items()
    }
