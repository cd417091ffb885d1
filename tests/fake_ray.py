"""A Ray cluster made of coroutines, whose machines come, fall and die when they are told to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

from stillroom.engines.http import Thread
from stillroom.engines.ray._seat import Node

NODE: ContextVar[str] = ContextVar("NODE")
"""The machine that an engine is opened on."""


class Lost(Exception):
    """What Ray says of a machine that is gone."""


class Actor:
    """The handle of a worker; each of its methods has a `remote`, as Ray's have."""

    def __init__(self, cluster: FakeCluster, worker: Any, node: Node) -> None:
        self.cluster, self.worker, self.node = cluster, worker, node
        self.alive = True
        self.calls: set[Future[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        return _Method(self, getattr(self.worker, name))

    def die(self) -> None:
        self.alive = False
        for call in list(self.calls):
            call.set_exception(Lost(f"{self.node.name} died"))


class _Method:
    def __init__(self, actor: Actor, work: Any) -> None:
        self._actor, self._work = actor, work

    def remote(self, *values: Any) -> _Method:
        self._call: Future[Any] = Future()
        actor, call = self._actor, self._call
        if not actor.alive:
            call.set_exception(Lost(f"{actor.node.name} died"))
            return self
        actor.calls.add(call)
        call.add_done_callback(actor.calls.discard)
        actor.cluster.begin(self._work(*values), call, actor.node)
        return self

    def future(self) -> Future[Any]:
        return self._call


class FakeCluster:
    """As `_cluster.Cluster`.

    Attributes:
        busy: Machines without a processor free: workers do not begin there until they are taken out.
        left: How often an engine has left it.
    """

    where = "fake"

    def __init__(self, *names: str) -> None:
        self._thread = Thread("fake-ray")
        self._nodes = {name: Node(name, name) for name in names}
        self.actors: list[Actor] = []
        self.busy: set[str] = set()
        self.left = 0

    # -- as the pool sees it ---------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return self._thread.run(work)

    def is_here(self) -> bool:
        return False

    def nodes(self) -> dict[str, Node]:
        return dict(self._nodes)

    def actor(self, worker: Any, node: Node) -> Actor:
        self.actors.append(Actor(self, worker(), node))
        return self.actors[-1]

    def end(self, actor: Actor) -> None:
        actor.die()

    def leave(self) -> None:
        self.left += 1

    # -- as tests see it --------------------------------------------------------------------

    def add(self, name: str) -> None:
        """A machine joins."""
        self._nodes[name] = Node(name, name)

    def kill(self, name: str) -> None:
        """A machine dies, and everything on it."""
        self._nodes.pop(name, None)
        self.fall(name)

    def fall(self, name: str) -> None:
        """The worker on a machine dies; the machine stays."""
        self._thread.run(self._fall(name)).result()

    def close(self) -> None:
        self._thread.close()

    async def _fall(self, name: str) -> None:
        for actor in self.actors:
            if actor.node.name == name:
                actor.die()

    def begin(self, work: Coroutine[Any, Any, Any], call: Future[Any], node: Node) -> None:
        self._thread.run(self._do(work, call, node))

    async def _do(self, work: Coroutine[Any, Any, Any], call: Future[Any], node: Node) -> None:
        NODE.set(node.name)
        try:
            while node.name in self.busy:
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            work.close()
            return
        done = asyncio.ensure_future(work)
        call.add_done_callback(lambda _: done.get_loop().call_soon_threadsafe(done.cancel))
        try:
            value = await done
        except asyncio.CancelledError:
            return
        except Exception as error:
            if not call.done():
                call.set_exception(error)
            return
        if not call.done():
            call.set_result(value)
