"""Ends of the process that a pipeline runs in, at any moment: whoever waits is told, and nobody is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from worker_world import ECHO, asking, gone, program

from stillroom.engines.local._worker import Asking, Worker
from stillroom.errors import EngineError

HALF = """
from collections import deque
heard = deque()
while len(heard) < 200:
    heard += there.recv()
for said in list(heard)[::2]:
    say(said.number, os.getpid())
there.recv()
"""
"""Says who it is to every second of two hundred, and keeps the others waiting."""

SERVES = """
from array import array
from stillroom.engines.local import _child
class Busy:
    '''A batch that is never done, and tells of those that are dropped.'''
    busy = False
    def put(self, job):
        self.busy = True
        self.number = job.number
    def drop(self, number):
        there.send([(self.number, Output((os.getpid(), number), (), "stop"))])
    def turn(self):
        import time
        time.sleep(0.001)
        if self.number == 1:
            self.number = 0
            return [(1, Output((os.getpid(),), (), "stop"))]
        return []
try:
    _child.serve(there, Busy(), lambda constraint: None)
except (EOFError, OSError):
    os._exit(0)
"""
"""The real loop over a batch that has always something to do; it says who it is to the first."""


def killed_with_half_answered(worker: Worker, askings: list[Asking]) -> int:
    """Kill the process once half of two hundred are answered; who it was."""
    worker.put(askings)
    pids = {each.future.result(timeout=60)[0] for each in askings[::2]}
    assert len(pids) == 1
    os.kill(*pids, signal.SIGKILL)
    return pids.pop()


def test_who_waits_for_a_process_that_is_killed_is_told(begin: Callable[..., Worker]) -> None:
    """What was answered stays; all others fail with what happened and what may be the cause; then it goes on."""
    worker = begin(HALF)
    askings = [asking(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(each.future.exception, 60) for each in askings[1::2]]
        first = killed_with_half_answered(worker, askings)
        errors = [each.result() for each in waiting]
    assert {type(error) for error in errors} == {EngineError}
    assert {str(error).splitlines()[0] for error in errors} == {
        "the process of engine local/fake@0 ended unasked, with signal 9"
    }
    assert {error.mend for error in errors} == {"Was there too little memory for it?"}
    assert all(each.future.result() == (first,) for each in askings[::2])
    more = [asking(number) for number in range(200)]
    worker.put(more)
    assert {each.future.result(timeout=60)[0] for each in more[::2]} not in ({first}, set())


def test_who_awaits_a_process_that_is_killed_is_told(begin: Callable[..., Worker]) -> None:
    """On an event loop as on a thread; who was cancelled before stays cancelled."""
    worker = begin(HALF)
    askings = [asking(number) for number in range(200)]

    async def all_of_them() -> list[object]:
        awaited = [asyncio.ensure_future(asyncio.wrap_future(each.future)) for each in askings]
        awaited[1].cancel()
        await asyncio.to_thread(killed_with_half_answered, worker, askings)
        async with asyncio.timeout(60):
            return await asyncio.gather(*awaited, return_exceptions=True)

    outcomes = asyncio.run(all_of_them())
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert {type(each) for each in outcomes[3::2]} == {EngineError}
    assert {type(each) for each in outcomes[::2]} == {tuple}


def test_a_process_that_is_killed_while_it_is_sent_to_holds_up_nobody(begin: Callable[..., Worker]) -> None:
    """It hears nothing and its socket is full: neither who puts, nor who waits, nor closing hangs."""
    worker = begin("say(there.recv()[0].number, os.getpid()); import time; time.sleep(600)")
    first = asking(0)
    worker.put([first])
    (pid,) = first.future.result(timeout=60)
    askings = [asking(*range(20_000)) for _ in range(100)]
    for each in askings:
        worker.put([each])
    os.kill(pid, signal.SIGKILL)
    assert not wait([each.future for each in askings], timeout=60).not_done
    assert all("signal 9" in str(each.future.exception()) for each in askings)
    worker.close()


def test_requests_that_come_as_the_process_dies_are_answered_or_told(begin: Callable[..., Worker]) -> None:
    """From many threads, again and again: each future is resolved, whichever process it met."""
    worker = begin(ECHO.replace("*said.ids", "os.getpid()"))
    askings: list[Asking] = []
    guard = threading.Lock()

    def ask_on() -> None:
        for number in range(50):
            each = asking(number)
            with guard:
                askings.append(each)
            worker.put([each])

    threads = [threading.Thread(target=ask_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        probe = asking(1)
        worker.put([probe])
        if probe.future.exception(timeout=60) is None:
            os.kill(probe.future.result()[0], signal.SIGKILL)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wait([each.future for each in askings], timeout=60).not_done
    assert all(each.future.exception() is None or "ended" in str(each.future.exception()) for each in askings)


def test_a_cancellation_reaches_the_batch_of_the_process(begin: Callable[..., Worker]) -> None:
    """From a future that is awaited to `Batch.drop`, while the batch is at work."""
    worker = begin(SERVES)
    first, lost, second = asking(1), asking(2), asking(3)

    async def cancelled() -> None:
        worker.put([first])
        await asyncio.wrap_future(first.future)
        worker.put([lost])
        worker.put([second])
        awaited = asyncio.ensure_future(asyncio.wrap_future(lost.future))
        await asyncio.sleep(0)
        awaited.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(cancelled())
    assert second.future.result(timeout=60)[1] == 2


@pytest.mark.parametrize("busy", [True, False])
def test_who_serves_ends_with_the_caller_whatever_it_is_doing(tmp_path: Path, busy: bool) -> None:
    """The real loop, in the middle of a batch that is never done, or with nothing to do: kill -9 of its caller ends it."""
    caller = tmp_path / "caller.py"
    lines = [
        "import os",
        "from stillroom.engines.local._chat import Decoding",
        "from stillroom.engines.local._worker import Asking, Worker",
        "greedy = Decoding(4, 0.0, None, None, 0, (), False, 0.0, 0.0, None)",
        f"entry = {program(SERVES if busy else SERVES.replace('self.number = 0', 'self.busy = False'))!r}",
        "asking = Asking([1], greedy, lambda output: output.ids[0])",
        "worker = Worker(None, name='fake', entry=entry)",
        "worker.put([asking])",
        "print(asking.future.result(60), flush=True)",
        *(["worker.put([Asking([2], greedy, lambda output: None)])"] if busy else []),
        "os.kill(os.getpid(), 9)",
    ]
    caller.write_text("\n".join(lines) + "\n")
    ended = subprocess.run([sys.executable, str(caller)], stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert gone(int(ended.stdout))
