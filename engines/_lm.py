"""The DSPy side of the bridge. Importing this module imports DSPy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import dspy
from dspy.lm15 import ContextLengthError, Request, Response, response_to_events

from stillroom.errors import EngineRefused
from stillroom.values import digest

from .contract import Engine

__all__ = ["AsyncFace", "EngineLM", "SyncFace"]


# what a request can carry and DSPy's keywords cannot: they are taken off the call and put on its requests
CARRIED = ("regex", "grammar")


@dataclass
class Asked:
    """What one `lm(...)` asks for that DSPy does not pass on: a rollout, constraints of decoding."""

    rollout: object
    extensions: Mapping[str, Any]
    taken: int = 0

    def next(self, request: Request) -> Request:
        """Give `request` the constraints, and the seed of the next sample; the first of no rollout keeps its own."""
        index, self.taken = self.taken, self.taken + 1
        config = request.config
        if self.extensions:
            config = replace(config, extensions={**(config.extensions or {}), **self.extensions})
        if (self.rollout is not None or index > 0) and config.temperature != 0:
            config = replace(config, seed=int(digest([config.seed, str(self.rollout), index], 8), 16) >> 1)
        return request if config is request.config else replace(request, config=config)


_asked: ContextVar[Asked | None] = ContextVar("stillroom_asked", default=None)


@contextmanager
def _asking(asked: Asked) -> Iterator[None]:
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)


class EngineLM(dspy.LM):
    """A `dspy.LM` that passes on what DSPy would lose on the way to an engine.

    `rollout_id` and `n` become seeds: DSPy strips the first and sends one request `n`
    times, so that without seeds such samples would be one and the same call. The
    keywords `regex` and `grammar` become `config.extensions`.
    """

    def __call__(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        with _asking(self._take(kwargs)):
            return super().__call__(prompt, messages=messages, **kwargs)

    async def acall(self, prompt: Any = None, *, messages: Any = None, **kwargs: Any) -> Any:
        with _asking(self._take(kwargs)):
            return await super().acall(prompt, messages=messages, **kwargs)

    def _take(self, kwargs: dict[str, Any]) -> Asked:
        extensions = {name: kwargs.pop(name) for name in CARRIED if name in kwargs}
        return Asked(kwargs.get("rollout_id", self.kwargs.get("rollout_id")), extensions)


class _Face:
    """What DSPy asks of an engine of its own. It borrows ours, so it neither closes nor copies it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __deepcopy__(self, memo: object) -> _Face:
        return self

    @property
    def supports_response_schema(self) -> bool:
        return self.engine.supports_response_schema

    @property
    def supports_function_calling(self) -> bool:
        return bool(getattr(self.engine, "supports_function_calling", False))

    @property
    def supported_params(self) -> frozenset[str]:
        return self.engine.supported_params


class SyncFace(_Face):
    """The blocking face."""

    def complete(self, request: Request) -> Response:
        with _known_to_dspy():
            return self.engine.complete(_filled(request))

    def stream(self, request: Request) -> Iterator[Any]:
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        """Leave the engine to its owner."""


class AsyncFace(_Face):
    """The awaitable face."""

    async def complete(self, request: Request) -> Response:
        with _known_to_dspy():
            return await self.engine.acomplete(_filled(request))

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        for event in response_to_events(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Leave the engine to its owner."""


def _filled(request: Request) -> Request:
    asked = _asked.get()
    return request if asked is None else asked.next(request)


@contextmanager
def _known_to_dspy() -> Iterator[None]:
    """Let agents see a prompt that is too long as the error they shorten their history for."""
    try:
        yield
    except EngineRefused as error:
        if isinstance(error.__cause__, ContextLengthError):
            raise ContextLengthError(str(error)) from error
        raise
