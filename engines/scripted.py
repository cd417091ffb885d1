"""An engine that says what it was told to say: for tests and dry runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from stillroom.errors import BadConfig, EngineRefused
from stillroom.licences import OWN_DATA

from .contract import Engine, Score

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Answer", "Reply", "ScriptedEngine"]

Reply: TypeAlias = "str | Response | Exception"
Answer: TypeAlias = "Callable[[Request], Reply] | Mapping[str, Reply] | Sequence[Reply]"


class ScriptedEngine(Engine):
    """Answer from a script. A token is a word, so `max_tokens` cuts after so many words.

    Args:
        answer: A function of the request; or answers by what the last message is or,
            failing that, contains (the longest such key wins); or a sequence, used up
            in order of submission. A reply is a text, a `Response`, or an exception to raise.
        name: Second half of the model string `scripted/name@digest`.
        version: What the digest is made of: change it when the script changes.
        latency: Seconds each answer takes, up to `max_concurrency` of them at once;
            0 answers at once, in the caller's thread.
        fail: Returns an exception to raise instead of answering, or `None`.
        log: A file that gets one JSON line (`n`, `key`, `prompt`, `seed`) for every request
            served, flushed before the answer is given. `key` is a hash of the whole request.
        score: Gives `score()` its answers.

    Raises:
        BadConfig: If a setting cannot work.
    """

    charges_unanswered = False
    licence = OWN_DATA  # what a script says is its author's
    supported_params = Engine.supported_params | {"tools", "tool_choice"}

    def __init__(
        self,
        answer: Answer,
        *,
        name: str = "scripted",
        version: str = "0",
        latency: float = 0.0,
        fail: Callable[[Request], Exception | None] | None = None,
        log: Path | str | None = None,
        score: Callable[[Request, Sequence[str]], list[Score]] | None = None,
        max_concurrency: int = 32,
        supports_response_schema: bool = True,
        supports_function_calling: bool = False,
        supports_regex: bool = False,
    ) -> None:
        if isinstance(answer, str) or not (callable(answer) or isinstance(answer, (Mapping, Sequence))):
            raise BadConfig(f"a script must be a function, a mapping or a sequence, got {type(answer).__name__}")
        if not latency >= 0 or max_concurrency < 1:
            raise BadConfig(f"latency must be >= 0 and max_concurrency >= 1, got {latency!r} and {max_concurrency!r}")
        self.model = f"scripted/{name}@{hashlib.sha256(version.encode()).hexdigest()[:12]}"
        self.max_concurrency = max_concurrency
        self.supports_response_schema = supports_response_schema
        self.supports_function_calling = supports_function_calling
        self.supports_regex = supports_regex
        self.supports_scores = score is not None
        self.served = 0
        self._answer, self._fail, self._score, self._latency = answer, fail, score, latency
        self._log = Path(log) if log is not None else None
        self._guard = threading.Lock()
        self._slots: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
        self._threads = (
            ThreadPoolExecutor(max_concurrency, thread_name_prefix="stillroom-scripted") if latency else None
        )
        self._closed = False

    def submit(self, request: Request) -> Future[Response]:
        """Answer `request`: at once, or after the latency on a thread."""
        future: Future[Response] = Future()
        try:
            turn = self._turn()
            if self._threads is not None:
                return self._threads.submit(self._serve_late, request, turn)
            future.set_result(self._serve(request, turn))
        except Exception as error:
            future.set_exception(error)
        return future

    async def acomplete(self, request: Request) -> Response:
        """Answer `request`: at once, or after the latency, with at most `max_concurrency` waiting on one event loop."""
        turn = self._turn()
        if self._latency:
            loop = asyncio.get_running_loop()
            async with self._slots.setdefault(loop, asyncio.Semaphore(self.max_concurrency)):
                await asyncio.sleep(self._latency)
        return self._serve(request, turn)

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """Score as the script says. Raises `NotImplementedError` if it says nothing."""
        if self._score is None:
            return super().score(request, continuations)
        return self._score(request, continuations)

    def close(self) -> None:
        """End the threads once what is under way is answered."""
        with self._guard:
            self._closed = True
        if self._threads is not None:
            self._threads.shutdown()

    def _turn(self) -> int:
        with self._guard:
            if self._closed:
                raise EngineRefused("a closed engine cannot be used again", mend="Open a new one.")
            turn, self.served = self.served, self.served + 1
        return turn

    def _serve_late(self, request: Request, turn: int) -> Response:
        time.sleep(self._latency)
        return self._serve(request, turn)

    def _serve(self, request: Request, turn: int) -> Response:
        failure = self._fail(request) if self._fail is not None else None
        if failure is not None:
            raise failure
        reply = self._reply(request, turn)
        if isinstance(reply, Exception):
            raise reply
        if self._log is not None:
            self._record(self._log, request, turn)
        return _response(self.model, request, reply) if isinstance(reply, str) else reply

    def _reply(self, request: Request, turn: int) -> Reply:
        if callable(self._answer):
            return self._answer(request)
        if isinstance(self._answer, Mapping):
            prompt = _prompt(request)
            if prompt in self._answer:
                return self._answer[prompt]
            within = [key for key in self._answer if key in prompt]
            if within:
                return self._answer[max(within, key=len)]
            raise EngineRefused(f"the script must hold an answer to every message, got {prompt[-80:]!r}")
        if turn >= len(self._answer):
            raise EngineRefused(
                f"the script must hold an answer to every request, got request {turn + 1} of {len(self._answer)}"
            )
        return self._answer[turn]

    def _record(self, log: Path, request: Request, turn: int) -> None:
        line = {"n": turn, "key": _key(request), "prompt": _prompt(request), "seed": request.config.seed}
        with self._guard, log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _response(model: str, request: Request, text: str) -> Response:
    from dspy.lm15 import Message, Response, Usage

    words = text.split()
    limit = request.config.max_tokens
    cut = limit is not None and len(words) > limit
    said = " ".join(words[:limit]) if cut else text
    prompts = [
        request.system if isinstance(request.system, str) else "",
        *(message.text or "" for message in request.messages),
    ]
    usage = Usage(
        input_tokens=sum(len(prompt.split()) for prompt in prompts), output_tokens=min(len(words), limit or len(words))
    )
    return Response(
        id=None, model=model, message=Message.assistant(said), finish_reason="length" if cut else "stop", usage=usage
    )


def _prompt(request: Request) -> str:
    return request.messages[-1].text or ""


def _key(request: Request) -> str:
    # frozen values all the way down: their repr is their content
    return hashlib.sha256(repr(request).encode()).hexdigest()[:16]
