"""`stillroom salvage`: the way out that errors about damaged runs name."""

from __future__ import annotations

from pathlib import Path

from stillroom.ledger import Spent
from stillroom.store import Store


def test_a_damaged_run_is_salvaged(cli, tmp_path: Path):
    """The command in the error is the one that helps; the damaged file stays."""
    run = tmp_path / "run"
    with Store(run) as store:
        for number in range(200):
            store.finish_call(f"{number:032x}", "emit", "m", "{}", "answer " * 50, Spent(1, 10, 5))
    content = (run / "run.db").read_bytes()
    (run / "run.db").write_bytes(content[: len(content) // 2])
    told = cli("salvage", str(run), "--json")
    assert told.code == 0, told.err
    assert 0 < told.json["kept"]["calls"] < 200
    assert Path(told.json["damaged"]).read_bytes() == content[: len(content) // 2]
    with Store(run) as store:
        assert store.call_counts()["done"] == told.json["kept"]["calls"]
    assert "kept:" in cli("salvage", str(run)).out


def test_what_is_no_run_is_refused(cli, tmp_path: Path):
    """With the rule."""
    told = cli("salvage", str(tmp_path))
    assert told.code == 3
    assert "run.db" in told.errors[0]
