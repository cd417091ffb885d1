"""The driver's hand on one machine: letters go out, answers come in, until the machine is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ._mail import MOST, raised, read, write

__all__ = ["Letter", "Node", "Seat", "answered"]


async def answered(ref: Any) -> Any:
    """What a call to an actor gives. Cancelling it leaves the call alone: Ray's client breaks over calls that are cancelled."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(done: Future[Any]) -> None:
        if answer.done():
            return
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def tell(done: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and whoever waited on it
            loop.call_soon_threadsafe(settle, done)

    ref.future().add_done_callback(tell)
    return await answer


@dataclass(frozen=True)
class Node:
    """A machine of the cluster: Ray's id of it, and what messages call it."""

    id: str
    name: str


@dataclass(eq=False)
class Letter:
    """Something asked of a machine, and who waits for the answer.

    Attributes:
        what: What a `Worker` is to do: complete, score or check.
        value: With what, as a JSON value.
        group: What is the same for letters that are best done by one machine, one after the other.
        take: Makes the result of the answer, which is a JSON value, and of the number of `losses`.
        losses: How many machines were lost with it.
        place: The seat it is at and its number there, while it is under way.
    """

    what: str
    value: Any
    group: int = 0
    take: Callable[[Any, int], Any] = lambda value, losses: value
    future: Future[Any] = field(default_factory=Future)
    losses: int = 0
    place: tuple[Seat, int] | None = None

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        """Give the answer, unless nobody waits for it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            if error is None:
                self.future.set_result(self.take(value, self.losses))
        except Exception as unreadable:
            error = unreadable
        if error is not None:
            self.future.set_exception(error)


class Seat:
    """An opened worker on one machine. Belongs to the pool's event loop.

    Args:
        node: Where it is.
        actor: The handle of its actor.
        facts: What its engine says of itself.

    Attributes:
        letters: What is under way, by number.
        answered: How many letters were answered.
        group: That of the last letter it got.
    """

    def __init__(self, node: Node, actor: Any, facts: dict[str, Any]) -> None:
        self.node, self.actor, self.facts = node, actor, facts
        self.letters: dict[int, Letter] = {}
        self.answered = self.group = 0
        self._outbox: list[tuple[int, str, Any]] = []
        self._some = asyncio.Event()

    def post(self, number: int, letter: Letter) -> None:
        """Put a letter into the next mail."""
        self.letters[number] = letter
        self.group = letter.group
        letter.place = (self, number)
        self._send(number, letter.what, letter.value)

    def drop(self, number: int) -> None:
        """Tell the machine that nobody waits for a letter any more."""
        if self.letters.pop(number, None) is not None:
            self._send(number, "drop", None)

    async def work(self) -> None:
        """Carry letters and answers. Never returns: it raises what took the machine away."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry_out())
            group.create_task(self._carry_in())

    def _send(self, number: int, what: str, value: Any) -> None:
        self._outbox.append((number, what, value))
        self._some.set()

    async def _carry_out(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while letters := self._outbox[:MOST]:
                del self._outbox[:MOST]
                await answered(self.actor.take.remote(write(letters)))  # what comes meanwhile goes with the next mail

    async def _carry_in(self) -> None:
        while True:
            for number, value, failed in read(await answered(self.actor.answers.remote())):
                letter = self.letters.pop(number, None)
                if letter is not None:
                    self.answered += 1
                    letter.settle(value, None if failed is None else raised(failed))
