"""Plain JSON values: one canonical spelling, content hashes, atomic files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["atomic", "canonical", "digest", "digest_text", "pretty", "seal", "write_atomic"]


_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """Spell a JSON value in its one canonical way: sorted keys, no spaces, no NaN."""
    return _spell(value)


def pretty(value: Any) -> str:
    """Spell a JSON value for people, keys in the order given; ends with a newline."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any, length: int = 16) -> str:
    """Hash a JSON value: the first `length` hex digits of the sha256 of its canonical spelling."""
    return digest_text(canonical(value), length)


def digest_text(text: str, length: int = 16) -> str:
    """Hash a canonical spelling that is at hand already."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def seal(*parts: object) -> int:
    """Checksum texts and numbers (CRC-32), to see that they are read as they were written.

    Raises:
        UnicodeEncodeError: If a text holds half a surrogate pair, which no file can.
    """
    return zlib.crc32("\0".join(map(str, parts)).encode())


def write_atomic(path: Path, text: str) -> None:
    """Write `text` so that a reader, or a crash, sees the old file or the new one and never a part."""
    with atomic(path) as file:
        file.write(text.encode())


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends, and never does if it raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
