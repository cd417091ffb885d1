"""What a program may use, and what running it gave."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from stillroom.errors import BadConfig

__all__ = ["Killed", "Limits", "Ran"]

Killed: TypeAlias = Literal["time", "cpu", "memory", "output", "processes"]

_HIGHEST = {
    "seconds": 3600,
    "cpu_seconds": 3600,
    "memory_mb": 65_536,
    "processes": 1000,
    "output_bytes": 10_000_000,
    "file_mb": 4096,
}


@dataclass(frozen=True)
class Limits:
    """What one program and all its children together may use; crossing one ends them all.

    Attributes:
        seconds: Wall-clock time.
        cpu_seconds: Processor time.
        memory_mb: Memory in MiB, the interpreter's own 10 MiB included. Also the address space
            of each process, so a greedy program first sees a `MemoryError`.
        processes: Processes and threads at one time. One more fails to start.
        output_bytes: Standard output, standard error and the returned JSON together.
        file_mb: Size of the writable folder in MiB, and of the largest file in it.

    Raises:
        BadConfig: If a limit is not a positive number, or beyond what a limit can be.
    """

    seconds: float = 5.0
    cpu_seconds: float = 5.0
    memory_mb: int = 256
    processes: int = 16
    output_bytes: int = 64_000
    file_mb: int = 16

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _HIGHEST[name]:
                raise BadConfig(f"the limit {name} must be a number over 0 and up to {_HIGHEST[name]}, got {value!r}")
            if name not in ("seconds", "cpu_seconds") and not isinstance(value, int):
                raise BadConfig(f"the limit {name} must be a whole number, got {value!r}")
        if self.memory_mb < 32:
            raise BadConfig(f"the interpreter alone needs memory_mb >= 32, got {self.memory_mb}")

    @property
    def label(self) -> str:
        """The limits that are not the usual ones, for names of verifiers: `seconds=2`."""
        usual = asdict(Limits())
        return ", ".join(f"{name}={value:g}" for name, value in asdict(self).items() if value != usual[name])


@dataclass(frozen=True)
class Ran:
    """What became of a program.

    Attributes:
        ok: Not killed, and the exit status is 0.
        stdout: What it wrote, up to the limit; bytes that are no UTF-8 are replaced.
        stderr: Likewise, with the traceback of an uncaught exception.
        exit: The exit status; minus the signal's number if a signal ended it.
        killed_by: The limit it crossed, or None.
        seconds: Wall-clock time it took.
        finished: Whether the last line of the last part was reached: neither an exception nor an
            exit came before it. A program that sets out to can forge this, as it runs in the same
            process; what it cannot do is leave the sandbox.
        value: The JSON value of the variable asked for by `returns`; None if it was not finished.
    """

    ok: bool
    stdout: str
    stderr: str
    exit: int
    killed_by: Killed | None
    seconds: float
    finished: bool = False
    value: Any = None

    @property
    def why(self) -> str:
        """Why it is not ok, in one line; empty if it is."""
        if self.killed_by is not None:
            return _CROSSED[self.killed_by]
        if self.ok:
            return ""
        last = next((line.strip() for line in reversed(self.stderr.splitlines()) if line.strip()), "")
        status = f"was ended by signal {-self.exit}" if self.exit < 0 else f"ended with status {self.exit}"
        return last[:300] or status


_CROSSED: dict[Killed, str] = {
    "time": "did not finish in time",
    "cpu": "used more processor time than allowed",
    "memory": "used more memory than allowed",
    "output": "wrote more output than allowed",
    "processes": "started more processes than allowed",
}
