"""A batch API on this machine, as OpenAI defines it, which expires, fails and forgets as it is told to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

STEPS = ("validating", "in_progress", "finalizing")


@dataclass
class Batch:
    """One batch, and how many more looks until it has ended."""

    id: str
    file: str
    metadata: dict[str, str]
    looks: int
    status: str = "validating"
    output: str | None = None
    errors: str | None = None
    problems: list[dict[str, Any]] = field(default_factory=list)


class BatchServer:
    """Answers `echo: <last message>` in every line, unless told otherwise.

    Attributes:
        looks: Looks at a batch before it has ended.
        answered: How often each message was answered, which is what is paid for.
        ends: The status the next batches end in, one each; "completed" when there are no more.
        done: Of a batch that expires or is cancelled, so many lines are answered.
        broken: Messages whose lines fail validation.
        failing: For a message, the statuses and bodies of its next lines.
        dropped: Messages whose lines are left out of both files.
        faults: For a path (`POST /v1/batches`), the next replies: a status; or "drop" to
            do what is asked and lose the reply, "hold" to do it and give none for a long time.
        general: A problem of validation that is no line's.
    """

    def __init__(self) -> None:
        self.looks = 2
        self.answered: Counter[str] = Counter()
        self.ends: deque[str] = deque()
        self.done = 0
        self.broken: set[str] = set()
        self.failing: defaultdict[str, deque[tuple[int, Any]]] = defaultdict(deque)
        self.dropped: set[str] = set()
        self.faults: defaultdict[str, deque[int | str]] = defaultdict(deque)
        self.general: dict[str, Any] | None = None
        self.key: str | None = None
        self.name = "tiny-2026"
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Batch] = {}
        self.asked: Counter[str] = Counter()  # by method and path
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def lines(self, batch: Batch) -> list[dict[str, Any]]:
        """What was sent in a batch."""
        return [json.loads(each) for each in self.files[batch.file].splitlines()]

    def forget_files(self) -> None:
        """As after some weeks."""
        self.files.clear()

    # -- the API -------------------------------------------------------------------

    @web.middleware
    async def faulty(self, request: web.Request, handler: Any) -> web.StreamResponse:
        where = f"{request.method} {request.match_info.route.resource.canonical}"  # type: ignore[union-attr]
        self.asked[where] += 1
        got = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key is not None and got != self.key:
            return _error(401, f"Incorrect API key provided: {got}")
        fault = self.faults[where].popleft() if self.faults[where] else None
        if isinstance(fault, int):
            return _error(fault, "not now")
        reply: web.StreamResponse = await handler(request)
        if fault == "hold":
            await asyncio.sleep(60)
        if fault == "drop" and request.transport is not None:
            request.transport.close()
        return reply

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{len(self.files) + 1}"
        self.files[name] = file.file.read()
        return web.json_response({"id": name, "object": "file", "purpose": "batch", "bytes": len(self.files[name])})

    async def content(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if name not in self.files:
            return _error(404, "No such file")
        return web.Response(body=self.files[name], content_type="application/jsonl")

    async def create(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        assert wanted["completion_window"] == "24h"
        assert wanted["endpoint"] == "/v1/chat/completions"
        batch = Batch(f"batch_{len(self.batches) + 1}", wanted["input_file_id"], wanted["metadata"], self.looks)
        self.batches[batch.id] = batch
        return web.json_response(self.told(batch))

    async def look(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["batch"])
        if batch is None:
            return _error(404, "No such batch")
        if batch.status in STEPS:
            if batch.looks:
                batch.looks -= 1
                batch.status = STEPS[min(STEPS.index(batch.status) + 1, len(STEPS) - 1)]
            else:
                self.end(batch)
        return web.json_response(self.told(batch))

    async def list_batches(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.batches.values()))
        after = request.query.get("after")
        if after:
            newest = newest[[each.id for each in newest].index(after) + 1 :]
        page = newest[: min(int(request.query["limit"]), 2)]
        return web.json_response({"data": [self.told(each) for each in page], "has_more": len(page) < len(newest)})

    def told(self, batch: Batch) -> dict[str, Any]:
        lines = self.files.get(batch.file, b"").count(b"\n")
        return {
            "id": batch.id,
            "object": "batch",
            "status": batch.status,
            "input_file_id": batch.file,
            "output_file_id": batch.output,
            "error_file_id": batch.errors,
            "metadata": batch.metadata,
            "errors": {"object": "list", "data": batch.problems} if batch.problems else None,
            "request_counts": {"total": lines, "completed": 0, "failed": 0},
        }

    def end(self, batch: Batch) -> None:
        lines = self.lines(batch)
        batch.problems = [
            {"code": "invalid_request", "message": "that line is wrong", "param": "body", "line": place}
            for place, line in enumerate(lines, start=1)
            if _message(line) in self.broken
        ] + ([self.general] if self.general else [])
        if batch.problems:
            batch.status = "failed"
            return
        batch.status = self.ends.popleft() if self.ends else "completed"
        cut = len(lines) if batch.status == "completed" else self.done
        output = [each for line in lines[:cut] for each in self.answer(line)]
        if batch.status == "expired":
            error = {"code": "batch_expired", "message": "This request could not be executed in time."}
            output += [{"custom_id": line["custom_id"], "response": None, "error": error} for line in lines[cut:]]
        good = [each for each in output if each["response"] and each["response"]["status_code"] == 200]
        bad = [each for each in output if each not in good]
        batch.output = self.store(f"{batch.id}-out", reversed(good))  # the order is not that of the lines
        batch.errors = self.store(f"{batch.id}-err", bad)

    def answer(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        message = _message(line)
        if message in self.dropped:
            return []
        status, body = self.failing[message].popleft() if self.failing[message] else (200, None)
        if status == 200:
            self.answered[message] += 1
        choice = {"index": 0, "message": {"role": "assistant", "content": f"echo: {message}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        body = body or {"id": "chat-1", "model": self.name, "choices": [choice], "usage": usage}
        response = {"status_code": status, "request_id": "req-1", "body": body}
        return [{"id": "line-1", "custom_id": line["custom_id"], "response": response, "error": None}]

    def store(self, name: str, lines: Any) -> str | None:
        raw = "".join(json.dumps(each) + "\n" for each in lines).encode()
        if not raw:
            return None
        self.files[name] = raw
        return name


def _message(line: dict[str, Any]) -> str:
    return str(line["body"]["messages"][-1]["content"])


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


@contextmanager
def serving() -> Iterator[BatchServer]:
    """A fresh server on a free port, on a thread of its own."""
    server = BatchServer()
    loop = asyncio.new_event_loop()
    app = web.Application(middlewares=[server.faulty])
    app.router.add_post("/v1/files", server.upload)
    app.router.add_get("/v1/files/{file}/content", server.content)
    app.router.add_post("/v1/batches", server.create)
    app.router.add_get("/v1/batches", server.list_batches)
    app.router.add_get("/v1/batches/{batch}", server.look)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
