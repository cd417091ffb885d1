"""How long a thousand theorems take."""

from __future__ import annotations

import time
from tempfile import TemporaryDirectory

from stillroom.programs.published import run_preset

from ._check import Check, Measured, Models

__all__ = ["CHECKS"]

ROWS = 1000


def seconds(models: Models) -> Measured:
    """Drawn, proved, told from each other, confirmed and committed, in a folder that holds nothing yet."""
    with TemporaryDirectory(dir=models.run) as folder:
        began = time.monotonic()
        made = run_preset("alphageometry", folder, rows=ROWS)
        took = time.monotonic() - began
        figures = {"rows": len(made.rows), "written": made.written, "shortfall": dict(made.shortfall), "seconds": round(took, 1)}  # fmt: skip
        whole = len(made.rows) == ROWS
    return Measured(figures, took if whole else None, 60.0, "<=", n=ROWS)


CHECKS = [Check("2.19 M1", "1,000 theorems in under 60 s", seconds)]
