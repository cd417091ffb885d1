"""A store whose file was cut, overwritten or salvaged: the tail may be lost, but nothing comes out wrong."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stillroom.database import SEALED
from stillroom.errors import RunDamaged, RunError, RunLocked
from stillroom.ledger import Budget, Ledger, Spent
from stillroom.rows import EmittedRow, Passport
from stillroom.salvage import salvage
from stillroom.store import Store

PAPERS = Passport("r", "p", "m", "Apache-2.0", (), {}, {}, 1, 20)
COUNT = 300


def key(number: int) -> str:
    return f"{number:032x}"


def answer(number: int) -> str:
    """Some are longer than a page."""
    return f"answer {number} " + "lorem ipsum " * (number % 40) + "dolor " * (2000 if number % 97 == 0 else 0)


def fill(store: Store, first: int = 0, count: int = COUNT) -> None:
    for number in range(first, first + count):
        store.finish_call(key(number), "emit", "m", f"request {number}", answer(number), Spent(1, 10, 5))
        store.put_evals([(key(number), "plan", str(number), "scored", number / 7, "why", {"n": number})])
        store.put_rows("r", [EmittedRow(str(number), f"x/{number}/0", "accepted", {"text": answer(number)}, PAPERS)])
    store.put_note("funnel", "r", {"rows": first + count})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was closed as it should be."""
    folder = tmp_path_factory.mktemp("whole")
    with Store(folder, every=10) as store:
        store.claim("emit", {"task": "t"})
        fill(store)
    return folder


def copy(run: Path, target: Path) -> Path:
    shutil.copytree(run, target, ignore=shutil.ignore_patterns("*-shm", "run.lock"))
    return target


def right(store: Store) -> int:
    """Check everything that can be read of a store against what was written; how many calls there are."""
    calls = 0
    for number in range(COUNT):
        found = store.find_call(key(number))
        assert found in (None, answer(number))
        calls += found is not None
        assert store.find_eval(key(number)) in (None, ("scored", number / 7, "why", {"n": number}))
    for row in store.rows("r"):
        number = int(row.id)
        assert row == EmittedRow(str(number), f"x/{number}/0", "accepted", {"text": answer(number)}, PAPERS)
    assert store.notes("funnel") in ({}, *({"r": {"rows": count}} for count in range(COUNT + 1)))
    return calls


def test_a_log_cut_anywhere_loses_its_tail_alone(tmp_path: Path):
    """A power cut leaves any part of the write-ahead log: what is left is the beginning of what was recorded, whole."""
    with Store(tmp_path / "live", within=3600) as store:
        store.claim("emit", {})
        for first in range(0, COUNT, 10):
            fill(store, first, 10)
        live = copy(tmp_path / "live", tmp_path / "cut-off")
    log = (live / "run.db-wal").read_bytes()
    rng = random.Random(3)
    frame = 24 + 4096
    cuts = [0, 1, 31, 32, 33, 32 + frame, *(rng.randrange(len(log)) for _ in range(25)), len(log) - 1, len(log)]
    kept = []
    for place, cut in enumerate(sorted(cuts)):
        run = copy(live, tmp_path / str(place))
        (run / "run.db-wal").write_bytes(log[:cut])
        with Store(run) as store:
            calls = right(store)
            assert [store.find_call(key(number)) is not None for number in range(COUNT)] == [
                number < calls for number in range(COUNT)
            ], "what is left is not a beginning"
            rows = [int(row.id) for row in store.rows("r")]
            assert rows == list(range(len(rows)))
            assert len(rows) <= calls, "a row without the call it came from"
            fill(store, calls, 1)  # and it goes on
        kept.append(calls)
    assert kept == sorted(kept)
    assert kept[0] == 0
    assert kept[-1] == COUNT
    assert len(set(kept)) > 10


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_and_salvaged(whole: Path, tmp_path: Path, share: float):
    """The message names the way out; what can be read is right, and the damaged file is kept."""
    run = copy(whole, tmp_path / "run")
    content = (run / "run.db").read_bytes()
    (run / "run.db").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(RunDamaged, match="is damaged") as caught:
        Store(run)
    assert caught.value.mend == f"Keep what can still be read: stillroom salvage {run}"
    saved = salvage(run)
    assert saved.damaged.read_bytes() == content[: int(len(content) * share)]
    with Store(run) as store:
        calls = right(store)
        assert calls == saved.kept["calls"] <= COUNT
        assert share < 0.5 or calls > 0
        store.claim("emit", {"task": "t"})
        fill(store)
        assert right(store) == COUNT


def test_an_overwritten_file_never_gives_a_wrong_answer(whole: Path, tmp_path: Path):
    """Page after page, whole or in part: refused at once, refused when the record is read, or right."""
    content = (whole / "run.db").read_bytes()
    rng = random.Random(5)
    refused, missed = 0, 0
    places = [(page * 4096, 4096) for page in range(0, len(content) // 4096, 3)]
    places += [(rng.randrange(4096, len(content) - 64), rng.randint(1, 64)) for _ in range(60)]
    for place, length in places:
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        copy(whole, run)
        (run / "run.db").write_bytes(content[:place] + rng.randbytes(length) + content[place + length :])
        try:
            with Store(run) as store:
                missed += right(store) < COUNT
        except RunDamaged:
            refused += 1
    assert refused > len(places) / 2
    assert missed < len(places) / 4


@pytest.mark.parametrize("pages", [(0, 1), (0, 3), (7, 12), (30, 40)])
def test_a_file_with_pages_overwritten_is_salvaged(whole: Path, tmp_path: Path, pages: tuple[int, int]):
    """Also without its first page, on which the tables are named."""
    run = copy(whole, tmp_path / "run")
    content = (run / "run.db").read_bytes()
    start, end = (page * 4096 for page in pages)
    (run / "run.db").write_bytes(content[:start] + random.Random(1).randbytes(end - start) + content[end:])
    with pytest.raises(RunDamaged) as caught:
        Store(run)
    assert "stillroom salvage" in caught.value.mend
    saved = salvage(run)
    with Store(run) as store:
        assert right(store) == saved.kept["calls"]
        assert pages != (0, 1) or saved.kept["calls"] == COUNT


def test_salvage_takes_the_log_along(tmp_path: Path):
    """What a killed run had committed and not yet moved into its file."""
    with Store(tmp_path / "live", within=3600) as store:
        fill(store)
        run = copy(tmp_path / "live", tmp_path / "run")
    assert (run / "run.db-wal").stat().st_size
    assert salvage(run).kept["calls"] == COUNT
    assert not (run / "run.db-wal").exists()
    with Store(run) as store:
        assert right(store) == COUNT


def test_salvage_needs_a_run_that_nobody_holds(tmp_path: Path):
    """And never replaces what another process writes."""
    with pytest.raises(RunError, match=r"must hold run\.db"):
        salvage(tmp_path)
    with Store(tmp_path / "run") as store:
        fill(store, 0, 3)
        with pytest.raises(RunLocked):
            salvage(tmp_path / "run")


def test_a_record_that_does_not_match_its_checksum_is_refused(tmp_path: Path):
    """In every table, and salvage leaves it out."""
    change: dict[str, Callable[[Store], object]] = {
        "calls": lambda store: store.find_call(key(1)),
        "evals": lambda store: store.find_eval(key(1)),
        "rows": lambda store: list(store.rows("r")),
        "notes": lambda store: store.notes("funnel"),
    }
    assert {*change, "reused"} == set(SEALED)
    for table, read in change.items():
        run = tmp_path / table
        with Store(run) as store:
            fill(store, 0, 3)
        column = SEALED[table][-1]
        with closing(sqlite3.connect(run / "run.db", isolation_level=None)) as database:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'a', 'b')")
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'n', 'm')")
            database.execute(f"UPDATE {table} SET {column} = replace({column}, 'rows', 'cows')")
        with Store(run) as store, pytest.raises(RunDamaged, match="does not match its checksum"):
            read(store)
        assert salvage(run).kept[table] == 0


def test_a_store_of_the_first_version_goes_on(tmp_path: Path):
    """Without checksums it is read as it is, and what comes now is sealed."""
    with Store(tmp_path) as store:
        fill(store, 0, 3)
    with closing(sqlite3.connect(tmp_path / "run.db", isolation_level=None)) as database:
        for table in SEALED:
            database.execute(f"ALTER TABLE {table} DROP COLUMN seal")
        database.execute("DROP TABLE reused")
    with Store(tmp_path) as store:
        assert store.find_call(key(1)) == answer(1)
        fill(store, 0, 5)
        assert len(list(store.rows("r"))) == 5
        assert store.notes("funnel") == {"r": {"rows": 5}}
        assert store.find_eval(key(2)) == ("scored", 2 / 7, "why", {"n": 2})


def test_a_jumping_clock_changes_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Time is taken from a clock that only goes on: setting the machine's clock neither ends a run nor pays for it."""
    now = time.time()
    jumps = iter([now, now + 1e9, now - 1e9, now + 1e6] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    with Store(tmp_path) as store:
        store.claim("emit", {})
        ledger = Ledger(Budget(minutes=5), store.spent("emit"))
        for _ in range(20):
            ledger.settle(ledger.reserve(1), Spent(1, 1, 1))
            fill(store, 0, 1)
            store.flush()
        assert 0 <= ledger.spent.seconds < 300
    with Store(tmp_path) as store:
        assert 0 <= store.spent("emit").seconds < 300
        assert Ledger(Budget(minutes=5), store.spent("emit")).seconds_left > 0
