"""Digests of model files, and the note beside each file that saves computing them again.

A gguf is known by the sha256 of its bytes, a folder by the sha256 of its manifest: one line
`<sha256>  <path>` a file, sorted by path (what `sha256sum` prints). The note holds size, mtime
and sha256 of each file; it is trusted for as long as sizes and mtimes agree.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .cards import Kind

__all__ = [
    "Record",
    "Stamp",
    "digest_of",
    "hash_model",
    "hash_slice",
    "read_json",
    "read_record",
    "stat_model",
    "write_json",
    "write_record",
]


@dataclass(frozen=True)
class Stamp:
    """What is remembered of one file: bytes, mtime in nanoseconds, sha256."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """What is remembered of one model: its digest, where it came from, a stamp for each file."""

    sha256: str
    source: str
    files: dict[str, Stamp]

    @property
    def stats(self) -> dict[str, tuple[int, int]]:
        """Size and mtime of each file, to compare with `stat_model`."""
        return {name: (stamp.size, stamp.mtime_ns) for name, stamp in self.files.items()}


def stat_model(path: Path, kind: Kind) -> dict[str, tuple[int, int]]:
    """Give size and mtime_ns of each file of the model at `path`. Raises `OSError`."""
    found = {}
    for name, file in _files(path, kind):
        stat = file.stat()
        found[name] = (stat.st_size, stat.st_mtime_ns)
    return found


def hash_model(path: Path, kind: Kind, source: str) -> Record:
    """Read the model at `path` in full and make its record. Raises `OSError`."""
    stamps = {}
    for name, file in _files(path, kind):
        with file.open("rb") as stream:
            stat = os.fstat(stream.fileno())  # before reading: a later write then shows as a changed mtime
            stamps[name] = Stamp(stat.st_size, stat.st_mtime_ns, hashlib.file_digest(stream, "sha256").hexdigest())
    return Record(digest_of({name: stamp.sha256 for name, stamp in stamps.items()}, kind), source, stamps)


def digest_of(shas: dict[str, str], kind: Kind) -> str:
    """Reduce the sha256 of each file to the digest of the model."""
    if kind == "gguf":
        (only,) = shas.values()
        return only
    manifest = "".join(f"{sha}  {name}\n" for name, sha in sorted(shas.items()))
    return hashlib.sha256(manifest.encode()).hexdigest()


def read_record(path: Path) -> Record | None:
    """Give the record at `path`, or None where there is none that can be read: it can be made again."""
    raw = read_json(path)
    try:
        files = {name: Stamp(*stamp) for name, stamp in raw["files"].items()}
        return Record(raw["sha256"], raw["source"], files)
    except (KeyError, TypeError, AttributeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Put `record` at `path` in one step. Raises `OSError`."""
    files = {name: [stamp.size, stamp.mtime_ns, stamp.sha256] for name, stamp in record.files.items()}
    write_json(path, {"sha256": record.sha256, "source": record.source, "files": files})


def read_json(path: Path) -> dict:
    """Give the JSON object at `path`, or an empty one where there is none that can be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: dict) -> None:
    """Put `value` at `path` in one step, so that no reader sees half of it. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")  # not mkstemp: others may share the cache
    try:
        temporary.write_text(json.dumps(value, indent=1), "utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def hash_slice(stream: BinaryIO, size: int) -> str:
    """Hash the next `size` bytes of `stream`; a shorter stream gives the digest of what there is."""
    sha, left = hashlib.sha256(), size
    while left and (chunk := stream.read(min(left, 1 << 20))):
        sha.update(chunk)
        left -= len(chunk)
    return sha.hexdigest()


def _files(path: Path, kind: Kind) -> list[tuple[str, Path]]:
    if kind == "gguf":
        return [(path.name, path)]
    if not path.is_dir():
        raise FileNotFoundError(path)
    found = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    return sorted((file.relative_to(path).as_posix(), file) for file in found)
