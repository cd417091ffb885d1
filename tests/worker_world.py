"""Processes that stand in for a pipeline's: what they do is written in a test, and asked through a real worker."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillroom.engines.local._batch import Output
from stillroom.engines.local._chat import Decoding
from stillroom.engines.local._worker import Asking

GREEDY = Decoding(
    4, 0.0, None, None, 0, (), logprobs=False, frequency_penalty=0.0, presence_penalty=0.0, constraint=None
)

BEGIN = """
import os, sys
from multiprocessing.connection import Connection
from stillroom.engines.local._batch import Failure, Output
from stillroom.engines.local._child import Asked
there = Connection(connection)
made_of = there.recv()
def say(number, *ids):
    there.send([(number, Output(ids, (), "stop"))])
"""

ECHO = """
while True:
    for said in there.recv():
        if isinstance(said, Asked):
            say(said.number, *said.ids)
"""


def program(text: str) -> str:
    """The code of a process that does what `text` says."""
    return textwrap.dedent(BEGIN) + textwrap.dedent(text)


def asking(*ids: int, answer: Callable[[Output], Any] = lambda output: output.ids) -> Asking:
    """A request for `ids`."""
    return Asking(ids, GREEDY, answer)


def gone(pid: int) -> bool:
    """Whether a process has ended; waits for it a while."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.05)
    return False
