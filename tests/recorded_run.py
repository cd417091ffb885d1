"""The child of the tests about recording: asks many requests at once, writes down every answer it gives, and may be killed.

python recorded_run.py RUN LOG COUNT [--charged] [--room BYTES] [--mend]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

from dspy.lm15 import Config, Message, Request, Response, Usage

from stillroom.engines import Engine, Metered
from stillroom.engines.metered import call_key
from stillroom.errors import RunReadOnly
from stillroom.ledger import Budget, Ledger
from stillroom.rows import EmittedRow, Passport
from stillroom.store import Store

AT_ONCE = 32
MOST = 64  # records that may wait in memory
MODEL = "scripted/recorded@000000000000"
PAPERS = Passport("r", "p", MODEL, "Apache-2.0", (), {}, {}, 1, 20)


class Answering(Engine):
    """Answers after a moment; the key of each answered request is in the log before the answer is given."""

    model = MODEL

    def __init__(self, log: Path, *, charged: bool = False) -> None:
        self.charges_unanswered = charged
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.answered = 0

    def submit(self, request):
        raise NotImplementedError

    async def acomplete(self, request):
        await asyncio.sleep(random.random() * 0.01)
        os.write(self._log, f"{call_key(request)[0]}\n".encode())
        self.answered += 1
        said = Message.assistant(f"answer to {request.messages[-1].text} " + "word " * 40)
        usage = Usage(input_tokens=10, output_tokens=10)
        return Response(id=None, model=MODEL, message=said, finish_reason="stop", usage=usage)


def ask(number: int) -> Request:
    """The request of one number."""
    return Request(model=MODEL, messages=(Message.user(f"row {number}"),), config=Config(max_tokens=50))


async def work(engine: Metered, numbers) -> None:
    """Ask, and record a row made from each answer."""
    for number in numbers:
        answer = await engine.acomplete(ask(number))
        key = call_key(ask(number))[0]
        values = {"number": number, "text": answer.text, "key": key}
        engine.store.put_rows("r", [EmittedRow(key[:16], f"x/{number}/0", "accepted", values, PAPERS)])


async def everything(engine: Metered, count: int) -> None:
    """All numbers, many at once; the first error ends it."""
    numbers = iter(range(count))
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work(engine, numbers))


def main() -> int:
    """Run, and say how it ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--charged", action="store_true")
    parser.add_argument("--room", type=int, help="no file may become larger than this")
    parser.add_argument("--mend", action="store_true", help="make room again after the first error, and go on")
    args = parser.parse_args()
    with Store(args.run, every=16, within=0.005, most=MOST) as store:
        store.claim("emit", {})
        inner = Answering(args.log, charged=args.charged)
        engine = Metered(inner, Ledger(Budget(), store.spent()), store, "emit")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        if args.room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (args.room, hard))
        try:
            asyncio.run(everything(engine, args.count))
        except* RunReadOnly as group:
            error = group.exceptions[0]
            sys.stdout.write("\n".join([str(error), *error.__notes__]))
            if not args.mend:
                raise error from None
            before = inner.answered
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            for _ in range(200):
                try:
                    store.check()
                    break
                except RunReadOnly:
                    time.sleep(0.05)
            assert inner.answered == before, "something was asked while nothing could be recorded"
            asyncio.run(everything(engine, args.count))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RunReadOnly, ExceptionGroup) as stopped:
        sys.stdout.write(f"stopped: {stopped}")
        sys.exit(3)
