"""One table of how diverse a set of texts is, beside a set it is measured against."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Embeds, folded, words

from .coverage import coverage
from .lexical import distinct, rouge_maxima, self_bleu
from .spread import cluster_balance, nearest, realism, vendi
from .verbs import verb_objects

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Description", "describe"]

_FOLDS = 5


@dataclass(frozen=True)
class Description(Mapping[str, Mapping[str, float]]):
    """Figures by column ("texts", and "reference" where there is one), NaN where one could not be had.

    Attributes:
        columns: Column to figure to value.
        notes: What a reader must know: subsampling, what was left out and why.
    """

    columns: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...] = ()

    def __getitem__(self, column: str) -> Mapping[str, float]:
        return self.columns[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def frame(self) -> pd.DataFrame:
        """One row a figure, one column a set."""
        import pandas as pd

        return pd.DataFrame({name: dict(figures) for name, figures in self.columns.items()})

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON; NaN becomes null."""
        columns = {
            name: {figure: None if math.isnan(value) else value for figure, value in figures.items()}
            for name, figures in self.columns.items()
        }
        return {"columns": columns, "notes": list(self.notes)}

    def __str__(self) -> str:
        figures = list(next(iter(self.columns.values())))
        wide = max(map(len, figures))
        lines = [" " * wide + "".join(f"  {name:>12}" for name in self.columns)]
        for figure in figures:
            cells = "".join(f"  {_shown(each.get(figure, math.nan)):>12}" for each in self.columns.values())
            lines.append(f"{figure:<{wide}}{cells}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def describe(
    texts: Sequence[str],
    reference: Sequence[str] | None = None,
    *,
    embedder: Embeds | None = None,
    rows: Sequence[Mapping[str, Any]] | None = None,
    declared: Mapping[str, Sequence[Any]] | None = None,
    clusters: int | None = None,
    at_most: int = 2000,
    seed: int = 0,
) -> Description:
    """Measure how diverse `texts` are, with the same figures of `reference` beside them.

    Almost every figure falls or rises with the number of texts alone, so both sets are
    cut to one size: the smaller of the two and `at_most`, drawn by `seed` from the sorted
    texts, whatever order they came in. The notes say so.

    Args:
        texts: The set under test, such as emitted rows.
        reference: A set to stand beside, such as the labelled rows or the seeds.
        embedder: Makes the vectors; without one the figures that need them are left out.
        rows: The attributes of each row, where `declared` is given.
        declared: Attributes to all their values, for coverage (of all rows, never a sample).
        clusters: Of the k-means; by default the root of half the rows, up to 20.
        at_most: Texts of each set to look at.
        seed: Of the draw, the clusters and the folds.

    Raises:
        BadConfig: If there are no texts, `at_most` is under 2, or only one of `rows` and `declared` is given.
    """
    if not texts or (reference is not None and not reference) or at_most < 2:
        raise BadConfig(
            f"describe needs texts and at_most >= 2, got {len(texts)} texts, {at_most=}"
            + ("" if reference is None else f", {len(reference)} in the reference")
        )
    if (rows is None) != (declared is None):
        raise BadConfig("rows and declared come together, got only one of them")
    notes: list[str] = []
    sets = {"texts": texts} if reference is None else {"texts": texts, "reference": reference}
    size = min(at_most, *map(len, sets.values()))
    drawn = {name: _draw(each, size, seed) for name, each in sets.items()}
    for name, each in sets.items():
        if len(each) > size:
            notes.append(f"{name}: {size} of {len(each)} were looked at, drawn with seed {seed}")
    vectors = {name: None if embedder is None else embedder.embed(each) for name, each in drawn.items()}
    columns = {
        name: {"rows": float(len(sets[name])), "looked at": float(size)}
        | _wording(each)
        | _spread(vectors[name], clusters, seed)
        for name, each in drawn.items()
    }
    if embedder is None:
        notes.append("no embedder: figures of meaning are left out")
    if reference is not None:
        columns["texts"] |= _against(drawn["texts"], drawn["reference"], vectors, seed, notes)
    if rows is not None and declared is not None:
        columns["texts"] |= coverage(rows, declared).figures()
    return Description(columns, tuple(notes))


def _draw(texts: Sequence[str], size: int, seed: int) -> list[str]:
    ordered = sorted(texts)
    return sorted(random.Random(seed).sample(ordered, size)) if size < len(ordered) else ordered


def _wording(texts: Sequence[str]) -> dict[str, float]:
    lengths = [len(words(text)) for text in texts]
    pairs = verb_objects(texts)
    return {
        "mean words": float(np.mean(lengths)),
        "copies": (len(texts) - len({folded(text) for text in texts})) / len(texts),
        "distinct-1": distinct(texts, 1),
        "distinct-2": distinct(texts, 2),
        "distinct-3": distinct(texts, 3),
        "self-BLEU": float(self_bleu(texts).mean()),
        "mean max ROUGE-L": float(rouge_maxima(texts).mean()),
        "verb-object pairs": float(len(pairs)),
        "with verb and object": pairs.total() / len(texts),
    }


def _spread(vectors: np.ndarray | None, clusters: int | None, seed: int) -> dict[str, float]:
    names = ("nearest cosine", "nearest distance, lowest tenth", "Vendi", "Vendi / rows", "cluster balance")
    if vectors is None:
        return dict.fromkeys(names, math.nan)
    closest, vendis = nearest(vectors), vendi(vectors)
    enough = len(vectors) >= (clusters or 4)
    balance = cluster_balance(vectors, clusters, seed=seed) if enough else math.nan
    lowest = float(np.quantile(1 - closest, 0.1))
    return dict(zip(names, (float(closest.mean()), lowest, vendis, vendis / len(vectors), balance), strict=True))


def _against(
    texts: Sequence[str],
    reference: Sequence[str],
    vectors: Mapping[str, np.ndarray | None],
    seed: int,
    notes: list[str],
) -> dict[str, float]:
    """What only the two sets together can say."""
    figures = {
        "max ROUGE-L with reference": float(rouge_maxima(texts, reference).mean()),
        "nearest cosine in reference": math.nan,
        "reference's nearest cosine here": math.nan,
        "AUROC against reference": math.nan,
        "AUROC low": math.nan,
        "AUROC high": math.nan,
    }
    made, real = vectors["texts"], vectors["reference"]
    if made is None or real is None:
        return figures
    figures["nearest cosine in reference"] = float(nearest(made, real).mean())
    figures["reference's nearest cosine here"] = float(nearest(real, made).mean())
    if len(made) < 2 * _FOLDS:
        notes.append(f"AUROC left out: it needs {2 * _FOLDS} texts of each set, there are {len(made)}")
        return figures
    try:
        found = realism(made, real, groups=[folded(text) for text in [*texts, *reference]], folds=_FOLDS, seed=seed)
    except BadConfig as error:
        notes.append(f"AUROC left out: {error}")
        return figures
    return figures | {"AUROC against reference": found.mean, "AUROC low": found.low, "AUROC high": found.high}


def _shown(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value == int(value) and abs(value) >= 2 else f"{value:.3f}"
