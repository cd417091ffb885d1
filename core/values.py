"""Plain JSON values: one canonical spelling, content hashes, atomic files."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson

__all__ = [
    "altered",
    "atomic",
    "canonical",
    "compact",
    "digest",
    "digest_text",
    "maker",
    "pretty",
    "seal",
    "write_atomic",
]

T = TypeVar("T")

_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """Spell a JSON value in its one canonical way: sorted keys, no spaces, no NaN."""
    return _spell(value)


def compact(value: Any) -> str:
    """Spell a JSON value for a file, where time counts: never for a hash.

    As `canonical`, but some floats are spelled otherwise (1e16 for 1e+16), and NaN, which `canonical` refuses, is null.
    """
    try:
        return orjson.dumps(value, option=_AS_JSON).decode()
    except TypeError:  # what only Python's encoder can spell, or refuse: large integers, half a surrogate pair
        return canonical(value)


_AS_JSON = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


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


def altered(value: T, **changes: Any) -> T:
    """A copy of a frozen dataclass with some fields changed, as `dataclasses.replace` makes it, but without its checks.

    For changes that are known to be right, in what is made for every call: checking the rest
    once more costs more than everything else that is done to it.
    """
    kind: Any = type(value)
    read, writers = _fields(kind)
    made: T = object.__new__(kind)
    for write, each in zip(writers.values(), read(value), strict=True):
        write(made, each)
    for name, each in changes.items():
        writers[name](made, each)
    return made


def maker(kind: type[T], *names: str) -> Callable[..., T]:
    """A constructor of a frozen dataclass with slots that takes the fields `names` in this order, without its checks.

    All other fields have their defaults. For values that are known to be right, as for `altered`.
    """
    writers = _fields(kind)[1]  # type: ignore[arg-type]  # a class is hashable
    given = [writers[name] for name in names]
    usual = [(writers[each.name], each.default) for each in fields(kind) if each.name not in names]  # type: ignore[arg-type]

    def make(*values: Any) -> T:
        made: T = object.__new__(kind)
        for write, each in zip(given, values, strict=True):
            write(made, each)
        for write, each in usual:
            write(made, each)
        return made

    return make


@cache
def _fields(kind: Any) -> tuple[Any, dict[str, Any]]:
    """How to read all fields of a class with slots at once, and how to write each."""
    names = [each.name for each in fields(kind)]
    return attrgetter(*names), {name: getattr(kind, name).__set__ for name in names}


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
