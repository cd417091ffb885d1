"""Runs inside the sandbox, after a program: call one of its functions with each of many inputs.

Read as text and executed there; reads `job.json`, leaves `found`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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


if "json" in globals() and __name__ in ("__main__", "program"):
    with open("job.json", encoding="utf-8") as file:
        job = json.load(file)
    function = globals().get(job["entry"])
    found = (
        {"fault": "", "outputs": called(function, job["inputs"])}
        if callable(function)
        else {"fault": f"it defines no {job['entry']}", "outputs": []}
    )
