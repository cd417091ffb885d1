"""Everything that goes wrong while rows are answered, one after the other, and what it costs.

    python -m benchmarks.faults --json [--only NAME ...]

Each fault gets an endpoint of its own, in a process that writes down every request, and runs in child
processes, which are killed where the fault says so. What counts is in `_faulted_run.Found`: rows lost,
calls paid twice, stale rows, bad rows kept, and whether the run ended. The goal is none of them, and an
end for all. A run that refuses to go on and says what to do has ended well if that, done, gives the rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from random import Random
from typing import Any

from ._faulted_run import ROWS, WINDOW, Found, Told, World, world
from ._faulty_mock import OTHER
from ._result import Goal, emit

__all__ = ["FAULTS"]

COSTS = ("rows_lost", "paid_twice", "stale_rows", "bad_rows_kept")


# -- the process ends, or the disk, or the clock ------------------------------------------------


def killed(at: World) -> Found:
    """Kill -9 at four random points of one run, each time with a resume."""
    settings, rng = at.settings(), Random(3)
    for _ in range(4):
        child = at.begin(settings)
        at.wait(child, rng.randrange(10, 70))
        time.sleep(rng.random() * 0.04)
        at.kill(child)
    return at.found(settings, at.answer(settings))


def power_cut(at: World) -> Found:
    """Killed, and the last page of the write-ahead log is torn; three times."""
    settings, rng, torn = at.settings(), Random(5), 0
    for _ in range(3):
        child = at.begin(settings)
        at.wait(child, rng.randrange(40, 90))
        at.kill(child)
        log = Path(settings.run) / "run.db-wal"
        size = log.stat().st_size if log.exists() else 0
        cut = min(size, rng.randrange(1, 4096))
        torn += cut
        if cut:
            with log.open("r+b") as file:
                file.truncate(size - cut)
    told = at.answer(settings)
    return at.found(settings, told, f"{torn} bytes torn off", finished=torn > 0)


def disk_full(at: World) -> Found:
    """No file may grow beyond 300 kB; once that has ended the run there is room again."""
    settings = at.settings()
    told = at.answer(replace(settings, room=300_000))
    # from the last request on it knew that nothing more could be recorded
    at.ends.append(max(line.at for line in at.endpoint.lines() if line.what == "asked"))
    full = told.get("error") == "RunReadOnly"
    return at.found(settings, at.answer(settings), f"first: {_said(told)}", finished=full)


def two_processes(at: World) -> Found:
    """A second process begins on the same run."""
    settings = at.settings()
    first = at.begin(settings)
    at.wait(first, 30)
    second = at.answer(settings)
    refused = second.get("error") == "RunLocked" and first.poll() is None
    return at.found(settings, at.end(first), f"second: {_said(second)}", finished=refused)


def clock_jumps(at: World) -> Found:
    """The time of day jumps by days, there and back, five times a second."""
    settings = at.settings(jumps=True)
    return at.found(settings, at.answer(settings))


# -- the endpoint misbehaves as a whole -----------------------------------------------------------


def html_for_a_while(at: World) -> Found:
    """For two seconds everything is answered with a web page."""
    settings = at.settings()
    child = at.begin(settings)
    at.wait(child, 60)
    at.endpoint.tell(html=True)
    time.sleep(2)
    at.endpoint.tell(html=False)
    return at.found(settings, at.end(child))


def html_for_good(at: World) -> Found:
    """From the middle on everything is answered with a web page, until somebody mends it after the run has ended."""
    settings = at.settings(patience=3.0)
    child = at.begin(settings)
    at.wait(child, 60)
    at.endpoint.tell(html=True)
    first = at.end(child)
    at.endpoint.tell(html=False)
    return _mended(at, settings, first)


def another_model(at: World) -> Found:
    """From the middle on it answers as another model, until somebody mends it after the run has ended."""
    settings = at.settings()
    child = at.begin(settings)
    at.wait(child, 60)
    at.endpoint.tell(model=OTHER)
    first = at.end(child)
    at.endpoint.tell(model="mock")
    return _mended(at, settings, first)


def another_model_on_resume(at: World) -> Found:
    """Killed; when the run goes on, the endpoint answers as another model; then somebody mends it."""
    settings = at.settings()
    child = at.begin(settings)
    at.wait(child, 60)
    at.kill(child)
    at.endpoint.tell(model=OTHER)
    first = at.answer(settings)
    at.endpoint.tell(model="mock")
    return _mended(at, settings, first)


def down(at: World) -> Found:
    """The endpoint is gone for ten seconds."""
    settings = at.settings()
    child = at.begin(settings)
    at.wait(child, 60)
    at.endpoint.stop()
    at.ends.append(time.monotonic())  # what it had under way is lost with it
    time.sleep(10)
    at.endpoint.start()
    return at.found(settings, at.end(child))


# -- single answers are at fault ------------------------------------------------------------------


def plainly(at: World) -> Found:
    """A run from beginning to end."""
    settings = at.settings()
    return at.found(settings, at.answer(settings))


def in_json(at: World) -> Found:
    """A run from beginning to end, of answers in JSON."""
    settings = at.settings(kind="json")
    return at.found(settings, at.answer(settings))


def crowded(at: World) -> Found:
    """A run that wants more at once than it gets."""
    settings = at.settings(at_once=64)
    return at.found(settings, at.answer(settings))


def poison(at: World) -> Found:
    """Eleven of a hundred rows always fail: the others are kept, and a retry asks for these alone."""
    # when nothing but such rows is left, they look like an endpoint that is down: they are given up with its patience
    settings = at.settings(range(100), attempts=1, patience=10.0)
    numbers = [*range(4, 100, 10), 55]
    at.endpoint.tell(poison=tuple(f"topic {number:04}" for number in numbers))
    first = at.answer(settings)
    before = len(at.endpoint.lines())
    set_aside = [row for row in _rejects(settings.run) if row["status"] == "quarantined" and "injected" in row["why"]]
    second = at.answer(replace(settings, retry=True))
    tried = {line.key for line in at.endpoint.lines()[before:]}
    at.endpoint.tell(poison=())
    last = at.answer(replace(settings, retry=True))
    right = first.get("accepted") == 89 and second.get("accepted") == 89 and len(set_aside) == len(numbers)
    note = f"{first.get('accepted')} kept, {len(set_aside)} set aside with their error, {len(tried)} asked by the retry"
    return at.found(settings, last, note, finished=right and len(tried) == len(numbers))


# -- the rows or the program change -----------------------------------------------------------------


def appended(at: World) -> Found:
    """Thirty more rows at the end of the file."""
    at.answer(at.settings())
    before, settings = at.asked(), at.settings(range(ROWS + 30))
    told = at.answer(settings)
    more = at.asked() - before
    return at.found(settings, told, f"30 more rows cost {more} requests", finished=more == 30)


def changed(**changes: Any) -> Callable[[World], Found]:
    """Another program on the same rows: in the same folder, in one of its own, and in one that shares the first's calls."""

    def change(at: World) -> Found:
        return _changed(at, at.settings(), lambda: at.settings(**changes))

    return change


def changed_rows(at: World) -> Found:
    """Other rows in the same file: every third one."""
    return _changed(
        at, at.settings(), lambda: at.settings([1000 + n if n % 3 == 0 else n for n in range(ROWS)]), anew=ROWS // 3
    )


def shared(at: World) -> Found:
    """The same rows and program in a second folder, which may take over the calls of the first."""
    settings = at.settings()
    at.answer(settings)
    before = at.asked()
    again = replace(settings, run=str(at.folder / "second"), reuse=(settings.run,))
    told = at.answer(again)
    more = at.asked() - before
    return at.found(again, told, f"{more} further requests", finished=more == 0)


def copies(at: World) -> Found:
    """Every row is there twice."""
    settings = at.settings([*range(ROWS // 2), *range(ROWS // 2)])
    told = at.answer(settings)
    sent = at.asked()
    return at.found(settings, told, f"{ROWS} rows, {sent} requests", finished=sent == ROWS // 2)


def _changed(at: World, old: Any, make: Callable[[], Any], anew: int = ROWS) -> Found:
    at.answer(old)
    new = make()
    first = at.answer(new)
    before = at.asked()
    alone = replace(new, run=str(at.folder / "shared"), reuse=(old.run,))
    told = at.answer(alone)
    sent = at.asked() - before
    refused = first.get("error") == "FingerprintChanged"
    note = f"same folder: {_said(first)}; {_mend(first)}; in a new one that shares the calls: {sent} requests"
    return at.found(alone, told, note, finished=refused and sent == anew)


def _mended(at: World, settings: Any, first: Told) -> Found:
    """Go on, now that the endpoint is well again."""
    kept = at.endpoint.answered()
    told = at.answer(replace(settings, retry=True))
    others = sum(line.what == "other" for line in at.endpoint.lines())
    note = f"first: {_said(first)}; {kept} answers before" + (f", {others} of the other model" if others else "")
    return at.found(settings, told, note)


def _said(told: Told) -> str:
    return f"{told['error']}: {told['said']}" if "error" in told else f"{dict(told)}"


def _mend(told: Told) -> str:
    return str(told.get("mend", ""))


def _rejects(run: str) -> list[Mapping[str, Any]]:
    with (Path(run) / "rejects.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line)["meta"] for line in file]


FAULTS: Mapping[str, tuple[Callable[[World], Found], Mapping[str, Any]]] = {
    "kill -9, four times": (killed, {}),
    "torn write-ahead log, three times": (power_cut, {}),
    "disk full": (disk_full, {}),
    "two processes on one run": (two_processes, {"latency": 1.0}),
    "clock jumps": (clock_jumps, {}),
    "HTML for two seconds": (html_for_a_while, {}),
    "HTML for good": (html_for_good, {}),
    "another model answers": (another_model, {}),
    "another model after a kill": (another_model_on_resume, {}),
    "endpoint down for 10 s": (down, {}),
    "5% 500": (plainly, {"error": 0.05}),
    "5% 429 with Retry-After": (plainly, {"limited": 0.05, "retry_after": "0.2"}),
    "5% 429 without": (plainly, {"limited": 0.05}),
    "at most 16 at once, 64 wanted": (crowded, {"at_once": 16}),
    "11 of 100 rows always fail": (poison, {}),
    "5% empty": (plainly, {"empty": 0.05}),
    "5% cut off": (plainly, {"cut_off": 0.05}),
    "5% cut off, JSON": (in_json, {"cut_off": 0.05}),
    "5% of JSON cut in half": (in_json, {"malformed": 0.05}),
    "5% refused": (plainly, {"refused": 0.05}),
    "5% of connections reset": (plainly, {"reset": 0.05}),
    "rows appended": (appended, {}),
    "rows changed": (changed_rows, {}),
    "prompt changed": (changed(instruction="Write a short complaint about the topic."), {}),
    "model changed": (changed(model="mock-2"), {}),
    "decoding changed": (changed(temperature=0.7), {}),
    "same program, shared calls": (shared, {}),
    "every row twice": (copies, {}),
}


def main() -> None:
    """Let everything happen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end (it always does)")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME")
    args = parser.parse_args()
    started, table = time.monotonic(), {}
    columns = [each.name for each in fields(Found)]
    print(f"{'fault':34s} {' '.join(columns)}", file=sys.stderr)
    for name in args.only:
        happen, faults = FAULTS[name]
        with world(**faults) as at:
            table[name] = asdict(happen(at))
        print(f"{name:34s} {' '.join(str(table[name][each]) for each in columns)}", file=sys.stderr, flush=True)
    goals = [Goal(cost, sum(found[cost] for found in table.values()), 0, "<=") for cost in COSTS]
    goals.append(Goal("finished", sum(found["finished"] for found in table.values()), len(table)))
    emit({"faults": table, "in_flight_window_s": WINDOW}, goals, started)


if __name__ == "__main__":
    main()
