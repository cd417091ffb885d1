"""Runs inside the sandbox: build a database, run two queries read-only, compare their rows.

Read as text and executed there by the `sql` verifier; reads `job.json`, leaves `found`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections import Counter
from typing import Any

MOST_ROWS = 20_000
READS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    getattr(sqlite3, "SQLITE_RECURSIVE", 33),
}


def authorised(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """Allow reading, and no function that loads code."""
    harmless = action in READS and "load_extension" not in (first, second)
    return sqlite3.SQLITE_OK if harmless else sqlite3.SQLITE_DENY


def rows(database: sqlite3.Connection, query: str, seconds: float) -> list[tuple[Any, ...]]:
    """Run one reading query, with an end in time."""
    until = time.monotonic() + seconds
    database.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    found = database.execute(query).fetchmany(MOST_ROWS + 1)
    if len(found) > MOST_ROWS:
        raise sqlite3.DataError(f"gives more than {MOST_ROWS} rows")
    return [tuple(map(plain, row)) for row in found]


def plain(value: Any) -> Any:
    """Fold numbers to nine digits: 1 equals 1.0."""
    return float(f"{value:.9g}") if isinstance(value, int | float) else value


def ordered(query: str) -> bool:
    """Whether the query itself, not one inside it, orders its rows."""
    text = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", " ", query, flags=re.S)
    shorter = None
    while text != shorter:
        shorter, text = text, re.sub(r"\([^()]*\)", " ", text)
    return re.search(r"\border\s+by\b", text, re.I) is not None


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """Say whether both queries give the same rows, and where it went wrong if not."""
    database, stage = sqlite3.connect(":memory:"), "schema"
    try:
        database.executescript(job["schema"])
        database.set_authorizer(authorised)
        stage = "gold"
        right = rows(database, job["gold"], job["seconds"])
        stage = "query"
        got = rows(database, job["query"], job["seconds"])
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        return {"same": False, "stage": stage, "error": str(error)[:300] or type(error).__name__}
    if got == right or (not ordered(job["gold"]) and Counter(got) == Counter(right)):
        return {"same": True}
    return {"same": False, "stage": "rows", "error": difference(got, right)}


def difference(got: list[tuple[Any, ...]], right: list[tuple[Any, ...]]) -> str:
    """Say how two results differ, in one line."""
    if len(got) != len(right):
        return f"gives {len(got)} rows, not {len(right)}"
    if got and len(got[0]) != len(right[0]):
        return f"gives {len(got[0])} columns, not {len(right[0])}"
    if Counter(got) == Counter(right):
        return "gives the right rows in another order"
    place = next(i for i, (a, b) in enumerate(zip(got, right, strict=True)) if a != b)
    return f"gives other rows, such as {str(got[place])[:100]} where gold has {str(right[place])[:100]}"


if __name__ == "__main__":
    with open("job.json", encoding="utf-8") as file:
        found = compare(json.load(file))
