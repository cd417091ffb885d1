"""How a DSPy optimizer is stopped, watched and kept quiet from outside. Importing this module imports DSPy.

A peer is never edited. It is stopped from below: when the budget is full, or the
infrastructure fails, the engine under its LM raises `Halt`, which is no
`Exception`, so that no peer can take it for a wrong answer and go on. What it had
found by then is known from DSPy's own callbacks.
"""

from __future__ import annotations

import contextlib
import io
import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import ContextLengthError, Request, Response
from dspy.utils.callback import BaseCallback

from stillroom.engines import Engine, Metered
from stillroom.errors import StillroomError
from stillroom.ledger import Ledger
from stillroom.store import Store

__all__ = ["Gate", "Halt", "Switch", "Watch", "quiet", "too_long"]


def too_long(error: BaseException) -> bool:
    """Whether `error` says that a prompt does not fit the model: the asker's own fault, not an outage."""
    return isinstance(error.__cause__, ContextLengthError)


# -- stopping a peer ---------------------------------------------------------------------


class Halt(BaseException):
    """Stop a peer whatever it catches. `error` is why."""

    def __init__(self, error: StillroomError) -> None:
        super().__init__(str(error))
        self.error = error


class Switch:
    """Whether calls may still be made; shared by the task model and the prompt model of a peer."""

    def __init__(self) -> None:
        self.error: StillroomError | None = None
        self._closed = False
        self._inside = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Make one call, or raise `Halt` because an earlier one did, or nobody waits for the answer."""
        with self._changed:
            if self._closed or self.error is not None:
                raise Halt(self.error or StillroomError("the strategy has ended"))
            self._inside += 1
        try:
            yield
        except StillroomError as error:
            if too_long(error):
                raise
            with self._changed:
                self.error = self.error or error
            raise Halt(error) from error
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def close(self, timeout: float = 60.0) -> None:
        """Let nothing through any more and wait for what is under way: threads of a peer may outlive it."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0, timeout)


class Gate(Engine):
    """A metered engine behind a switch."""

    def __init__(self, inner: Metered, switch: Switch) -> None:
        self.inner, self.switch = inner, switch
        self.model, self.licence, self.max_concurrency = inner.model, inner.licence, inner.max_concurrency
        self.supports_response_schema = inner.supports_response_schema
        self.supports_regex = inner.supports_regex
        self.supports_function_calling = inner.supports_function_calling
        self.supported_params = inner.supported_params

    def submit(self, request: Request) -> Future[Response]:
        """Start `request`, if the switch is on."""
        with self.switch.call():
            return self.inner.submit(request)

    def complete(self, request: Request) -> Response:
        """Answer `request`, blocking, if the switch is on."""
        with self.switch.call():
            return self.inner.complete(request)

    async def acomplete(self, request: Request) -> Response:
        """Answer `request`, if the switch is on."""
        with self.switch.call():
            return await self.inner.acomplete(request)


# -- watching a peer -----------------------------------------------------------------------


@dataclass(eq=False)
class Watch(BaseCallback):  # type: ignore[misc]  # DSPy has no types
    """See every program that a peer scores on the whole search split; keep the first best.

    Attributes:
        rows: The search split as the peer got it; recognised by identity, in any order.
        best: The best program so far and its mean score.
        points: (ledger calls, best score so far) after each; calls as they were when it was first
            scored, which the store remembers, since a resumed run pays nothing on its way back.
    """

    rows: Sequence[dspy.Example]
    ledger: Ledger
    store: Store
    best: tuple[dspy.Module, float] | None = None
    points: list[tuple[int, float]] = field(default_factory=list)
    _open: dict[str, dspy.Module] = field(default_factory=dict)

    def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        """Copy the program under evaluation: COPRO goes on editing its own."""
        devset = inputs.get("devset") or instance.devset
        if {id(row) for row in devset} == {id(row) for row in self.rows}:
            self._open[call_id] = inputs["program"].deepcopy()

    def on_evaluate_end(self, call_id: str, outputs: Any | None, exception: BaseException | None = None) -> None:
        """Note the score of a program that was scored in full."""
        program = self._open.pop(call_id, None)
        if program is None or outputs is None:
            return
        scores = [float(getattr(score, "score", score)) for _, _, score in outputs.results]
        mean = sum(scores) / len(scores)
        if self.best is None or mean > self.best[1]:
            self.best = (program, mean)
        key = f"{len(self.points):05d}"
        calls = self.store.notes("scored").get(key, {"calls": self.ledger.spent.calls})["calls"]
        self.store.put_note("scored", key, {"calls": calls, "score": mean, "best": self.best[1]})
        self.points.append((calls, self.best[1]))


# -- quiet --------------------------------------------------------------------------------------


class _Nowhere(io.TextIOBase):
    """Takes every text. Never closed: a stopped peer's progress bar may write once more."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep a peer's printing and bars off the terminal, its reports of failed answers out of the log; put all back."""
    import optuna

    logger, verbosity = logging.getLogger("dspy"), optuna.logging.get_verbosity()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()):
            yield
    finally:
        logger.setLevel(level)
        optuna.logging.set_verbosity(verbosity)
