"""The warm interpreter: reads jobs, forks for each, and never touches anything of a program itself."""

from __future__ import annotations

import base64
import importlib
import os
import signal
import sys
import traceback
from typing import Any

from .frames import read_frame, write_frame
from .kernel import NEWIPC, NEWNS, NEWPID, NEWUTS, unshare
from .minder import Minder

# what programs usually import, loaded once
PRELOADED = (
    *("bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
    *("hashlib", "heapq", "io", "itertools", "math", "operator", "random", "re", "sqlite3", "statistics", "string"),
    *("typing", "unittest"),
)


def warm() -> None:
    """Serve jobs until the parent closes the pipe."""
    ask, answer = os.dup(0), os.dup(1)  # neither survives exec
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    setup = read_frame(ask)
    if setup is None:
        return
    bpf, uid = base64.b64decode(setup["filter"]), setup["uid"]
    for name in PRELOADED:
        preload(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # process 1 is deaf to signals that it has no handler for
    write_frame(answer, {"ready": os.getpid()})
    while (job := read_frame(ask)) is not None:
        holder = os.fork()
        if holder == 0:
            hold(job, ask, answer, bpf, uid)
        _, status = os.waitpid(holder, 0)
        if status:
            write_frame(answer, {"damaged": f"the minder ended with status {status}"})
        if uid is not None:
            uid += 1  # no two programs ever share a user


def preload(name: str) -> None:
    """Import a module if this Python was built with it."""
    try:
        importlib.import_module(name)
    except ImportError:
        sys.modules.pop(name, None)


def hold(job: dict[str, Any], ask: int, answer: int, bpf: bytes, uid: int | None) -> None:
    """Make the namespaces, run the minder as their process 1, and end as it ends."""
    status = 70
    try:
        unshare(NEWPID | NEWNS | NEWIPC | NEWUTS)
        minder = os.fork()
        if minder == 0:
            write_frame(answer, Minder(job, ask, bpf, uid).run())
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(minder, 0)[1])
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(abs(status))
