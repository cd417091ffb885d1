"""Spread: how far apart a set of texts lies in an embedding space, and from another set."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from stillroom.errors import BadConfig
from stillroom.evals.stats import Interval

__all__ = ["auroc_of_folds", "cluster_balance", "nearest", "realism", "vendi"]

_BLOCK = 1024


def nearest(vectors: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Cosine of every unit vector with its nearest other, -1..1; one minus it is the distance.

    Compared with the other rows of `vectors`, or with the rows of `others`. Shape (n,);
    NaN where there is nothing to compare with.
    """
    pool = vectors if others is None else others
    best = np.full(len(vectors), np.nan)
    if len(pool) < (2 if others is None else 1):
        return best
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float64) @ pool.T.astype(np.float64)
        if others is None:
            block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        best[start : start + len(block)] = block.max(axis=1)
    return np.clip(best, -1.0, 1.0)


def vendi(vectors: np.ndarray) -> float:
    """Vendi score: the number of texts that would be as diverse if all different, 1..n.

    The exponential of the Shannon entropy of the eigenvalues of K / n, K being the
    cosine kernel (Friedman and Dieng 2023, definition 3.1). K = X X' shares its non-zero
    eigenvalues with X' X, so whichever is smaller is decomposed: n^3 up to as many rows
    as dimensions, n d^2 above, exactly the same figure. With d dimensions it cannot
    pass d. NaN without rows.
    """
    if not len(vectors):
        return math.nan
    unit = vectors.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    shares = np.linalg.eigvalsh(gram / len(unit))
    shares = shares[shares > 1e-12]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def cluster_balance(vectors: np.ndarray, clusters: int | None = None, *, seed: int = 0) -> float:
    """Entropy of the sizes of k-means clusters, over its largest value: 0 all in one, 1 all alike.

    Args:
        vectors: Shape (n, d).
        clusters: How many; the root of n / 2, between 2 and 20, where not given (Mardia et al. 1979).
        seed: Of the first centres.

    Raises:
        BadConfig: If there are fewer rows than clusters, or under 2 clusters.
    """
    from sklearn.cluster import KMeans

    wanted = clusters if clusters is not None else min(20, max(2, round(math.sqrt(len(vectors) / 2))))
    if not 2 <= wanted <= len(vectors):
        raise BadConfig(f"clusters must be 2 up to the number of rows, {len(vectors)}, got {wanted}")
    different = len(np.unique(vectors, axis=0))
    if different == 1:
        return 0.0
    # k-means warns where there are fewer different points than clusters
    found = KMeans(min(wanted, different), n_init=4, random_state=seed).fit_predict(vectors)
    shares = np.bincount(found, minlength=wanted) / len(vectors)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum() / math.log(wanted))


def realism(
    made: np.ndarray,
    real: np.ndarray,
    *,
    groups: Sequence[Hashable] | None = None,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """AUROC of telling `made` from `real` vectors: 0.5 not to be told apart, 1.0 always.

    The classifier two-sample test (Lopez-Paz and Oquab 2017) with logistic regression,
    judged on folds it was not fitted on. A text that stands in both sets must not teach
    in one fold and be asked in another: give rows of one text one group.

    Args:
        made: Embeddings of synthetic texts.
        real: Embeddings of real ones.
        groups: One value for each row of `made` and then of `real`; rows that share it share a fold.
        folds: Of the cross-validation.
        seed: Of the folds.
        level: Confidence of the interval.

    Raises:
        BadConfig: If a set has under twice as many rows as there are folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    if folds < 2 or min(len(made), len(real)) < 2 * folds:
        raise BadConfig(
            f"telling sets apart in {folds} folds needs {2 * folds} rows each, got {len(made)}, {len(real)}"
        )
    vectors = np.concatenate([made, real]).astype(np.float64)
    labels = np.r_[np.ones(len(made), dtype=int), np.zeros(len(real), dtype=int)]
    codes = {group: code for code, group in enumerate(dict.fromkeys(groups or range(len(labels))))}
    together = np.asarray([codes[group] for group in groups or range(len(labels))])
    parts = []
    for train, test in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(vectors, labels, together):
        if len(set(labels[train])) < 2 or len(set(labels[test])) < 2:
            continue  # groups so large that a fold has one kind only says nothing
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=2000).fit(vectors[train], labels[train])
        parts.append((labels[test], model.decision_function(vectors[test])))
    if not parts:
        raise BadConfig(f"no fold of {folds} holds both sets", mend="The two sets are copies of a few texts.")
    return auroc_of_folds(parts, level=level)


def auroc_of_folds(parts: Sequence[tuple[np.ndarray, np.ndarray]], *, level: float = 0.95) -> Interval:
    """Average AUROC over folds, each (labels 0/1, scores), with an interval.

    Scores of different models are not compared with each other. The variance is that of
    DeLong et al. 1988 within each fold, folds taken as independent (LeDell et al. 2015).
    """
    from scipy.stats import norm

    found = [_delong(labels, scores) for labels, scores in parts]
    mean = float(np.mean([area for area, _ in found]))
    spread = math.sqrt(sum(variance for _, variance in found)) / len(found)
    reach = float(norm.ppf(0.5 + level / 2)) * spread
    return Interval(max(mean - reach, 0.0), min(mean + reach, 1.0), mean, level)


def _delong(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """AUROC and its variance from the placements of every score among those of the other kind."""
    from scipy.stats import rankdata

    high, low = scores[labels == 1], scores[labels == 0]
    ranks = rankdata(np.r_[high, low])  # of equal scores, the average: half a win each
    above = (ranks[: len(high)] - rankdata(high)) / len(low)
    below = 1 - (ranks[len(high) :] - rankdata(low)) / len(high)
    variance = sum(float(np.var(part, ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in (above, below))
    return float(above.mean()), variance
