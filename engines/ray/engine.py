"""An engine on every machine of a Ray cluster, as one engine."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stillroom.engines.contract import Engine, Score
from stillroom.engines.http import Served
from stillroom.errors import EngineError

from ._cluster import LOCAL, join
from ._mail import raised
from ._pool import Pool
from ._seat import Letter

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["RayEngine"]


class RayEngine(Engine):
    """Open the same engine on each machine and spread requests over them.

    Rows, gates, store and ledger stay in this process: only the asking is elsewhere. A machine
    that joins later gets its share, and what was under way on one that is lost is asked again on
    another. Where unseen answers are charged, each such loss stands in the answer's
    `unanswered_tries`, and so on the bill.

    A machine takes part if Ray may use a processor of it. Closing ends a cluster that was started
    here and leaves one that was joined as it was.

    Args:
        opener: Makes the engine; called once on each machine, whose files and environment it sees.
            Ray pickles it, and hands it over in memory: it stands in no log and in no command line.
        where: `ray` for a cluster on this machine; `auto`, `HOST:PORT` or `ray://HOST:PORT` for one that runs.
        patience: Seconds to wait for the first workers, and for a machine when none is left.
        serves: Model ids that the machines' answers may come under, as `HttpEngine` takes them; `None`:
            they are not compared.

    Attributes:
        copies: How many machines answered when it was opened; `max_concurrency` is of so many together.

    Raises:
        BadConfig: If Ray is not installed, `where` cannot be an address, or machines have different models.
        EngineBusy: If the cluster does not answer or has no processor free.
        StillroomError: What the engine raises on the machine where it cannot be opened.
    """

    def __init__(
        self,
        opener: Callable[[], Engine],
        where: str = LOCAL,
        *,
        patience: float = 300.0,
        serves: Sequence[str] | None = None,
    ) -> None:
        self._pool = Pool(join(where), opener, patience)
        self._end = weakref.finalize(self, self._pool.close)
        try:
            opened = self._pool.open()
        except BaseException:
            self._end()
            raise
        for name, value in opened[0].items():
            setattr(self, name, value)
        self.supported_params = frozenset(self.supported_params)
        # each machine holds the endpoint to one model; here all of them are held to the same
        self._served = None if serves is None else Served(self.model.split("/")[1], serves)
        self._take = partial(_answered, self.charges_unanswered, self._served)
        self.copies *= len(opened)
        self.max_concurrency *= len(opened)

    def __repr__(self) -> str:
        return f"RayEngine({self.model!r})"

    def submit(self, request: Request) -> Future[Response]:
        """Send `request` to a machine that has little to do. Cancelling the future stops the work there."""
        letter = Letter("complete", _value(request), _group(request), self._take)
        try:
            if self._served is not None:
                self._served.hold()
            self._pool.post(letter)
        except EngineError as error:
            letter.settle(error=error)
        return letter.future

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """As the engine on a machine does."""
        (found,) = self.score_many([request], continuations)
        if isinstance(found, EngineError):
            raise found
        return found

    def score_many(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[Score] | EngineError]:
        """As the engines do, each machine its share of the `requests`."""
        if not self.supports_scores:
            raise NotImplementedError(f"{self.model} cannot score given continuations")
        width = max(1, -(-len(requests) // self.copies))
        shares = [requests[start : start + width] for start in range(0, len(requests), width)]
        letters = [Letter("score", _scoring(share, continuations), take=_scored) for share in shares]
        for letter in letters:
            self._pool.post(letter)
        found: list[list[Score] | EngineError] = []
        for letter, share in zip(letters, shares, strict=True):
            try:
                found += letter.future.result()
            except EngineError as error:
                found += [error] * len(share)
        return found

    def check(self) -> dict[str, Any]:
        """Let each machine ask, once and for free, whether its engine can be used; what they found, by machine.

        Raises:
            StillroomError: Of the first machine that cannot use it, which it names.
        """
        return self._pool.ask_all("check")

    def count_tokens(self, request: Request) -> int:
        """An upper bound of the prompt's tokens: the bytes of the whole request as it is sent."""
        return len(json.dumps(_value(request)))

    def close(self) -> None:
        """End the workers and leave the cluster."""
        self._end()


def _answered(charged: bool, served: Served | None, value: Any, losses: int) -> Response:
    """An answer; where unseen ones are `charged`, with those of the machines that were lost before it.

    Raises:
        EngineRefused: If another model than that of the answers before was `served`.
    """
    from dspy._vendor.lm15.serde import response_from_dict

    answer = response_from_dict(value)
    told = answer.provider_data or {}
    if served is not None:
        served.check(told.get("model"))
    if not (losses and charged):
        return answer
    return replace(answer, provider_data={**told, "unanswered_tries": told.get("unanswered_tries", 0) + losses})


def _value(request: Request) -> Any:
    from dspy._vendor.lm15.serde import request_to_dict

    return request_to_dict(request)


def _group(request: Request) -> int:
    """The same for requests that differ in their last message alone."""
    return hash((str(request.system), *(message.text for message in request.messages[:-1])))


def _scoring(requests: Sequence[Request], continuations: Sequence[str]) -> Any:
    return {"requests": [_value(request) for request in requests], "continuations": list(continuations)}


def _scored(value: Any, losses: int) -> list[list[Score] | EngineError]:
    return [
        raised(each) if isinstance(each, dict) else [Score(*score) for score in each]  # type: ignore[misc]
        for each in value
    ]
