"""Begin a worker on each machine and open its engine, before anything is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar

from stillroom.engines.contract import Engine
from stillroom.errors import BadConfig, EngineBusy, EngineRefused

from ._cluster import Cluster, last_line
from ._mail import raised, read
from ._seat import Node, Seat, answered
from ._worker import Worker

__all__ = ["begun", "opened", "seated"]

T = TypeVar("T")


async def begun(cluster: Cluster, node: Node) -> Any:
    """The handle of a worker on `node`, once it runs.

    Raises:
        EngineRefused: If it cannot.
    """
    actor = cluster.actor(Worker, node)
    try:
        await answered(actor.here.remote())
    except BaseException as error:
        cluster.end(actor)
        if isinstance(error, asyncio.CancelledError):
            raise
        raise EngineRefused(
            f"on {node.name}: a worker must start, got {last_line(error)}",
            mend="stillroom and Ray must be installed there as they are here.",
        ) from error
    return actor


async def seated(cluster: Cluster, node: Node, actor: Any, opener: Callable[[], Engine]) -> Seat:
    """The worker `actor` with its engine open. Raises what keeps it from that."""
    try:
        told = read(await answered(actor.open.remote(opener)))
        if "failure" in told:
            raise raised(told["failure"], node.name)
    except BaseException:
        cluster.end(actor)
        raise
    return Seat(node, actor, told["facts"])


async def opened(
    cluster: Cluster, opener: Callable[[], Engine], patience: float, grace: float
) -> tuple[list[Seat], dict[Node, asyncio.Task[Any]]]:
    """Workers on all machines of `cluster` with their engines open, and those that have not begun yet.

    Args:
        cluster: Where.
        opener: Makes the engine.
        patience: Seconds until the first worker must run.
        grace: Seconds that it waits for the others.

    Raises:
        BadConfig: If the engines are not all of the same model.
        EngineBusy: If no worker runs in time.
        StillroomError: Of the first machine that cannot open its engine.
    """
    nodes = await asyncio.to_thread(cluster.nodes)
    starting = {node: asyncio.create_task(begun(cluster, node)) for node in nodes.values()}
    opening: dict[Node, asyncio.Task[Seat]] = {}
    try:
        await _first(starting.values(), patience, grace)
        actors = await _done(cluster, starting)
        opening = {node: asyncio.create_task(seated(cluster, node, actor, opener)) for node, actor in actors.items()}
        if opening:
            await asyncio.wait(opening.values())
        seats = list((await _done(cluster, opening)).values())
        if not seats:
            raise EngineBusy(
                f"a machine of the Ray cluster {cluster.where} must have a processor free, got none within {patience:.0f} s",
                mend="Wait for others to be done, add a machine, or start nodes with --num-cpus of at least 1.",
            )
        _check_models(seats)
    except BaseException:
        for task in (*starting.values(), *opening.values()):
            task.cancel()
        for task in starting.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                cluster.end(task.result())
        raise
    return seats, {node: task for node, task in starting.items() if not task.done()}


async def _first(tasks: Collection[asyncio.Task[Any]], patience: float, grace: float) -> None:
    """Wait until one of `tasks` has gone well, at most so long, and then for the others."""
    waiting, end = set(tasks), monotonic() + patience
    while waiting and (left := end - monotonic()) > 0:
        done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if any(task.exception() is None for task in done):
            if waiting:
                await asyncio.wait(waiting, timeout=grace)
            return


async def _done(cluster: Cluster, tasks: Mapping[Node, asyncio.Task[T]]) -> dict[Node, T]:
    """What has come of `tasks` so far. Raises the first failure, unless its machine is gone meanwhile."""
    done = {node: task for node, task in tasks.items() if task.done()}
    failed = {node: error for node, task in done.items() if (error := task.exception()) is not None}
    if failed:
        alive = await asyncio.to_thread(cluster.nodes)
        for node, error in failed.items():
            if node.id in alive:
                raise error
    return {node: task.result() for node, task in done.items() if node not in failed}


def _check_models(seats: Sequence[Seat]) -> None:
    models = {seat.facts["model"]: seat.node.name for seat in seats}
    if len(models) > 1:
        named = ", ".join(f"{model} on {node}" for model, node in sorted(models.items()))
        raise BadConfig(
            f"all machines of the Ray cluster must have the same model, got {named}",
            mend="Put the same file on each: `stillroom models verify NAME` tells the digest.",
        )
