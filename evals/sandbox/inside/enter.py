"""Build the sandbox's root folder without bubblewrap, go into it for good, and start the warm interpreter.

Started by `unshare`, in new mount, PID, network, IPC and UTS namespaces,
with what is to be seen as JSON in its one argument.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import sys
from typing import Any

from .kernel import BIND, CAPBSET_DROP, NODEV, NOEXEC, NOSUID, PRIVATE, RDONLY, REC, REMOUNT, checked, libc, mount

ROOT = "/sys"  # a folder that is always there and holds nothing that is to be seen
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000  # one number on every architecture
MNT_DETACH = 2
# what the warm interpreter needs to confine programs: KILL, SETGID, SETUID, SETPCAP, SYS_PTRACE (to see memory), SYS_ADMIN
KEPT = {5, 6, 7, 8, 19, 21}


def bind(path: str, place: str, *, device: bool = False) -> None:
    """Show `path` of the host at `place`, read-only with all that is mounted below it."""
    target = ROOT + place
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w"):
            pass
    mount(path, target, "", BIND | REC)
    wanted = 0x2 | 0x8 if device else 0x1 | 0x2 | 0x4  # MOUNT_ATTR_RDONLY, NOSUID, NODEV, NOEXEC
    attributes = struct.pack("QQQQ", wanted, 0, 0, 0)
    done = libc.syscall(MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, ctypes.c_size_t(32))
    checked(done, f"make {target} read-only")


def build(view: dict[str, Any]) -> None:
    """Build the new root folder."""
    mount("", "/", "", REC | PRIVATE)
    mount("none", ROOT, "tmpfs", NOSUID | NODEV, "size=1m,mode=755")
    for path, place in view["shown"]:
        bind(path, place)
    for path in view["hidden"]:
        mount("none", ROOT + path, "tmpfs", NOSUID | NODEV | NOEXEC | RDONLY, "size=4096,nr_inodes=2")
    for path in view["devices"]:
        bind(path, path, device=True)
    for folder in view["folders"]:
        os.makedirs(ROOT + folder, exist_ok=True)
    for target, link in view["links"]:
        os.makedirs(os.path.dirname(ROOT + link), exist_ok=True)
        os.symlink(target, ROOT + link)
    mount("proc", ROOT + "/proc", "proc", NOSUID | NODEV | NOEXEC)


def go_in() -> None:
    """Make the new root folder the only one there is."""
    os.chdir(ROOT)
    checked(libc.syscall(_pivot_root(), b".", b"."), "pivot_root")  # stacks the old root on the new: pivot_root(2)
    checked(libc.umount2(b".", MNT_DETACH), "umount")
    os.chdir("/")
    mount("", "/", "", REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def _pivot_root() -> int:
    return 155 if os.uname().machine == "x86_64" else 41  # 41: the generic table, as on aarch64


def enter() -> None:
    """Build, enter, give up what is not needed, and become the warm interpreter."""
    view = json.loads(sys.argv[1])
    build(view)
    go_in()
    for capability in range(64):
        if capability not in KEPT and libc.prctl(CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            break
    os.execve(view["command"][0], view["command"], view["environment"])  # noqa: S606
