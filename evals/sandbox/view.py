"""What can be seen inside the sandbox: the Python installation and the system's libraries, read-only."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DEVICES", "ENVIRONMENT", "View", "python_view"]

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
ENVIRONMENT = {
    "HOME": "/box",
    "TMPDIR": "/box",
    "PATH": "/nowhere",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # else every thread reserves 64 MiB of the address space
    "PYTHONHASHSEED": "0",  # a program gives the same answer every time
    "PYTHONUTF8": "1",
}


@dataclass(frozen=True)
class View:
    """Paths of the host, each seen at its own place.

    Attributes:
        shown: Files and folders, read-only.
        hidden: Folders below them that look empty: packages installed beside Python.
        links: Symbolic links to make, as (target, place).
    """

    python: str
    shown: tuple[str, ...]
    hidden: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


def python_view() -> View:
    """Say what this Python needs to run. Packages installed beside it are left out."""
    python = os.path.realpath(sys.executable)
    stdlib = Path(os.path.realpath(sysconfig.get_path("stdlib")))
    dynamic = Path(sysconfig.get_config_var("DESTSHARED") or stdlib)
    wanted = [Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib64")]
    links = [(os.readlink(path), str(path)) for path in wanted if path.is_symlink()]
    shown = [path for path in wanted if path.is_dir() and not path.is_symlink()]
    # a Python of its own brings libraries beside the standard library, as conda's and uv's do
    places = [stdlib.parent, dynamic, Path(python), Path("/etc/ld.so.cache")]
    shown += [path for path in places if path.exists() and not any(path.is_relative_to(known) for known in shown)]
    # whoever writes to these places writes into the program's own folder
    places_to_write = ("/tmp", "/dev/shm")  # noqa: S108
    links += [("/box", place) for place in places_to_write if not any(path.is_relative_to(place) for path in shown)]
    packages = [stdlib / "site-packages", stdlib.parent / "site-packages", stdlib.parent / "python3" / "dist-packages"]
    hidden = [str(path) for path in (*packages, Path("/usr/lib/python3/dist-packages")) if path.is_dir()]
    return View(python, tuple(map(str, shown)), tuple(dict.fromkeys(hidden)), tuple(links))
