"""Frames between the parent and the inside: a length, then one JSON object. Never pickle."""

from __future__ import annotations

import json
import os
import struct
from typing import Any


def read_frame(fd: int) -> dict[str, Any] | None:
    """Read one length-prefixed JSON object; None at the end of the file."""
    head = read_exactly(fd, 4)
    if head is None:
        return None
    body = read_exactly(fd, struct.unpack(">I", head)[0])
    found: dict[str, Any] | None = None if body is None else json.loads(body)
    return found


def read_exactly(fd: int, size: int) -> bytes | None:
    """Read `size` bytes; None if the other side closed before that."""
    parts = bytearray()
    while len(parts) < size:
        part = os.read(fd, min(size - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def write_frame(fd: int, value: dict[str, Any]) -> None:
    """Write one length-prefixed JSON object."""
    body = json.dumps(value).encode()
    data = memoryview(struct.pack(">I", len(body)) + body)
    while data:
        data = data[os.write(fd, data) :]
