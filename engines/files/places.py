"""From a name or a path to a model file on this machine whose digest is known.

Nothing here fetches. A named model is looked for where its environment variable points, then in
the cache folder; any path of the user's is taken as it is, hashed once, and remembered.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from stillroom.errors import BadConfig, ModelMissing

from .cards import IndexSource, Kind, ModelCard, cache_folder, card_named, unknown
from .records import Record, hash_model, read_json, read_record, stat_model, write_record

__all__ = ["ModelFile", "Place", "examine", "find", "home", "locate", "trusted", "verify"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFile:
    """A model on this machine.

    Attributes:
        path: The .gguf file or the model folder.
        sha256: Of the file; of a folder, of its manifest.
        licence: SPDX name, or `unknown` for a file the user brought.
    """

    name: str
    path: Path
    sha256: str
    kind: Kind
    licence: str

    @property
    def digest(self) -> str:
        """The first 12 hex digits of `sha256`: the model's identity in model strings and fingerprints."""
        return self.sha256[:12]


@dataclass(frozen=True)
class Place:
    """Where a model should be. `card` is None for the user's own files, whose digest nobody pinned."""

    name: str
    path: Path
    kind: Kind
    record: Path
    card: ModelCard | None = None


def find(name_or_path: str) -> ModelFile:
    """Find a model on this machine; never download.

    The digest is read from the record of an earlier look as long as sizes and mtimes agree.

    Raises:
        BadConfig: If it is neither a known name nor the path of a model.
        ModelMissing: If the model is not here, or is not what it should be.
    """
    return examine(locate(name_or_path), in_full=False)


def verify(name_or_path: str) -> ModelFile:
    """Find a model and read it in full to check its digest. Raises what `find` raises."""
    return examine(locate(name_or_path), in_full=True)


def locate(name_or_path: str) -> Place:
    """Say where `name_or_path` should be, without looking whether a named model is there."""
    card = card_named(name_or_path)
    if card is None:
        return _own(name_or_path)
    if override := os.environ.get(card.variable):
        return _overridden(card, Path(override).expanduser())
    return home(card)


def home(card: ModelCard) -> Place:
    """Give the place of `card` in the cache folder."""
    folder = cache_folder() / "models" / card.name
    return Place(card.name, folder / card.file, card.kind, folder / "record.json", card)


def trusted(place: Place) -> dict[str, str]:
    """Give the digests that were taken on first use at `place`, by source label."""
    return read_json(place.record.with_name("first-use.json"))


def examine(place: Place, *, in_full: bool) -> ModelFile:
    """Establish the digest of the model at `place` and hold it against what it should be."""
    before = read_record(place.record)
    try:
        now = stat_model(place.path, place.kind)
        if before is not None and before.stats == now and not in_full:
            record = before
        else:
            source = before.source if before else ("user" if place.card is None else "cache folder")
            record = hash_model(place.path, place.kind, source)
    except FileNotFoundError:
        raise _absent(place) from None
    except OSError as error:
        raise ModelMissing(f"model {place.name!r} cannot be read: {error.strerror or error}") from error
    _check(place, before, record)
    if record is not before:
        _remember(place, record)
    licence = place.card.licence if place.card else _licence(place.name, record.sha256)
    return ModelFile(place.name, place.path, record.sha256, place.kind, licence)


def _own(text: str) -> Place:
    path = Path(text).expanduser()
    if path.is_file():
        return _outside(path.stem, path, "gguf")
    if path.is_dir():
        return _outside(path.resolve().name, path, "folder")
    if path.suffix == ".gguf" or text.startswith((".", "~", os.sep)):
        raise ModelMissing(f"no model file at {text!r}", mend="Give a path that exists, or one of the known names.")
    raise unknown(text)


def _overridden(card: ModelCard, path: Path) -> Place:
    right = path.is_file() if card.kind == "gguf" else path.is_dir()
    if not right:
        wanted = "an existing .gguf file" if card.kind == "gguf" else "an existing model folder"
        raise ModelMissing(
            f"{card.variable} must be the path of {wanted}, got {str(path)!r}",
            mend=f"Correct or unset {card.variable}.",
        )
    return _outside(card.name, path, card.kind)


def _outside(name: str, path: Path, kind: Kind) -> Place:
    path = path.resolve()
    if kind == "gguf":
        try:
            with path.open("rb") as stream:
                right = stream.read(4) == b"GGUF"
        except OSError as error:
            raise ModelMissing(f"model file {str(path)!r} cannot be read: {error.strerror or error}") from error
    else:
        right = (path / "modules.json").is_file() or (path / "config.json").is_file()
    if not right:
        wanted = 'begin with the bytes "GGUF"' if kind == "gguf" else "hold a modules.json or config.json"
        raise BadConfig(
            f"a model {'file' if kind == 'gguf' else 'folder'} must {wanted}, got {str(path)!r}",
            mend="Give a GGUF file, a sentence-transformers folder, or one of the known names.",
        )
    key = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Place(name, path, kind, cache_folder() / "outside" / f"{key}.json")


def _check(place: Place, before: Record | None, record: Record) -> None:
    if place.card is None:
        # the user's file may change as its owner likes; bytes that change under the same mtime are damage
        if before is None or before.sha256 == record.sha256 or before.stats != record.stats:
            return
        expected, mend = before.sha256, "Restore the file from where it came."
    else:
        if record.sha256 == place.card.sha256 or record.sha256 in trusted(place).values():
            return
        expected, mend = place.card.sha256, f'Run "stillroom models pull {place.name}" to repair it.'
    place.record.unlink(missing_ok=True)  # no later `find` may trust it
    wrong = _wrong_files(place, record)
    raise ModelMissing(
        f"model {place.name!r} must have sha256 {expected[:12]}, got {record.sha256[:12]}{wrong}", mend=mend
    )


def _wrong_files(place: Place, record: Record) -> str:
    """Name the files of a folder which differ, where the registry knows each of them."""
    source = next((s for s in place.card.sources if isinstance(s, IndexSource)), None) if place.card else None
    if source is None or place.kind == "gguf":
        return ""
    right = {piece.to.partition("/")[2]: piece.sha256 for piece in source.pieces}
    have = {name: stamp.sha256 for name, stamp in record.files.items()}
    names = sorted(name for name in right.keys() | have.keys() if right.get(name) != have.get(name))
    return f" (changed, missing or added: {', '.join(names[:5])})"


def _remember(place: Place, record: Record) -> None:
    try:
        write_record(place.record, record)
    except OSError as error:  # a read-only cache costs a hash at every start, nothing else
        logger.warning("cannot record the digest of %s: %s", place.name, error.strerror or error)


def _licence(name: str, sha256: str) -> str:
    card = card_named(name)
    return card.licence if card and card.sha256 == sha256 else "unknown"


def _absent(place: Place) -> ModelMissing:
    if place.card is None:
        return ModelMissing(f"no model file at {str(place.path)!r}")
    return ModelMissing(
        f"model {place.name!r} is not on this machine",
        mend=f'Run "stillroom models pull {place.name}", or set {place.card.variable} to the path of a file you have.',
    )
