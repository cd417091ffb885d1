"""What may be spent, what was spent, and what is promised to calls under way.

A call is reserved at its worst case before it is made and settled at its true
cost afterwards, so that `spent + promised` never passes the budget. Spending is
cumulative over resumes: a ledger starts from what the store says was spent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .errors import BadConfig, BudgetExceeded

__all__ = ["Budget", "Ledger", "Reservation", "Spent"]


@dataclass(frozen=True)
class Budget:
    """Hard limits of one phase; `None` means no limit.

    Attributes:
        calls: Model calls that are paid for; answers found in the store are free.
        tokens: Prompt plus completion tokens.
        minutes: Wall-clock minutes of the phase, over all its sessions.
        usd: US dollars, by the price table (`stillroom.engines.prices`).

    Raises:
        BadConfig: If a limit is negative or not a number.
    """

    calls: int | None = None
    tokens: int | None = None
    minutes: float | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "minutes", "usd"):
            limit = getattr(self, name)
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit >= 0):
                raise BadConfig(
                    f"budget {name} must be a number >= 0, got {limit!r}", mend="Leave it out for no limit."
                )

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds."""
        return None if self.minutes is None else self.minutes * 60


@dataclass(frozen=True)
class Spent:
    """What calls have cost: counts, tokens, wall-clock seconds, US dollars."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt plus completion tokens."""
        return self.tokens_in + self.tokens_out

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.usd + other.usd,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, eq=False)
class Reservation:
    """The worst case of one call under way. Each is itself: two of the same size are two."""

    tokens: int
    usd: float
    calls: int = 1

    def times(self, calls: int) -> Reservation:
        """What so many of its calls take."""
        return Reservation(calls * (self.tokens // self.calls), calls * self.usd / self.calls, calls)


class Ledger:
    """Keep one phase inside its budget. Safe to use from many threads."""

    def __init__(
        self, budget: Budget, spent: Spent | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start from what was `spent` in earlier sessions; `clock` gives seconds."""
        self.budget = budget
        self._clock = clock
        spent = spent or Spent()
        self._started = clock() - spent.seconds
        self._calls, self._usd = spent.calls, spent.usd
        self._tokens_in, self._tokens_out = spent.tokens_in, spent.tokens_out
        # what is promised, and its sums: a reservation must cost the same however many are open
        self._open: set[Reservation] = set()
        self._open_calls, self._open_tokens, self._open_usd = 0, 0, 0.0
        self._changed = threading.Condition()
        self._awaiting: list[Callable[[], object]] = []
        self._busy, self._busy_since = 0.0, 0.0

    @property
    def busy(self) -> float:
        """Seconds of this session in which some call was under way."""
        with self._changed:
            return self._busy + (self._clock() - self._busy_since if self._open else 0.0)

    @property
    def spent(self) -> Spent:
        """What was spent so far, over all sessions."""
        with self._changed:
            return Spent(self._calls, self._tokens_in, self._tokens_out, self._usd, self._clock() - self._started)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time limit, or `None` without one; may be negative."""
        limit = self.budget.seconds
        return None if limit is None else limit - (self._clock() - self._started)

    def reserve(self, tokens: int, usd: float = 0.0, calls: int = 1) -> Reservation:
        """Promise so many calls of at most `tokens` tokens and `usd` dollars together.

        Raises:
            BudgetExceeded: If it does not fit; `pending` says whether waiting may help.
        """
        wanted = Reservation(tokens, usd, calls)
        with self._changed:
            self._check(wanted)
            if not self._open:
                self._busy_since = self._clock()
            self._open.add(wanted)
            self._open_calls += calls
            self._open_tokens += tokens
            self._open_usd += usd
        return wanted

    def extend(self, reservation: Reservation, calls: int) -> Reservation:
        """Promise so many calls, each like those of `reservation`, which is open, in its place.

        Raises:
            BudgetExceeded: If what comes on top does not fit; `reservation` stays as it is.
        """
        if calls <= reservation.calls:
            return reservation
        wanted, more = reservation.times(calls), reservation.times(calls - reservation.calls)
        with self._changed:
            self._check(more)
            self._open.remove(reservation)
            self._open.add(wanted)
            self._open_calls += more.calls
            self._open_tokens += more.tokens
            self._open_usd += more.usd
        return wanted

    def settle(self, reservation: Reservation, cost: Spent) -> None:
        """Replace a reservation by the true `cost` of its call. Raises `KeyError` if it is not open."""
        with self._changed:
            self._take_back(reservation)
            self._calls += cost.calls
            self._tokens_in += cost.tokens_in
            self._tokens_out += cost.tokens_out
            self._usd += cost.usd

    def release(self, reservation: Reservation) -> None:
        """Take back a reservation whose call was not paid for. Raises `KeyError` if it is not open."""
        with self._changed:
            self._take_back(reservation)

    def _take_back(self, reservation: Reservation) -> None:
        self._open.remove(reservation)
        if not self._open:
            self._busy += self._clock() - self._busy_since
        self._open_calls -= reservation.calls
        self._open_tokens -= reservation.tokens
        # rounding must not add up over a long run
        self._open_usd = self._open_usd - reservation.usd if self._open else 0.0
        self._changed.notify_all()
        for wake in self._awaiting:
            with suppress(RuntimeError):  # whoever waited is gone, and its loop with it
                wake()
        self._awaiting.clear()

    def wait(self, timeout: float = 1.0) -> None:
        """Wait until a call under way settles, or `timeout` seconds."""
        with self._changed:
            if self._open:
                self._changed.wait(timeout)

    async def await_settled(self, timeout: float = 1.0) -> None:
        """Wait as `wait` does, without blocking the event loop."""
        import asyncio  # here: the command line imports this module for its help

        loop, settled = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            if not self._open:
                return
            self._awaiting.append(lambda: loop.call_soon_threadsafe(settled.set))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await settled.wait()

    def _check(self, wanted: Reservation) -> None:
        left = self.seconds_left
        if left is not None and left <= 0:
            raise self.out_of("minutes", self.budget.minutes, 0)
        limits = self.budget
        promised = (
            ("calls", limits.calls, self._calls, self._open_calls, wanted.calls),
            ("tokens", limits.tokens, self._tokens_in + self._tokens_out, self._open_tokens, wanted.tokens),
            ("usd", limits.usd, self._usd, self._open_usd, wanted.usd),
        )
        for name, limit, settled, opened, asked in promised:
            if limit is not None and settled + opened + asked > limit:
                raise self.out_of(name, limit, asked, pending=bool(self._open) and settled + asked <= limit)

    def out_of(self, name: str, limit: float | None, asked: float, *, pending: bool = False) -> BudgetExceeded:
        """Say which limit is full and how to go on."""
        spent = self.spent
        used = {"calls": spent.calls, "tokens": spent.tokens, "usd": round(spent.usd, 4), "minutes": limit}[name]
        return BudgetExceeded(
            f"budget of {limit} {name} is full: {used} spent, the next call may need {asked}",
            mend="Raise the budget and run again: finished calls are kept and not paid for twice.",
            pending=pending,
        )
