"""Runs inside the sandbox: a Python program, then one of its functions with each of many inputs.

Read as text and executed there; reads `job.json`, leaves `found`. The program is a module of its own, so that its
names and these do not meet.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def plain(value: Any) -> Any:
    """A value as JSON has it; what JSON has not is told by its type."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(each) for key, each in value.items()}
    raise TypeError(f"gives a {type(value).__name__}")


def called(function: Callable[..., Any], inputs: list[list[Any]]) -> list[dict[str, Any]]:
    """What it gives for each of the inputs, or how it fails."""
    out: list[dict[str, Any]] = []
    for each in inputs:
        try:
            out.append({"value": plain(function(*each))})
        except Exception as error:
            out.append({"error": f"{type(error).__name__}: {error}"[:200]})
    return out


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Execute the program, which is imported rather than started, and call."""
    program = sys.modules["program"] = ModuleType("program")
    exec(compile(job["code"], "program.py", "exec", dont_inherit=True), program.__dict__)  # noqa: S102
    function = getattr(program, job["entry"], None)
    if not callable(function):
        return {"fault": f"it defines no {job['entry']}", "outputs": []}
    return {"fault": "", "outputs": called(function, job["inputs"])}


if __name__ == "__main__":
    with open("job.json", encoding="utf-8") as file:
        found = run(json.load(file))
