"""The embedder: unit vectors, the same whatever else is asked. On the real model."""

from __future__ import annotations

import copy
import random
import threading

import numpy as np
import pytest

from stillroom.errors import BadConfig, ModelMissing
from stillroom.evals.embedding import Embedder, default_embedder

TEXTS = [
    "I lost my card",
    "My card has gone missing",
    "What is the exchange rate for dollars?",
    "",
    "a",
    "ünïcode テスト \u200b",
    "word " * 600,
    *(f"Sentence number {i} " + "and so on " * (i % 9) for i in range(30)),
]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """A fresh embedder on the fetched model."""
    from stillroom.engines.files import find

    try:
        return Embedder(find("minilm").path)
    except ModelMissing as error:
        pytest.skip(f"NOT RUN, no embedding model on this machine: {error}")


def test_bad_settings_are_refused(tmp_path):
    """A precision nobody knows fails at once, a folder without a model when it is asked."""
    with pytest.raises(BadConfig, match="float16"):
        Embedder(precision="float16")
    with pytest.raises(ModelMissing, match=r"model\.safetensors"):
        Embedder(tmp_path).embed(["a"])


def test_one_embedder_is_shared():
    """A process has one default embedder for each precision, and loads nothing to make it."""
    assert default_embedder() is default_embedder()
    assert copy.deepcopy(default_embedder()) is default_embedder()


@pytest.mark.model
def test_vectors_are_unit_rows_in_order(embedder):
    """One float32 row of length 1 for each text, repeats included, and none for none."""
    vectors = embedder.embed([*TEXTS, TEXTS[0]])
    assert vectors.shape == (len(TEXTS) + 1, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors[-1] == vectors[0]).all()
    assert embedder.embed([]).shape == (0, 384)


@pytest.mark.model
def test_meaning_is_nearer_than_wording_alone(embedder):
    """Two messages on a lost card are closer than either is to exchange rates."""
    lost, missing, rate = embedder.embed(TEXTS[:3])
    assert lost @ missing > 0.6 > lost @ rate


@pytest.mark.model
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_does_not_depend_on_its_company(embedder, precision):
    """Asked together, shuffled or alone, a text has the same vector, bit for bit."""
    together = Embedder(embedder.folder, precision=precision).embed(TEXTS)
    other = Embedder(embedder.folder, precision=precision)
    order = random.Random(0).sample(range(len(TEXTS)), len(TEXTS))
    alone = other.embed([TEXTS[order[0]]])[0]
    shuffled = other.embed([TEXTS[i] for i in order])
    assert (alone == together[order[0]]).all()
    assert (shuffled == together[order]).all()


@pytest.mark.model
def test_it_is_the_model_that_sentence_transformers_runs(embedder):
    """In float32 every vector equals the library's own to 1e-5."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(embedder.folder), device="cpu", local_files_only=True)
    theirs = model.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(Embedder(embedder.folder, precision="float32").embed(TEXTS) - theirs).max() < 1e-5


@pytest.mark.model
def test_threads_take_turns(embedder):
    """Asked from several threads, every answer is the one a single thread gets."""
    wanted, found = embedder.embed(TEXTS), {}
    fresh = Embedder(embedder.folder)

    def ask(i: int) -> None:
        found[i] = fresh.embed(TEXTS[i::4])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[i] == wanted[i::4]).all() for i in range(4))


@pytest.mark.model
def test_digest_is_that_of_the_weights(embedder):
    """64 hex digits; another model has others."""
    assert embedder.digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
