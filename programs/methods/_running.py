"""Run pieces of code one after the other in the sandbox, and tell what each of them printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillroom.evals.code import extract_code
from stillroom.evals.sandbox import Limits, Sandbox, shared_sandbox
from stillroom.values import digest

__all__ = ["Printed", "run_pieces"]

LIMITS = Limits(seconds=5.0)


@dataclass(frozen=True)
class Printed:
    """What came of running pieces.

    Attributes:
        outputs: What each piece printed, in order, up to the one that failed.
        fault: Why it came to no end, or "".
    """

    outputs: tuple[str, ...]
    fault: str = ""


def run_pieces(
    pieces: Sequence[str],
    *,
    files: Mapping[str, str] | None = None,
    limits: Limits = LIMITS,
    sandbox: Sandbox | None = None,
) -> Printed:
    """Run pieces of Python that share their names, as the cells of a notebook do.

    Args:
        pieces: Sources, bare or in a fence.
        files: Files in their folder.
        limits: Of all of them together.
        sandbox: Where; the shared one by default.

    Raises:
        EngineError: If there is no sandbox. What the code does never raises.
    """
    codes = [extract_code(each) for each in pieces]
    mark = f"-- {digest(codes)} --"
    parts = []
    for number, code in enumerate(codes, 1):
        parts += [(f"piece {number}", code), (f"mark {number}", f"print({mark!r}, flush=True)")]
    if not parts:
        return Printed(())
    ran = (sandbox or shared_sandbox()).run(parts, files=files or {}, limits=limits)
    outputs = ran.stdout.split(f"{mark}\n")
    fault = "" if ran.finished and ran.ok else ran.why or "it ended early"
    return Printed(tuple(each.rstrip("\n") for each in (outputs if fault else outputs[:-1])), fault)
