"""The sandbox: what programs give back, what ends them, and what they never get."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from stillroom.errors import BadConfig, EngineError, EngineRefused
from stillroom.evals.sandbox import Limits, available, open_sandbox, pool
from stillroom.evals.sandbox.backends import BACKENDS, Backend

SHORT = Limits(seconds=1.0, cpu_seconds=0.4)
QUICK = (
    *("fork bomb", "memory bit by bit", "memory in unnamed files", "endless output", "sleep", "huge return value"),
    *(
        "secret file of the host",
        "environment",
        "TCP to the host",
        "unix sockets by path and by name",
        "new namespaces",
    ),
    *("writing outside the folder", "signals to the parent and to all", "a daemon: two forks and a session"),
    *("forged answer frames", "filling the folder"),
)


@pytest.fixture(scope="module", params=[backend.name for backend in BACKENDS])
def sandbox(request):
    """Each back-end that works here; the skip says why one does not."""
    choice = next(each for each in available() if each.name == request.param)
    if not choice.usable:
        pytest.skip(f"NO SANDBOX {choice.name}: {choice.why}. {choice.mend}")
    with open_sandbox(request.param) as opened:
        yield opened


def test_a_program_gives_its_output_and_status(sandbox):
    """As a script would."""
    ran = sandbox.run("import sys\nprint(input(), open('a/b').read())\nsys.exit(3)", stdin="x\n", files={"a/b": "é"})
    assert (ran.ok, ran.exit, ran.stdout, ran.killed_by) == (False, 3, "x é\n", None)


def test_a_value_comes_back_as_json(sandbox):
    """Nothing else does: no pickle, no objects."""
    ran = sandbox.run("found = {'a': [1, 2.5, None, 'é']}", returns="found")
    assert ran.ok
    assert ran.finished
    assert ran.value == {"a": [1, 2.5, None, "é"]}
    assert not sandbox.run("found = object()", returns="found").finished


def test_an_exception_is_a_traceback_of_the_program_alone(sandbox):
    """None of our own frames are in it, and its last line is the reason."""
    ran = sandbox.run("def f():\n    return 1 / 0\nf()")
    assert ran.why == "ZeroDivisionError: division by zero"
    assert "return 1 / 0" in ran.stderr
    assert "inside" not in ran.stderr


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit"])
def test_an_early_exit_is_no_end(sandbox, code: str):
    """The status is 0, yet the last line was not reached."""
    ran = sandbox.run([("first", code), ("second", "print('here')")])
    assert ran.exit == 0
    assert not ran.finished
    assert ran.stdout == ""


def test_programs_run_as_processes_and_threads_do_elsewhere(sandbox):
    """Event loops, pools, threads and child interpreters work."""
    code = """
import asyncio, multiprocessing, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
async def one():
    await asyncio.sleep(0)
    return 1
found = [asyncio.run(one())]
with multiprocessing.get_context("fork").Pool(2) as workers:
    found += workers.map(abs, [-2, -3])
found += ThreadPoolExecutor(2).map(abs, [-4])
found += [int(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True).stdout)]
with tempfile.NamedTemporaryFile() as file:
    found.append(file.write(b"x" * 6))
"""
    ran = sandbox.run(code, returns="found")
    assert ran.value == [1, 2, 3, 4, 5, 6], ran.stderr


def test_two_programs_share_nothing(sandbox):
    """Not modules, not files, not random numbers, although one worker serves both."""
    first = "import random, json, builtins\njson.left = builtins.left = 1\nopen('left', 'w').close()\nfound = random.random()"
    second = "import random, json, builtins, os\nfound = [random.random(), hasattr(json, 'left'), hasattr(builtins, 'left'), os.listdir('.')]"
    number = sandbox.run(first, returns="found").value
    assert sandbox.run(second, returns="found").value == [number, False, False, []]


@pytest.mark.parametrize(
    ("code", "killed"),
    [
        ("import time\ntime.sleep(60)", "time"),
        ("while True: pass", "cpu"),
        ("while True: print('x' * 999)", "output"),
        ("import os, time\nfor _ in range(3): os.fork()\nx = b'x' * (50 << 20)\ntime.sleep(9)", "memory"),
    ],
)
def test_a_limit_ends_the_program_and_is_named(sandbox, code: str, killed: str):
    """And the sandbox goes on working."""
    ran = sandbox.run(code, limits=replace(SHORT, seconds=0.4) if killed == "time" else replace(SHORT, seconds=20.0))
    assert ran.killed_by == killed
    assert not ran.ok
    assert ran.why
    assert sandbox.run("print(1)").stdout == "1\n"


def test_memory_that_children_share_counts_once(sandbox):
    """A program may fork as often as it has processes."""
    code = "import os, time\nx = b'x' * (60 << 20)\nfor _ in range(3): os.fork()\ntime.sleep(0.3)"
    assert sandbox.run(code, limits=replace(SHORT, seconds=20.0, cpu_seconds=9.0)).ok


def test_output_never_exceeds_its_limit(sandbox):
    """Both streams count together."""
    ran = sandbox.run(
        "import sys\nfor _ in range(999): print('a' * 99), print('b' * 99, file=sys.stderr)",
        limits=replace(SHORT, output_bytes=5000),
    )
    assert len(ran.stdout) + len(ran.stderr) == 5000


def test_one_process_too_many_does_not_start(sandbox):
    """The program sees it as the system's refusal."""
    code = "import os, time\nn = 0\ntry:\n    while True:\n        if not os.fork():\n            time.sleep(60)\n        n += 1\nexcept OSError:\n    pass"
    assert sandbox.run(code, limits=replace(SHORT, processes=5), returns="n").value == 4


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_program_is_contained(sandbox, hostile, name: str):
    """It is ended in time, gets nothing, and leaves the host as it was. `python -m benchmarks.sandbox` runs all."""
    attack, programs, laid = hostile
    outcome = attack(sandbox, programs[name], laid, SHORT)
    assert outcome.contained, outcome.faults


@pytest.fixture(scope="module")
def hostile():
    """Lay the bait of the benchmark out."""
    pytest.importorskip("psutil")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2]))  # as `python -m` would find it
        benchmark = importlib.import_module("benchmarks.sandbox")
        programs = {program.name: program for program in benchmark.PROGRAMS}
        with benchmark.bait() as laid:
            yield benchmark.attack, programs, laid


def test_programs_run_at_once_in_order(sandbox):
    """The results are those of the programs, one for one."""
    ran = sandbox.run_many([f"print({i})" for i in range(12)], threads=3)
    assert [each.stdout for each in ran] == [f"{i}\n" for i in range(12)]


def test_a_worker_is_replaced_in_time():
    """After as many programs as were allowed; with 1 each program has a sandbox of its own."""
    with opened(reuse=2) as sandbox:
        seen = []
        for _ in range(4):
            sandbox.run("pass")
            seen.append(tuple(worker._process.pid for worker in sandbox._idle))
        assert [len(each) for each in seen] == [1, 0, 1, 0]
        assert seen[0] != seen[2]


def test_a_dead_worker_is_replaced_unseen():
    """Whoever killed it, the program runs."""
    with opened() as sandbox:
        sandbox.run("pass")
        sandbox._idle[0]._process.kill()
        sandbox._idle[0]._process.wait()
        assert sandbox.run("print(1)").stdout == "1\n"


def test_workers_outlive_the_thread_that_first_used_them():
    """A pool's threads end; the warm worker stays."""
    with opened() as sandbox:
        thread = threading.Thread(target=sandbox.run, args=("pass",))
        thread.start()
        thread.join()
        worker = sandbox._idle[0]
        assert sandbox.run("print(1)").stdout == "1\n"
        assert sandbox._idle == [worker]


def test_nothing_is_left_after_closing():
    """The process is gone, and the sandbox takes no more programs."""
    with opened() as sandbox:
        sandbox.run("pass")
        process = sandbox._idle[0]._process
    assert process.returncode is not None
    with pytest.raises(EngineRefused, match="closed"):
        sandbox.run("pass")


def opened(**settings: int):
    """Open the best sandbox, or skip."""
    if not any(choice.usable for choice in available()):
        pytest.skip(f"NO SANDBOX on this machine: {available()}")
    return open_sandbox(**settings)


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "a\0b"])
def test_files_stay_in_the_folder(path: str):
    """A path that leads out is refused before anything runs."""
    with opened() as sandbox, pytest.raises(BadConfig, match="inside its folder"):
        sandbox.run("pass", files={path: "x"})


def test_files_that_do_not_fit_are_refused():
    """Rather than failing inside."""
    with opened() as sandbox, pytest.raises(BadConfig, match="half of file_mb"):
        sandbox.run("pass", files={"x": b"x" * (1 << 20)}, limits=replace(SHORT, file_mb=1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"memory_mb": 1},
        {"processes": True},
        {"processes": 1.5},
        {"output_bytes": -1},
        {"file_mb": "1"},
    ],
)
def test_a_limit_that_is_none_is_refused(wrong: dict):
    """Nothing runs without limits."""
    with pytest.raises(BadConfig):
        Limits(**wrong)


def test_without_a_back_end_nothing_runs(monkeypatch: pytest.MonkeyPatch):
    """The refusal says what is missing and how to get it."""
    gone = Backend("gone", "no-such-program", "Install it.", lambda program: [program])
    broken = Backend("broken", "false", "Mend it.", lambda program: [program])
    monkeypatch.setattr(pool, "BACKENDS", (gone, broken))
    monkeypatch.setattr(pool, "available", available.__wrapped__)
    with pytest.raises(EngineRefused, match="no-such-program is not installed; broken: the sandbox failed") as refused:
        open_sandbox()
    assert refused.value.mend == "Install it."


def test_a_back_end_that_confines_nothing_is_not_used(monkeypatch: pytest.MonkeyPatch):
    """Starting is not enough: the test program must find itself confined."""
    monkeypatch.setattr(pool, "_PROBE", "held = ['the network is reachable']")
    if not any(choice.usable for choice in available()):
        pytest.skip(f"NO SANDBOX on this machine: {available()}")
    usable = next(choice.name for choice in available() if choice.usable)
    tried = pool._tried(next(backend for backend in BACKENDS if backend.name == usable))
    assert not tried.usable
    assert "the network is reachable" in tried.why


def test_an_unknown_back_end_is_refused():
    """By name, with the names there are."""
    with pytest.raises(BadConfig, match="bubblewrap, namespaces"):
        open_sandbox("docker")


def test_a_worker_that_talks_nonsense_is_a_failure_of_the_sandbox():
    """Never a result."""
    loud = Backend("loud", "sh", "", lambda program: [program, "-c", "printf '\\377\\377\\377\\377'; exec sleep 5"])
    with pytest.raises(EngineError, match="answered with 4294967295 bytes"):
        pool.Worker(loud)


@settings(max_examples=15, deadline=None)
@given(text=some.text(max_size=60))
def test_any_text_is_a_program(text: str):
    """Whatever a model writes runs or fails; it never raises here."""
    if not any(choice.usable for choice in available()):
        pytest.skip("NO SANDBOX on this machine")
    ran = pool.shared_sandbox().run(text, limits=SHORT)
    assert ran.ok or ran.why


def test_the_environment_is_not_handed_down(sandbox, monkeypatch: pytest.MonkeyPatch):
    """Not at the start, and not later."""
    monkeypatch.setenv("A_SECRET", "x")
    assert "A_SECRET" in os.environ
    found = sandbox.run("import os\nfound = dict(os.environ)", returns="found").value
    assert "A_SECRET" not in found
    assert sys.prefix not in str(found)
