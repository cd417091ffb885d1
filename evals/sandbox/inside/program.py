"""The program: a child that gives up everything, then runs code that nobody vouches for."""

from __future__ import annotations

import base64
import json
import linecache
import os
import random
import re
import resource
import signal
import sys
import threading
import traceback
from typing import Any

from .kernel import drop_privileges, install

BOX = "/box"
STARTED = b"\x01"  # the program is confined and about to run


class Program:
    """Becomes the program: gives everything up, then runs the code."""

    def __init__(self, job: dict[str, Any], mark: bytes, bpf: bytes, uid: int | None) -> None:
        self.job, self.mark, self.bpf, self.uid = job, mark, bpf, uid

    def run(self, pipes: list[int]) -> None:
        """Run the parts one after another in one namespace; never comes back."""
        status = 126
        try:
            result = self.confine(pipes)
            status = self.code(result)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def confine(self, pipes: list[int]) -> int:
        """Give up files, privileges and resources; give the file descriptor for the result."""
        os.setsid()
        result = 63
        for place, source in enumerate(pipes):
            os.dup2(source, 200 + place)  # first out of the way of one another
        for place, target in enumerate((1, 2, result)):
            os.dup2(200 + place, target)
        os.set_inheritable(result, False)
        os.closerange(3, result)
        os.closerange(result + 1, 4096)
        drop_privileges(self.uid)
        os.chdir(BOX)
        self.stdin()
        for path, content in self.job["files"].items():
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            with open(path, "wb") as file:
                file.write(base64.b64decode(content))
        self.limit()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        install(self.bpf)
        os.write(result, STARTED)
        return result

    def stdin(self) -> None:
        """Make standard input a file without a name."""
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(fd, self.job["stdin"].encode(errors="surrogatepass"))
        os.lseek(fd, 0, os.SEEK_SET)
        os.dup2(fd, 0)
        os.close(fd)

    def limit(self) -> None:
        """Set the resource limits of the kernel."""
        limits = self.job["limits"]
        memory, size = limits["memory_mb"] << 20, limits["file_mb"] << 20
        processor = int(limits["cpu_seconds"]) + 1
        processes = limits["processes"] if self.uid is not None else shared_user_processes(limits["processes"])
        for what, most in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_FSIZE, size),
            (resource.RLIMIT_CPU, processor),
            (resource.RLIMIT_NPROC, processes),
            (resource.RLIMIT_NOFILE, 64),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_STACK, 8 << 20),
        ):
            resource.setrlimit(what, (most, most))

    def code(self, result: int) -> int:
        """Execute the parts; give the exit status."""
        main = type(sys)("__main__")
        main.__dict__["__builtins__"] = __builtins__
        sys.modules["__main__"], sys.argv, sys.path = main, ["program"], [BOX, *sys.path]
        random.seed(0)
        try:
            for name, source in self.job["parts"]:
                linecache.cache[name] = (len(source), None, source.splitlines(True), name)  # for tracebacks
                exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)  # noqa: S102
            wanted = self.job["returns"]
            value = json.dumps(main.__dict__[wanted]).encode() if wanted else b""
            end(threads=True)
            data = memoryview(self.mark + value)
            while data:
                data = data[os.write(result, data) :]
        except SystemExit as error:
            end(threads=True)
            if error.code is None or isinstance(error.code, int):
                return (error.code or 0) & 255
            sys.stderr.write(f"{error.code}\n")
            return 1
        except BaseException as error:
            frames = error.__traceback__.tb_next if error.__traceback__ else None
            traceback.print_exception(type(error), error, frames)
            end(threads=False)
            return 1
        return 0


def shared_user_processes(most: int) -> int:
    """Give the limit where the program's user has other processes: our own four in its user namespace.

    Linux before 5.14 counts those of the whole machine; there the minder's look is the only limit.
    """
    kernel = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return most + 4 if kernel >= (5, 14) else resource.RLIM_INFINITY


def end(*, threads: bool) -> None:
    """Wait for threads as Python does at its end, and flush."""
    if threads:
        threading._shutdown()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
