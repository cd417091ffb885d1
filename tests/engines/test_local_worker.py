"""The process of a pipeline and its caller, with small Python programs in the place of a model."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from worker_world import ECHO, GREEDY, asking, gone, program

from stillroom.engines.local._batch import Batch, Failure, Output
from stillroom.engines.local._chat import Constraint, Decoding
from stillroom.engines.local._child import Asked, _hear, serve
from stillroom.engines.local._worker import Asking, Worker
from stillroom.errors import EngineError, EngineRefused


def results(askings: Sequence[Asking]) -> list[Any]:
    return [each.future.result(timeout=30) for each in askings]


def test_every_future_gets_its_own_answer(begin: Callable[..., Worker]) -> None:
    """From any number of threads."""
    worker = begin(ECHO)
    askings = [asking(number) for number in range(200)]
    threads = [threading.Thread(target=worker.put, args=([each],)) for each in askings]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results(askings) == [(number,) for number in range(200)]


def test_the_process_is_told_first_what_it_is_made_of(begin: Callable[..., Worker]) -> None:
    """And it is another process."""
    worker = begin("for said in there.recv(): say(said.number, made_of['width'], os.getpid())", {"width": 64})
    one = asking(1)
    worker.put([one])
    width, pid = one.future.result(timeout=30)
    assert width == 64
    assert pid != os.getpid()


def test_a_cancelled_request_is_told_to_be_dropped(begin: Callable[..., Worker]) -> None:
    """Its number is, once; what comes for it all the same goes nowhere."""
    worker = begin("""
        heard = []
        while len(heard) < 3:
            heard += there.recv()
        first, second, dropped = heard
        say(first.number, 0)
        say(second.number, dropped - first.number)
    """)
    lost, kept = asking(1), asking(2)
    worker.put([lost, kept])
    assert lost.future.cancel()
    assert kept.future.result(timeout=30) == (0,)
    with pytest.raises(CancelledError):
        lost.future.result()
    assert not wait([lost.future], timeout=10).not_done


def test_putting_never_waits_for_the_process(begin: Callable[..., Worker]) -> None:
    """It may be in the middle of a step, and hears nothing; closing ends it all the same."""
    worker = begin("import time; time.sleep(600)")
    askings = [asking(*range(20_000)) for _ in range(100)]  # far more than a socket takes
    for each in askings:
        worker.put([each])
    worker.close()
    assert all(isinstance(each.future.exception(timeout=30), EngineError) for each in askings)


def test_a_token_that_waits_takes_four_bytes() -> None:
    """The queue holds requests, in the caller as in the process."""
    sent = Asked(1, array("i", range(10_000)), GREEDY)
    assert sent.ids.itemsize == 4
    assert len(pickle.dumps(sent)) < 4.2 * 10_000


def test_closing_fails_what_has_not_been_answered(begin: Callable[..., Worker]) -> None:
    """With an error that says so; later requests are turned away; the process is no more."""
    worker = begin("say(there.recv()[0].number, os.getpid()); there.recv()")
    first, pending = asking(1), asking(2)
    worker.put([first])
    (pid,) = first.future.result(timeout=30)
    worker.put([pending])
    worker.close()
    worker.close()
    with pytest.raises(EngineError, match="was closed"):
        pending.future.result(timeout=30)
    with pytest.raises(EngineError, match="is closed"):
        worker.put([asking(3)])
    assert gone(pid)


def test_closing_from_a_callback_of_an_answer_does_not_hang(begin: Callable[..., Worker]) -> None:
    """The thread that answers is the one that closes."""
    worker = begin("asked = there.recv(); say(asked[0].number, 1); there.recv()")
    first, pending = asking(1), asking(2)
    first.future.add_done_callback(lambda future: worker.close())
    worker.put([first, pending])
    assert isinstance(pending.future.exception(timeout=30), EngineError)


@pytest.mark.parametrize(
    ("end", "how"), [("os.kill(os.getpid(), 9)", "signal 9"), ("sys.exit(3)", "exit code 3"), ("1 / 0", "exit code 1")]
)
def test_a_process_that_ends_unasked_fails_its_requests_and_is_begun_again(
    begin: Callable[..., Worker], end: str, how: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """As one that the system kills for want of memory does; the next request has a process again."""
    worker = begin(f"""
        for said in there.recv():
            if said.ids[0] == 0:
                {end}
            say(said.number, os.getpid())
    """)
    bad = asking(0)
    worker.put([bad])
    with pytest.raises(EngineError, match=f"ended unasked, with {how}"):
        bad.future.result(timeout=30)
    good = asking(1)
    worker.put([good])
    assert good.future.result(timeout=30)[0] != os.getpid()


@pytest.mark.parametrize(("refused", "kind"), [(True, EngineRefused), (False, EngineError)])
def test_a_failure_becomes_the_error_it_means(begin: Callable[..., Worker], refused: bool, kind: type) -> None:
    """The request's own fault, or the engine's; with the way to mend it."""
    worker = begin(f"""
        for said in there.recv():
            there.send([(said.number, Failure("it went wrong", "mend it", refused={refused}))])
    """)
    one = asking(1)
    worker.put([one])
    with pytest.raises(EngineError, match="it went wrong") as caught:
        one.future.result(timeout=30)
    assert type(caught.value) is kind
    assert caught.value.mend == "mend it"


def test_an_answer_that_raises_reaches_its_future_only(begin: Callable[..., Worker]) -> None:
    """What the caller's code does with the output harms nobody else."""

    def wrong(output: Output) -> Any:
        raise EngineError("cannot be read")

    worker = begin(ECHO)
    askings = [asking(1, answer=wrong), asking(2)]
    worker.put(askings)
    with pytest.raises(EngineError, match="cannot be read"):
        askings[0].future.result(timeout=30)
    assert askings[1].future.result(timeout=30) == (2,)


def test_the_process_ends_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 leaves nobody behind who holds a model in memory."""
    caller = tmp_path / "caller.py"
    caller.write_text(
        "import os\n"
        "from stillroom.engines.local._chat import Decoding\n"
        "from stillroom.engines.local._worker import Asking, Worker\n"
        "greedy = Decoding(4, 0.0, None, None, 0, (), False, 0.0, 0.0, None)\n"
        f"entry = {program('say(there.recv()[0].number, os.getpid()); there.recv()')!r}\n"
        "asking = Asking([1], greedy, lambda output: output.ids[0])\n"
        "Worker(None, name='fake', entry=entry).put([asking])\n"
        "print(asking.future.result(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, str(caller)], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert gone(int(ended.stdout))


def test_a_file_beside_the_script_is_not_taken_for_one_of_python_s(tmp_path: Path) -> None:
    """The process finds what the caller could import, but behind what is its own."""
    (tmp_path / "types.py").write_text("raise SystemExit('the wrong types')")
    (tmp_path / "beside.py").write_text("NUMBER = 5")
    caller = tmp_path / "caller.py"
    caller.write_text(
        "import types, sys, os\n"
        "sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))\n"
        "from stillroom.engines.local._chat import Decoding\n"
        "from stillroom.engines.local._worker import Asking, Worker\n"
        "greedy = Decoding(4, 0.0, None, None, 0, (), False, 0.0, 0.0, None)\n"
        f"entry = {program('import types, beside; say(there.recv()[0].number, beside.NUMBER)')!r}\n"
        "asking = Asking([1], greedy, lambda output: output.ids[0])\n"
        "worker = Worker(None, name='fake', entry=entry)\n"
        "worker.put([asking])\n"
        "print(asking.future.result(), flush=True)\n"
        "worker.close()\n"
    )
    ended = subprocess.run([sys.executable, "-P", str(caller)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout.strip() == "5", ended.stderr


class Counted(Batch):
    """A batch without a pipeline: answers everything in the turn after it came."""

    def __init__(self) -> None:
        self.waiting: dict[int, Any] = {}
        self.dropped: list[int] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting)

    def put(self, job: Any) -> None:
        self.waiting[job.number] = job

    def drop(self, number: int) -> None:
        self.dropped.append(number)
        self.waiting.pop(number, None)

    def turn(self) -> list[Any]:
        ended = [(number, Output(tuple(job.prompt.ids), (), "stop")) for number, job in self.waiting.items()]
        self.waiting.clear()
        return ended


@pytest.fixture
def served() -> Iterator[tuple[Any, Counted]]:
    """A connection that is served by a thread."""
    ours, theirs = Pipe()
    batch = Counted()

    def run() -> None:
        with pytest.raises(EOFError):
            serve(theirs, batch, lambda constraint: "cc.cc:5: not closed" if "(" in constraint.text else None)

    thread = threading.Thread(target=run)
    thread.start()
    yield ours, batch
    ours.close()
    thread.join(10)
    theirs.close()
    assert not thread.is_alive()


def heard(connection: Any, count: int) -> dict[int, Any]:
    found: dict[int, Any] = {}
    while len(found) < count:
        assert connection.poll(10)
        found |= dict(connection.recv())
    return found


def test_who_serves_answers_as_long_as_somebody_is_there(served: tuple[Any, Counted]) -> None:
    """Whatever comes in one message or in many."""
    ours, _ = served
    ours.send([Asked(1, array("i", [4]), GREEDY), Asked(2, array("i", [5]), GREEDY)])
    ours.send([Asked(3, array("i", [6]), GREEDY)])
    assert {number: came.ids for number, came in heard(ours, 3).items()} == {1: (4,), 2: (5,), 3: (6,)}


def test_a_broken_constraint_never_reaches_the_batch(served: tuple[Any, Counted]) -> None:
    """It is refused with what the compiler said, and its neighbours are answered."""
    ours, _ = served
    constraint = Constraint("regex", "(never")
    broken = Decoding(4, 0.0, None, None, 0, (), False, 0.0, 0.0, constraint)
    ours.send([Asked(1, array("i", [4]), broken), Asked(2, array("i", [5]), GREEDY)])
    found = heard(ours, 2)
    assert found[1] == Failure(
        "the constraint must be one the grammar compiler takes: not closed",
        "Correct the schema, regex or grammar.",
        refused=True,
    )
    assert found[2].ids == (5,)


def test_a_dropped_number_is_passed_on(served: tuple[Any, Counted]) -> None:
    """Before the next turn."""
    ours, batch = served
    ours.send([7])
    ours.send([Asked(8, array("i", [5]), GREEDY)])
    heard(ours, 1)
    assert batch.dropped == [7]


def test_an_empty_batch_waits_for_all_who_were_just_answered() -> None:
    """They ask again one after the other; a step with the first alone would keep the others waiting."""
    ours, theirs = Pipe()
    batch = Counted()
    first, second = (Asked(number, array("i", [number]), GREEDY) for number in (1, 2))
    ours.send([first])
    later = threading.Timer(0.2, ours.send, [[second]])
    later.start()
    assert _hear(theirs, batch, lambda constraint: None, 2, 600.0) == []
    assert sorted(batch.waiting) == [1, 2]
    later.join()


def test_nobody_waits_for_more_than_were_answered_nor_while_there_is_something_to_do() -> None:
    """The patience of ten minutes is not used."""
    ours, theirs = Pipe()
    batch = Counted()
    for number, expected in ((1, 1), (2, 5)):  # at the second, the first is still to be answered
        ours.send([Asked(number, array("i", [number]), GREEDY)])
        _hear(theirs, batch, lambda constraint: None, expected, 600.0)
    assert sorted(batch.waiting) == [1, 2]


def test_thousands_wait_in_one_process(begin: Callable[..., Worker]) -> None:
    """Five thousand futures from one thread, a third of them cancelled; the others are answered."""
    worker = begin(ECHO)
    askings = [asking(number) for number in range(5000)]
    worker.put(askings[:2500])
    for each in askings[2500:]:
        worker.put([each])
    cancelled = {each for each in askings[::3] if each.future.cancel()}
    assert not wait([each.future for each in askings], timeout=60).not_done
    assert all(each.future.cancelled() if each in cancelled else each.future.result() for each in askings)
