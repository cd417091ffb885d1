"""A learned quality score: how likely a text is one of the good ones, from a few hundred labelled texts.

phi-1 filtered its code with a random forest on the embeddings of a language model,
trained on texts that GPT-4 had graded (Gunasekar et al. 2023, section 2.1). Here
the embeddings are those of the sentence embedder, the labels the user's, the
probability is calibrated, and the file it is saved in holds arrays, no code.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from stillroom.errors import BadConfig, FingerprintChanged
from stillroom.rows import By, Status
from stillroom.values import pretty, write_atomic

from .copies.duplicates import folded
from .diversity.spread import auroc_of_folds
from .embedding import Embedder, default_embedder
from .filters.texts import texts_in
from .gates import Candidate
from .heads import Forest, Linear, as_arrays
from .stats import Interval
from .verdict import Row, Verdict, Verifier

__all__ = ["Quality", "QualityScore"]

_FORMAT = 1
_FOLDS = 5


Head: TypeAlias = Linear | Forest
_HEADS: dict[str, type[Linear] | type[Forest]] = {"logistic": Linear, "forest": Forest}


class QualityScore(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Tell good texts from bad ones, as a scikit-learn estimator of texts.

    `fit(texts, labels)`, `predict_proba(texts)` of shape (n, 2) with the good class
    second, `predict`, `score`. Does not depend on the order of the rows.

    The head is judged by 5-fold cross-validation in which a text that occurs twice
    stays in one fold. Scores of the folds then fix two numbers, slope and offset, that
    turn log-odds into calibrated probabilities (Platt 1999, with his smoothed targets).

    Args:
        kind: "forest" (as phi-1) or "logistic".
        trees: Of a forest.
        seed: Of forest and folds.
        embedder: Turns texts into vectors; the shared `minilm` one by default.

    Attributes:
        auroc_: Cross-validated AUROC with its interval, over folds.
        brier_: Mean squared error of the calibrated cross-validated probabilities. Slope and
            offset were fitted to the same scores: two numbers, so it flatters a little.
        ece_: Expected calibration error over ten equal groups, likewise.
        slope_, offset_: Of the calibration.
        held_out_: Calibrated cross-validated probabilities and the answers; see `kept`.
        head_: `Forest` or `Linear`, fitted on all rows.
    """

    def __init__(
        self,
        kind: Literal["forest", "logistic"] = "forest",
        trees: int = 200,
        seed: int = 0,
        embedder: Embedder | None = None,
    ) -> None:
        self.kind = kind
        self.trees = trees
        self.seed = seed
        self.embedder = embedder

    def fit(self, X: Sequence[str], y: Sequence[Any]) -> QualityScore:  # noqa: N803 -- scikit-learn's names
        """Learn which texts are good (label 1 or True) and which bad (0 or False).

        Raises:
            BadConfig: If settings, texts or labels cannot work: at least 10 different texts of each kind.
            ModelMissing: If the embedding model is not on this machine.
        """
        if self.kind not in _HEADS or self.trees < 1:
            raise BadConfig(f"kind must be 'forest' or 'logistic' and trees >= 1, got {self.kind!r}, {self.trees!r}")
        texts, labels = _checked(X, y)
        order = sorted(range(len(texts)), key=lambda i: (texts[i], labels[i]))
        texts, answers = [texts[i] for i in order], np.asarray([labels[i] for i in order])
        self.embedder_ = default_embedder() if self.embedder is None else self.embedder
        vectors = self.embedder_.embed(texts).astype(np.float32)
        held_out, parts = np.zeros(len(texts)), []
        for train, test in self._folds(texts, answers):
            held_out[test] = self._grow(vectors[train], answers[train]).log_odds(vectors[test])
            parts.append((answers[test], held_out[test]))
        self.auroc_ = auroc_of_folds(parts)
        self.slope_, self.offset_ = _platt(held_out, answers)
        calibrated = _sigmoid(self.slope_ * held_out + self.offset_)
        self.brier_ = float(np.mean((calibrated - answers) ** 2))
        self.ece_ = _calibration_error(calibrated, answers)
        self.held_out_ = calibrated, answers
        self.head_ = self._grow(vectors, answers)
        self.classes_, self.dimensions_, self.rows_ = np.asarray([0, 1]), vectors.shape[1], len(texts)
        return self

    def predict_proba(self, X: Sequence[str]) -> np.ndarray:  # noqa: N803
        """Calibrated probabilities of shape (texts, 2): bad, good."""
        check_is_fitted(self, "head_")
        good = _sigmoid(self.slope_ * self.head_.log_odds(self.embedder_.embed(list(X))) + self.offset_)
        return np.column_stack([1 - good, good])

    def predict(self, X: Sequence[str]) -> np.ndarray:  # noqa: N803
        """Give 1 where a text is more likely good than bad, else 0."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(int)

    def kept(self, least: float) -> tuple[float, float | None]:
        """What a cut at the probability `least` keeps of the texts it was fitted to, each scored by the others' folds.

        Returns:
            The share of texts that is kept, and the share of good ones among them: None where none is kept.

        Raises:
            BadConfig: If the score was loaded, and not fitted here: the texts' scores are not saved with it.
        """
        if not hasattr(self, "held_out_"):
            raise BadConfig("what a cut keeps is known of a score that was fitted here, got one that was loaded")
        chances, answers = self.held_out_
        passing = answers[chances >= least]
        return len(passing) / len(answers), float(passing.mean()) if len(passing) else None

    @property
    def digest(self) -> str:
        """Hash of everything that decides a score, 16 hex digits."""
        check_is_fitted(self, "head_")
        held = hashlib.sha256(
            f"{self.slope_!r} {self.offset_!r} {self.embedder_.digest} {self.embedder_.precision}".encode()
        )
        for name, array in sorted(vars(self.head_).items()):
            held.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return held.hexdigest()[:16]

    def save(self, folder: Path | str) -> None:
        """Write `quality.json` and `quality.npz` into `folder`, without pickle. The embedder is named, not copied."""
        check_is_fitted(self, "head_")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        held = io.BytesIO()
        np.savez(held, **vars(self.head_), allow_pickle=False)
        fresh = folder / "quality.npz.new"
        fresh.write_bytes(held.getvalue())
        fresh.replace(folder / "quality.npz")
        value = {
            "format": _FORMAT,
            "settings": {"kind": self.kind, "trees": self.trees, "seed": self.seed},
            "dimensions": self.dimensions_,
            "rows": self.rows_,
            "calibration": {"slope": self.slope_, "offset": self.offset_},
            "measured": {
                "auroc": [self.auroc_.low, self.auroc_.high, self.auroc_.mean],
                "brier": self.brier_,
                "ece": self.ece_,
            },
            "embedder": {"sha256": self.embedder_.digest, "precision": self.embedder_.precision},
            "arrays_sha256": hashlib.sha256(held.getvalue()).hexdigest(),
        }
        write_atomic(folder / "quality.json", pretty(value))

    @classmethod
    def load(cls, folder: Path | str, embedder: Embedder | None = None) -> QualityScore:
        """Read what `save` wrote. Nothing in the files is run.

        Raises:
            BadConfig: If the folder holds no score, or a damaged one.
            FingerprintChanged: If the embedder is not the one it was trained on.
            ModelMissing: If the embedding model is not on this machine.
        """
        value, head = _read(Path(folder))
        score = cls(**value["settings"], embedder=embedder)
        wanted = value["embedder"]
        score.embedder_ = default_embedder(wanted["precision"]) if embedder is None else embedder
        here = {"sha256": score.embedder_.digest, "precision": score.embedder_.precision}
        if here != wanted:
            raise FingerprintChanged(
                f"a quality score works on the embedder it was trained on: {wanted['sha256'][:12]} in"
                f" {wanted['precision']}, got {here['sha256'][:12]} in {here['precision']}",
                mend="Train it again on this embedder, or pass the other one as `embedder`.",
            )
        measured = value["measured"]
        score.head_, score.classes_ = head, np.asarray([0, 1])
        score.slope_, score.offset_ = float(value["calibration"]["slope"]), float(value["calibration"]["offset"])
        score.auroc_, score.brier_, score.ece_ = Interval(*measured["auroc"]), measured["brier"], measured["ece"]
        score.dimensions_, score.rows_ = value["dimensions"], value["rows"]
        return score

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X is a list of texts."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string, tags.input_tags.two_d_array, tags.input_tags.one_d_array = True, False, True
        tags.no_validation = True
        return tags

    def _folds(self, texts: list[str], answers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        from sklearn.model_selection import StratifiedGroupKFold

        groups = [folded(text) for text in texts]
        if min(len({g for g, a in zip(groups, answers, strict=True) if a == kind}) for kind in (0, 1)) < 2 * _FOLDS:
            raise BadConfig(
                f"a quality score needs {2 * _FOLDS} different texts of each kind", mend="Label more texts."
            )
        splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=self.seed)
        folds = list(splitter.split(np.zeros((len(texts), 1)), answers, groups))
        if any(len(set(answers[part])) < 2 for fold in folds for part in fold):
            raise BadConfig("copies of a few texts fill whole folds", mend="Label more different texts.")
        return folds

    def _grow(self, vectors: np.ndarray, answers: np.ndarray) -> Head:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression

        if self.kind == "logistic":
            model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=2000).fit(vectors, answers)
            return Linear(model.coef_[0].astype(np.float64), model.intercept_.astype(np.float64))
        grown = RandomForestClassifier(
            self.trees, min_samples_leaf=2, class_weight="balanced", random_state=self.seed, n_jobs=1
        ).fit(vectors, answers)
        return as_arrays([each.tree_ for each in grown.estimators_])


@dataclass(frozen=True)
class Quality:
    """The gate: a text is good with a probability of at least `least`.

    Judges the texts of the fields joined by new lines, as they were when the score was
    trained; a row that did not parse by the text the model wrote. Where the interval of
    the score's AUROC reaches down to 0.5, every text is unverified.
    """

    score: QualityScore
    least: float = 0.5
    fields: tuple[str, ...] = ()
    on_fail: Status = "rejected"
    by: ClassVar[By] = "judge"

    def __post_init__(self) -> None:
        check_is_fitted(self.score, "head_")
        if not 0 < self.least < 1:
            raise BadConfig(f"least must be between 0 and 1, got {self.least!r}")

    @property
    def name(self) -> str:
        """With the digest of the score and every setting."""
        where = f"@{','.join(self.fields)}" if self.fields else ""
        return f"quality({self.score.kind}#{self.score.digest}, {self.least:g}){where}"

    def check(self, batch: Sequence[Candidate]) -> list[Verdict]:
        """One verdict per candidate, in order; the whole batch is embedded at once."""
        return self._judge([self._text(each.values, self.fields) if each.values else each.text for each in batch])

    def keep(self, passed: Sequence[Candidate]) -> None:
        """Nothing to learn."""

    def verifier(self) -> Verifier:
        """The same check of a program's outputs. Needs no gold."""

        def check(expected: Row, outputs: Row) -> Verdict:
            return self._judge([self._text(outputs, self.fields)])[0]

        return Verifier(self.name, check)

    @staticmethod
    def _text(values: Row, fields: Sequence[str]) -> str:
        return "\n".join(text for _, text in texts_in(values, fields))

    def _judge(self, texts: Sequence[str]) -> list[Verdict]:
        if self.score.auroc_.low <= 0.5:
            why = f"the score was not shown to beat chance: AUROC {self.score.auroc_}"
            return [Verdict.unverified(why) if text.strip() else Verdict.fail("no text") for text in texts]
        there = [text for text in texts if text.strip()]
        chances = iter(self.score.predict_proba(there)[:, 1] if there else ())
        return [self._verdict(float(next(chances))) if text.strip() else Verdict.fail("no text") for text in texts]

    def _verdict(self, chance: float) -> Verdict:
        if chance >= self.least:
            return Verdict.ok()
        return Verdict.fail(f"good with probability {chance:.2f}, under {self.least:g}")


def _platt(scores: np.ndarray, answers: np.ndarray) -> tuple[float, float]:
    """Slope and offset that turn scores into probabilities; targets (n+1)/(n+2) and 1/(n+2) keep them off 0 and 1."""
    from sklearn.linear_model import LogisticRegression

    good, bad = int(answers.sum()), int(len(answers) - answers.sum())
    target = np.where(answers == 1, (good + 1) / (good + 2), 1 / (bad + 2))
    # a row with target t is t of a good row and 1 - t of a bad one
    doubled = np.r_[scores, scores][:, None]
    model = LogisticRegression(C=1e6).fit(
        doubled, np.r_[np.ones(len(scores)), np.zeros(len(scores))], sample_weight=np.r_[target, 1 - target]
    )
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    # scores that rank the wrong way round say nothing: every text then has the share of good ones
    return (slope, offset) if slope > 0 else (0.0, math.log((good + 1) / (bad + 1)))


def _calibration_error(chances: np.ndarray, answers: np.ndarray, groups: int = 10) -> float:
    """Mean gap between promised and found shares over `groups` of equally many rows (Naeini et al. 2015)."""
    parts = np.array_split(np.argsort(chances, kind="stable"), min(groups, len(chances)))
    gaps = [abs(float(chances[part].mean() - answers[part].mean())) * len(part) for part in parts]
    return sum(gaps) / len(chances)


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(scores))


def _checked(X: Sequence[str], y: Sequence[Any]) -> tuple[list[str], list[int]]:  # noqa: N803
    texts, labels = list(X), list(y)
    if isinstance(X, str) or not all(isinstance(text, str) for text in texts):
        raise BadConfig("texts must be a sequence of str")
    if len(texts) != len(labels) or not all(label in (0, 1) for label in labels):
        raise BadConfig(f"every text needs a label 0 or 1, got {len(texts)} texts and {sorted(set(map(str, labels)))}")
    return [str(text) for text in texts], [int(label) for label in labels]


def _read(folder: Path) -> tuple[dict[str, Any], Head]:
    try:
        value = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
        held = (folder / "quality.npz").read_bytes()
        if value["format"] != _FORMAT:
            raise ValueError(f"format {value['format']!r} is not {_FORMAT}")
        if hashlib.sha256(held).hexdigest() != value["arrays_sha256"]:
            raise ValueError("quality.npz is not the file that was saved")
        if set(value["settings"]) != {"kind", "trees", "seed"}:
            raise ValueError(f"settings {sorted(value['settings'])} are not those of a quality score")
        with np.load(io.BytesIO(held), allow_pickle=False) as arrays:
            head = _HEADS[value["settings"]["kind"]](**{name: arrays[name] for name in arrays.files})
        head.check(int(value["dimensions"]))
        value["rows"], value["measured"]["auroc"], value["calibration"]["slope"], value["embedder"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BadConfig(
            f"{str(folder)!r} holds no sound quality score ({type(error).__name__}: {error})", mend="Train it again."
        ) from error
    return value, head
