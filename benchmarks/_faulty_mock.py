"""An endpoint in a process of its own that misbehaves as it is told to, and writes down every request.

    python -m benchmarks._faulty_mock LOG [--port N]     prints its port, serves until stdin is closed

What it answers is a function of the model, the prompt, the temperature and the length asked for, and of
nothing else: not of the seed, of the try or of time. So rows of two runs of the same rows can be compared
value by value, and a row that was answered to another prompt, by another model or at another temperature is
seen for what it is. Faults are drawn from the request and from how often it came: two runs of the same
requests meet the same ones.

A line of the log is [seconds on the system's monotonic clock, key of the request, what], and `what` is
"asked" when it comes in and what became of it afterwards, once the whole answer is with the kernel.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ._mock import MODEL, run

__all__ = ["ANSWERED", "INTENTS", "OTHER", "REFUSAL", "ROOT", "Endpoint", "Faults", "Line", "endpoint"]

ROOT = Path(__file__).resolve().parents[1]
OTHER = "another-model"
REFUSAL = "I'm sorry, but I can't help with that."
HTML = "<!DOCTYPE html><html><body><h1>Scheduled maintenance</h1></body></html>"
INTENTS = ("card_lost", "top_up_failed", "exchange_rate")
ANSWERED = frozenset({"good", "empty", "cut off", "malformed", "refused"})
"""What is paid for and worth keeping: a whole chat completion of the model asked for, whatever is in it."""


@dataclass(frozen=True)
class Faults:
    """How it misbehaves. Shares are of tries, 0..1, and add up to 1 at most.

    Attributes:
        latency: Seconds before an answer.
        error: Share answered with a 500.
        limited: Share answered with a 429.
        retry_after: What a 429 says in Retry-After; nothing where "".
        reset: Share whose connection is cut in the middle of the answer.
        empty: Share answered with no text.
        cut_off: Share that ends in the middle, and says so (finish_reason `length`).
        malformed: Share that ends in the middle and says that it is whole.
        refused: Share that is a refusal.
        at_once: Above so many at once it answers 429; 0 for no limit.
        poison: Requests that hold one of these texts are always answered with a 500.
        html: Whether everything is answered with a web page, and 200.
        model: The id it answers under.
    """

    latency: float = 0.02
    error: float = 0.0
    limited: float = 0.0
    retry_after: str = ""
    reset: float = 0.0
    empty: float = 0.0
    cut_off: float = 0.0
    malformed: float = 0.0
    refused: float = 0.0
    at_once: int = 0
    poison: tuple[str, ...] = ()
    html: bool = False
    model: str = MODEL

    def drawn(self, key: str, times: int) -> str:
        """What happens to a request that comes for the so-and-so-many-th time."""
        at = int(hashlib.sha256(f"{key}{times}".encode()).hexdigest()[:8], 16) / 2**32
        for what in ("error", "limited", "reset", "empty", "cut off", "malformed", "refused"):
            at -= getattr(self, what.replace(" ", "_"))
            if at < 0:
                return what
        return "good"


class Line(NamedTuple):
    """A line of the log."""

    at: float
    key: str
    what: str


@dataclass
class Endpoint:
    """The harness's hand on it: it can be told other faults, killed, and started again at the same address."""

    log: Path
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Up to and with the version."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Serve, at the same port as before."""
        command = [sys.executable, "-m", "benchmarks._faulty_mock", str(self.log), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.tell()

    def stop(self) -> None:
        """Be gone, in the middle of whatever it is."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def tell(self, **changes: Any) -> None:
        """Misbehave in another way from now on."""
        self.faults = replace(self.faults, **changes)
        body = json.dumps(asdict(self.faults)).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/faults", body, timeout=10) as reply:
            assert reply.status == 200

    def lines(self) -> list[Line]:
        """All requests so far."""
        with self.log.open(encoding="utf-8") as file:
            return [Line(*json.loads(line)) for line in file if line.endswith("\n")]

    def answered(self) -> int:
        """How many requests were answered in full so far."""
        return sum(line.what in ANSWERED for line in self.lines())


@contextmanager
def endpoint(log: Path, **faults: Any) -> Iterator[Endpoint]:
    """Serve with `faults` for as long as the block lasts."""
    log.touch()
    served = Endpoint(log, faults=Faults(**faults))
    try:
        served.start()
        yield served
    finally:
        served.stop()


# -- the process -----------------------------------------------------------------------------


def _answer(asked: Mapping[str, Any], model: str) -> str:
    """A text about the last line of the prompt that shows what it was made from."""
    prompt = asked["messages"][:2]  # what is said later is about an answer that did not fit
    made_from = [model, asked["model"], prompt, asked.get("temperature"), asked.get("max_tokens")]
    mark = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    text = f"My card did not come back from the machine, number {int(mark[:8], 16)}, and I would like to know why."
    schema = asked.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema is None:
        return text
    return json.dumps({name: _filled(each, mark, text) for name, each in schema["properties"].items()})


def _filled(schema: Mapping[str, Any], mark: str, text: str) -> Any:
    return schema["enum"][int(mark[:8], 16) % len(schema["enum"])] if "enum" in schema else text


def _completion(asked: Mapping[str, Any], what: str, model: str) -> bytes:
    text, finish = _answer(asked, model), "stop"
    if what in ("cut off", "malformed"):
        text, finish = text[: len(text) // 2], "length" if what == "cut off" else "stop"
    elif what in ("empty", "refused"):
        text = {"empty": "", "refused": REFUSAL}[what]
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 50, "completion_tokens": 24, "total_tokens": 74}
    told = {
        "id": "chat",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    return json.dumps(told).encode()


class _Server:
    """One endpoint."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._faults = Faults()
        self._times: Counter[str] = Counter()
        self._busy = 0

    async def answer(self, request: Any) -> Any:
        from aiohttp import web

        raw = await request.read()
        if request.path == "/faults":
            self._faults = Faults(**json.loads(raw))
            return web.Response()
        key = hashlib.sha256(raw).hexdigest()[:16]
        self._write(key, "asked")
        self._times[key] += 1
        self._busy += 1
        try:
            what = await self._what(raw, key)
            reply = await self._reply(request, raw, what)
        finally:
            self._busy -= 1
        self._write(key, what)
        return reply

    async def _what(self, raw: bytes, key: str) -> str:
        faults = self._faults
        if faults.at_once and self._busy > faults.at_once:
            return "limited"
        await asyncio.sleep(faults.latency)
        faults = self._faults
        if faults.html:
            return "html"
        if any(each.encode() in raw for each in faults.poison):
            return "error"
        what = faults.drawn(key, self._times[key])
        return "other" if what == "good" and faults.model != MODEL else what

    async def _reply(self, request: Any, raw: bytes, what: str) -> Any:
        from aiohttp import web

        if what == "html":
            reply = web.Response(text=HTML, content_type="text/html")
        elif what in ("error", "limited"):
            said = {"error": {"message": f"injected: {what}", "type": "server_error"}}
            headers = (
                {"Retry-After": self._faults.retry_after} if what == "limited" and self._faults.retry_after else {}
            )
            reply = web.json_response(said, status=500 if what == "error" else 429, headers=headers)
        else:
            body = _completion(json.loads(raw), what, self._faults.model)
            reply = web.Response(body=body, content_type="application/json")
        if what == "reset":
            half = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": "application/json"})
            await half.prepare(request)
            await half.write(body[: len(body) // 2])
            request.transport.abort()
            return half
        with suppress(ConnectionError):  # whoever asked may be gone
            await reply.prepare(request)
            await reply.write_eof()
        return reply

    def _write(self, key: str, what: str) -> None:
        os.write(self._log, f"{json.dumps([time.monotonic(), key, what])}\n".encode())


async def _serve(log: Path, port: int) -> None:
    from aiohttp import web

    runner = web.ServerRunner(web.Server(_Server(log).answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024, reuse_address=True).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    run(_serve(args.log, args.port))
