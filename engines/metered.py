"""An engine under a ledger and a store: nothing unrecorded, nothing paid for twice.

The way of one call: key -> found in the store? -> under way already? -> reserve
on the ledger -> the inner engine -> record -> settle. Requests with equal
content are one call; a different `seed` in the config keeps samples apart.
Recording is a note to the store's writer, which commits many at a time: no call
waits for the disk, and none is made while the disk takes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from stillroom.errors import BudgetExceeded, EngineError
from stillroom.ledger import Ledger, Reservation, Spent
from stillroom.store import Store

from ._call import Call, GivenUp, failure, pass_on
from ._spelling import (
    DEFAULT_MAX_TOKENS,
    bounded,
    call_key,
    call_seconds,
    dump,
    dump_scores,
    load,
    load_scores,
    score_key,
    served_version,
    timed,
)
from .contract import Engine, Score, resending
from .prices import no_price

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["DEFAULT_MAX_TOKENS", "Metered", "call_key", "call_seconds", "served_version"]

_Promise: TypeAlias = "tuple[str, str, Request, Reservation]"
_T = TypeVar("_T")


class Metered(Engine):
    """Wrap `inner` for one `phase` of a run.

    A request is sent as this engine's: its model is `inner.model`, whatever model it was
    written for, so that answers of two models in one store are never mixed up.

    Where `inner.charges_unanswered`, a record that the call may cost its worst case is made
    before it is sent. It is on disk at most the store's batch window (20 ms) later: of the
    calls that kill -9 leaves unanswered, those sent before that window stay on the bill as
    `lost`, and so does a call that is cancelled while it is under way.

    Raises:
        BadConfig: If the budget is in dollars and the model has no known price.
    """

    def __init__(self, inner: Engine, ledger: Ledger, store: Store, phase: str) -> None:
        if ledger.budget.usd is not None and inner.price is None:
            raise no_price(inner.model)
        self.inner, self.ledger, self.store, self.phase = inner, ledger, store, phase
        for name in Engine.__annotations__:  # what the contract says of an engine is what it says of the inner one
            setattr(self, name, getattr(inner, name))
        self.prices = inner.prices
        self.found = 0

    def submit(self, request: Request) -> Future[Response]:
        """Start or find `request`.

        Raises:
            BudgetExceeded: At once, when it does not fit.
            RunReadOnly: At once, while the store cannot record what is paid for.
        """
        begun = self._begin(request)
        if isinstance(begun, Future):
            return begun
        outer: Future[Response] = Future()
        if not isinstance(begun, Call):
            outer.set_result(begun)
            return outer
        ended = begun.ended = Future()

        def finish(inner: Future[Response]) -> None:
            response, error = None, failure(inner)
            try:
                if error is None:
                    response = self._done(begun, inner.result())
                else:
                    self._failed(begun, error)
            except BaseException as unrecorded:  # a closed run must reach the caller, not a thread's log
                error = unrecorded
            pass_on(outer, response, error)
            ended.set_result(None)

        before = resending.set(partial(self._promise, begun))
        try:
            inner = self.inner.submit(begun.request)
        except BaseException as error:
            ended.set_result(None)
            self._failed(begun, error)
            raise
        finally:
            resending.reset(before)
        outer.add_done_callback(lambda future: inner.cancel() if future.cancelled() else None)
        inner.add_done_callback(finish)
        return outer

    def complete(self, request: Request) -> Response:
        """Answer `request`; waits for room in the budget while calls under way may leave some."""
        while True:
            try:
                return self._result(self._submit_when_it_fits(request))
            except GivenUp:
                continue
            except BudgetExceeded as error:  # it was sent, and another try did not fit beside what others were promised
                if not error.pending:
                    raise
                self.ledger.wait()

    async def acomplete(self, request: Request) -> Response:
        """Answer `request` on the caller's event loop, without blocking it, under the same rules as `complete`.

        Cancelling it cancels the call; others who wait for the same answer then ask again.
        """
        while True:
            try:
                begun = self._begin(request)
                if isinstance(begun, Call):
                    return await self._made(begun)
            except BudgetExceeded as error:  # of the first try, or of another one beside what others were promised
                if not error.pending:
                    raise
                await self.ledger.await_settled()
                continue
            if not isinstance(begun, Future):
                return begun
            try:
                return await self._in_time(asyncio.wrap_future(begun))
            except GivenUp:
                continue

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
        requests = [bounded(request, self.model) for request in requests]
        keys = [score_key(request, continuations) for request in requests]
        wanted = dict(zip(keys, requests, strict=True))  # equal requests are one call
        known: dict[str, list[Score] | EngineError] = {}
        for key, _ in wanted:
            recorded = self.store.find_call(key)
            if recorded is not None:
                self.found += 1
                known[key] = load_scores(recorded)
        missing = [(key, text, request) for (key, text), request in wanted.items() if key not in known]
        while missing:
            promised, full = self._promised(missing[: self.max_concurrency], continuations)
            known |= self._scored(promised, continuations)
            missing = missing[len(promised) :]
            if full is not None:
                if not full.pending:
                    raise full
                self.ledger.wait()
        return [known[key] for key, _ in keys]

    def count_tokens(self, request: Request) -> int:
        """As the inner engine counts."""
        return self.inner.count_tokens(request)

    def drain(self, timeout: float = 60.0) -> None:
        """Wait until every call under way that nobody awaits is recorded, at most `timeout` seconds."""
        with self.store.guard:
            calls = list(self.store.under_way.values())
        wait([call.ended for call in calls if call.ended is not None], timeout)

    # -- one call ----------------------------------------------------------------

    def _begin(self, request: Request) -> Response | Future[Response] | Call:
        """Find the answer to `request`, or follow whoever asked for it, or promise the call that is to be made."""
        request = bounded(request, self.model)
        key, text = call_key(request)
        with self.store.guard:
            leader = self.store.under_way.get(key)
            if leader is not None:
                followed: Future[Response] = leader.follow()
                return followed
            # asked under the guard: a call is recorded before it leaves `under_way`, so it is seen in one of the two
            recorded = self.store.find_call(key)
            if recorded is None:
                self.store.check()
                reservation = self._reserve(request, text)
                opened = None
                if self.inner.charges_unanswered:
                    opened = self.store.open_call(key, self.phase, self.model, reservation.tokens, reservation.usd)
                call = Call(key, text, request, reservation, opened, time.monotonic())
                self.store.under_way[key] = call
                return call
        self.found += 1
        return load(recorded)

    async def _made(self, call: Call) -> Response:
        before = resending.set(partial(self._promise, call))
        try:
            response = await self._in_time(self.inner.acomplete(call.request))
        except BaseException as error:
            self._failed(call, error)
            raise
        finally:
            resending.reset(before)
        return self._done(call, response)

    def _promise(self, call: Call, unanswered: int) -> None:
        """Promise one more try of `call` before it is sent: those that are lost must fit the budget as well."""
        call.reservation = self.ledger.extend(call.reservation, unanswered + self.calls_per_request)

    def _done(self, call: Call, response: Response) -> Response:
        """Record and settle an answer and tell whoever else waits for it."""
        response = timed(response, time.monotonic() - call.started)
        cost = self._cost(call.request, response)
        tries = (response.provider_data or {}).get("unanswered_tries")
        try:
            self.store.finish_call(call.key, self.phase, self.model, call.text, dump(response), cost, call.opened)
            if tries:
                cost += self._lose(call, int(tries))
        except BaseException as error:
            self.ledger.release(call.reservation)
            self._leave(call, None, error)
            raise
        self.ledger.settle(call.reservation, cost)
        self._leave(call, response, None)
        return response

    def _failed(self, call: Call, error: BaseException) -> None:
        """Record and settle a call without an answer: an outage is free, an answer that nobody waited for may not be."""
        given_up = not isinstance(error, EngineError) or isinstance(error, GivenUp)
        lost = Spent()
        try:
            if not given_up:
                self.store.fail_call(call.key, self.phase, self.model, str(error), call.opened)
                lost = self._lose(call, getattr(error, "unanswered_tries", 0))
            elif call.opened is not None:
                lost = self._lose(call, call.reservation.calls, call.opened)
        finally:
            self.ledger.settle(call.reservation, lost)
            self._leave(call, None, GivenUp() if given_up else error)

    def _lose(self, call: Call, tries: int, opened: int | None = None) -> Spent:
        """Record tries that were sent without an answer coming of them, and say what they cost: each its worst case.

        The first is recorded in place of what was `opened`.
        """
        each = call.reservation.times(1)
        for number in range(tries):
            self.store.lose_call(call.key, self.phase, self.model, each.tokens, each.usd, None if number else opened)
        return Spent(tries, tries * each.tokens, 0, tries * each.usd)

    def _leave(self, call: Call, response: Response | None, error: BaseException | None) -> None:
        with self.store.guard:
            del self.store.under_way[call.key]
        for follower in call.followers:
            pass_on(follower, response, error)

    def _reserve(self, request: Request, text: str, tokens_out: int | None = None) -> Reservation:
        """Promise the call at its worst case; `tokens_out` is at most what the request allows, if not given."""
        limits = self.ledger.budget
        if limits.tokens is not None or limits.usd is not None:
            tokens_in = self.inner.count_tokens(request)
        elif self.inner.charges_unanswered:
            tokens_in = len(text.encode())  # nobody is refused for it: a bound that costs nothing will do
        else:
            return self.ledger.reserve(0)  # nobody will ask, and counting costs time
        tokens_out = request.config.max_tokens or DEFAULT_MAX_TOKENS if tokens_out is None else tokens_out
        usd = self.cost(tokens_in, tokens_out) or 0.0
        times = self.inner.calls_per_request
        return self.ledger.reserve(times * (tokens_in + tokens_out), times * usd, times)

    def _cost(self, request: Request, response: Response) -> Spent:
        usage = response.usage
        tokens_in = usage.input_tokens if usage.input_tokens is not None else self.inner.count_tokens(request)
        tokens_out = (
            usage.output_tokens if usage.output_tokens is not None else len((response.message.text or "").encode())
        )
        usd = self.cost(tokens_in, tokens_out, usage.cache_read_tokens or 0) or 0.0
        return Spent(1, tokens_in, tokens_out, usd, call_seconds(response))

    # -- one batch of scores ---------------------------------------------------------

    def _promised(
        self, batch: Sequence[tuple[str, str, Request]], continuations: Sequence[str]
    ) -> tuple[list[_Promise], BudgetExceeded | None]:
        """Reserve as many calls of `batch` as fit; with the reason if not all do."""
        self.store.check()
        longest = sum(len(text.encode()) for text in continuations)
        promised: list[_Promise] = []
        for key, text, request in batch:
            try:
                promised.append((key, text, request, self._reserve(request, text, longest)))
            except BudgetExceeded as error:
                return promised, error
        return promised, None

    def _scored(self, batch: Sequence[_Promise], continuations: Sequence[str]) -> dict[str, list[Score] | EngineError]:
        """Score, record and settle what was promised."""
        started, left = time.monotonic(), list(batch)
        known: dict[str, list[Score] | EngineError] = {}
        try:
            answers = self.inner.score_many([request for _, _, request, _ in batch], continuations) if batch else []
            # the whole batch's: an answer that is written waits among the others under way just so
            seconds = round(time.monotonic() - started, 6)
            for (key, text, request, reservation), scores in zip(batch, answers, strict=True):
                if isinstance(scores, EngineError):
                    known[key] = scores
                    self.store.fail_call(key, self.phase, self.model, str(scores))
                    self.ledger.release(reservation)
                else:
                    known[key] = marked = [replace(score, seconds=seconds) for score in scores]
                    tokens = self.inner.count_tokens(request) + sum(score.tokens for score in scores)
                    cost = Spent(1, tokens, 0, self.cost(tokens, 0) or 0.0, seconds)
                    self.store.finish_call(key, self.phase, self.model, text, dump_scores(marked), cost)
                    self.ledger.settle(reservation, cost)
                left.pop(0)
        except BaseException:
            for *_, reservation in left:
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

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        left = self.ledger.seconds_left
        if left is None:
            return await answer
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if not limit.expired():
                raise
            raise self.ledger.out_of("minutes", self.ledger.budget.minutes, 0) from None
