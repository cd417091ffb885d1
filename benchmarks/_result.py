"""What every benchmark prints last: one JSON object with its figures and whether the goals were met."""

from __future__ import annotations

import json
import operator
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Goal", "emit"]

TESTS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True)
class Goal:
    """A figure that was promised. `value` is None where it could not be measured, which is not met."""

    name: str
    value: float | None
    goal: float
    direction: Literal[">=", "<="] = ">="

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the goal."""
        return self.value is not None and bool(TESTS[self.direction](self.value, self.goal))


def emit(figures: Mapping[str, Any], goals: Iterable[Goal], started: float) -> None:
    """Print the result on stdout.

    Args:
        started: `time.monotonic()` when the benchmark began.
    """
    result = {
        "figures": dict(figures),
        "goals": [{**asdict(goal), "met": goal.met} for goal in goals],
        "machine": _machine(),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(result, ensure_ascii=False))


def _machine() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    return {"cores": cores, "system": platform.system(), "python": platform.python_version(), "load": load}
