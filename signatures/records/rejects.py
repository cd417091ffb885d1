"""Records that need what was rejected: pairs, wanted and unwanted answers, rows for a person to look at."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import groupby, islice
from operator import itemgetter

from stillroom.rows import By, EmittedRow
from stillroom.values import canonical, digest

from .build import Columns, check_columns, taken, told
from .meta import meta_of
from .schemas import Audit, Pref, Unpaired

__all__ = ["WORSE", "audits", "decided_by", "preferences", "unpaired"]

WORSE: tuple[By, ...] = ("verifier", "judge", "person")
"""Whose verdict says that an answer is worse. A gate of form stops copies and cut answers, which says nothing of that."""


def decided_by(row: EmittedRow) -> str:
    """Who rejected a row: of the gate that stopped it, the last failing verdict's `by`; "" if nobody did."""
    if row.status != "rejected":
        return ""
    found = [each for each in row.passport.verdicts if each.get("gate") == row.gate and each.get("passed") is False]
    return str(found[-1].get("by", "")) if found else ""


def preferences(
    accepted: Iterable[EmittedRow],
    rejects: Iterable[EmittedRow],
    columns: Columns | None = None,
    *,
    by: tuple[By, ...] = WORSE,
    per_prompt: int | None = 1,
    seed: int | None = None,
    round: int = 0,
) -> Iterator[Pref]:
    """Pairs of an accepted and a rejected answer to the same prompt.

    Rows are sorted by their prompts in a temporary file, so that memory does not grow with them. Pairs
    come in the order of the prompts' hashes; those of one prompt in the order of the rows.

    Args:
        accepted: Rows that passed.
        rejects: Rows that did not; those that wait, broke or were surplus are left out.
        columns: What `prompt` and `completion` are called in the rows.
        by: Whose rejections count.
        per_prompt: Most pairs of one prompt; None for all of them.
        seed: Of the run.
        round: Of an iterated recipe.
    """
    columns = columns or {}
    check_columns(Unpaired, columns)
    kept = (row for row in rejects if decided_by(row) in by)
    for good, bad in _of_one_prompt(accepted, kept, columns):
        pairs = (
            (better, worse)
            for better in good
            for worse in bad
            if taken(better, "completion", columns) != taken(worse, "completion", columns)
        )
        for better, worse in islice(pairs, per_prompt):
            fields = {
                "prompt": taken(better, "prompt", columns),
                "chosen": taken(better, "completion", columns),
                "rejected": taken(worse, "completion", columns),
            }
            meta = meta_of([better, worse], seed=seed, round=round, made=f"accepted, and rejected by {worse.gate}")
            yield Pref.make(fields, meta, of=f"{told(better)} with {told(worse)}")


def unpaired(
    accepted: Iterable[EmittedRow],
    rejects: Iterable[EmittedRow],
    columns: Columns | None = None,
    *,
    by: tuple[By, ...] = WORSE,
    seed: int | None = None,
    round: int = 0,
) -> Iterator[Unpaired]:
    """Wanted answers (accepted), then unwanted ones (rejected); arguments as of `preferences`."""
    columns = columns or {}
    check_columns(Unpaired, columns)
    for label, rows in ((True, accepted), (False, (row for row in rejects if decided_by(row) in by))):
        for row in rows:
            fields = {name: taken(row, name, columns) for name in ("prompt", "completion")}
            made = "accepted" if label else f"rejected by {row.gate}"
            yield Unpaired.make(
                {**fields, "label": label}, meta_of([row], seed=seed, round=round, made=made), of=told(row)
            )


def audits(rows: Iterable[EmittedRow], *, seed: int | None = None, round: int = 0) -> Iterator[Audit]:
    """Every row as it is, with its fate, for a person to look at."""
    for row in rows:
        fields = {"values": dict(row.values), "status": row.status, "gate": row.gate, "why": row.why}
        yield Audit.make(fields, meta_of([row], seed=seed, round=round), of=told(row))


def _of_one_prompt(
    accepted: Iterable[EmittedRow], rejected: Iterable[EmittedRow], columns: Columns
) -> Iterator[tuple[list[EmittedRow], list[EmittedRow]]]:
    """(accepted, rejected) rows of each prompt that has both; only one prompt's rows are in memory."""
    with closing(sqlite3.connect("")) as database:  # no name: a file of SQLite's own, gone when it is closed
        database.execute("CREATE TABLE rows (prompt TEXT, worse INTEGER, at INTEGER, row TEXT)")
        for worse, rows in ((0, accepted), (1, rejected)):
            database.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?)",
                (
                    (digest(taken(row, "prompt", columns)), worse, at, canonical(row.as_json()))
                    for at, row in enumerate(rows)
                ),
            )
        database.execute(
            "CREATE INDEX both ON rows (prompt, worse, at)",
        )
        found = database.execute(
            "SELECT prompt, worse, row FROM rows WHERE prompt IN (SELECT prompt FROM rows WHERE worse) "
            "ORDER BY prompt, worse, at"
        )
        for _, group in groupby(found, itemgetter(0)):
            sides: tuple[list[EmittedRow], list[EmittedRow]] = ([], [])
            for _, worse, text in group:
                sides[worse].append(EmittedRow.from_json(json.loads(text)))
            yield sides
