"""The command line: `stillroom VERB ...`.

Nothing heavy is imported before a verb runs, so that help and mistakes in options answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from stillroom.errors import BadInput, EngineBusy, RunError, StillroomError

from .parser import make_parser
from .show import Screen

__all__ = ["main"]

BUG = 70
STOPPED = 130
GO_ON = "run the same command again to go on"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    0 is success; errors give their own code (`StillroomError.exit_code`), an emission with
    unfilled quotas 6, an error nobody foresaw 70 with its traceback, Ctrl-C 130.

    Args:
        argv: The words after `stillroom`; those of the process by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with Screen(as_json="--json" in words, bars="--progress" in words) as screen:
        try:
            args = make_parser().parse_args(words)
            with screen.aside():
                ending = getattr(import_module(f"stillroom.cli.{args.home}"), args.verb)(args, screen)
        except StillroomError as error:
            screen.fail(type(error).__name__, str(error), error.mend or _mend(error), getattr(error, "problems", ()))
            return error.exit_code
        except KeyboardInterrupt:
            screen.stopped(GO_ON)
            return STOPPED
        except Exception as error:
            screen.crash(error)
            return BUG
        screen.end({"command": args.verb.replace("_", " "), **ending.value})
        return int(ending.code)


def _mend(error: StillroomError) -> str:
    """What to do about an error that does not say it itself."""
    if isinstance(error, BadInput):
        return "Correct it and run the same command again; nothing was spent."
    if isinstance(error, RunError):
        return "Give another --run folder."
    if isinstance(error, EngineBusy):
        return "Run the same command again later: finished calls are kept and not paid for twice."
    return "Correct the cause and run the same command again: finished calls are kept and not paid for twice."
