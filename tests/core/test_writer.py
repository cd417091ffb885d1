"""The writer: found at once, on disk a moment later, in order, and never dropped."""

from __future__ import annotations

import sqlite3
import threading
import tracemalloc
from pathlib import Path

import pytest
from store_world import FOREVER, PAPERS, finish, row, until

from stillroom.errors import RunError, RunReadOnly
from stillroom.ledger import Spent
from stillroom.rows import EmittedRow
from stillroom.store import Store


def on_disk(folder: Path, query: str) -> list:
    with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


def test_a_record_is_found_before_it_is_on_disk(tmp_path: Path):
    """Calls and evaluations are served from memory; asking for sums writes everything out first."""
    with Store(tmp_path, within=FOREVER) as store:
        store.claim("emit", {})
        finish(store, 1)
        store.put_evals([("e", "plan", "example", "scored", 1, "why", {"a": 1})])
        assert store.find_call("key-1") == "answer 1"
        assert store.find_eval("e") == ("scored", 1.0, "why", {"a": 1})
        assert on_disk(tmp_path, "SELECT * FROM calls") == []
        assert store.spent("emit").calls == 1
        assert on_disk(tmp_path, "SELECT key FROM calls") == [("key-1",)]
        assert store.find_call("key-1") == "answer 1"


def test_a_batch_goes_out_after_its_time_or_when_it_is_full(tmp_path: Path):
    """Whichever comes first."""
    with Store(tmp_path / "time", within=0.01, every=10**6) as store:
        finish(store, 1)
        assert until(lambda: on_disk(tmp_path / "time", "SELECT key FROM calls"))
    with Store(tmp_path / "count", within=FOREVER, every=3) as store:
        finish(store, 1)
        finish(store, 2)
        assert on_disk(tmp_path / "count", "SELECT key FROM calls") == []
        finish(store, 3)
        assert until(lambda: len(on_disk(tmp_path / "count", "SELECT key FROM calls")) == 3)


def test_whoever_puts_too_much_writes_it_out(tmp_path: Path):
    """Memory stays bounded, and so does what a kill can cost, however slow the disk is."""
    with Store(tmp_path, within=FOREVER, every=10**6, most=5) as store:
        for number in range(12):
            finish(store, number)
        assert len(on_disk(tmp_path, "SELECT key FROM calls")) == 10


def test_an_open_call_becomes_what_came_of_it(tmp_path: Path):
    """Whether or not its first record was on disk already: one call, one record."""
    with Store(tmp_path, within=FOREVER) as store:
        for flushed in (False, True):
            calls = [store.open_call(f"{what}-{flushed}", "emit", "m", 100, 0.5) for what in ("done", "bad", "gone")]
            if flushed:
                store.flush()
                assert store.call_counts()["open"] == 3
            store.finish_call(f"done-{flushed}", "emit", "m", "{}", "answer", Spent(1, 10, 5), calls[0])
            store.fail_call(f"bad-{flushed}", "emit", "m", "status 500", calls[1])
            store.lose_call(f"gone-{flushed}", "emit", "m", 100, 0.5, calls[2])
        assert store.call_counts() == {"done": 2, "failed": 2, "lost": 2, "twice": 0}
        assert store.spent() == Spent(4, 220, 10, 1.0, store.spent().seconds)


def test_many_records_of_all_kinds_arrive_in_order(tmp_path: Path):
    """Batches of every size come out as they went in."""
    with Store(tmp_path, every=50) as store:
        for number in range(1000):
            finish(store, number)
            store.put_rows("r", [row(number)])
    with Store(tmp_path) as store:
        assert [each.values["n"] for each in store.rows("r")] == list(range(1000))
        assert store.call_counts() == {"done": 1000, "twice": 0}
        assert on_disk(tmp_path, "SELECT COUNT(*) FROM calls WHERE id != CAST(substr(key, 5) AS INTEGER) + 1") == [(0,)]


def test_the_first_answer_of_a_key_stays(tmp_path: Path):
    """In one batch and in two; the others in the batch do not suffer."""
    with Store(tmp_path, within=FOREVER) as store:
        finish(store, 1)
        store.flush()
        opened = store.open_call("key-1", "emit", "m", 9, 0.0)
        store.flush()
        store.finish_call("key-1", "emit", "m", "{}", "another", Spent(1, 1, 1), opened)
        finish(store, 2)
        store.flush()
        assert store.find_call("key-1") == "answer 1"
        assert store.find_call("key-2") == "answer 2"
        assert store.call_counts()["twice"] == 0


def test_threads_share_the_writer(tmp_path: Path):
    """Nothing is lost between them."""
    with Store(tmp_path, every=7, within=0.001, most=20) as store:
        threads = [
            threading.Thread(target=lambda base=base: [finish(store, base + n) for n in range(200)])
            for base in range(0, 1600, 200)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.call_counts() == {"done": 1600, "twice": 0}


def test_rows_are_read_a_few_at_a_time_and_counted_by_cell(tmp_path: Path):
    """By recipe and status; a reader sees rows that come while it reads."""
    with Store(tmp_path) as store:
        store.put_rows("other", [row(1, "surplus", "z")])
        store.put_rows("r", [row(n, "accepted" if n % 3 else "quarantined", "a/b") for n in range(1500)])
        seen = store.rows("r")
        first = next(seen)
        store.put_rows("r", [row(9999, "audit", "c")])
        assert [first.values["n"], *(each.values["n"] for each in seen)] == [*range(1500), 9999]
        assert len(list(store.rows("r", "quarantined"))) == 500
        assert len(list(store.rows())) == 1502
        assert store.count_rows("r") == {"a/b": {"accepted": 1000, "quarantined": 500}, "c": {"audit": 1}}
        assert store.row_totals("r") == {"accepted": 1000, "quarantined": 500, "audit": 1}
        assert store.row_totals()["surplus"] == 1


class _Refusing:
    """A connection whose disk is full until it is told otherwise."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database, self.full = database, True

    def execute(self, statement: str, *values):
        if self.full and statement.startswith("INSERT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, *values)

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction


def test_what_cannot_be_written_is_kept_and_told(tmp_path: Path):
    """Checks and sums raise; memory still answers; when there is room again everything is written, in order."""
    with Store(tmp_path, within=FOREVER) as store:
        disk = store._writer._database = _Refusing(store._db)
        finish(store, 1)
        with pytest.raises(RunReadOnly, match="must be recorded, got 'database or disk is full'") as caught:
            store.flush()
        assert "Make room" in caught.value.mend
        assert "the 1 records not yet on disk" in caught.value.mend
        for refused in (store.check, store.spent, lambda: store.put_rows("r", [row(1)])):
            with pytest.raises(RunReadOnly):
                refused()
        finish(store, 2)  # an answer that was under way
        assert store.find_call("key-1") == "answer 1"
        assert store.find_call("key-2") == "answer 2"
        disk.full = False
        assert until(lambda: not store._writer._problem), "it is tried again without being asked"
        store.check()
        store.put_rows("r", [row(1)])
        assert store.call_counts() == {"done": 2, "twice": 0}


def test_closing_tells_what_could_not_be_written(tmp_path: Path):
    """And lets go of the run all the same."""
    store = Store(tmp_path, within=FOREVER)
    store._writer._database = _Refusing(store._db)
    finish(store, 1)
    with pytest.raises(RunReadOnly, match="must be recorded"):
        store.close()
    store.close()
    with Store(tmp_path) as again:
        assert again.find_call("key-1") is None


def test_a_closed_run_records_nothing(tmp_path: Path):
    """Instead of forgetting it silently."""
    store = Store(tmp_path)
    store.close()
    with pytest.raises(RunError, match="must be open to record"):
        finish(store, 1)


@pytest.mark.parametrize(
    "put",
    [
        lambda store: store.put_rows("r", [EmittedRow("i", "x/0/0", "accepted", {"a": "\ud800"}, PAPERS)]),
        lambda store: store.put_evals([("e", "p", "x", "scored", 1.0, "\ud800", {})]),
        lambda store: store.put_note("kind", "key", "\ud800"),
        lambda store: store.put_note("kind", "\ud800", "value"),
        lambda store: store.finish_call("k", "p", "m", "{}", "\ud800", Spent(1, 1, 1)),
    ],
    ids=["row", "eval", "note", "key of a note", "answer"],
)
def test_half_a_surrogate_pair_is_refused_alone(tmp_path: Path, put):
    """A text that no file can hold is an error where it is put, and stops nobody else's records."""
    with Store(tmp_path, within=FOREVER) as store:
        finish(store, 1)
        with pytest.raises(UnicodeEncodeError):
            put(store)
        store.flush()
        assert store.call_counts() == {"done": 1, "twice": 0}


def test_counts_beyond_belief_are_cut(tmp_path: Path):
    """An endpoint may claim any number of tokens; it must fit in the file and in sums."""
    with Store(tmp_path) as store:
        store.finish_call("a", "p", "m", "{}", "x", Spent(1, 10**30, 10**30))
        store.finish_call("b", "p", "m", "{}", "x", Spent(1, 10**30, 5))
        assert store.call_counts()["done"] == 2
        assert store.spent().tokens > 10**12


def test_what_waits_is_written_when_a_program_just_ends(tmp_path: Path):
    """Also where nobody closed the run."""
    import subprocess
    import sys

    code = (
        "import sys; from stillroom.store import Store; from stillroom.ledger import Spent\n"
        "Store(sys.argv[1], within=3600).finish_call('key', 'p', 'm', '{}', 'answer', Spent(1, 1, 1))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    with Store(tmp_path) as store:
        assert store.find_call("key") == "answer"


def test_going_through_rows_takes_the_same_memory_however_many_there_are(tmp_path: Path):
    """They are read page by page, and never all at once."""
    peaks = []
    for count in (2_000, 12_000):
        with Store(tmp_path / str(count)) as store:
            store.put_rows("r", [row(number) for number in range(count)])
            store.flush()
            tracemalloc.start()
            assert sum(1 for _ in store.rows("r")) == count
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
