"""One worker on each machine of a cluster, as machines come and go; letters to those with little to do."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from stillroom.engines.contract import Engine
from stillroom.engines.http import closed
from stillroom.errors import BadConfig, BadInput, EngineBusy, EngineError, StillroomError

from ._cluster import Cluster, last_line
from ._mail import failure, raised
from ._opening import begun, opened, seated
from ._seat import Letter, Node, Seat

__all__ = ["Pool"]

GRACE = 20.0  # seconds that the first machine to be ready waits for the others
LOOK = 1.0  # seconds between looks at which machines there are
LOSSES = 3  # machines that may be lost with one letter, and workers that may fall on one machine without an answer

_log = logging.getLogger("stillroom")


class Pool:
    """Workers on the machines of `cluster`.

    A machine that joins gets a worker. When one is lost, what was under way there is sent to
    another: what was answered there and not seen here is asked again. A letter that took
    machines with it several times is given up, as it may be what ends them.

    Args:
        cluster: Joined; it is left when the pool closes.
        opener: Makes the engine on each machine.
        patience: Seconds to wait for the first workers, and for a machine when there is none left.
    """

    def __init__(self, cluster: Cluster, opener: Callable[[], Engine], patience: float) -> None:
        self._cluster, self._opener, self._patience = cluster, opener, patience
        self._posted: deque[Letter] = deque()  # from any thread
        self._dealing = False
        self._guard = threading.Lock()
        self._closed = False
        # all below belongs to the cluster's event loop
        self._seats: dict[str, Seat] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._falls: Counter[str] = Counter()
        self._model = ""
        self._numbers = itertools.count()
        self._empty_since = monotonic()
        self._watching: asyncio.Task[None] | None = None

    # -- from any thread ----------------------------------------------------------------

    def open(self) -> list[dict[str, Any]]:
        """Begin a worker on every machine; what their engines say of themselves.

        Raises:
            BadConfig: If they are not all the same model.
            EngineBusy: If no machine has a processor for a worker.
            StillroomError: Of the first machine that cannot open its engine.
        """
        opening = self._cluster.run(self._open())
        try:
            return opening.result()
        except BaseException:
            opening.cancel()
            raise

    def post(self, letter: Letter) -> None:
        """Send a letter to a machine that has little to do. Raises `EngineRefused` once closed."""
        with self._guard:
            if self._closed:
                raise closed()
            self._posted.append(letter)
            if not self._dealing:
                self._dealing = True
                self._cluster.run(self._deal())
        letter.future.add_done_callback(lambda future: self._forget(letter) if future.cancelled() else None)

    def ask_all(self, what: str) -> dict[str, Any]:
        """Ask every machine the same; the answers by machine. Raises the first error, which names its machine."""
        asked = self._cluster.run(self._ask_all(what)).result()
        return {node.name: _from(node, letter) for node, letter in asked}

    def close(self) -> None:
        """End the workers, fail what is under way, and leave the cluster; a second time does nothing."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
        if self._cluster.is_here():  # an engine was collected while its own loop ran, which cannot wait for itself
            threading.Thread(target=self._leave, name="stillroom-ray-close").start()
        else:
            self._leave()

    def _leave(self) -> None:
        try:
            self._cluster.run(self._end()).result()
        finally:
            self._cluster.leave()

    def _forget(self, letter: Letter) -> None:
        """Nobody waits for a letter any more."""
        with self._guard:
            if not self._closed:
                self._cluster.run(self._drop(letter))

    # -- letters --------------------------------------------------------------------------

    async def _deal(self) -> None:
        self._dealing = False
        while self._posted:
            letter = self._posted.popleft()
            if not self._seats:
                self._posted.appendleft(letter)  # dealt when a machine comes
                return
            if not letter.future.cancelled():
                self._seat_for(letter).post(next(self._numbers), letter)

    def _seat_for(self, letter: Letter) -> Seat:
        """The machine with the least to do; of those with little more, one that has just got a letter of the same group.

        What requests have in common at their beginning (demos) is read once where they come together. What a
        machine may have more to do than another is a quarter of what its engine has under way; none is idle.
        """
        least = min(self._seats.values(), key=_load)
        if not least.letters:
            return least
        most = _load(least) + least.facts["max_concurrency"] // 4
        near = [seat for seat in self._seats.values() if seat.group == letter.group and _load(seat) <= most]
        return min(near, key=_load, default=least)

    async def _drop(self, letter: Letter) -> None:
        if letter.place is not None:
            seat, number = letter.place
            seat.drop(number)

    async def _ask_all(self, what: str) -> list[tuple[Node, Letter]]:
        asked = [(seat, Letter(what, None)) for seat in self._seats.values()]
        for seat, letter in asked:
            seat.post(next(self._numbers), letter)
        return [(seat.node, letter) for seat, letter in asked]

    # -- machines ------------------------------------------------------------------------

    async def _open(self) -> list[dict[str, Any]]:
        seats, late = await opened(self._cluster, self._opener, self._patience, GRACE)
        self._model = str(seats[0].facts["model"])
        for seat in seats:
            self._begin(seat.node, _at_once(seat))
        for node, start in late.items():  # their processors are taken; they join when one is free
            self._begin(node, self._seated(node, start))
        self._watching = asyncio.create_task(self._watch())
        return [seat.facts for seat in seats]

    async def _seated(self, node: Node, begun: Awaitable[Any]) -> Seat:
        """A machine that came later: it must have the model of the others."""
        seat = await seated(self._cluster, node, await begun, self._opener)
        if seat.facts["model"] != self._model:
            self._cluster.end(seat.actor)
            raise BadConfig(f"the model must be {self._model}, got {seat.facts['model']}")
        return seat

    def _begin(self, node: Node, opening: Coroutine[Any, Any, Seat]) -> None:
        self._serving[node.id] = asyncio.create_task(self._serve(node, opening))

    async def _serve(self, node: Node, opening: Coroutine[Any, Any, Seat]) -> None:
        """Have a machine work until it is lost."""
        seat = None
        try:
            seat = self._seats[node.id] = await opening
            await self._deal()
            await seat.work()
        except BadInput as error:
            self._leave_out(node, str(error))
        except Exception as error:
            lost = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            self._falls[node.id] = 1 if seat is not None and seat.answered else self._falls[node.id] + 1
            if self._falls[node.id] >= LOSSES:
                self._leave_out(node, last_line(lost))
        finally:
            self._serving.pop(node.id, None)
            if seat is not None:
                self._lose(seat)

    def _leave_out(self, node: Node, why: str) -> None:
        self._falls[node.id] = LOSSES
        _log.warning("%s of the Ray cluster is left out: %s", node.name, why)

    def _lose(self, seat: Seat) -> None:
        """Send what was under way on a lost machine to others, in its order."""
        del self._seats[seat.node.id]
        self._cluster.end(seat.actor)
        if not self._seats:
            self._empty_since = monotonic()
        if seat.letters and not self._closed:
            _log.warning(
                "%s of the Ray cluster was lost; %d requests under way there are asked again",
                seat.node.name,
                len(seat.letters),
            )
        again = []
        for letter in seat.letters.values():
            letter.losses += 1
            letter.place = None
            if letter.losses < LOSSES:
                again.append(letter)
            else:
                error = EngineBusy(f"{letter.losses} machines were lost while they worked on the request")
                error.unanswered_tries = letter.losses
                letter.settle(error=error)
        self._posted.extendleft(reversed(again))
        self._cluster.run(self._deal())

    async def _watch(self) -> None:
        """See machines come and go."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                nodes = await asyncio.to_thread(self._cluster.nodes)
            except Exception as error:  # Ray ends this process itself if the cluster's head stays away
                _log.debug("the Ray cluster does not answer: %s", last_line(error))
            else:
                self._follow(nodes)
            if self._posted and not self._seats and monotonic() - self._empty_since > self._patience:
                self._fail(EngineBusy(f"no machine of the Ray cluster is left since {self._patience:.0f} s"))

    def _follow(self, nodes: Mapping[str, Node]) -> None:
        for gone in self._serving.keys() - nodes.keys():
            self._serving[gone].cancel()
        for key in nodes.keys() - self._serving.keys():
            if self._falls[key] < LOSSES:
                self._begin(nodes[key], self._seated(nodes[key], begun(self._cluster, nodes[key])))

    def _fail(self, error: EngineError) -> None:
        while self._posted:  # taken one by one: another thread may be adding to it
            self._posted.popleft().settle(error=error)

    async def _end(self) -> None:
        tasks = [*self._serving.values(), *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail(EngineError("the engine was closed"))


def _load(seat: Seat) -> int:
    return len(seat.letters)


def _from(node: Node, letter: Letter) -> Any:
    try:
        return letter.future.result()
    except StillroomError as error:
        raise raised(failure(error), node.name) from error


async def _at_once(seat: Seat) -> Seat:
    return seat
