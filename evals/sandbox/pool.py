"""The sandbox as it is used: run a program, or many at once, on warm workers that are replaced in time."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from types import MappingProxyType

from stillroom.errors import BadConfig, EngineError, EngineRefused

from .backends import BACKENDS, Backend
from .filter import compiled
from .limits import Limits, Ran
from .worker import Job, Worker

__all__ = ["Choice", "Sandbox", "available", "open_sandbox", "shared_sandbox"]

REUSE = 200  # programs that one worker serves
_NOTHING: Mapping[str, str | bytes] = MappingProxyType({})
_USUAL = Limits()


@dataclass(frozen=True)
class Choice:
    """One back-end, whether it works on this machine, and why not."""

    name: str
    usable: bool
    why: str = ""
    mend: str = ""


class Sandbox:
    """Runs programs of unknown intent, each in fresh processes, namespaces and an empty folder.

    Safe to use from many threads. Workers start when they are needed and stay warm;
    no program ever runs in a warm process itself. Use it in a `with` block, or `close` it.

    Args:
        backend: How to start workers; `open_sandbox` picks one.
        reuse: Programs that one worker serves before it is replaced; 1 starts a new one each time.
        idle: Workers kept warm between programs; the number of cores by default.

    Raises:
        BadConfig: If `reuse` is below 1 or `idle` below 0.
    """

    def __init__(self, backend: Backend, *, reuse: int = REUSE, idle: int | None = None) -> None:
        if reuse < 1 or (idle is not None and idle < 0):
            raise BadConfig(f"a sandbox needs reuse >= 1 and idle >= 0, got {reuse} and {idle}")
        self._backend, self._reuse = backend, reuse
        self._most_idle = idle if idle is not None else os.cpu_count() or 1
        self._idle: list[Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._closed = False

    @property
    def name(self) -> str:
        """The back-end in use."""
        return self._backend.name

    def run(
        self,
        code: str | Sequence[tuple[str, str]],
        *,
        stdin: str = "",
        files: Mapping[str, str | bytes] = _NOTHING,
        limits: Limits = _USUAL,
        returns: str = "",
    ) -> Ran:
        """Run a Python program.

        Args:
            code: The source, or several (name, source) parts that run in order in one namespace.
            stdin: Standard input.
            files: Files in its folder, by relative path. They must fit in `limits.file_mb`.
            limits: What it may use.
            returns: The global variable to give back as `Ran.value`; it must be JSON.

        Raises:
            BadConfig: If a path in `files` leads out of the folder, or the files do not fit.
            EngineError: If the sandbox itself failed twice. What the program does never raises.
        """
        parts = [("program.py", code)] if isinstance(code, str) else list(code)
        job = Job(parts, stdin, _checked(files, stdin, limits), limits, returns)
        worker = self._take()
        try:
            found = worker.run(job)
        except EngineError:
            if not worker.served:  # it was new: more of the same will not help
                raise
            worker = Worker(self._backend)
            found = worker.run(job)
        self._give(worker)
        return found

    def run_many(self, programs: Iterable[str], *, threads: int | None = None, limits: Limits = _USUAL) -> list[Ran]:
        """Run independent programs, `threads` at a time (one a core by default); results in order.

        Raises:
            EngineError: As `run`.
        """
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            return list(pool.map(lambda code: self.run(code, limits=limits), programs))

    def _take(self) -> Worker:
        if self._closed or os.getpid() != self._owner:
            raise EngineRefused("this sandbox was closed, or belongs to another process", mend="Open one of your own.")
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Worker(self._backend)

    def _give(self, worker: Worker) -> None:
        with self._lock:
            if worker.served < self._reuse and len(self._idle) < self._most_idle and not self._closed:
                self._idle.append(worker)
                return
        worker.close()

    def close(self) -> None:
        """End the idle workers; programs under way end theirs. Doing so twice is fine."""
        with self._lock:
            self._closed = True
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _checked(files: Mapping[str, str | bytes], stdin: str, limits: Limits) -> dict[str, bytes]:
    found = {}
    for path, content in files.items():
        pure = PurePosixPath(path)
        if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts:
            raise BadConfig(f"a file of a program has a relative path inside its folder, got {path!r}")
        found[str(pure)] = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    size = sum(map(len, found.values())) + len(stdin) * 4
    if size > (limits.file_mb << 20) // 2 or len(found) > 1000:
        raise BadConfig(f"files and input must fit in half of file_mb={limits.file_mb}, got {size} bytes")
    return found


# --- which one -------------------------------------------------------------------

# Passes only where it is confined: the way to see that a back-end does what it says.
_PROBE = """
import os, wave, errno
def refused(action, *numbers):
    try:
        action()
    except OSError as error:
        return error.errno in numbers
    return False
import _socket
held = {
    "the network is reachable": refused(lambda: _socket.socket(), errno.EPERM),
    "files of the host are visible": not os.path.exists("/etc/passwd") and not os.listdir("/proc"),
    "the root folder can be written": refused(lambda: open("/x", "w"), errno.EROFS, errno.EACCES),
    "it is root": os.getuid() != 0 or refused(lambda: os.chown("/box", 1, 1), errno.EPERM, errno.EINVAL),
    "it sees other processes": os.getppid() == 1,
    "the environment is inherited": "PWD" not in os.environ or os.environ["PWD"] == "/",
}
open("/box/x", "w").close()
held = [what for what, fine in held.items() if not fine]
"""


@cache
def available() -> tuple[Choice, ...]:
    """Try every back-end on this machine, best first. The answer is kept for the life of the process."""
    return tuple(_tried(backend) for backend in BACKENDS)


def _tried(backend: Backend) -> Choice:
    if backend.find() is None:
        return Choice(backend.name, False, f"{backend.program} is not installed", backend.mend)
    try:
        compiled()
        with Sandbox(backend, reuse=1) as sandbox:
            ran = sandbox.run(_PROBE, returns="held")
    except EngineError as error:
        return Choice(backend.name, False, str(error), error.mend or backend.mend)
    if not ran.finished or ran.value:
        why = ", ".join(map(str, ran.value)) if isinstance(ran.value, list) else ran.why
        return Choice(backend.name, False, f"the test program was not confined: {why}", backend.mend)
    return Choice(backend.name, True)


def open_sandbox(name: str = "", *, reuse: int = REUSE, idle: int | None = None) -> Sandbox:
    """Open the best sandbox this machine has, or the one called `name`.

    Raises:
        BadConfig: If there is no back-end of that name.
        EngineRefused: If none is usable. Nothing is ever run without one.
    """
    if name and name not in {backend.name for backend in BACKENDS}:
        raise BadConfig(f"a sandbox is one of {', '.join(b.name for b in BACKENDS)}, got {name!r}")
    choices = {choice.name: choice for choice in available()}
    for backend in BACKENDS:
        if name in ("", backend.name) and choices[backend.name].usable:
            return Sandbox(backend, reuse=reuse, idle=idle)
    reasons = [choice for choice in choices.values() if name in ("", choice.name)]
    raise EngineRefused(
        "there is no sandbox, so no program is run: " + "; ".join(f"{each.name}: {each.why}" for each in reasons),
        mend=reasons[0].mend,
    )


_shared: dict[int, Sandbox] = {}
_shared_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """Give the sandbox that verifiers of this process share; it is closed when Python ends.

    Raises:
        EngineRefused: As `open_sandbox`.
    """
    with _shared_lock:
        if os.getpid() not in _shared:
            _shared[os.getpid()] = open_sandbox()
            atexit.register(_shared[os.getpid()].close)
        return _shared[os.getpid()]
