"""Model files: named models with pinned digests, their sources, and the folder they are kept in."""

from __future__ import annotations

from .cards import HubSource, IndexSource, ModelCard, Piece, cache_folder, known
from .places import ModelFile, find, verify
from .pulling import pull

__all__ = [
    "HubSource",
    "IndexSource",
    "ModelCard",
    "ModelFile",
    "Piece",
    "cache_folder",
    "find",
    "known",
    "pull",
    "verify",
]
