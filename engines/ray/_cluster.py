"""A Ray cluster: started for this process on this machine, or joined."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from stillroom.engines.http import Thread
from stillroom.errors import BadConfig, EngineBusy, EngineRefused

from ._seat import Node

__all__ = ["LOCAL", "Cluster", "join", "last_line"]

T = TypeVar("T")

LOCAL = "ray"
FORMS = f"{LOCAL} (a cluster on this machine for this run), auto, HOST:PORT or ray://HOST:PORT"
PATIENCE = 10.0  # seconds until somebody must listen at an address
STORE = 100_000_000  # bytes of Ray's object store on this machine: letters are small and pass through at once

_guard = threading.Lock()
_held: list[Cluster] = []  # the one that this process is connected to, if any: Ray allows no second one


class Cluster:
    """The cluster that this process is connected to, shared by all engines on it.

    Attributes:
        where: What it was asked for by.
        users: How many engines are on it.
    """

    def __init__(self, where: str) -> None:
        self.where, self.users = where, 0
        # Linux ends the processes of a cluster with the thread that began them: it must be one that stays
        self._thread = Thread("stillroom-ray")
        self._folder: Path | None = None
        self._ours = False

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Do `work` on the event loop that every pool on this cluster works on."""
        return self._thread.run(work)

    def is_here(self) -> bool:
        """Whether the caller runs on that loop."""
        try:
            return self._thread.owns(asyncio.get_running_loop())
        except RuntimeError:
            return False

    def connect(self) -> None:
        """Start or join it. Raises `EngineBusy` or `EngineRefused` if that does not work."""
        self.run(self._connect()).result()

    async def _connect(self) -> None:
        import ray

        if ray.is_initialized():
            if self.where != LOCAL:
                raise BadConfig(
                    f"this process is connected to a Ray cluster, got {self.where!r} for another",
                    mend=f"Write {LOCAL!r} to work on the one that it is connected to.",
                )
            return
        _reach(self.where)
        settings: dict[str, Any] = {"address": self.where}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if self.where == LOCAL:
            # Ray listens on every interface: whoever has no token of it gets in nowhere
            if not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
                os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            # a short path: sockets live there
            self._folder = Path(tempfile.mkdtemp(prefix="stillroom-ray-", dir="/tmp" if os.name == "posix" else None))  # noqa: S108
            settings = {
                "address": "local",
                "include_dashboard": False,
                "object_store_memory": STORE,
                "_temp_dir": str(self._folder),
            }
        logging.getLogger("ray").setLevel(logging.ERROR)  # it tells of its start before it is told to be quiet
        self._ours = True
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **settings)
        except (ConnectionError, TimeoutError) as error:
            raise _silent(self.where, error) from error
        except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
            raise EngineRefused(
                f"the Ray cluster {self.where} must take this process, got {last_line(error)}",
                mend="Ray and Python must have the same versions everywhere.",
            ) from error

    def nodes(self) -> dict[str, Node]:
        """The machines that are alive and have processors for Ray to use, by their ids. Blocks for a moment."""
        import ray

        alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        return {node["NodeID"]: Node(node["NodeID"], _name(node)) for node in alive}

    def actor(self, worker: type, node: Node) -> Any:
        """Begin a `worker` on `node`; the handle of its actor."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        # never begun again by Ray: nobody but the pool knows what was under way
        made = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(worker)
        return made.options(scheduling_strategy=there).remote()

    def end(self, actor: Any) -> None:
        """End an actor, if it is still there."""
        import ray

        try:
            ray.kill(actor)
        except Exception:  # whatever Ray says of it: it is gone, or the cluster is
            logging.getLogger("stillroom").debug("an actor was gone before it was ended", exc_info=True)

    def leave(self) -> None:
        """Disconnect after the last engine. A cluster that was started for this process ends; a joined one stays."""
        import ray

        with _guard:
            self.users -= 1
            if self.users:
                return
            _held.clear()
            self._leave(ray.shutdown)

    def _leave(self, shutdown: Callable[[], Any]) -> None:
        try:
            if self._ours:
                shutdown()
        finally:
            self._thread.close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


def join(where: str) -> Cluster:
    """Start the cluster that `where` names, or join it; `leave` it afterwards.

    Args:
        where: `ray` for one on this machine, which ends with this process (or the one that this
            process is connected to already); or an address as `ray.init` takes it.

    Raises:
        BadConfig: If `where` is no such name, Ray is not installed, or this process is on another cluster.
        EngineBusy: If nothing answers there.
        EngineRefused: If the cluster does not take this process.
    """
    if not re.fullmatch(rf"{LOCAL}|auto|(ray://)?[^/\s:]+:\d+", where):
        raise BadConfig(f"a Ray cluster must be an address, got {where!r}", mend=f"Give {FORMS}.")
    try:
        import ray
    except ImportError as error:
        raise BadConfig(
            "to work on Ray, the package ray must be installed", mend="Run: pip install 'stillroom[ray]'"
        ) from error
    with _guard:
        if _held and _held[0].where != where:
            raise BadConfig(
                f"one process works on one Ray cluster, got {where!r} beside {_held[0].where!r}",
                mend="Close the engines on the first one before.",
            )
        if not _held:
            cluster = Cluster(where)
            try:
                cluster.connect()
            except BaseException:
                cluster._leave(ray.shutdown)
                raise
            _held.append(cluster)
        _held[0].users += 1
        return _held[0]


def _reach(where: str) -> None:
    """See that somebody listens there: Ray itself tries for minutes, and aloud. Raises `EngineBusy`."""
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _silent(where, error) from error


def _silent(where: str, error: Exception) -> EngineBusy:
    return EngineBusy(
        f"a Ray cluster must answer at {where}, got {last_line(error)}",
        mend=f"Start one there with `ray start --head`, or write {LOCAL!r} for one on this machine.",
    )


def last_line(error: BaseException) -> str:
    """What an error of Ray comes down to: its messages are long, and end with the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _name(node: dict[str, Any]) -> str:
    """What people know a machine by; with the start of Ray's id, as one machine may be several nodes."""
    return f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})"
