"""The ways to start the inside of the sandbox on this machine, best first."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .view import DEVICES, ENVIRONMENT, View, python_view

__all__ = ["BACKENDS", "Backend", "can_mount"]

_HERE = Path(__file__).resolve().parent
_INSIDE, _SEEN = str(_HERE / "inside"), "/inside"
_FLAGS = ("-P", "-s", "-S", "-B")  # no path of the caller's, no site-packages, nothing written
_FOLDERS = ("/box", "/proc", "/dev")
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_SYS_PTRACE")
_ADMIN = 21


@dataclass(frozen=True)
class Backend:
    """One way.

    Attributes:
        name: As `available` and `stillroom doctor` name it.
        program: The system's program that it needs.
        mend: How to get it.
        command: Makes the command line that starts the warm interpreter.
    """

    name: str
    program: str
    mend: str
    command: Callable[[str], list[str]]

    def find(self) -> str | None:
        """Path of the system's program, or None. Folders that only root's PATH has are looked in too."""
        return shutil.which(self.program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def can_mount() -> bool:
    """Whether this process may make namespaces without a user namespace around them."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    return os.geteuid() == 0 and bool(held >> _ADMIN & 1)


def _bubblewrap(program: str) -> list[str]:
    view = python_view()
    command = [program, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if not can_mount():
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--new-session", "--die-with-parent", "--hostname", "sandbox", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for folder in _parents(*view.shown, *DEVICES, *_FOLDERS):
        command += ["--perms", "0755", "--dir", folder]  # else its own folders are open to root alone
    for path in view.shown:
        command += ["--ro-bind", path, path]
    command += ["--ro-bind", _INSIDE, _SEEN]
    for path in view.hidden:
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--proc", "/proc", "--perms", "0755", "--dir", "/box"]
    for path in DEVICES:
        command += ["--dev-bind", path, path]
    for target, link in view.links:
        command += ["--symlink", target, link]
    command += ["--remount-ro", "/", "--chdir", "/", "--cap-drop", "ALL"]
    for capability in _CAPABILITIES:
        command += ["--cap-add", capability]
    return [*command, "--", *_interpreter(view)]


def _namespaces(program: str) -> list[str]:
    view = python_view()
    command = [program, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--kill-child"]
    if not can_mount():
        command += ["--user", "--map-root-user"]
    wanted = {
        "shown": [*zip(view.shown, view.shown, strict=True), (_INSIDE, _SEEN)],
        "hidden": view.hidden,
        "devices": DEVICES,
        "folders": _FOLDERS,
        "links": view.links,
        "environment": ENVIRONMENT,
        "command": _interpreter(view),
    }
    return [*command, "--", sys.executable, *_FLAGS, "-c", _start(str(_HERE), "enter"), json.dumps(wanted)]


def _parents(*paths: str) -> list[str]:
    """All folders above `paths`, the outer before the inner."""
    return sorted({str(above) for path in paths for above in Path(path).parents} - {"/"})


def _start(folder: str, name: str) -> str:
    """Give the line of Python that runs one of the modules inside, as a package of its own."""
    return f"import sys; sys.path.insert(0, {folder!r}); from inside.{name} import {name}; del sys.path[0]; {name}()"


def _interpreter(view: View) -> list[str]:
    return [view.python, *_FLAGS, "-c", _start("/", "warm")]


BACKENDS = (
    Backend("bubblewrap", "bwrap", "Install bubblewrap (Debian: apt-get install bubblewrap).", _bubblewrap),
    Backend("namespaces", "unshare", "Install util-linux, and let this user make namespaces.", _namespaces),
)
