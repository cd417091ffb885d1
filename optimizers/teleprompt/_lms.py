"""The LMs of a module, each behind the ledger and the store. Importing this module imports DSPy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dspy
from dspy.lm15 import ContextLengthError, Request, Response

from stillroom.engines import Engine, Metered, ProviderEngine, Session, as_lm, call_seconds, open_engine
from stillroom.engines._lm import AsyncFace, EngineLM, SyncFace  # type: ignore[import-not-found]
from stillroom.errors import BadConfig, StillroomError
from stillroom.programs import Cost
from stillroom.values import digest

__all__ = ["RECORD", "Meters", "RowRecord", "Sources", "call_settings"]

# of the settings of an LM, those that its own engine keeps: how it is reached, and DSPy's cache and retries
KEPT = frozenset(
    {
        "api_base",
        "api_key",
        "api_version",
        "base_url",
        "cache",
        "custom_llm_provider",
        "extra_headers",
        "headers",
        "model_type",
        "num_retries",
        "organization",
        "project",
        "prompt_cache",
        "timeout",
    }
)
RECORD = "_stillroom_row"  # in DSPy's settings, which DSPy hands on to the threads it starts


@dataclass
class RowRecord:
    """What the LMs did while one row was answered, whatever the module made of it.

    Attributes:
        failures: Of the infrastructure, in the order they came.
        cost: Of all calls, those found in the store too: it is what the row costs.
    """

    failures: list[StillroomError] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def add(self, engine: Engine, response: Response) -> None:
        """Count a call."""
        tokens_in, tokens_out = response.usage.input_tokens or 0, response.usage.output_tokens or 0
        usd = engine.cost(tokens_in, tokens_out) or 0.0
        with self._guard:  # modules may ask from threads of their own
            self.cost += Cost(tokens_in, tokens_out, usd, call_seconds(response), 1)


@contextmanager
def _watched() -> Iterator[RowRecord]:
    """Note failures that the module's own code may swallow: an agent shows them to its model as observations."""
    record = dspy.settings.get(RECORD) or RowRecord()
    try:
        yield record
    except ContextLengthError:
        raise  # no outage: agents shorten their history for it
    except StillroomError as error:
        record.failures.append(error)
        raise


class _WatchedFace(SyncFace):
    def complete(self, request: Request) -> Response:
        with _watched() as record:
            response = super().complete(request)
            record.add(self.engine, response)
        return response


class _WatchedAsyncFace(AsyncFace):
    async def complete(self, request: Request) -> Response:
        with _watched() as record:
            response = await super().complete(request)
            record.add(self.engine, response)
        return response


class LMEngine(ProviderEngine):
    """Answer through an LM of the user's own, as `ProviderEngine` does through one by name.

    The LM stays the user's to close. Its cache is not asked (the store is the memory), its retries are.
    """

    def __init__(self, lm: dspy.BaseLM, *, max_concurrency: int = 16) -> None:
        self._lm = lm.copy(cache=False)
        place = str(lm.kwargs.get("api_base") or lm.kwargs.get("base_url") or "")
        # two endpoints may call different models by one name
        self.model = f"{lm.model}@live" + (f"-{digest(place, 6)}" if place else "")
        self.max_concurrency = max_concurrency
        self.licence = "unknown"
        self._key = lm.kwargs.get("api_key") or None
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="stillroom-lm")
        self._guard = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """End the threads once what was sent is answered."""
        with self._guard:
            self._closed = True
        self._threads.shutdown(cancel_futures=True)


def call_settings(lm: Any) -> dict[str, Any]:
    """What an LM adds to each of its calls; nothing for an engine or a name."""
    given = lm.kwargs if isinstance(lm, dspy.BaseLM) else {}
    return {name: value for name, value in given.items() if name not in KEPT and value is not None}


class Sources:
    """The engine behind each LM, found once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, Engine]] = {}  # the LM is kept, so that its id stays its own
        self._opened: list[Engine] = []

    def engine(self, lm: Any) -> Engine:
        """The engine that answers for `lm`: an `Engine`, a name for `open_engine`, or an LM of DSPy's.

        Raises:
            BadConfig: If it is none of these.
        """
        if id(lm) not in self._found:
            self._found[id(lm)] = (lm, self._find(lm))
        return self._found[id(lm)][1]

    def close(self) -> None:
        """Close the engines that were opened here."""
        for engine in self._opened:
            engine.close()

    def _find(self, lm: Any) -> Engine:
        if isinstance(lm, Engine):
            return lm.inner if isinstance(lm, Metered) else lm
        if isinstance(lm, str):
            return self._opening(open_engine(lm))
        face = getattr(lm, "_engine_spec", None)
        if isinstance(lm, EngineLM) and isinstance(face, SyncFace):
            return self._find(face.engine)
        if isinstance(lm, dspy.BaseLM):
            return self._opening(LMEngine(lm))
        raise BadConfig(
            f"an LM must be an engine, a name or a dspy.LM, got {type(lm).__name__}",
            mend="For example dspy.LM('openai/gpt-4o-mini') or 'local/qwen2.5-coder-1.5b'.",
        )

    def _opening(self, engine: Engine) -> Engine:
        self._opened.append(engine)
        return engine


class Meters:
    """The LMs of a module under one session: same store, same ledger, one meter for each engine."""

    def __init__(self, sources: Sources, session: Session) -> None:
        self._sources, self._session = sources, session
        self._meters: dict[int, Metered] = {id(session.engine.inner): session.engine}
        self._lms: dict[int, dspy.LM] = {}

    def engine(self, lm: Any) -> Metered:
        """The metered engine for `lm`."""
        engine = self._sources.engine(lm)
        if id(engine) not in self._meters:
            session = self._session
            self._meters[id(engine)] = Metered(engine, session.ledger, session.store, session.engine.phase)
        return self._meters[id(engine)]

    def lm(self, lm: Any) -> dspy.LM:
        """A stand-in for `lm` whose calls are recorded and paid for in the session."""
        if id(lm) not in self._lms:
            metered = self.engine(lm)
            stand_in = as_lm(metered, **call_settings(lm), callbacks=list(getattr(lm, "callbacks", None) or ()))
            self._lms[id(lm)] = stand_in.copy(engine=_WatchedFace(metered), async_engine=_WatchedAsyncFace(metered))
        return self._lms[id(lm)]

    @property
    def max_concurrency(self) -> int:
        """Of the engine that takes most."""
        return max(meter.max_concurrency for meter in self._meters.values())

    def drain(self) -> None:
        """Wait until every call under way is recorded."""
        for meter in self._meters.values():
            meter.drain()
