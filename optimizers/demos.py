"""Demo sets: which labelled rows, or the program's own right answers, a prompt may show."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stillroom.programs import Demo, Outcome
from stillroom.signatures import Example

from .space import DemoSet
from .subject import Part, Subject

if TYPE_CHECKING:
    from .race import Trial

__all__ = ["bootstrapped_set", "demo_effects", "effect_set", "labelled_sets", "varied_set", "vectors"]

MOST = 36  # more demos than this cost more prompt than they have been seen to gain
ROOM = 6_000  # characters of demos: about 1,500 tokens, which every call pays for


def labelled_sets(
    subject: Subject, part: Part, embedded: Mapping[str, np.ndarray], rng: random.Random
) -> list[DemoSet]:
    """Labelled rows in several sizes, largest first: by coverage, and drawn at random; balanced over labels.

    Args:
        subject: Its demos rows are drawn from, and no others.
        part: Whose demos they will be; no sets where rows do not tell its outputs.
        embedded: Unit vectors by example id, see `vectors`; rows without one are not considered.
        rng: Draws and orders.
    """
    considered = [example for example in subject.demos if example.id in embedded]
    shown = {example.id: demo for example in considered if (demo := subject.shown(part, example)) is not None}
    rows = [example for example in considered if example.id in shown]
    sets = []
    for size in _sizes(part, rows):
        # an order of its own for each size: with demos grouped by label, a small model repeats the last one's
        by_coverage = covering(rows, part, size, embedded)
        rng.shuffle(by_coverage)
        drawn = _drawn(rows, part, size, rng)
        sets += [
            DemoSet(f"covering-{size}", _fit([shown[row.id] for row in by_coverage])),
            DemoSet(f"labelled-{size}", _fit([shown[row.id] for row in drawn])),
        ]
    return [each for each in sets if each.demos]


def bootstrapped_set(
    subject: Subject, part: Part, tried: Sequence[tuple[Example, Outcome]], size: int, rng: random.Random
) -> DemoSet | None:
    """Calls of a part inside answers that were right in full, as the program made them.

    The idea is BootstrapFewShot's (Khattab et al. 2023, arXiv 2310.03714); a row gives one demo.
    """
    demos = []
    for example, outcome in tried:
        if outcome.score != 1 or outcome.kind != "scored":
            continue
        steps = [step for step in subject.steps(example, outcome) if step.part == part.name]
        if steps:
            step = rng.choice(steps)
            name = example.id if not part.name else f"{example.id}#{part.name}"
            demos.append(Demo(name, dict(step.inputs), dict(step.outputs)))
    chosen = _fit(rng.sample(demos, min(size, len(demos))))
    if not chosen:
        return None
    return DemoSet(f"bootstrapped-{len(chosen)}", chosen, all("reasoning" in demo.outputs for demo in chosen))


def varied_set(wanted: DemoSet, part: Part, subject: Subject, rng: random.Random) -> DemoSet:
    """A child of a set: a third of its demos swapped for others of the same label, in another order."""
    shown = [demo for row in subject.demos if (demo := subject.shown(part, row)) is not None]
    held = {demo.id for demo in wanted.demos}
    spare: defaultdict[str, list[Demo]] = defaultdict(list)
    for demo in shown:
        if demo.id not in held:
            spare[_label(part, demo.outputs)].append(demo)
    demos = list(wanted.demos)
    for place in rng.sample(range(len(demos)), max(1, len(demos) // 3)):
        others = spare[_label(part, demos[place].outputs)]
        if others:
            demos[place] = others.pop(rng.randrange(len(others)))
    rng.shuffle(demos)
    return DemoSet(f"varied-{len(demos)}", tuple(demos), wanted.reasoned)


def demo_effects(trials: Sequence[Trial], part: Part) -> dict[str, float]:
    """The effect of showing each demo on the score, by example id, in points of score.

    A ridge regression over (candidate, row) scores, rows centred by their mean over the
    candidates that saw them, on which demos the candidate shows and how many: candidates
    are few, so effects are shrunk hard and only their order is used (cf. data models,
    Ilyas et al. 2022, arXiv 2202.00622).
    """
    from sklearn.linear_model import Ridge

    shown = [{demo.id for demo in trial.candidate.choices[part.name].demos} for trial in trials]
    ids = sorted(set().union(*shown)) if shown else []
    if len(trials) < 3 or not ids:
        return {}
    sums: defaultdict[int, list[float]] = defaultdict(list)
    for trial in trials:
        for place, outcome in trial.outcomes.items():
            sums[place].append(outcome.score)
    gaps, weights, design = [], [], []
    for trial, held in zip(trials, shown, strict=True):
        found = [outcome.score - np.mean(sums[place]) for place, outcome in trial.outcomes.items()]
        if found:
            gaps.append(float(np.mean(found)))
            weights.append(len(found))
            design.append([float(name in held) for name in ids] + [len(held) / MOST])
    model = Ridge(alpha=1.0).fit(np.array(design), np.array(gaps), sample_weight=np.array(weights))
    return dict(zip(ids, (float(value) for value in model.coef_[: len(ids)]), strict=True))


def effect_set(
    effects: Mapping[str, float], trials: Sequence[Trial], part: Part, size: int, rng: random.Random
) -> DemoSet | None:
    """The demos with the best measured effect, as many of each label as the best set has."""
    known = {demo.id: demo for trial in trials for demo in trial.candidate.choices[part.name].demos}
    groups: defaultdict[str, list[Demo]] = defaultdict(list)
    for name in sorted(known, key=lambda each: (-effects.get(each, 0.0), each)):
        groups[_label(part, known[name].outputs)].append(known[name])
    if not groups:
        return None
    each = max(1, size // len(groups))
    chosen = [demo for name in sorted(groups) for demo in groups[name][:each]]
    rng.shuffle(chosen)
    return DemoSet(f"effect-{len(chosen)}", _fit(chosen), all("reasoning" in demo.outputs for demo in chosen))


def vectors(examples: Sequence[Example], embedding: str) -> dict[str, np.ndarray]:
    """Unit vectors of examples by id: tf-idf of words, or MiniLM."""
    if not examples:
        return {}
    texts = [example.text for example in examples]
    if embedding == "minilm":
        from stillroom.evals import default_embedder

        found = default_embedder().embed(texts)
    else:
        from sklearn.feature_extraction.text import TfidfVectorizer

        found = TfidfVectorizer(sublinear_tf=True).fit_transform(texts).toarray()
    return {example.id: vector for example, vector in zip(examples, found, strict=True)}


def covering(rows: Sequence[Example], part: Part, size: int, embedded: Mapping[str, np.ndarray]) -> list[Example]:
    """`size` rows of each label (of all rows without labels) that lie nearest to all others.

    Greedy facility location: each pick adds most to the sum over rows of the similarity
    to their nearest pick, which rewards coverage and punishes repeats (Lin and Bilmes 2011;
    within 1 - 1/e of the best, Nemhauser et al. 1978).
    """
    chosen = []
    for group in _groups(rows, part).values():
        matrix = np.stack([embedded[row.id] for row in group])
        similar = matrix @ matrix.T
        nearest = np.full(len(group), -1.0)
        picked: list[int] = []
        for _ in range(min(size, len(group))):
            gains = np.maximum(similar, nearest).sum(axis=1)
            gains[picked] = -np.inf
            picked.append(int(np.argmax(gains)))
            nearest = np.maximum(nearest, similar[picked[-1]])
        chosen += [group[place] for place in picked]
    return chosen


def _sizes(part: Part, rows: Sequence[Example]) -> list[int]:
    """Demos per label for a classification, in all for anything else; those that fit, largest first."""
    if not rows:
        return []
    each = sum(len(str(row.inputs)) + len(str(row.outputs)) for row in rows) / len(rows)
    most = max(1, min(MOST, int(ROOM / max(each, 1.0))))
    if part.labels:
        sizes = [size for size in (8, 5, 3, 2, 1) if size * len(part.labels) <= most]
        return (sizes or [1])[:3]
    return [size for size in (16, 8, 4, 2) if size <= min(most, len(rows))][:3] or [1]


def _drawn(rows: Sequence[Example], part: Part, size: int, rng: random.Random) -> list[Example]:
    chosen = [row for group in _groups(rows, part).values() for row in rng.sample(group, min(size, len(group)))]
    rng.shuffle(chosen)
    return chosen


def _groups(rows: Sequence[Example], part: Part) -> dict[str, list[Example]]:
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for row in rows:
        groups[_label(part, row.outputs)].append(row)
    return {name: groups[name] for name in sorted(groups)}


def _label(part: Part, outputs: Mapping[str, object]) -> str:
    """The group a row is balanced in: its label, or all rows together."""
    return str(outputs.get(part.outputs[-1])) if part.labels else "all"


def _fit(demos: Sequence[Demo]) -> tuple[Demo, ...]:
    """As many of the first as there is room for."""
    room = ROOM
    kept: list[Demo] = []
    for demo in demos[:MOST]:
        room -= len(str(dict(demo.inputs))) + len(str(dict(demo.outputs)))
        if room < 0 and kept:
            break
        kept.append(demo)
    return tuple(kept)
