"""What Python's standard library has no words for: mounts, namespaces, capabilities, system-call filters."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

NEWNS, NEWUTS, NEWIPC, NEWPID = 0x00020000, 0x04000000, 0x08000000, 0x20000000
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 0x20, 0x1000, 0x4000, 0x40000
SET_DUMPABLE, SET_SECCOMP, CAPBSET_DROP, SET_NO_NEW_PRIVS, CAP_AMBIENT = 4, 22, 24, 38, 47

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raise OSError if a call to the C library failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount `source` on `target`."""
    done = libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode())
    checked(done, f"mount {target}")


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for new ones."""
    checked(libc.unshare(flags), "unshare")


def prctl(option: int, *values: Any) -> None:
    """Change how the kernel treats this process."""
    padded = [value if isinstance(value, ctypes.c_void_p) else ctypes.c_ulong(value) for value in values]
    checked(libc.prctl(option, *padded, *(ctypes.c_ulong(0) for _ in range(4 - len(values)))), f"prctl {option}")


class Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def install(bpf: bytes) -> None:
    """Install a compiled system-call filter in this process, for good."""
    held = ctypes.create_string_buffer(bpf, len(bpf))
    program = Filter(len(bpf) // 8, ctypes.cast(held, ctypes.c_void_p))
    prctl(SET_SECCOMP, 2, ctypes.cast(ctypes.byref(program), ctypes.c_void_p))


def drop_privileges(uid: int | None) -> None:
    """Become user `uid` where we are root, and lose every capability for good."""
    last = 0
    while libc.prctl(CAPBSET_DROP, ctypes.c_ulong(last), 0, 0, 0) == 0:
        last += 1
    libc.prctl(CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    checked(libc.capset(header, bytes(24)), "capset")
    prctl(SET_DUMPABLE, 0)
    prctl(SET_NO_NEW_PRIVS, 1)
