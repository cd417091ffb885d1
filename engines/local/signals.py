"""Keep the thread's signal stack: a native library may put its own there and free it elsewhere.

Making an OpenVINO tokenizer sets an alternate signal stack on the calling thread. When the
tokenizer is let go on another thread its memory goes, and the next signal of the first thread
(Ctrl-C, say) has nowhere to be handled: the kernel ends the process with SIGSEGV.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["kept_signal_stack", "signal_stack"]


class _Stack(ctypes.Structure):
    """`stack_t` of Linux (sigaltstack(2))."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack() -> tuple[int | None, int, int] | None:
    """The calling thread's alternate signal stack: address, flags, size; `None` where it cannot be asked for."""
    found = _asked()
    return None if found is None else (found.pointer, found.flags, found.size)


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Put the calling thread's signal stack back as it was before, whatever the body did to it."""
    before = _asked()
    try:
        yield
    finally:
        if before is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)


def _asked() -> _Stack | None:
    if not sys.platform.startswith("linux"):
        return None
    found = _Stack()
    failed = ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return None if failed else found
