"""One call under way, and how its end is told to everybody who waits for it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING

from stillroom.errors import EngineError
from stillroom.ledger import Reservation

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Call", "GivenUp", "failure", "pass_on"]


class GivenUp(EngineError):
    """Whoever asked first does not wait any more, and the call went with them."""

    def __init__(self) -> None:
        super().__init__("the call was cancelled")


class Call:
    """What is promised for a call under way, and who else waits for its answer."""

    __slots__ = ("ended", "followers", "key", "opened", "request", "reservation", "started", "text")

    def __init__(
        self, key: str, text: str, request: Request, reservation: Reservation, opened: int | None, started: float
    ) -> None:
        self.key, self.text, self.request = key, text, request
        self.reservation, self.opened, self.started = reservation, opened, started
        self.followers: list[Future[Response]] = []
        self.ended: Future[None] | None = None  # of a call that nobody awaits: done when it is recorded

    def follow(self) -> Future[Response]:
        """A second caller gets a future of its own: cancelling it leaves the call alone."""
        self.followers.append(Future())
        return self.followers[-1]


def failure(done: Future[Response]) -> BaseException | None:
    """What a future that is done failed of, or `None`."""
    return GivenUp() if done.cancelled() else done.exception()


def pass_on(future: Future[Response], response: Response | None, error: BaseException | None) -> None:
    """Resolve `future`, unless whoever holds it has cancelled it."""
    if not future.set_running_or_notify_cancel():
        return
    if response is not None:
        future.set_result(response)
    else:
        future.set_exception(error)
