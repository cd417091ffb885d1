"""`--on CLUSTER`: the same verbs, asked from other machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_cli import scripted, write_task

import stillroom.engines
from stillroom.engines.ray import RayEngine
from stillroom.engines.ray import engine as ray_engine


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, log: Path) -> list[str | None]:
    """Where engines were opened, in order; a scripted model takes the place of all."""
    where: list[str | None] = []

    def put(spec: str, *, on: str | None = None, **_: object):
        where.append(on)
        return scripted(log)

    monkeypatch.setattr(stillroom.engines, "open_engine", put)
    return where


def test_every_verb_that_asks_can_ask_from_a_cluster(cli, task: Path, opened):
    """compile, emit and prove; without the option they ask from this process."""
    for verb in ("compile", "emit", "prove"):
        assert cli(verb, task, "--on", "ray://head:10001").code == 0
    assert cli("emit", task).code == 0
    assert opened == ["ray://head:10001"] * 3 + [None]


def test_the_rows_are_those_of_one_process(cli, task: Path, monkeypatch: pytest.MonkeyPatch, log: Path):
    """To the byte, through every verb."""
    from fake_ray import FakeCluster

    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: scripted(log))
    assert cli("compile", task, "--run", "plain").code == 0
    assert cli("emit", task, "--run", "plain").code == 0
    cluster = FakeCluster("a", "b", "c")
    monkeypatch.setattr(ray_engine, "join", lambda where: cluster)
    monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: RayEngine(lambda: scripted(log), "fake"))
    assert cli("compile", task, "--run", "spread", "--on", "ray").code == 0
    assert cli("emit", task, "--run", "spread", "--on", "ray").code == 0
    assert cluster.left == 2
    cluster.close()
    for name in ("plan.json", "rows.jsonl", "rejects.jsonl"):
        assert Path("spread", name).read_bytes() == Path("plain", name).read_bytes()


def test_a_cluster_that_cannot_be_one_is_told_before_anything_is_asked(cli, tmp_path: Path):
    """As any bad option."""
    told = cli("compile", write_task(tmp_path), "--lm", "http://127.0.0.1:1/v1#m", "--on", "somewhere")
    assert told.code == 2
    assert told.errors[0] == "error: a Ray cluster must be an address, got 'somewhere'"
    assert "ray://HOST:PORT" in told.errors[-1]
