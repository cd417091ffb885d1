"""Power cuts: the disk is made to keep what was committed, about once a second, and a disk that does not stops the spending."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from store_world import FOREVER, finish, row, until

import stillroom.writer
from stillroom.errors import RunReadOnly
from stillroom.ledger import Spent
from stillroom.store import Store
from stillroom.syncing import EVERY, Syncer


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file to sync."""
    path = tmp_path / "run.db-wal"
    path.write_bytes(b"frames")
    return path


def use(monkeypatch: pytest.MonkeyPatch, sync, every: float = 0.01) -> None:
    """Have stores sync by `sync`."""
    monkeypatch.setattr(stillroom.writer, "Syncer", partial(Syncer, every=every, sync=sync))


def test_each_commit_is_synced_and_nothing_else(log: Path):
    """The first at once, later ones with the next sync; without a commit there is none; at the end the thread is gone."""
    synced, errors = [], []
    syncer = Syncer(log, errors.append, every=0.01, sync=synced.append)
    assert synced == []
    syncer.committed()
    assert until(lambda: len(synced) == 1)
    for count in (2, 3, 4):
        syncer.committed()
        assert until(lambda count=count: len(synced) == count)
    syncer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "stillroom-syncer"]
    assert (len(synced), errors) == (4, [])


def test_commits_between_two_syncs_share_one(log: Path):
    """However many there are: a commit costs no sync."""
    synced, first, go_on = [], threading.Event(), threading.Event()

    def sync(file: int) -> None:
        synced.append(file)
        first.set()
        assert go_on.wait(20)

    syncer = Syncer(log, pytest.fail, every=0.0, sync=sync)
    syncer.committed()
    assert first.wait(20)
    for _ in range(1000):
        syncer.committed()
    go_on.set()
    assert until(lambda: len(synced) == 2)
    syncer.close()
    assert len(synced) == 2
    assert EVERY == 1.0


def test_a_power_cut_loses_what_was_committed_after_the_last_sync_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """File and log as the disk had them at each sync hold all that was committed before it, through checkpoints too."""
    live, kept, committed = tmp_path / "live", [], [0]

    def sync(file: int) -> None:
        assert os.fstat(file).st_ino == (live / "run.db-wal").stat().st_ino
        cut = tmp_path / str(len(kept))
        cut.mkdir()
        with store._writer._writing:  # nothing is committed while both are copied
            for name in ("run.db", "run.db-wal"):
                shutil.copyfile(live / name, cut / name)
            kept.append((committed[0], cut))

    use(monkeypatch, sync)
    with Store(live) as store:
        store.claim("emit", {})
        for number in range(30):
            for key in range(number * 20, number * 20 + 20):  # in all more than a log holds before it is written back
                store.finish_call(f"key-{key}", "emit", "m", "{}", "word " * 2000, Spent(1, 10, 5))
            store.put_rows("r", [row(number)])
            store.flush()
            committed[0] = number + 1
        assert until(lambda: kept[-1][0] == 30), "what was committed last is synced although nothing follows"
    monkeypatch.undo()
    assert len(kept) > 2
    assert len({(cut / "run.db").stat().st_size for _, cut in kept}) > 1, "no checkpoint was among them"
    for before, cut in kept:
        with Store(cut) as store:
            rows = len(list(store.rows("r")))
            assert rows >= before
            assert store.call_counts().get("done", 0) >= 20 * rows


def test_a_disk_that_does_not_keep_what_it_is_given_stops_the_spending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Told before anything else is paid for, and until the run is begun anew; records are still taken."""

    def fail(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    use(monkeypatch, fail)

    def refused(store: Store) -> bool:
        try:
            store.check()
        except RunReadOnly as error:
            return "must be kept by the disk, got 'Input/output error'" in str(error)
        return False

    with Store(tmp_path, within=FOREVER) as store:
        finish(store, 1)
        store.check()
        store.flush()
        assert until(lambda: refused(store))
        finish(store, 2)
        store.flush()
        assert refused(store)
    with Store(tmp_path) as store:
        assert store.find_call("key-2") == "answer 2"
