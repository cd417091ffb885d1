"""The learned quality score: an estimator that is judged, calibrated and saved without pickle."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError

from stillroom.errors import BadConfig, FingerprintChanged
from stillroom.evals.gates import Candidate
from stillroom.evals.heads import as_arrays
from stillroom.evals.quality import Quality, QualityScore


class Words:
    """Embeds by hashing words into 32 places; stands in for the model."""

    precision = "float32"

    def __init__(self, digest: str = "a" * 64):
        self.digest = digest

    def __deepcopy__(self, memo):
        return self

    def embed(self, texts):
        vectors = np.full((len(texts), 32), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, hashlib.sha256(word.encode()).digest()[0] % 32] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(each: int, seed: int = 0, noise: float = 0.0) -> tuple[list[str], list[int]]:
    """Good texts about cards, bad ones of filler; `noise` is the share of labels turned round."""
    rng = random.Random(seed)
    kinds = {
        1: ["card", "lost", "stolen", "blocked", "replace", "bank"],
        0: ["blah", "uh", "um", "so", "like", "whatever"],
    }
    texts, labels = [], []
    for label, own in kinds.items():
        for number in range(each):
            texts.append(
                " ".join(
                    [*rng.sample(own, 3), *rng.sample(["the", "my", "a", "now", "please", "today"], 2), f"n{number}"]
                )
            )
            labels.append(1 - label if rng.random() < noise else label)
    return texts, labels


@pytest.fixture(scope="module", params=["forest", "logistic"])
def score(request) -> QualityScore:
    """A score of each kind, fitted on forty texts a side."""
    return QualityScore(request.param, trees=30, embedder=Words()).fit(*rows(40))


def test_it_tells_good_from_bad_and_says_how_well(score):
    """On texts it never saw; with an interval around the AUROC."""
    texts, labels = rows(30, seed=9)
    assert score.score(texts, labels) > 0.95
    assert 0.9 < score.auroc_.low <= score.auroc_.mean <= 1
    assert 0 <= score.ece_ < 0.2
    assert 0 <= score.brier_ < 0.1


@pytest.mark.parametrize("kind", ["forest", "logistic"])
def test_probabilities_are_calibrated_where_labels_are_noisy(kind):
    """With a fifth of the labels turned round, a sure good text is good four times in five."""
    fitted = QualityScore(kind, trees=40, embedder=Words()).fit(*rows(150, noise=0.2))
    texts, labels = rows(150, seed=4)
    chances = fitted.predict_proba(texts)[:, 1]
    assert np.mean(chances[np.asarray(labels) == 1]) == pytest.approx(0.8, abs=0.08)
    assert np.mean(chances[np.asarray(labels) == 0]) == pytest.approx(0.2, abs=0.08)


def test_labels_that_mean_nothing_are_found_out():
    """Near-chance AUROC; the gate then leaves every text unverified rather than judge by noise."""
    texts, labels = rows(40)
    shuffled = random.Random(1).sample(labels, len(labels))
    fitted = QualityScore("logistic", embedder=Words()).fit(texts, shuffled)
    assert fitted.auroc_.low <= 0.5
    verdict = Quality(fitted).verifier()({}, {"text": texts[0]})
    assert not verdict.verified
    assert "chance" in verdict.why


def test_the_arrays_of_a_forest_score_as_scikit_learn_does():
    """Mean share over trees, through our own walk."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(120, 6)).astype(np.float32)
    labels = (vectors[:, 0] + 0.5 * rng.normal(size=120) > 0).astype(int)
    grown = RandomForestClassifier(25, min_samples_leaf=2, random_state=0).fit(vectors, labels)
    ours = as_arrays([tree.tree_ for tree in grown.estimators_]).log_odds(vectors)
    theirs = np.clip(grown.predict_proba(vectors)[:, 1], 1 / 50, 49 / 50)
    assert 1 / (1 + np.exp(-ours)) == pytest.approx(theirs)


def test_the_order_of_rows_does_not_matter(score):
    """Sorted before anything is drawn."""
    texts, labels = rows(40)
    order = random.Random(3).sample(range(len(texts)), len(texts))
    again = clone(score).fit([texts[i] for i in order], [labels[i] for i in order])
    assert again.digest == score.digest


def test_save_and_load_give_the_same_score_without_pickle(score, tmp_path):
    """Bit for bit, measured figures included; only arrays and JSON on disk."""
    score.save(tmp_path)
    again = QualityScore.load(tmp_path, embedder=Words())
    texts = rows(5, seed=2)[0]
    assert (again.predict_proba(texts) == score.predict_proba(texts)).all()
    assert (again.digest, again.auroc_, again.ece_) == (score.digest, score.auroc_, score.ece_)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quality.json", "quality.npz"]
    np.load(tmp_path / "quality.npz", allow_pickle=False).close()


def test_another_embedder_or_a_damaged_file_is_refused(score, tmp_path):
    """What was saved, or nothing."""
    score.save(tmp_path)
    with pytest.raises(FingerprintChanged):
        QualityScore.load(tmp_path, embedder=Words("b" * 64))
    held = tmp_path / "quality.npz"
    held.write_bytes(held.read_bytes()[:-1] + b"x")
    with pytest.raises(BadConfig, match="no sound quality score"):
        QualityScore.load(tmp_path, embedder=Words())
    with pytest.raises(BadConfig):
        QualityScore.load(tmp_path / "nowhere", embedder=Words())


def test_a_forest_that_would_be_walked_in_circles_is_refused(tmp_path):
    """Even under a right checksum: the arrays come from a file."""
    fitted = QualityScore("forest", trees=3, embedder=Words()).fit(*rows(20))
    fitted.head_.left[fitted.head_.left >= 0] = 0
    fitted.save(tmp_path)
    with pytest.raises(BadConfig, match="or back"):
        QualityScore.load(tmp_path, embedder=Words())
    value = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    (tmp_path / "quality.json").write_text(json.dumps(value | {"format": 9}), encoding="utf-8")
    with pytest.raises(BadConfig, match="format"):
        QualityScore.load(tmp_path, embedder=Words())


def test_settings_and_labels_are_checked():
    """Kinds, labels, lengths, and enough different texts."""
    texts, labels = rows(20)
    for kind, some, answers in (
        ("tree", texts, labels),
        ("forest", texts, [2] * 40),
        ("forest", texts[:-1], labels),
        ("forest", "text", [1]),
    ):
        with pytest.raises(BadConfig):
            QualityScore(kind, embedder=Words()).fit(some, answers)
    with pytest.raises(BadConfig, match="10 different texts"):
        QualityScore(embedder=Words()).fit(["a", "b"] * 20, [0, 1] * 20)
    with pytest.raises(NotFittedError):
        Quality(QualityScore())


def test_the_gate_judges_a_batch_and_names_its_settings(score):
    """Low chance fails with the chance as the reason; nothing to read fails too."""
    gate = Quality(score, 0.5, fields=("text",))
    good, bad = "card lost stolen my now", "blah uh um so like"
    batch = [Candidate("p", {"text": text}, text, {}) for text in (good, bad, " ")]
    assert [verdict.score for verdict in gate.check(batch)] == [1.0, 0.0, 0.0]
    assert "probability" in gate.check(batch)[1].why
    assert score.digest in gate.name
    assert gate.name != Quality(score, 0.6, fields=("text",)).name
    assert gate.verifier()({}, {"text": good}).passed
    with pytest.raises(BadConfig):
        Quality(score, 1.0)
