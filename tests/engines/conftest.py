"""What tests of engines are given: an OpenAI-compatible endpoint that fails as it is told to, machines that are pretended, a small model."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from fake_ray import FakeCluster
from http_world import engine_at
from ray_world import Scripted
from real_local import fresh
from worker_world import program

from stillroom.engines import Engine
from stillroom.engines.http import HttpEngine
from stillroom.engines.local import LocalEngine
from stillroom.engines.local._worker import Worker
from stillroom.engines.ray import RayEngine, _pool
from stillroom.engines.ray import engine as ray_engine


@dataclass
class Fault:
    """One answer that is not an answer. `cut` ends the body early, `drop` gives none, `slow` waits first."""

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    cut: bool = False
    drop: bool = False
    slow: float = 0.0


class Endpoint:
    """Answers `echo: <last message>` unless a fault stands in line; remembers what it was sent."""

    def __init__(self) -> None:
        self.faults: deque[Fault] = deque()
        self.sent: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[str] = []
        self.key: str | None = None
        self.models: list[str] | None = ["tiny"]
        self.usage = True
        self.say: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.most = 0
        self.room: int | None = None
        self.delay = 0.0
        self.delays: deque[float] = deque()  # of the next requests, before `delay` holds again
        self.turned_away = 0
        self.name = "tiny-2026"
        self.allowance: dict[str, str] = {}
        self.finish = "stop"
        self.port = 0
        self._busy = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def fail(self, *faults: Fault) -> None:
        """Put `faults` in line, one for each coming request."""
        self.faults.extend(faults)

    def go_down(self) -> None:
        """Listen no more: who comes finds nobody."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._unlisten(), self._loop).result(10)

    def come_back(self) -> None:
        """Listen again, at the same port."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _unlisten(self) -> None:
        assert self._runner is not None
        assert self._site is not None
        await self._site.stop()
        if self._runner.server is not None:
            await self._runner.server.shutdown(0.1)  # those that are kept alive as well

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.sent.append(body)
        self.headers.append(dict(request.headers))
        self.queries.append(request.query_string)
        if self.room is not None and self._busy >= self.room:
            self.turned_away += 1
            return _error(429, "too many at once", {"Retry-After": "0.01"})
        self._busy += 1
        self.most = max(self.most, self._busy)
        try:
            delay = self.delays.popleft() if self.delays else self.delay
            if delay:
                await asyncio.sleep(delay)
            return await self._reply(request, body)
        finally:
            self._busy -= 1

    async def list_models(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if self.faults:
            return await self._fail(request, self.faults.popleft())
        if self.models is None:
            return web.Response(status=404, text="Not Found")
        return web.json_response({"data": [{"id": name} for name in self.models]})

    def _refusal(self, request: web.Request) -> web.Response | None:
        got = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.key is None or got == self.key:
            return None
        return _error(401, f"Incorrect API key provided: {got}")  # some servers echo it

    async def _reply(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        if self.faults:
            return await self._fail(request, self.faults.popleft())
        if body["messages"][-1]["content"] == "refuse this":
            return _error(400, "this message is not allowed")
        return web.json_response(self._answer(body), headers=self.allowance)

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        text = f"echo: {body['messages'][-1]['content']}"
        message = self.say(body) if self.say else {"content": text}
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": self.finish}
        if message.get("tool_calls"):
            choice["finish_reason"] = "tool_calls"
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": "echo", "logprob": -0.25, "bytes": None, "top_logprobs": []}]}
        answer = {"id": "chat-1", "model": self.name, "system_fingerprint": "fp_7", "choices": [choice]}
        if self.usage:
            answer["usage"] = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        return answer

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.slow:
            await asyncio.sleep(fault.slow)
        if fault.drop and request.transport is not None:
            request.transport.close()
            return web.Response()
        if not fault.cut:
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers, content_type=fault.kind)
        half = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": fault.kind})
        await half.prepare(request)
        await half.write(fault.body.encode())
        if request.transport is not None:
            request.transport.close()
        return half


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


@pytest.fixture
def fault() -> type[Fault]:
    """The faults to choose from."""
    return Fault


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A fresh endpoint on a free port."""
    served = Endpoint()
    loop = served._loop = asyncio.new_event_loop()
    started = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", served.chat)
        app.router.add_get("/v1/models", served.list_models)
        runner = served._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await served._listen()
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(10)
    yield served
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


@pytest.fixture
def engine(endpoint: Endpoint) -> Iterator[HttpEngine]:
    """An http engine on the endpoint."""
    engine = engine_at(endpoint)
    yield engine
    engine.close()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Two machines, `a` and `b`."""
    made = FakeCluster("a", "b")
    monkeypatch.setattr(ray_engine, "join", lambda where: made)
    monkeypatch.setattr(_pool, "LOOK", 0.01)
    monkeypatch.setattr(_pool, "GRACE", 5.0)
    for name, value in {
        "asked": Counter(),
        "answered": Counter(),
        "cancelled": [],
        "deadly": "",
        "cluster": made,
    }.items():
        monkeypatch.setattr(Scripted, name, value, raising=False)
    monkeypatch.setattr(Scripted, "gate", threading.Event())
    Scripted.gate.set()
    yield made
    made.close()


@pytest.fixture
def opened(cluster: FakeCluster) -> Iterator[Callable[..., RayEngine]]:
    """Open an engine on the machines; it is closed at the end."""
    engines = []

    def make(opener: Callable[[], Engine] = Scripted, **settings: Any) -> RayEngine:
        engines.append(RayEngine(opener, "fake", **{"patience": 60.0, **settings}))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalEngine]:
    """A local engine for all tests of a module."""
    engine = fresh()
    yield engine
    engine.close()


@pytest.fixture
def begin() -> Iterator[Callable[..., Worker]]:
    """Makes workers and closes them."""
    workers: list[Worker] = []

    def make(text: str, made_of: Any = None) -> Worker:
        workers.append(Worker(made_of, name="local/fake@0", entry=program(text)))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()
