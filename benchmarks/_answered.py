"""The child of the benchmarks of faults: answers a file of rows, as a user's program would, and may be killed.

    python -m benchmarks._answered SETTINGS     prints one JSON object: what came of it, or the error

`SETTINGS` is `Settings` as JSON.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom.programs.flow import Emitted

__all__ = ["Settings"]

DAY = 86_400.0


@dataclass(frozen=True)
class Settings:
    """What is answered, by what, and into which run.

    Attributes:
        url: Of the endpoint.
        rows: The file of rows.
        run: The run folder.
        kind: `text`, or `json`: two fields, the one of free text last.
        model: As the endpoint is asked for it.
        instruction: Of the program.
        temperature: Of sampling.
        attempts: Tries of a row whose answer no gate lets pass.
        retry: Whether what was lost to faults is tried once more.
        reuse: Runs whose finished calls may be taken over.
        at_once: Requests under way at the most.
        patience: Seconds to wait for an endpoint that is down.
        room: No file may become larger than so many bytes; 0 for no limit.
        jumps: Whether the clock jumps by days, there and back.
    """

    url: str
    rows: str
    run: str
    kind: str = "text"
    model: str = "mock"
    instruction: str = "Write what a customer of a bank might write about the topic."
    temperature: float = 1.0
    attempts: int = 4
    retry: bool = False
    reuse: tuple[str, ...] = ()
    at_once: int = 32
    patience: float = 60.0
    room: int = 0
    jumps: bool = False


def answered(settings: Settings) -> Emitted:
    """Answer the rows. Raises what stillroom raises."""
    import stillroom as st
    from stillroom.engines import HttpEngine
    from stillroom.programs import Plan
    from stillroom.programs.plan import Decoding
    from stillroom.signatures import Field, Shape

    from ._faulty_mock import INTENTS

    text = Field("message", {"type": "string"}, "what the customer writes")
    intent = Field("intent", {"type": "string", "enum": list(INTENTS)}, "what it is about")
    outputs = (text,) if settings.kind == "text" else (intent, text)
    shape = Shape("Write", settings.instruction, (Field("topic", {"type": "string"}, "the topic"),), outputs)
    engine = HttpEngine(
        settings.url,
        settings.model,
        max_concurrency=settings.at_once,
        patience=settings.patience,
        backoff=0.05,
        timeout=10.0,
    )
    plan = Plan(
        shape,
        engine.model,
        settings.instruction,
        format="bare" if settings.kind == "text" else "json",
        decoding=Decoding(temperature=settings.temperature, max_tokens=64),
    )
    try:
        return st.answer(
            plan,
            settings.rows,
            lm=engine,
            run=settings.run,
            attempts=settings.attempts,
            reuse=settings.reuse,
            retry=settings.retry,
        )
    finally:
        engine.close()


def _jump() -> None:
    """From now on the time of day is off by a day, now in one direction and now in the other."""
    real = time.time

    def jumping() -> float:
        return real() + (0.0, DAY, -DAY)[int(time.monotonic() * 5) % 3]

    time.time = jumping


def _told(settings: Settings) -> dict[str, Any]:
    from stillroom.errors import StillroomError

    try:
        emitted = answered(settings)
    except StillroomError as error:
        return {"error": type(error).__name__, "said": str(error), "mend": error.mend}
    return {"accepted": len(emitted.rows), "fates": dict(emitted.fates), "short": dict(emitted.shortfall)}


if __name__ == "__main__":
    given = Settings(**json.loads(sys.argv[1]))
    if given.jumps:
        _jump()
    if given.room:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (given.room, given.room))
    print(json.dumps(_told(given)))
