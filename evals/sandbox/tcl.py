"""Runs inside the sandbox: compile a Tcl program, and call one of its procedures with each of many inputs.

Read as text and executed there; reads `job.json`, leaves `found`. Tcl is the one that comes with Python's tkinter.
"""

from __future__ import annotations

import json
import os
from typing import Any

# what scripts of Tcl's own library define, and programs use
LIBRARY = """
namespace eval tcl::mathfunc {
    proc min {first args} { foreach each $args { if {$each < $first} { set first $each } }; return $first }
    proc max {first args} { foreach each $args { if {$each > $first} { set first $each } }; return $first }
}
"""
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def interpreter() -> Any:
    """A Tcl interpreter without its own library of scripts, which lies outside the sandbox."""
    os.makedirs("tcl", exist_ok=True)
    with open("tcl/init.tcl", "w", encoding="utf-8") as file:
        file.write(LIBRARY)
    os.environ["TCL_LIBRARY"] = os.path.abspath("tcl")
    import _tkinter

    return _tkinter.create(None, "tcl", "Tcl", False, False, False, False, None)  # type: ignore[attr-defined]


def given(value: Any) -> Any:
    """A JSON value as Tcl takes it: lists are lists, truth is 1 or 0."""
    if isinstance(value, list):
        return tuple(given(each) for each in value)
    return int(value) if isinstance(value, bool) else value


def read(tcl: Any, text: str, like: Any) -> Any:
    """What Tcl gives, always a text, as the kind of value that `like` is. Raises ValueError if it cannot be."""
    if isinstance(like, bool):
        if text.lower() not in (*TRUE, *FALSE):
            raise ValueError(f"{text!r} is not true or false")
        return text.lower() in TRUE
    if isinstance(like, int):
        return int(text)
    if isinstance(like, float):
        return float(text)
    if isinstance(like, list):
        parts = tcl.splitlist(text)
        kinds = like or [""]
        return [read(tcl, str(part), kinds[min(at, len(kinds) - 1)]) for at, part in enumerate(parts)]
    return None if like is None and text == "" else text


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Compile and call."""
    tcl = interpreter()
    fault = (RuntimeError, ValueError, TypeError, ArithmeticError, tcl_error())
    try:
        if not int(tcl.call("info", "complete", job["code"])):
            return {"fault": "does not parse: a brace, bracket or quote is left open", "outputs": []}
        tcl.eval(job["code"])
        if not str(tcl.call("info", "procs", job["entry"])):
            return {"fault": f"it defines no procedure {job['entry']}", "outputs": []}
    except fault as error:
        return {"fault": f"does not compile: {error}"[:300], "outputs": []}
    outputs: list[dict[str, Any]] = []
    for each, like in zip(job["inputs"], job["like"], strict=True):
        try:
            outputs.append({"value": read(tcl, str(tcl.call(job["entry"], *map(given, each))), like)})
        except fault as error:
            outputs.append({"error": str(error)[:200]})
    return {"fault": "", "outputs": outputs}


def tcl_error() -> type[Exception]:
    """What Tcl's errors are in Python."""
    import _tkinter

    found: type[Exception] = _tkinter.TclError
    return found


if __name__ == "__main__":
    with open("job.json", encoding="utf-8") as file:
        found = run(json.load(file))
