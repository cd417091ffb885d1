"""The store: one process at a time, nothing lost, refused when it was made from something else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stillroom.errors import FingerprintChanged, RunError, RunLocked, RunReadOnly
from stillroom.ledger import Spent
from stillroom.rows import EmittedRow, Passport
from stillroom.store import Store


def test_a_finished_call_is_found_again(tmp_path: Path):
    """An answer survives closing and opening the run."""
    with Store(tmp_path) as store:
        store.finish_call("key", "compile", "m", "{}", "answer", Spent(1, 10, 5, 0.25, 1.0))
    with Store(tmp_path) as store:
        assert store.find_call("key") == "answer"
        assert store.spent("compile").calls == 1
        assert store.spent("compile").tokens == 15
        assert store.spent("emit").calls == 0


def test_an_unanswered_call_stays_on_the_bill(tmp_path: Path):
    """A call that was open when the process died counts at its worst case, and is made again."""
    store = Store(tmp_path)
    store.open_call("key", "compile", "m", 100, 0.5)
    store.close()
    with Store(tmp_path) as store:
        assert store.call_counts()["lost"] == 1
        assert store.spent().tokens == 100
        assert store.find_call("key") is None
        store.finish_call("key", "compile", "m", "{}", "answer", Spent(1, 10, 5))
        assert store.spent().calls == 2


def test_a_failed_call_costs_nothing_and_is_not_found(tmp_path: Path):
    """An outage is on record and free."""
    with Store(tmp_path) as store:
        call = store.open_call("key", "compile", "m", 100, 0.5)
        store.fail_call("key", "compile", "m", "status 500", call)
        assert store.spent() == Spent()
        assert store.call_counts() == {"failed": 1, "twice": 0}


def test_a_second_process_is_refused(tmp_path: Path):
    """Two processes on one run: the second is told who holds it."""
    code = f"import sys; from stillroom.store import Store\ntry: Store({str(tmp_path)!r})\nexcept Exception as e: print(type(e).__name__, e)"
    with Store(tmp_path), pytest.raises(RunLocked, match="one process at a time"):
        Store(tmp_path)
    with Store(tmp_path):
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.startswith("RunLocked one process at a time may use a run")


def test_a_look_ahead_begins_nothing(tmp_path: Path):
    """It may come before anything is begun, with any fingerprint; what was begun is compared all the same."""
    with Store(tmp_path) as store:
        store.claim("emit", {"recipe": "a"}, begin=False)
        store.claim("emit", {"recipe": "b"})
        with pytest.raises(FingerprintChanged, match="recipe was 'b', is 'a'"):
            store.claim("emit", {"recipe": "a"}, begin=False)
    with Store(tmp_path) as store:
        assert store.spent("emit").seconds > 0  # of the one session that began
        store.claim("prove", {}, begin=False)
        assert store.spent("prove").seconds == 0


def test_a_changed_fingerprint_is_refused_with_the_reason(tmp_path: Path):
    """The refusal names each part that changed, and what it was."""
    with Store(tmp_path) as store:
        store.claim("compile", {"rows": "360 rows", "model": "a"})
        store.claim("emit", {"rows": "370 rows"})
    with (
        Store(tmp_path) as store,
        pytest.raises(FingerprintChanged, match="rows was '360 rows', is '370 rows'") as caught,
    ):
        store.claim("compile", {"rows": "370 rows", "model": "a"})
    assert "model" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    """A path below a file can never be a run folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunReadOnly, match="run folder must be writable"):
        Store(tmp_path / "file" / "run")


def test_a_file_that_is_no_store_is_refused(tmp_path: Path):
    """A stray run.db is not overwritten."""
    (tmp_path / "run.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunError, match="is not a run store"):
        Store(tmp_path)


def test_rows_come_back_as_they_were(tmp_path: Path):
    """A row and its passport survive the store; the first of a place stays."""
    passport = Passport(
        "r",
        "p",
        "m",
        "Apache-2.0",
        ("a",),
        {"seed": 1},
        {"outputs": {"y": "x"}},
        1,
        20,
        ({"gate": "schema", "passed": True, "why": ""},),
    )
    row = EmittedRow("id", "x/0/0", "accepted", {"text": "höhe", "y": "x"}, passport)
    with Store(tmp_path) as store:
        store.put_rows("r", [row])
        store.put_rows("r", [EmittedRow("other", "x/0/0", "rejected", {}, passport)])
        assert list(store.rows("r")) == [row]
        assert list(store.rows("other")) == []
