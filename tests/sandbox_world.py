"""What tests need to run code at all: a sandbox, and Tcl in it. Those that lack it say so and are skipped."""

from __future__ import annotations

import pytest

from stillroom.errors import EngineRefused
from stillroom.evals.outputs import usable
from stillroom.evals.sandbox import available

SANDBOXED = pytest.mark.skipif(not any(each.usable for each in available()), reason=f"NO SANDBOX: {available()}")


def _has_tcl() -> bool:
    try:
        usable("tcl")
    except EngineRefused:
        return False
    return True


TCL = pytest.mark.skipif(not _has_tcl(), reason="NO TCL, or no sandbox: this Python has no tkinter")
