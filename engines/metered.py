"""An engine under a ledger and a store: nothing unrecorded, nothing paid for twice.

The way of one call: key -> found in the store? -> under way already? -> reserve
on the ledger -> the inner engine -> record -> settle. Requests with equal
content are one call; a different `seed` in the config keeps samples apart.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, TypeAlias

from stillroom.errors import BadConfig, BudgetExceeded, EngineError
from stillroom.ledger import Ledger, Reservation, Spent
from stillroom.store import Store
from stillroom.values import canonical, digest

from .contract import Engine, Score
from .prices import cost_usd

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["DEFAULT_MAX_TOKENS", "Metered", "call_key", "call_seconds"]

DEFAULT_MAX_TOKENS = 1024
SECONDS = "stillroom_seconds"  # in the provider data of an answer, so that it is recorded and found with it

_Promise: TypeAlias = "tuple[str, Request, Reservation]"


class Metered(Engine):
    """Wrap `inner` for one `phase` of a run.

    Raises:
        BadConfig: If the budget is in dollars and the model has no known price.
    """

    def __init__(self, inner: Engine, ledger: Ledger, store: Store, phase: str) -> None:
        if ledger.budget.usd is not None and cost_usd(inner.model, 1, 1) is None:
            raise BadConfig(
                f"a budget in dollars needs a price, got none for {inner.model!r}",
                mend="Add it to the price table or limit calls or tokens.",
            )
        self.inner, self.ledger, self.store, self.phase = inner, ledger, store, phase
        self.model = inner.model
        self.licence = inner.licence
        self.max_concurrency = inner.max_concurrency
        self.supports_response_schema = inner.supports_response_schema
        self.supports_regex = inner.supports_regex
        self.supports_scores = inner.supports_scores
        self.supports_function_calling = inner.supports_function_calling
        self.supported_params = inner.supported_params
        self.found = 0
        self._under_way: dict[str, Future[Response]] = {}
        self._guard = threading.Lock()

    def submit(self, request: Request) -> Future[Response]:
        """Start or find `request`. Raises `BudgetExceeded` at once when it does not fit."""
        request = _bounded(request)
        key, text = call_key(request)
        with self._guard:
            leader = self._under_way.get(key)
            if leader is not None:
                return _follow(leader)
            # asked under the guard: a call is recorded before it leaves `_under_way`, so it is seen in one of the two
            recorded = self.store.find_call(key)
            if recorded is not None:
                self.found += 1
                return _answered(recorded)
            reservation = self._reserve(request)
            outer: Future[Response] = Future()
            self._under_way[key] = outer
        return self._start(request, key, text, reservation, outer)

    def complete(self, request: Request) -> Response:
        """Answer `request`; waits for room in the budget while calls under way may leave some."""
        while True:
            try:
                return self._result(self.submit(request))
            except BudgetExceeded as error:
                if not error.pending:
                    raise
                self.ledger.wait()

    async def acomplete(self, request: Request) -> Response:
        """Answer `request` without blocking the event loop, under the same rules as `complete`."""
        while True:
            try:
                future = self.submit(request)
            except BudgetExceeded as error:
                if not error.pending:
                    raise
                await asyncio.to_thread(self.ledger.wait)
                continue
            try:
                return await asyncio.wait_for(asyncio.wrap_future(future), self.ledger.seconds_left)
            except TimeoutError:
                raise self.ledger.out_of("minutes", self.ledger.budget.minutes, 0) from None

    def complete_many(self, requests: Sequence[Request]) -> list[Response | EngineError]:
        """Answer all `requests` in order, at most `max_concurrency` of them under way at once.

        Raises:
            BudgetExceeded: When the rest does not fit; what was under way is finished and recorded first.
        """
        futures: list[Future[Response]] = []
        under_way: set[Future[Response]] = set()
        try:
            for request in requests:
                if len(under_way) >= self.max_concurrency:
                    under_way = wait(under_way, self.ledger.seconds_left, FIRST_COMPLETED).not_done
                futures.append(self._submit_when_it_fits(request))
                under_way.add(futures[-1])
        except BudgetExceeded:
            for future in futures:
                self._outcome(future)
            raise
        return [self._outcome(future) for future in futures]

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """Score `continuations`; recorded and charged as one call each."""
        (found,) = self.score_many([request], continuations)
        if isinstance(found, EngineError):
            raise found
        return found

    def score_many(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[Score] | EngineError]:
        """Score `continuations` for all `requests`, at most `max_concurrency` of them at once.

        Raises:
            BudgetExceeded: When the rest does not fit; what fitted was scored and recorded first.
        """
        keys = [_score_key(request, continuations) for request in requests]
        wanted = dict(zip(keys, requests, strict=True))  # equal requests are one call
        known: dict[str, list[Score] | EngineError] = {}
        for key in wanted:
            recorded = self.store.find_call(key)
            if recorded is not None:
                self.found += 1
                known[key] = [Score(*values) for values in json.loads(recorded)]
        missing = [(key, request) for key, request in wanted.items() if key not in known]
        while missing:
            promised, full = self._promised(missing[: self.max_concurrency], continuations)
            known |= self._scored(promised, continuations)
            missing = missing[len(promised) :]
            if full is not None:
                if not full.pending:
                    raise full
                self.ledger.wait()
        return [known[key] for key in keys]

    def count_tokens(self, request: Request) -> int:
        """As the inner engine counts."""
        return self.inner.count_tokens(request)

    # -- one call ----------------------------------------------------------------

    def _reserve(self, request: Request, tokens_out: int | None = None) -> Reservation:
        """Promise the call at its worst case; `tokens_out` is at most what the request allows, if not given."""
        limits = self.ledger.budget
        if limits.tokens is None and limits.usd is None and not self.inner.charges_unanswered:
            return self.ledger.reserve(0)  # nobody will ask, and counting costs time
        tokens_in = self.inner.count_tokens(request)
        tokens_out = request.config.max_tokens or DEFAULT_MAX_TOKENS if tokens_out is None else tokens_out
        return self.ledger.reserve(tokens_in + tokens_out, cost_usd(self.model, tokens_in, tokens_out) or 0.0)

    def _start(
        self, request: Request, key: str, text: str, reservation: Reservation, outer: Future[Response]
    ) -> Future[Response]:
        started = time.monotonic()
        opened = None
        if self.inner.charges_unanswered:
            opened = self.store.open_call(key, self.phase, self.model, reservation.tokens, reservation.usd)

        def finish(inner: Future[Response]) -> None:
            response = None
            try:
                error = _error(inner)
                if error is None:
                    response = _timed(inner.result(), time.monotonic() - started)
                    cost = self._cost(request, response)
                    self.store.finish_call(key, self.phase, self.model, text, _dump(response), cost, opened)
                    self.ledger.settle(reservation, cost)
                    with self._guard:
                        self._under_way.pop(key, None)
                else:
                    self._failed(key, reservation, opened, str(error))
            except BaseException as unrecorded:  # a full disk must reach the caller, not a thread's log
                _pass_on(outer, None, unrecorded)
            else:
                _pass_on(outer, response, error)

        try:
            inner = self.inner.submit(request)
        except EngineError as error:
            self._failed(key, reservation, opened, str(error))
            raise
        except BaseException:  # Ctrl-C and the like: the call was not made, and is no failure on record
            self._forget(key, reservation)
            raise
        outer.add_done_callback(lambda future: inner.cancel() if future.cancelled() else None)
        inner.add_done_callback(finish)
        return outer

    def drain(self, timeout: float = 60.0) -> None:
        """Wait until every call under way is recorded, at most `timeout` seconds."""
        with self._guard:
            under_way = list(self._under_way.values())
        wait(under_way, timeout)

    def _failed(self, key: str, reservation: Reservation, opened: int | None, error: str) -> None:
        self.store.fail_call(key, self.phase, self.model, error, opened)
        self._forget(key, reservation)

    def _forget(self, key: str, reservation: Reservation) -> None:
        with self._guard:
            self._under_way.pop(key, None)
        self.ledger.release(reservation)

    def _cost(self, request: Request, response: Response) -> Spent:
        usage = response.usage
        tokens_in = usage.input_tokens if usage.input_tokens is not None else self.inner.count_tokens(request)
        tokens_out = (
            usage.output_tokens if usage.output_tokens is not None else len((response.message.text or "").encode())
        )
        usd = cost_usd(self.model, tokens_in, tokens_out) or 0.0
        return Spent(1, tokens_in, tokens_out, usd, call_seconds(response))

    # -- one batch of scores ---------------------------------------------------------

    def _promised(
        self, batch: Sequence[tuple[str, Request]], continuations: Sequence[str]
    ) -> tuple[list[_Promise], BudgetExceeded | None]:
        """Reserve as many calls of `batch` as fit; with the reason if not all do."""
        longest = sum(len(text.encode()) for text in continuations)
        promised: list[_Promise] = []
        for key, request in batch:
            try:
                promised.append((key, request, self._reserve(request, longest)))
            except BudgetExceeded as error:
                return promised, error
        return promised, None

    def _scored(self, batch: Sequence[_Promise], continuations: Sequence[str]) -> dict[str, list[Score] | EngineError]:
        """Score, record and settle what was promised."""
        started, left = time.monotonic(), list(batch)
        known: dict[str, list[Score] | EngineError] = {}
        try:
            answers = self.inner.score_many([request for _, request, _ in batch], continuations) if batch else []
            # the whole batch's: an answer that is written waits among the others under way just so
            seconds = round(time.monotonic() - started, 6)
            for (key, request, reservation), scores in zip(batch, answers, strict=True):
                if isinstance(scores, EngineError):
                    known[key] = scores
                    self.store.fail_call(key, self.phase, self.model, str(scores))
                    self.ledger.release(reservation)
                else:
                    tokens = self.inner.count_tokens(request) + sum(score.tokens for score in scores)
                    cost = Spent(1, tokens, 0, cost_usd(self.model, tokens, 0) or 0.0, seconds)
                    timed = [replace(score, seconds=seconds) for score in scores]
                    text = canonical([list(astuple(score)) for score in timed])
                    asked = canonical({"score": list(continuations), "of": json.loads(call_key(_bounded(request))[1])})
                    self.store.finish_call(key, self.phase, self.model, asked, text, cost)
                    self.ledger.settle(reservation, cost)
                    known[key] = timed
                left.pop(0)
        except BaseException:
            for _, _, reservation in left:
                self.ledger.release(reservation)
            raise
        return known

    # -- waiting -------------------------------------------------------------------

    def _submit_when_it_fits(self, request: Request) -> Future[Response]:
        while True:
            try:
                return self.submit(request)
            except BudgetExceeded as error:
                if not error.pending:
                    raise
                self.ledger.wait()

    def _result(self, future: Future[Response]) -> Response:
        try:
            return future.result(timeout=self.ledger.seconds_left)
        except FutureTimeout:
            future.cancel()
            raise self.ledger.out_of("minutes", self.ledger.budget.minutes, 0) from None

    def _outcome(self, future: Future[Response]) -> Response | EngineError:
        try:
            return self._result(future)
        except EngineError as error:
            return error


def _bounded(request: Request) -> Request:
    """Every request names its longest answer: without one no reservation would hold."""
    if request.config.max_tokens is not None:
        return request
    return replace(request, config=replace(request.config, max_tokens=DEFAULT_MAX_TOKENS))


def _score_key(request: Request, continuations: Sequence[str]) -> str:
    return digest({"score": call_key(_bounded(request))[0], "continuations": list(continuations)}, 32)


def call_key(request: Request) -> tuple[str, str]:
    """The key a request is recorded under, and its canonical spelling: model, messages, config and seed."""
    from dspy._vendor.lm15.serde import request_to_dict  # the public module has no serialiser

    value = request_to_dict(request)
    return digest(value, 32), canonical(value)


def call_seconds(response: Response) -> float:
    """Seconds from asking to answer, among the calls under way beside it, as recorded when it was made.

    0 for an answer that was not metered.
    """
    return float((response.provider_data or {}).get(SECONDS, 0.0))


def _timed(response: Response, seconds: float) -> Response:
    return replace(response, provider_data={**(response.provider_data or {}), SECONDS: round(seconds, 6)})


def _dump(response: Response) -> str:
    from dspy._vendor.lm15.serde import response_to_dict

    # of the provider's data only what is ours: the rest may be long, and nobody reads it again
    return canonical({**response_to_dict(response), "provider_data": {SECONDS: call_seconds(response)}})


def _answered(recorded: str) -> Future[Response]:
    from dspy._vendor.lm15.serde import response_from_dict

    future: Future[Response] = Future()
    future.set_result(response_from_dict(json.loads(recorded)))
    return future


def _follow(leader: Future[Response]) -> Future[Response]:
    """A second caller of the same request gets a future of its own: cancelling it leaves the call alone."""
    follower: Future[Response] = Future()
    leader.add_done_callback(lambda done: _pass_on(follower, None if _error(done) else done.result(), _error(done)))
    return follower


def _error(done: Future[Response]) -> BaseException | None:
    return EngineError("the call was cancelled") if done.cancelled() else done.exception()


def _pass_on(future: Future[Response], response: Response | None, error: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if response is not None:
        future.set_result(response)
    else:
        future.set_exception(error)
