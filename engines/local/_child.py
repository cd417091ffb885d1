"""The process that a pipeline runs in: it hears requests between two steps and tells what ended.

`step` of openvino-genai 2026.4 holds Python's lock from its beginning to its end. In the caller's
process every other thread stood still meanwhile: an event loop, the threads of DSPy that were to
send the next requests, another engine; up to a second at a time.

What is said over the connection: first `PipelineSettings`; then lists of `Asked`, and of numbers to
drop. What is answered: lists of `Ended`. The end of the connection is the end of the process.
"""

from __future__ import annotations

import os
import signal
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ._batch import FLOOR, Batch, Ended, Failure, Job, Kind, last_line
from ._chat import Constraint, Decoding
from ._prefixes import Prompt, chain
from .signals import kept_signal_stack

if TYPE_CHECKING:
    from ._grammars import Grammars
    from ._pipeline import OpenVinoPipeline, PipelineSettings

__all__ = ["Asked", "main", "serve"]

MESSAGES = 64  # heard between two steps, at most
PATIENCE = 0.25  # of the time a step takes

Check = Callable[[Constraint], str | None]


@dataclass(frozen=True)
class Asked:
    """A request as it is sent: numbers instead of texts, four bytes a token.

    Attributes:
        shared: Blocks of the prompt that others may share; all if not given.
    """

    number: int
    ids: array[int]
    decoding: Decoding
    kind: Kind = "answer"
    shared: int | None = None


def main(descriptor: int) -> None:
    """Serve the connection at `descriptor` until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's affair, who then closes the engine
    connection: Connection[Any, Any] = Connection(descriptor)
    try:
        model = _Model(connection.recv())
        made_of = model.made_of
        floor = 0 if made_of.exact else FLOOR  # an echo is wrong beside anything else
        batch = Batch(model.pipeline, width=made_of.width, blocks=made_of.blocks, floor=floor)
        serve(connection, batch, model.check)
    except (EOFError, OSError):
        os._exit(0)  # without the library's complaints about requests that are still there


class _Model:
    """What is loaded, when it is needed."""

    def __init__(self, made_of: PipelineSettings) -> None:
        self.made_of = made_of

    @cached_property
    def _tokenizer(self) -> Any:
        import openvino_genai as genai

        with kept_signal_stack():
            return genai.Tokenizer(self.made_of.folder)

    @cached_property
    def _grammars(self) -> Grammars:
        from ._grammars import Grammars

        return Grammars(self._tokenizer)

    def pipeline(self) -> OpenVinoPipeline:
        """Load the model."""
        from ._pipeline import OpenVinoPipeline

        return OpenVinoPipeline(self.made_of, self._tokenizer)

    def check(self, constraint: Constraint) -> str | None:
        """What is wrong with `constraint`, or None."""
        return self._grammars.error(constraint)


def serve(connection: Connection[Any, Any], batch: Batch, check: Check) -> None:
    """Hear, take a turn, tell; raises `EOFError` or `OSError` when nobody is there any more."""
    answered, took = 0, 0.0
    while True:
        ended = _hear(connection, batch, check, answered, took * PATIENCE)
        began = time.monotonic()
        if batch.busy:
            ended += batch.turn()
        took = time.monotonic() - began
        if ended:
            connection.send(ended)
        answered = len(ended)


def _hear(connection: Connection[Any, Any], batch: Batch, check: Check, expected: int, patience: float) -> list[Ended]:
    """Take in what was said, and wait for it if there is nothing else to do.

    Callers who were all answered with one step ask again one after the other: where the batch is empty,
    a step with the first of them alone would keep the others waiting for longer than `patience` seconds.

    Args:
        connection: Where it is said.
        batch: What is asked is put there.
        check: Says what is wrong with a constraint.
        expected: How many are likely to be asked, since so many were just answered.
        patience: For how long they are waited for.

    Returns:
        What need not wait for a turn.
    """
    refused: list[Ended] = []
    idle, until, heard = not batch.busy, time.monotonic() + patience, 0
    for _ in range(MESSAGES):
        nothing = not batch.busy and not refused
        left = max(0.0, until - time.monotonic()) if idle and heard < expected else 0.0
        if not connection.poll(None if nothing else left):
            break
        for said in connection.recv():
            heard += isinstance(said, Asked)
            if not isinstance(said, Asked):
                batch.drop(said)
            elif said.decoding.constraint is not None and (wrong := check(said.decoding.constraint)):
                message = f"the constraint must be one the grammar compiler takes: {last_line(wrong)}"
                refused.append((said.number, Failure(message, "Correct the schema, regex or grammar.", refused=True)))
            else:
                batch.put(_job(said))
    return refused


def _job(asked: Asked) -> Job:
    prompt = Prompt(asked.ids, chain(asked.ids)[: asked.shared])
    return Job(asked.number, prompt, asked.decoding, asked.decoding.max_tokens, asked.kind)
