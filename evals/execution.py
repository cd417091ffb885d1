"""Attempts against tests: each attempt meets each test in the sandbox, and what holds of the whole table.

A test that nobody passes says more of the test than of the attempts (CodeT, Chen et al. 2022, arXiv:2207.10397, ranks
by the same agreement): where there are several attempts, such a test is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stillroom.errors import BadConfig

from .code import AS_MODULE, extract_code, lints, predicate, python_parses
from .mutants import mutants
from .sandbox import Limits, Sandbox, shared_sandbox

__all__ = ["Outcome", "Standing", "caught", "check_response", "run_test", "standing", "static_fault", "table"]

_USUAL = Limits()
_KILLS = 2  # limits crossed before an attempt is not run any more: it fails what is left
_SHOWN = 1500  # characters of each output that are kept
_END = "import os as _os\n_left_behind = sorted(_os.listdir('/box'))\n"


@dataclass(frozen=True)
class Outcome:
    """What came of one attempt under one test.

    Attributes:
        passed: Whether the test held.
        why: What was wrong, in one line.
        said: Return code, standard output and error, for whoever is to mend it.
        killed: Whether a limit was crossed.
    """

    passed: bool
    why: str = ""
    said: str = ""
    killed: bool = False


Check = Callable[[str, str], Outcome]
"""From an attempt and a test to what came of it."""


def run_test(code: str, test: str, *, limits: Limits = _USUAL, sandbox: Sandbox | None = None) -> Outcome:
    """Run a piece of Python, then a test of it, in one fresh process with a folder of its own.

    Code that leaves files behind fails, whatever its test says.

    Raises:
        EngineError: If there is no sandbox. What the code does never raises.
    """
    parts = [("module.py", AS_MODULE), ("program.py", code), ("test.py", test), ("end.py", _END)]
    try:
        ran = (sandbox or shared_sandbox()).run(parts, limits=limits, returns="_left_behind")
    except BadConfig as error:  # more text than fits
        return Outcome(False, str(error))
    if ran.finished and ran.value:
        why = f"leaves files behind: {', '.join(map(str, ran.value))[:200]}"
    else:
        why = "" if ran.finished else ran.why or "it ended before its test did"
    said = f"return code {ran.exit}\nstdout:\n{ran.stdout[-_SHOWN:]}\nstderr:\n{ran.stderr[-_SHOWN:]}"
    return Outcome(not why, why, f"{why}\n{said}" if why else "", ran.killed_by is not None)


def check_response(response: str, check: str, *, limits: Limits = _USUAL, sandbox: Sandbox | None = None) -> Outcome:
    """Run a function `check(response) -> bool` that a model wrote over a response. A check that fails says no."""
    source = extract_code(check, defines="check")
    whole = f"{source}\n\n_said = check\n\ndef check(inputs, outputs):\n    return bool(_said(outputs['response']))\n"
    try:
        found = predicate(whole, limits=limits, sandbox=sandbox)({}, {"response": response})
    except BadConfig as error:
        return Outcome(False, str(error), str(error))
    return Outcome(found.passed, found.why, found.why)


def static_fault(code: str, *, lint: bool) -> str:
    """What a parser, and if asked for a linter, finds wrong with Python; "" for nothing. Nothing is run."""
    verify = lints("code") if lint else python_parses("code")
    return verify({}, {"code": code}).why


def table(attempts: Sequence[str], tests: Sequence[str], check: Check) -> list[list[Outcome]]:
    """Every attempt under every test: one row of outcomes an attempt, in order.

    An attempt that crosses a limit twice is not run any more, and fails the tests that are left.
    """
    return [_row(attempt, tests, check) for attempt in attempts]


def _row(attempt: str, tests: Sequence[str], check: Check) -> list[Outcome]:
    outcomes: list[Outcome] = []
    kills = 0
    for test in tests:
        if kills >= _KILLS:
            outcomes.append(Outcome(False, "not run: it crossed a limit twice before"))
            continue
        outcomes.append(check(attempt, test))
        kills += outcomes[-1].killed
    return outcomes


@dataclass(frozen=True)
class Standing:
    """What a table of outcomes comes to.

    Attributes:
        surviving: The tests that count, by number.
        passes: How many of them each attempt passes.
        right: The attempts that pass enough of them, the most first, then in their order.
    """

    surviving: tuple[int, ...]
    passes: tuple[int, ...]
    right: tuple[int, ...]


def standing(grid: Sequence[Sequence[bool]], share: float = 0.8, *, trusted: bool = False) -> Standing:
    """Drop tests that nobody passes, and say which attempts pass at least `share` of the others.

    With one attempt nothing is dropped: its failure and a wrong test cannot be told apart.

    Args:
        grid: One row an attempt, one column a test; whether it passed.
        share: In 0..1; an attempt passes ceil(share * tests) of them, one at least.
        trusted: Whether the tests are known to be right, as those of people: then none is dropped.

    Raises:
        BadConfig: If `share` is out of range, or the rows differ in length.

    >>> standing([[True, True, False], [True, False, False]], 0.8)
    Standing(surviving=(0, 1), passes=(2, 1), right=(0,))
    """
    if not 0 <= share <= 1 or len({len(row) for row in grid}) > 1:
        raise BadConfig(f"a standing needs a share in 0..1 and a full table, got {share} and {list(map(len, grid))}")
    columns = range(len(grid[0]) if grid else 0)
    surviving = tuple(at for at in columns if trusted or len(grid) == 1 or any(row[at] for row in grid))
    passes = tuple(sum(row[at] for at in surviving) for row in grid)
    # in floats a share of a whole number may come out just above the next one
    least = max(1, math.ceil(share * len(surviving) - 1e-9))
    enough = [at for at, count in enumerate(passes) if count >= least]
    return Standing(surviving, passes, tuple(sorted(enough, key=lambda at: (-passes[at], at))))


def caught(
    code: str, entry: str, tests: Sequence[str], *, most: int, limits: Limits = _USUAL, sandbox: Sandbox | None = None
) -> float | None:
    """The share of mutants of a function, each with one operator or constant changed, that fail the tests.

    Args:
        code: With the function.
        entry: Its name.
        tests: All run one after the other.
        most: Mutants tried, taken evenly from all there are.

    Returns:
        0..1, higher means stronger tests; None where there is nothing to change.
    """
    made = [source for _, source in mutants(code, entry)]
    chosen = [made[at * len(made) // most] for at in range(most)] if len(made) > most else made
    together = "\n".join(tests)
    failed = [not run_test(each, together, limits=limits, sandbox=sandbox).passed for each in chosen]
    return sum(failed) / len(failed) if failed else None
