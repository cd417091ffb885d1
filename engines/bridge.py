"""Every engine as a `dspy.LM`, for any DSPy module, adapter or optimizer."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, StillroomError

from .contract import Engine

if TYPE_CHECKING:
    import dspy

__all__ = ["as_lm", "quick_adapters", "unwrap"]


def as_lm(engine: Engine, **settings: Any) -> dspy.LM:
    """Make a `dspy.LM` that answers through `engine`, sync and async.

    DSPy's cache and retries stay off: the engine retries, the store remembers. A call with
    `rollout_id` (or sample 2 of `n`) gets a seed made from it and the call's own seed, unless
    the temperature is 0, where DSPy promises no effect. The keywords `regex` and `grammar` of a
    call reach the engine in `config.extensions`. `engine` stays the caller's to close.

    Args:
        engine: Bare or metered.
        settings: Defaults of each call, as for `dspy.LM`: `temperature`, `max_tokens`, `seed`, `callbacks`, ...

    Raises:
        BadConfig: If a setting is the engine's own (`api_key`, `timeout`) or ours (`cache`, `num_retries`).
    """
    from ._lm import AsyncFace, EngineLM, SyncFace

    ours = sorted({"model", "engine", "async_engine", "cache", "num_retries"} & set(settings))
    if ours:
        raise BadConfig(
            f"{', '.join(ours)} cannot be set here, got {settings[ours[0]]!r}",
            mend="The engine retries and the run's store remembers.",
        )
    try:
        return EngineLM(
            engine.model,
            engine=SyncFace(engine),
            async_engine=AsyncFace(engine),
            cache=False,
            num_retries=0,
            **settings,
        )
    except ValueError as error:
        raise BadConfig(f"these settings cannot be used with an engine: {error}") from error


def quick_adapters() -> AbstractContextManager[None]:
    """Let DSPy's adapters remember the schemas that they build anew for each call.

    What they send and read is the same, for a half to a third of their processor time (`_quick`), which
    is most of what a call of a small local model costs in Python. Two names in DSPy's modules stand for
    ours while somebody is inside, in every thread.
    """
    from ._quick import quick

    return quick()


def unwrap(error: BaseException) -> BaseException:
    """Find the `StillroomError` inside what DSPy raised; `error` itself if there is none.

    DSPy wraps what an engine raises (`LMUnexpectedError`) and keeps the original as the cause.
    """
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None and id(inner) not in seen:
        if isinstance(inner, StillroomError):
            return inner
        seen.add(id(inner))
        inner = inner.__cause__ or (None if inner.__suppress_context__ else inner.__context__)
    return error
