"""The command line as a function: what was written, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted_cli import scripted, served, write_task

import stillroom.engines
from stillroom.cli import main


@dataclass(frozen=True)
class Told:
    """What a command wrote and ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on standard output, which holds nothing else."""
        return json.loads(self.out)

    @property
    def errors(self) -> list[str]:
        """The lines of the error: its rule first, its mend last."""
        lines = self.err.splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        assert len(starts) == 1, self.err
        return lines[starts[0] :]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the scripted model writes every call."""
    return tmp_path / "served.jsonl"


@pytest.fixture
def calls(log: Path) -> Callable[[], list[str]]:
    """Give the calls served so far."""
    return lambda: served(log)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, log: Path) -> Callable[..., None]:
    """Put a scripted model in place of every other; call it again for other settings."""

    def put(**settings: Any) -> None:
        monkeypatch.setattr(stillroom.engines, "open_engine", lambda spec, **_: scripted(log, **settings))

    put()
    return put


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A small classification task."""
    return write_task(tmp_path)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """Run `stillroom WORDS...` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Told:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Told(code, out, err)

    return run
