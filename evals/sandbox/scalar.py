"""Runs inside the sandbox: compile one SELECT of SQLite, and run it with each of many sets of named parameters.

Read as text and executed there; reads `job.json`, leaves `found`. Lists go in and come out as JSON text.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any


def given(value: Any) -> Any:
    """A JSON value as a parameter."""
    return json.dumps(value) if isinstance(value, list) else value


def read(value: Any, like: Any) -> Any:
    """A result as the kind of value that `like` is. Raises ValueError if it cannot be."""
    if isinstance(like, bool):
        if value not in (0, 1):
            raise ValueError(f"{value!r} is not 0 or 1")
        return bool(value)
    if isinstance(like, list):
        found = json.loads(value) if isinstance(value, str) else value
        if not isinstance(found, list):
            raise ValueError(f"{value!r:.80} is no JSON list")
        kinds = like or [""]
        return [read(each, kinds[min(at, len(kinds) - 1)]) for at, each in enumerate(found)]
    if isinstance(like, float) and isinstance(value, int):
        return float(value)
    return value


def authorised(action: int, *_: Any) -> int:
    """Allow reading and functions."""
    reads = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in reads else sqlite3.SQLITE_DENY


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Compile and run."""
    database = sqlite3.connect(":memory:")
    query = job["code"].strip().rstrip(";")
    faults = (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError)
    try:
        database.execute(f"EXPLAIN {query}", dict.fromkeys(job["names"], 1)).fetchall()
        database.set_authorizer(authorised)
    except faults as error:
        return {"fault": f"does not compile: {error}"[:300], "outputs": []}
    outputs: list[dict[str, Any]] = []
    for each, like in zip(job["inputs"], job["like"], strict=True):
        try:
            rows = database.execute(query, dict(zip(job["names"], map(given, each), strict=True))).fetchmany(2)
            if [len(row) for row in rows] != [1]:
                raise ValueError("gives other than one row of one column")
            outputs.append({"value": read(rows[0][0], like)})
        except faults as error:
            outputs.append({"error": str(error)[:200]})
    return {"fault": "", "outputs": outputs}


if __name__ == "__main__":
    with open("job.json", encoding="utf-8") as file:
        found = run(json.load(file))
