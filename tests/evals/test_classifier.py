"""The embedding student: a scikit-learn estimator that saves without pickle."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from stillroom.errors import BadConfig, FingerprintChanged, ModelMissing
from stillroom.evals.classifier import EmbeddingClassifier
from stillroom.evals.embedding import Embedder
from stillroom.evals.stats import macro_f1


class Words:
    """Embeds by hashing words into 64 places; stands in for the model."""

    precision = "float32"

    def __init__(self, digest: str = "a" * 64):
        self.digest = digest

    def __deepcopy__(self, memo):
        return self

    def embed(self, texts):
        vectors = np.full((len(texts), 64), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, hashlib.sha256(word.encode()).digest()[0] % 64] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows(per_label: int, seed: int = 0) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    topics = {"card": "card lost stolen plastic", "rate": "rate dollars exchange euro", "top_up": "top up failed money"}
    filler = ["please", "help", "me", "now", "my", "the", "a", "I", "today"]
    texts, labels = [], []
    for label, words in topics.items():
        for _ in range(per_label):
            texts.append(" ".join(rng.sample(words.split(), 2) + rng.sample(filler, 4)))
            labels.append(label)
    return texts, labels


@pytest.fixture
def head() -> EmbeddingClassifier:
    """A head fitted on twelve rows a label."""
    return EmbeddingClassifier(embedder=Words()).fit(*rows(12))


def test_it_learns(head):
    """On fresh rows of easy topics it is nearly always right, and sure of it in proportion."""
    texts, labels = rows(20, seed=1)
    assert head.score(texts, labels) >= 0.95
    chances = head.predict_proba(texts)
    assert chances.shape == (60, 3)
    assert np.allclose(chances.sum(axis=1), 1)
    assert (head.classes_[chances.argmax(axis=1)] == head.predict(texts)).all()
    assert list(head.classes_) == ["card", "rate", "top_up"]


def test_it_keeps_scikit_learns_conventions():
    """Settings go in and out unchanged, a clone is unfitted, fit returns the estimator."""
    head = EmbeddingClassifier(C=3.0, class_weight=None, seed=5, embedder=Words())
    assert head.get_params() == {"C": 3.0, "class_weight": None, "seed": 5, "embedder": head.embedder}
    copy = clone(head.set_params(C=4.0))
    assert copy.get_params() == head.get_params()
    assert copy.fit(*rows(4)) is copy
    assert copy.C_ == 4.0
    with pytest.raises(NotFittedError):
        head.predict(["a"])
    with pytest.raises(NotFittedError):
        head.save("nowhere")


def test_it_works_in_scikit_learns_own_loops():
    """Cross-validation and grid search take it as it is."""
    from sklearn.model_selection import GridSearchCV, cross_val_score

    texts, labels = rows(12)
    assert cross_val_score(EmbeddingClassifier(C=10, embedder=Words()), texts, labels, cv=3).min() > 0.7
    search = GridSearchCV(EmbeddingClassifier(embedder=Words()), {"C": [1.0, 10.0]}, cv=3).fit(texts, labels)
    assert search.best_params_["C"] in (1.0, 10.0)


def test_row_order_changes_nothing():
    """The same rows in another order give the same bits."""
    texts, labels = rows(12)
    order = random.Random(3).sample(range(len(texts)), len(texts))
    first = EmbeddingClassifier(embedder=Words()).fit(texts, labels)
    second = EmbeddingClassifier(embedder=Words()).fit([texts[i] for i in order], [labels[i] for i in order])
    assert first.C_ == second.C_
    assert (first.coef_ == second.coef_).all()


def test_strength_is_chosen_only_where_rows_allow():
    """Two rows a label leave nothing to cross-validate on; copies of a row are no more rows."""
    assert EmbeddingClassifier(embedder=Words()).fit(*rows(2)).C_ == 10.0
    texts, labels = rows(2)
    assert EmbeddingClassifier(embedder=Words()).fit(texts * 5, labels * 5).C_ == 10.0
    assert EmbeddingClassifier(embedder=Words()).fit(*rows(20)).C_ in (1.0, 10.0, 100.0)
    texts, _ = rows(20)
    noise = random.Random(0).choices(["a", "b"], k=len(texts))
    assert EmbeddingClassifier(embedder=Words()).fit(texts, noise).C_ == 1.0


def test_weights_count_as_repeats():
    """A row of weight 2 is a row given twice."""
    texts, labels = rows(6)
    heavy = [2.0 if label == "card" else 1.0 for label in labels]
    twice = [i for i, label in enumerate(labels) for _ in range(2 if label == "card" else 1)]
    weighed = EmbeddingClassifier(C=1, class_weight=None, embedder=Words()).fit(texts, labels, sample_weight=heavy)
    repeated = EmbeddingClassifier(C=1, class_weight=None, embedder=Words()).fit(
        [texts[i] for i in twice], [labels[i] for i in twice]
    )
    assert np.allclose(weighed.predict_proba(texts), repeated.predict_proba(texts), atol=1e-3)


def test_balance_gives_a_rare_label_its_say():
    """With 3 rows against 60, the balanced head finds the rare label more often."""
    texts, labels = rows(60)
    few = [i for i, label in enumerate(labels) if label == "rate" or (label == "card" and i < 3)]
    fresh, truth = rows(30, seed=2)
    recall = {}
    for weight in ("balanced", None):
        head = EmbeddingClassifier(C=0.3, class_weight=weight, embedder=Words())
        head.fit([texts[i] for i in few], [labels[i] for i in few])
        answers = head.predict([text for text, label in zip(fresh, truth, strict=True) if label == "card"])
        recall[weight] = (answers == "card").mean()
    assert recall["balanced"] > recall[None]


@pytest.mark.parametrize("labels", [["b", "a"], [2, 1], [True, False], ["x", "y", "ü"]])
def test_what_is_saved_predicts_the_same(tmp_path, labels):
    """Labels of every kind come back, with the same probabilities bit for bit."""
    texts, topics = rows(8)
    names = dict(zip(["card", "rate", "top_up"], labels, strict=False))
    kept = [(text, names[topic]) for text, topic in zip(texts, topics, strict=True) if topic in names]
    head = EmbeddingClassifier(embedder=Words()).fit([t for t, _ in kept], [label for _, label in kept])
    head.save(tmp_path)
    loaded = EmbeddingClassifier.load(tmp_path, Words())
    assert (loaded.predict_proba(texts) == head.predict_proba(texts)).all()
    assert loaded.predict(texts).tolist() == head.predict(texts).tolist()
    assert loaded.get_params()["seed"] == head.seed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["head.json", "weights.npz"]


def test_saving_twice_writes_the_same_bytes(head, tmp_path):
    """No dates and no order of hashing in the files."""
    head.save(tmp_path / "a")
    head.save(tmp_path / "b")
    for name in ("head.json", "weights.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_embedder_is_refused(head, tmp_path):
    """Vectors of another model or precision mean something else."""
    head.save(tmp_path)
    with pytest.raises(FingerprintChanged, match="aaaaaaaaaaaa in float32, got bbbbbbbbbbbb"):
        EmbeddingClassifier.load(tmp_path, Words("b" * 64))
    half = Words()
    half.precision = "bfloat16"
    with pytest.raises(FingerprintChanged, match="bfloat16"):
        EmbeddingClassifier.load(tmp_path, half)


def pickled(folder: Path) -> None:
    np.savez(folder / "weights.npz", coef=np.array([{"a": 1}], dtype=object), intercept=np.zeros(3))
    value = json.loads((folder / "head.json").read_text())
    value["weights_sha256"] = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    (folder / "head.json").write_text(json.dumps(value))


def changed(folder: Path, **values: object) -> None:
    value = json.loads((folder / "head.json").read_text())
    (folder / "head.json").write_text(json.dumps({**value, **values}))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: (folder / "head.json").unlink(), "head.json"),
        (lambda folder: (folder / "weights.npz").unlink(), "weights.npz"),
        (lambda folder: (folder / "weights.npz").write_bytes(b"PK"), "not the file that was saved"),
        (lambda folder: (folder / "head.json").write_text("{"), "JSONDecodeError"),
        (lambda folder: (folder / "head.json").write_text("[]"), "TypeError"),
        (lambda folder: changed(folder, format=2), "format 2"),
        (lambda folder: changed(folder, classes=["a", "b"]), "do not fit 2 labels"),
        (lambda folder: changed(folder, settings={"C": 1, "__class__": 2}), "settings"),
        (lambda folder: changed(folder, embedder={}), "settings"),
        (pickled, "allow_pickle"),
    ],
)
def test_a_damaged_head_is_named_and_refused(head, tmp_path, damage, why):
    """Whatever is wrong with the files, the folder is named and nothing in them is run."""
    head.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(BadConfig, match="no sound head") as caught:
        EmbeddingClassifier.load(tmp_path, Words())
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "texts", "labels", "weights"),
    [
        ({"C": 0}, ["a", "b"], ["x", "y"], None),
        ({"C": float("nan")}, ["a", "b"], ["x", "y"], None),
        ({"class_weight": "much"}, ["a", "b"], ["x", "y"], None),
        ({}, ["a", "b"], ["x", "x"], None),
        ({}, ["a", "b"], ["x"], None),
        ({}, ["a", "b"], ["x", "y"], [1.0]),
        ({}, ["a", None], ["x", "y"], None),
        ({}, "ab", ["x", "y"], None),
        ({}, ["a", "b"], ["x", 1], None),
        ({}, ["a", "b"], [0.5, 1.5], None),
        ({}, [], [], None),
    ],
)
def test_bad_training_input_is_refused(settings, texts, labels, weights):
    """One label, missing texts, mixed kinds and settings out of range fail before any work."""
    with pytest.raises(BadConfig):
        EmbeddingClassifier(embedder=Words(), **settings).fit(texts, labels, sample_weight=weights)


@pytest.mark.model
def test_two_rows_an_intent_on_banking77(tmp_path):
    """Ten intents, two labelled rows each, on the real model: well above chance, and the same once reloaded."""
    from stillroom.engines.files import find

    folder = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "banking77"
    if not folder.is_dir():
        pytest.skip(f"NOT MEASURED: no banking77 at {folder}; set STILLROOM_DATA to the folder that holds it")
    try:
        embedder = Embedder(find("minilm").path)
    except ModelMissing as error:
        pytest.skip(f"NOT RUN, no embedding model on this machine: {error}")
    read = {
        split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for split in ("train", "test")
    }
    by_label: dict[str, list[str]] = defaultdict(list)
    for row in read["train"]:
        by_label[row["label"]].append(row["text"])
    labels = sorted(by_label)[:10]
    pairs = [(text, label) for label in labels for text in by_label[label][:2]]
    head = EmbeddingClassifier(embedder=embedder).fit([text for text, _ in pairs], [label for _, label in pairs])
    test = [row for row in read["test"] if row["label"] in labels][:100]
    answers = head.predict([row["text"] for row in test])
    assert macro_f1([row["label"] for row in test], answers.tolist()) > 0.65
    head.save(tmp_path)
    again = EmbeddingClassifier.load(tmp_path, embedder).predict([row["text"] for row in test])
    assert (again == answers).all()
