"""Symbolic equality: do two formulas mean the same, however they are written?

math-verify and SymPy decide, in a child process that is killed when it takes too
long, so a verifier may be called from any thread and never hangs.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any, Literal

from stillroom.errors import BadConfig, StillroomError
from stillroom.evals.verdict import Row, Verdict, Verifier

from ._asked import check_names, shown

__all__ = ["symbolic"]

Units = Literal["optional", "required", "ignored"]
_STARTING = 120.0


def symbolic(name: str, *, units: Units = "optional", seconds: float = 5.0) -> Verifier:
    r"""Check that output `name` equals the gold formula as mathematics.

    Reads LaTeX and plain notation: fractions, powers, roots, functions, percentages,
    mixed numbers, intervals, finite sets, unions, matrices, equations (x = 5 equals 5)
    and numbers with units (5 cm equals 0.05 m). Of a text that shows its work the last
    \boxed{}, else the last formula between dollars, else what follows "answer is" counts.
    Floats agree within 1e-6, relative above one. 50% equals both 50 and 0.5.

    Wrong are an answer that differs or cannot be read. Unverified are gold that cannot
    be read, formulas that agree wherever they are tried but could not be proved equal,
    powers too large to work out, and whatever takes longer than `seconds`.

    Args:
        name: The output field. Numbers and texts are read; gold likewise.
        units: `optional` lets an answer leave the unit out; `required` does not;
            `ignored` compares numbers only.
        seconds: For one comparison.

    Raises:
        BadConfig: If a setting is not one of these.

    >>> symbolic("x")({"x": r"\frac{\sqrt{2}}{2}"}, {"x": "1/sqrt(2)"}).passed
    True
    """
    check_names("symbolic", (name,))
    if units not in ("optional", "required", "ignored"):
        raise BadConfig(f"units must be optional, required or ignored, got {units!r}")
    if not 0 < seconds <= 600:
        raise BadConfig(f"seconds must be in 0..600, got {seconds!r}")

    def check(expected: Row, outputs: Row) -> Verdict:
        gold, got = _text(expected.get(name)), _text(outputs.get(name))
        if gold is None:
            return Verdict.unverified(f"gold {name} is no formula: {shown(expected.get(name))}")
        if got is None:
            return Verdict.fail(f"{name} is no formula: {shown(outputs.get(name))}")
        if gold == got:
            return Verdict.ok()
        return _verdict(name, _POOL.ask({"gold": gold, "got": got, "units": units}, seconds), gold, got)

    return Verifier(f"symbolic({name}, {units}, {seconds:g}s)", check)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = str(value).strip()
    except ValueError:  # Python refuses to write integers of thousands of digits
        return None
    return text or None


def _verdict(name: str, found: Mapping[str, str] | None, gold: str, got: str) -> Verdict:
    if found is None:
        return Verdict.unverified(f"{name} took too long, or too much memory, to compare")
    state, why = found["state"], found["why"]
    if state == "same":
        return Verdict.ok()
    if state == "open":
        return Verdict.unverified(f"{name}: {why}")
    if state == "unread":
        return Verdict.fail(f"{name} cannot be read as a formula: {shown(got)} ({why})")
    return Verdict.fail(f"{name} {why}" if why else f"{name} is {shown(got)}, not {shown(gold)}")


class _Child:
    """One process that compares formulas, one at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from stillroom.evals.verifiers._algebra import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        if self._line(_STARTING) is None:
            raise StillroomError("the process that compares formulas did not start", mend=f"Is {sys.executable} whole?")

    def ask(self, request: Mapping[str, Any], seconds: float) -> Mapping[str, str] | None:
        """Answer `request`, or None after `seconds`; then this process is gone."""
        try:
            self._pipe(self._process.stdin).write(json.dumps({**request, "seconds": seconds}) + "\n")
            self._pipe(self._process.stdin).flush()
        except BrokenPipeError:
            return None
        line = self._line(seconds)
        return None if line is None else dict(json.loads(line))

    def _line(self, seconds: float) -> str | None:
        # a timer that kills, since pipes cannot be waited for alike on every system
        timer = threading.Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            return self._pipe(self._process.stdout).readline() or None
        finally:
            timer.cancel()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                self._pipe(pipe).close()
            except BrokenPipeError:
                continue  # what was not written to a dead process is of no interest

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class _Pool:
    """Idle children, kept for the next question; as many as were asked for at once."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._left: list[_Child] = []
        self._lock = threading.Lock()

    def ask(self, request: Mapping[str, Any], seconds: float) -> Mapping[str, str] | None:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is None or not child.alive:
            child = _Child()
        found = child.ask(request, seconds)
        if found is None:
            child.close()
        else:
            with self._lock:
                self._idle.append(child)
        return found

    def forget(self) -> None:
        """Leave the children to the process that made them (after a fork), still running."""
        self._left, self._idle, self._lock = self._idle, [], threading.Lock()

    def close(self) -> None:
        """End every idle child."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.close()


_POOL = _Pool()
atexit.register(_POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)
