"""The shipped registry of model files."""

from __future__ import annotations

import hashlib

import pytest

from stillroom.engines import files


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_registry_names_a_default_for_each_role():
    """The shipped registry has one default teacher, small model, student and embedder."""
    by_role = {role: card.name for card in files.known() for role in card.default_for}
    assert by_role == {
        "teacher": "qwen2.5-coder-1.5b",
        "small": "smollm2-135m",
        "student": "smollm2-135m",
        "embedder": "minilm",
    }


@pytest.mark.parametrize("card", files.known(), ids=lambda card: card.name)
def test_registry_pieces_add_up(card):
    """The pieces of an index source add up to the model's size, and sources without a digest stand last."""
    (source,) = [source for source in card.sources if isinstance(source, files.IndexSource)]
    assert sum(piece.size for piece in source.pieces) == card.size
    assert source.sha256 == card.sha256
    pinned = [source.sha256 is not None for source in card.sources]
    assert pinned == sorted(pinned, reverse=True)
    if card.kind == "folder":
        shas = {piece.to.partition("/")[2]: piece.sha256 for piece in source.pieces}
        assert sha("".join(f"{digest}  {to}\n" for to, digest in sorted(shas.items())).encode()) == card.sha256
