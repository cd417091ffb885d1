"""The caller's side of the process that a pipeline runs in (`_child`): futures for what it is asked."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import Pipe
from queue import Empty, SimpleQueue
from typing import Any

from stillroom.errors import EngineError, EngineRefused

from ._batch import Failure, Kind, Output
from ._chat import Decoding
from ._child import Asked

__all__ = ["Asking", "Worker"]

logger = logging.getLogger(__name__)

ENTRY = "from stillroom.engines.local._child import main; main(connection)"
# what the caller can import is found behind the child's own: a file beside a script may be called like one of Python's
BEGIN = "import sys; connection = int(sys.argv[1]); sys.path += [p for p in sys.argv[2:] if p not in sys.path]; "


@dataclass(eq=False)
class Asking:
    """A request on its way.

    Attributes:
        answer: Turns the output into what the future gives.
        shared: Blocks of the prompt that others may share; all if not given.
    """

    ids: Sequence[int]
    decoding: Decoding
    answer: Callable[[Output], Any]
    kind: Kind = "answer"
    shared: int | None = None
    future: Future[Any] = field(default_factory=Future)


class Worker:
    """A pipeline in a process of its own, begun with the first request and again when it has ended.

    Safe from any thread; `put` never waits for the process.

    Args:
        made_of: What the process is told first (`PipelineSettings`).
        entry: Python code that serves the connection whose descriptor is `connection`.
    """

    def __init__(self, made_of: Any, *, name: str, entry: str = ENTRY) -> None:
        self._made_of, self._name, self._entry = made_of, name, entry
        self._guard = threading.Lock()
        self._closed = False
        self._process: _Process | None = None

    def put(self, askings: Sequence[Asking]) -> None:
        """Send `askings`; they arrive together. Raises `EngineError` if closed."""
        with self._guard:
            if self._closed:
                raise EngineError(f"engine {self._name} is closed")
            if self._process is None or self._process.over:
                self._process = _Process(self._made_of, self._name, self._entry)
            self._process.put(askings)

    def close(self) -> None:
        """End the process; what it was asked fails with `EngineError`. Safe to call twice."""
        with self._guard:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            process.end(f"engine {self._name} was closed")


class _Process:
    """One process, from its beginning to its end."""

    def __init__(self, made_of: Any, name: str, entry: str) -> None:
        self._made_of, self._name = made_of, name
        self._guard = threading.Lock()
        self._asked: dict[int, Asking] = {}
        self._numbers = itertools.count(1)
        self._outbox: SimpleQueue[list[Asked | int]] = SimpleQueue()  # sending may have to wait until a step ends
        self.over = False
        self._connection, theirs = Pipe()
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", BEGIN + entry, str(theirs.fileno()), *map(os.path.abspath, sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._sender = threading.Thread(target=self._send, name=f"stillroom {name} out", daemon=True)
        self._sender.start()
        threading.Thread(target=self._receive, name=f"stillroom {name} in", daemon=True).start()

    def put(self, askings: Sequence[Asking]) -> None:
        with self._guard:
            numbered = [(next(self._numbers), asking) for asking in askings]
            over = self.over
            if not over:
                self._asked.update(numbered)
        if not over:
            self._outbox.put([_sent(number, asking) for number, asking in numbered])
        for number, asking in numbered:
            if over:
                _give(asking.future, EngineError(f"the process of engine {self._name} has ended"))
            else:
                asking.future.add_done_callback(partial(self._forget, number))

    def end(self, why: str, mend: str = "") -> None:
        """Kill the process and fail what it was asked; it has nothing to put in order."""
        with self._guard:
            self.over = True
            failed, self._asked = list(self._asked.values()), {}
        self._outbox.put([])
        self._popen.kill()
        self._popen.wait()
        for asking in failed:
            _give(asking.future, EngineError(why, mend=mend))

    def _forget(self, number: int, future: Future[Any]) -> None:
        """Let the process drop a request that its caller has cancelled."""
        if future.cancelled() and self._asked.pop(number, None) is not None:
            future.set_running_or_notify_cancel()  # else whoever waits for several futures waits for ever
            self._outbox.put([number])

    def _send(self) -> None:
        try:
            self._connection.send(self._made_of)
            while message := self._collected():
                self._connection.send(message)
        except OSError:
            pass  # `_receive` hears of it too

    def _collected(self) -> list[Asked | int]:
        """Wait for something to send, and take all there is; nothing if this is the end."""
        message: list[Asked | int] = []
        more = self._outbox.get()
        try:
            while more:
                message += more
                more = self._outbox.get_nowait()
        except Empty:
            pass
        else:
            return []
        return message

    def _receive(self) -> None:
        try:
            while True:
                for number, came in self._connection.recv():
                    self._settle(number, came)
        except (EOFError, OSError):
            if not self.over:
                self.end(*self._last_words())
            self._sender.join()
            self._connection.close()

    def _settle(self, number: int, came: Output | Failure) -> None:
        asking = self._asked.pop(number, None)
        if asking is None:
            return  # cancelled
        if isinstance(came, Failure):
            if not came.refused:
                logger.warning("%s: %s", self._name, came.message)
            _give(asking.future, (EngineRefused if came.refused else EngineError)(came.message, mend=came.mend))
            return
        try:
            _give(asking.future, asking.answer(came))
        except Exception as error:  # it belongs to whoever waits for this answer, not to the others
            _give(asking.future, error)

    def _last_words(self) -> tuple[str, str]:
        code = self._popen.wait()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"the process of engine {self._name} ended unasked, with {how}", "Was there too little memory for it?"


def _sent(number: int, asking: Asking) -> Asked:
    return Asked(number, array("i", asking.ids), asking.decoding, asking.kind, asking.shared)


def _give(future: Future[Any], value: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(value, BaseException):
        future.set_exception(value)
    else:
        future.set_result(value)
