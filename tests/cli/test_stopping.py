"""Ctrl-C: what is under way is finished and kept, the run goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import scripted_cli
import scripted_world as world
from scripted_cli import scripted, served

from stillroom.cli.watched import Watched, stoppable
from stillroom.engines import ScriptedEngine


def child(log: Path, *words: object) -> subprocess.Popen:
    """The command line in a process of its own, with a slow scripted model."""
    command = [sys.executable, scripted_cli.__file__, str(log), "0.03", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(Path(scripted_cli.__file__).parent)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("model")
def test_sigint_ends_with_130_and_the_run_goes_on(cli, task: Path, log: Path, calls, tmp_path: Path):
    """No call is served twice over both sessions, and the result is that of a run that was not stopped."""
    process = child(log, "compile", task, "--run", tmp_path / "run")
    while len(served(log)) < 12 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped; run the same command again to go on" in err
    assert "Traceback" not in err
    assert out == ""
    stopped = calls()
    assert len(stopped) >= 12
    assert not (tmp_path / "run" / "plan.json").exists()
    assert cli("compile", task, "--run", tmp_path / "run").code == 0
    assert len(calls()) > len(stopped)
    assert len(set(calls())) == len(calls())
    cli("compile", task, "--run", tmp_path / "whole")
    assert (tmp_path / "run" / "plan.json").read_bytes() == (tmp_path / "whole" / "plan.json").read_bytes()


def interrupt_after(count: int, log: Path, times: int = 1) -> ScriptedEngine:
    """The world's model; it presses Ctrl-C when it has been asked `count` times."""
    asked = iter(range(10_000))

    def answer(request):
        if next(asked) == count:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return world.answer(request)

    return ScriptedEngine(answer, name="world", log=log, latency=0.01, max_concurrency=4)


@pytest.mark.parametrize("verb", ["compile", "emit"])
def test_every_call_that_was_served_is_found_again(cli, task: Path, log: Path, calls, monkeypatch, verb: str):
    """In compile and in emit, wherever the signal falls."""
    put = lambda make: monkeypatch.setattr("stillroom.engines.open_engine", lambda spec: make())  # noqa: E731
    put(lambda: scripted(log))
    if verb == "emit":
        assert cli("compile", task).code == 0
    before = len(calls())
    put(lambda: interrupt_after(7, log))
    told = cli(verb, task)
    assert told.code == 130
    assert told.err.splitlines()[-1] == "stopped; run the same command again to go on"
    assert len(calls()) > before
    put(lambda: scripted(log))
    assert cli(verb, task).code == 0
    assert len(set(calls())) == len(calls())


def test_stopped_as_json(cli, task: Path, log: Path, monkeypatch):
    """An error object like all others."""
    monkeypatch.setattr("stillroom.engines.open_engine", lambda spec: interrupt_after(3, log))
    told = cli("compile", task, "--json")
    assert told.code == 130
    assert told.json["error"] == {
        "type": "Stopped",
        "rule": "stopped by Ctrl-C",
        "mend": "run the same command again to go on",
    }


def test_a_second_ctrl_c_does_not_wait(request):
    """The calls under way are left to themselves."""
    gate = threading.Event()
    request.addfinalizer(gate.set)
    engine = Watched(ScriptedEngine(lambda _: gate.wait(20) and "late", latency=0.001))
    with pytest.raises(KeyboardInterrupt), stoppable(engine):  # noqa: PT012 - the handler lives inside it
        future = engine.submit(ask())
        signal.raise_signal(signal.SIGINT)
        assert engine.stopping
        assert not future.done()
        signal.raise_signal(signal.SIGINT)
    assert not future.done()


def test_ctrl_c_with_nothing_under_way_is_the_usual_one():
    """It interrupts at once, and the handler from before is back afterwards."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stoppable(Watched(ScriptedEngine(["a"]))):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_watching_counts_what_was_answered():
    """Calls and tokens of answers, none for failures."""
    heard = []
    engine = Watched(ScriptedEngine(["one two", ValueError("no")]), heard.append)
    engine.complete(ask())
    with pytest.raises(ValueError, match="no"):
        engine.complete(ask())
    assert [spent.calls for spent in heard] == [1]
    assert engine.spent.tokens_out == 2
    assert engine.under_way == 0


def ask():
    from dspy.lm15 import Message, Request

    return Request(model="scripted", messages=(Message.user("hello"),))
