"""The parent's hand on one warm interpreter inside the sandbox: jobs go in, results come out, in time or never."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import select
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from stillroom.errors import EngineError

from .backends import Backend, can_mount
from .filter import compiled
from .limits import Limits, Ran

__all__ = ["Job", "Worker"]

_START, _GRACE = 20.0, 10.0  # seconds to start in; seconds over the program's own before we give up


@dataclass(frozen=True)
class Job:
    """One program: its parts, run in order in one namespace, and what they may see and use."""

    parts: Sequence[tuple[str, str]]
    stdin: str
    files: Mapping[str, bytes]
    limits: Limits
    returns: str

    def frame(self) -> bytes:
        """Spell the job for the inside."""
        job = {
            "parts": list(self.parts),
            "stdin": self.stdin,
            "files": {path: base64.b64encode(content).decode() for path, content in self.files.items()},
            "limits": asdict(self.limits),
            "returns": self.returns,
        }
        return _frame(job)


class Worker:
    """One warm interpreter. Serves one job at a time; after any trouble it is done for.

    Raises:
        EngineError: If it does not start; the text says what the system said.
    """

    def __init__(self, backend: Backend) -> None:
        program = backend.find()
        if program is None:
            raise EngineError(f"{backend.program} is not installed", mend=backend.mend)
        self.served = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = _starter(os.getpid()).submit(self._start, backend.command(program)).result()
        try:
            # each program gets a user of its own where we may give it one: nobody else has these numbers
            uid = 0x40000000 + (secrets.randbelow(0x3000) << 16) if can_mount() else None
            setup = {"filter": base64.b64encode(compiled()).decode(), "uid": uid}
            if "ready" not in self._ask(_frame(setup), _START, 4096):
                raise EngineError(f"the sandbox did not start: {self._said()}", mend=backend.mend)
        except BaseException:
            self.close()
            raise

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={},
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )

    def run(self, job: Job) -> Ran:
        """Run one program.

        Raises:
            EngineError: If the sandbox itself failed; the worker is closed then.
        """
        limits = job.limits
        try:
            # a byte of output takes at most six in JSON, and the result is spelled twice
            found = self._ask(job.frame(), limits.seconds + _GRACE, 12 * limits.output_bytes + 65_536)
            if "damaged" in found:
                raise EngineError(f"the sandbox failed: {found['damaged']}; {self._said()}")
            self.served += 1
            return _ran(found)
        except BaseException:
            self.close()
            raise

    def _ask(self, frame: bytes, seconds: float, most: int) -> dict[str, Any]:
        """Send a frame and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        try:
            _write(self._process.stdin.fileno(), frame, until)
            size = struct.unpack(">I", _read(self._process.stdout.fileno(), 4, until))[0]
            if size > most:
                raise EngineError(f"the sandbox answered with {size} bytes, more than {most}")
            answer = json.loads(_read(self._process.stdout.fileno(), size, until))
        except (OSError, ValueError) as error:
            raise EngineError(f"the sandbox failed: {error}; {self._said()}") from error
        if not isinstance(answer, dict):
            raise EngineError(f"the sandbox answered with {type(answer).__name__}")
        return answer

    def _said(self) -> str:
        """Give the end of what the inside wrote on standard error."""
        self._errors.seek(0)
        text = self._errors.read(100_000).decode(errors="replace").strip()
        return " ".join(text[-500:].split()) or "it said nothing"

    def close(self) -> None:
        """Kill it with everything inside; doing so twice is fine."""
        process = self._process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            _await_end(process)
        for stream in (process.stdin, process.stdout, self._errors):
            if stream is not None:
                stream.close()


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait until nothing inside is left to hold the pipe open; the kernel takes a moment to end a namespace."""
    if process.stdout is None or process.stdout.closed:
        return
    with contextlib.suppress(OSError, EngineError):
        until = time.monotonic() + 2.0
        while True:
            _read(process.stdout.fileno(), 1, until)


def _ran(found: dict[str, Any]) -> Ran:
    value, finished = None, bool(found["finished"])
    if finished and found["value"] is not None:
        try:
            value = json.loads(found["value"])
        except (ValueError, RecursionError):  # only a forged value is no JSON; a deep one is too deep
            finished = False
    killed = found["killed_by"]
    return Ran(
        ok=killed is None and found["exit"] == 0,
        stdout=found["stdout"],
        stderr=found["stderr"],
        exit=found["exit"],
        killed_by=killed,
        seconds=found["seconds"],
        finished=finished,
        value=value,
    )


def _frame(value: dict[str, Any]) -> bytes:
    body = json.dumps(value).encode()
    return struct.pack(">I", len(body)) + body


def _write(fd: int, data: bytes, until: float) -> None:
    os.set_blocking(fd, False)
    left = memoryview(data)
    while left:
        if not select.select([], [fd], [], max(0.0, until - time.monotonic()))[1]:
            raise EngineError("the sandbox did not take the job in time")
        left = left[os.write(fd, left[:65_536]) :]


def _read(fd: int, size: int, until: float) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if not select.select([fd], [], [], max(0.0, until - time.monotonic()))[0]:
            raise EngineError("the sandbox did not answer in time")
        part = os.read(fd, size - len(parts))
        if not part:
            raise ConnectionError("it ended without an answer")
        parts += part
    return bytes(parts)


@cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """The one thread that starts workers: bubblewrap dies with the thread that started it, and this one stays."""
    return ThreadPoolExecutor(1, thread_name_prefix=f"sandbox-starter-{pid}")
