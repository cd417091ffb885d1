"""Every error stillroom raises on purpose.

    StillroomError
    ├── BadInput            what the user gave breaks a rule; nothing was spent
    │   ├── BadData         rows that break their types, all listed at once
    │   ├── BadConfig       a setting, name or combination that cannot work
    │   ├── LicenceForbids  a licence does not allow what is wanted, and nobody answers for it
    │   └── ModelMissing    a model file that is not here and cannot be had
    ├── RunError            the run folder cannot be used as asked
    │   ├── RunLocked       another process holds it
    │   ├── RunReadOnly     it cannot be written
    │   ├── RunDamaged      what is written there is not what was recorded
    │   └── FingerprintChanged   it was made by something else
    ├── BudgetExceeded      the next call does not fit the budget
    └── EngineError         the infrastructure failed; never a score
        ├── EngineBusy      worth another try later (429, 5xx, timeouts)
        ├── Interrupted     Ctrl-C was pressed, so nothing further is begun
        └── EngineRefused   will not work if tried again (wrong key, no such model)

The first line of a message is the rule and the value received; how to mend it
is a note (`BaseException.add_note`), so that the first line stays short.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = [
    "BadConfig",
    "BadData",
    "BadInput",
    "BudgetExceeded",
    "EngineBusy",
    "EngineError",
    "EngineRefused",
    "FingerprintChanged",
    "Interrupted",
    "LicenceForbids",
    "ModelMissing",
    "RunDamaged",
    "RunError",
    "RunLocked",
    "RunReadOnly",
    "StillroomError",
    "near",
]


def near(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """What a misspelt name may have meant, as advice; `otherwise` where nothing is like it.

    >>> near("alpacca", ["alpaca", "orca"])
    'Did you mean alpaca?'
    """
    from difflib import get_close_matches

    found = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(found)}?" if found else otherwise


class StillroomError(Exception):
    """Root of the tree. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, rule: str, *, mend: str = "") -> None:
        """State the `rule` with the value received, and how to `mend` it."""
        super().__init__(rule)
        self.mend = mend
        if mend:
            self.add_note(mend)


class BadInput(StillroomError):
    """What the user gave breaks a rule. Nothing was spent."""

    exit_code = 2


class BadConfig(BadInput):
    """A setting, name or combination that cannot work."""


class LicenceForbids(BadInput):
    """A licence of a teacher or a source does not allow what is wanted, and nobody answers for it."""


class ModelMissing(BadInput):
    """A model file that is not on this machine and could not be fetched."""


class BadData(BadInput):
    """Rows that break their types: every problem, not the first one."""

    SHOWN = 20

    def __init__(self, rule: str, problems: Sequence[str] = (), *, mend: str = "") -> None:
        """Keep all `problems` (one line each); the message shows the first twenty."""
        lines = [f"  {problem}" for problem in problems[: self.SHOWN]]
        if len(problems) > self.SHOWN:
            lines.append(f"  ... and {len(problems) - self.SHOWN} more")
        super().__init__("\n".join([rule, *lines]), mend=mend)
        self.problems = tuple(problems)


class RunError(StillroomError):
    """The run folder cannot be used as asked."""

    exit_code = 3


class RunLocked(RunError):
    """Another process is working in this run folder."""


class RunReadOnly(RunError):
    """The run folder cannot be written."""


class RunDamaged(RunError):
    """What is written in the run folder is not what was recorded there."""


class FingerprintChanged(RunError):
    """The run folder was made from something else than what resumes it."""


class BudgetExceeded(StillroomError):
    """The next call does not fit what is left of the budget.

    `pending` is true when it would fit once the calls now under way have
    settled below their reservations: wait for one of them and try again.
    """

    exit_code = 4

    def __init__(self, rule: str, *, mend: str = "", pending: bool = False) -> None:
        super().__init__(rule, mend=mend)
        self.pending = pending


class EngineError(StillroomError):
    """The infrastructure failed. Such a failure is never a score.

    `unanswered_tries` were sent and may be on the bill, although nothing came of them.
    """

    exit_code = 5
    unanswered_tries = 0


class EngineBusy(EngineError):
    """Worth another try later. `retry_after` is the endpoint's own wish, in seconds."""

    def __init__(self, rule: str, *, mend: str = "", retry_after: float | None = None) -> None:
        super().__init__(rule, mend=mend)
        self.retry_after = retry_after


class Interrupted(EngineError):
    """Nothing further is begun, because somebody pressed Ctrl-C. What is under way is finished."""

    exit_code = 130


class EngineRefused(EngineError):
    """Will fail again if tried again: a wrong key, an unknown model, a bad request."""
