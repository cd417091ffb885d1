"""A model on this machine, run by OpenVINO GenAI in a process of its own."""

from __future__ import annotations

import math
import threading
import uuid
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.engines.contract import Engine, Score, outcomes
from stillroom.errors import BadConfig, EngineBusy, EngineError, EngineRefused

from ._batch import Output, room_for_answers
from ._chat import Decoding, decoding_of, prompt_of
from ._lora import read_lora
from ._pipeline import PipelineSettings, cache_precision
from ._prefixes import BLOCK
from ._scoring import WAVE, Echoes, head_of
from ._text import Vocabulary, cut, tokens_within
from ._weights import prepared
from ._worker import Asking, Worker

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["LocalEngine"]

TEXTS, SCORES = "texts", "scores"  # two batches: an echo is wrong beside anything else
SCORING = Decoding(
    1, 0.0, None, None, 0, (), logprobs=False, frequency_penalty=0.0, presence_penalty=0.0, constraint=None
)
SALTS = range(1000, 40000)  # ordinary tokens; special ones come first or last

USUAL_LENGTH = 1024  # tokens of a request, prompt and answer, that the cache should hold for each place in the batch
MOST_GIGABYTES = 8


class LocalEngine(Engine):
    """Answer with a GGUF model on this machine, all concurrent requests in one continuous batch.

    Requests that share a beginning (system message, demos) are grouped so that it is read once. The
    first use of a file prepares it in the cache folder (`_weights`); the model is loaded with the first
    request, by a process of its own (`_child`) which ends with `close` or with this one. Scoring loads
    it a second time (`_scoring`), with the first score.

    Constraints: `response_format`, or `extensions` with a `regex` or an EBNF `grammar`. A JSON
    schema gives the one-line form of `json.dumps`. Log-probabilities are those of the model before
    temperature and constraint, of the chosen tokens only.

    Seeds: an answer depends on its request and its `seed` (0 if absent), not on what else is in the
    batch, in which order it came or what the cache holds; docs/local-engine.md tells what was measured
    and the cases that are left.

    Args:
        path: The GGUF file; architectures llama and qwen2/qwen3.
        name: For the model string, `local/<name>@<digest>`.
        digest: The first 12 hex digits of the file's sha256; not checked here.
        adapter: A LoRA that peft saved for this model, folder or safetensors file; the first digits
            of its sha256 join the model string. Only 4-bit layers can be changed by it.
        max_concurrency: Requests in the batch at once; others wait.
        cache_gb: Memory for keys and values, in whole GiB; by default enough for
            `max_concurrency` requests of 1,024 tokens, within a quarter of the free memory.
        licence: Of the weights, for the rows they write.

    Raises:
        ModelMissing: If a file is not there.
        BadConfig: If the file is no GGUF model that can be used, or a setting cannot work.
    """

    supports_regex = True
    supports_scores = True
    charges_unanswered = False
    supported_params = Engine.supported_params | {"frequency_penalty", "presence_penalty"}

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        digest: str,
        adapter: Path | None = None,
        max_concurrency: int = 64,
        cache_gb: int | None = None,
        device: str = "CPU",
        licence: str = "unknown",
    ) -> None:
        if max_concurrency < 1 or (cache_gb is not None and cache_gb < 1):
            raise BadConfig(
                f"max_concurrency and cache_gb must be at least 1, got {max_concurrency} and {cache_gb}",
                mend="Leave them out for sensible values.",
            )
        self._model = prepared(Path(path), digest)
        self._lora = read_lora(Path(adapter), self._model.modules) if adapter is not None else None
        digest = f"{digest}+{self._lora.digest}" if self._lora else digest
        self._words = Vocabulary(self._model.folder)
        self._token_bytes = self._model.token_values * cache_precision(device)[1]
        self._gigabytes = cache_gb or _gigabytes(
            max(max_concurrency * USUAL_LENGTH, self._model.context) * self._token_bytes
        )
        self.model, self.licence, self.max_concurrency = f"local/{name}@{digest}", licence, max_concurrency
        self._device = device
        self._echoes = Echoes(SALTS, self._blocks)
        self._guard, self._scoring = threading.Lock(), threading.Lock()
        self._workers: dict[str, Worker] = {}
        self._closed = False
        self._end = weakref.finalize(self, _close, self._workers)

    @property
    def context(self) -> int:
        """Tokens that a request may have, prompt and answer together."""
        return min(self._model.context, room_for_answers(self._blocks) * BLOCK - 1)

    @property
    def _blocks(self) -> int:
        return int(self._gigabytes * 2**30 / self._token_bytes / BLOCK)

    def submit(self, request: Request) -> Future[Response]:
        """Queue `request` for the batch. Cancelling the future drops it, even when it is running."""
        return self._queue([self._generation(request)])[0]

    def complete_many(self, requests: Sequence[Request]) -> list[Response | EngineError]:
        """Answer all `requests`, in their order; they reach the batch together."""
        return outcomes(self._queue([self._generation(request) for request in requests]))

    def score(self, request: Request, continuations: Sequence[str]) -> list[Score]:
        """Log-probabilities of each of the `continuations` as the answer to `request`, in nats.

        The prompt is read once for all of them. Differs from the model in float32 by some hundredths
        of a nat per token, as everything computed here (bfloat16, 8-bit keys and values). Sampling
        settings of `request` play no part, and no end-of-answer token is counted.

        Raises:
            EngineRefused: If the prompt and a continuation are longer than the context.
        """
        (found,) = self.score_many([request], continuations)
        if isinstance(found, EngineError):
            raise found
        return found

    def score_many(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[Score] | EngineError]:
        """Score the same `continuations` for all `requests`, many in one batch; one caller at a time."""
        wanted = {text: self._words.encode(text) for text in continuations}
        asked = [self._scorable(request, wanted) for request in requests]
        prompts = list(dict.fromkeys(each for each in asked if not isinstance(each, EngineError)))
        width = max(1, WAVE // max(len(wanted), 1))
        found: dict[tuple[int, ...], dict[str, float] | EngineError] = {}
        with self._scoring:
            for start in range(0, len(prompts), width):
                found |= self._wave(prompts[start : start + width], wanted)
        answers = [each if isinstance(each, EngineError) else found[each] for each in asked]
        return [
            each
            if isinstance(each, EngineError)
            else [Score(text, each[text], len(wanted[text])) for text in continuations]
            for each in answers
        ]

    def count_tokens(self, request: Request) -> int:
        """Tokens of the prompt, exactly."""
        try:
            return len(self._ids(request))
        except EngineRefused:
            return super().count_tokens(request)

    def close(self) -> None:
        """End the processes that hold the model; what has not been answered fails with `EngineError`."""
        with self._guard:
            self._closed = True
        self._end()

    # -- requests --------------------------------------------------------------------

    def _generation(self, request: Request) -> Asking | EngineRefused:
        try:
            decoding = decoding_of(request.config)
            ids = self._ids(request)
            if len(ids) >= self.context:
                raise _too_long(len(ids), self.context)
        except EngineRefused as error:
            return error
        bounded = replace(decoding, max_tokens=min(decoding.max_tokens, self.context - len(ids)))
        return Asking(ids, bounded, partial(self._response, decoding, len(ids)))

    def _ids(self, request: Request) -> tuple[int, ...]:
        return self._words.encode(self._words.render(prompt_of(request)))

    def _response(self, decoding: Decoding, prompt: int, output: Output) -> Response:
        """Make DSPy's response of what came out. Raises `EngineBusy` if the cache had no room."""
        from dspy.lm15 import Message, Response, Usage

        if output.finish == "full":
            raise EngineBusy("the cache of keys and values was full", mend="Raise cache_gb or lower max_concurrency.")
        ids = output.ids[:-1] if output.ids and output.ids[-1] in self._words.ends else output.ids
        whole = self._words.decode(ids)
        text = cut(whole, decoding.stop)
        logprobs = None
        if decoding.logprobs:
            logprobs = self._logprobs(ids, output.logprobs, text if text != whole else None)
        return Response(
            id=uuid.uuid4().hex,
            model=self.model,
            message=Message.assistant(text),
            finish_reason="length" if output.finish == "length" and text == whole else "stop",
            usage=Usage(input_tokens=prompt, output_tokens=len(output.ids)),
            logprobs=logprobs,
        )

    def _logprobs(self, ids: Sequence[int], logprobs: Sequence[float], text: str | None) -> tuple[Any, ...]:
        from dspy.lm15 import TokenLogprob

        pieces = self._words.bytes_of(ids)
        kept = len(pieces) if text is None else tokens_within(pieces, text)
        return tuple(
            TokenLogprob(piece.decode("utf-8", "replace"), logprob, bytes=tuple(piece), token_id=number)
            for piece, logprob, number in list(zip(pieces, logprobs, ids, strict=False))[:kept]
        )

    # -- scores ----------------------------------------------------------------------

    def _scorable(self, request: Request, wanted: dict[str, tuple[int, ...]]) -> tuple[int, ...] | EngineRefused:
        """The prompt's tokens, or why it cannot be scored."""
        try:
            prompt = self._ids(request)
        except EngineRefused as error:
            return error
        longest = len(prompt) + max((len(ids) for ids in wanted.values()), default=0)
        return _too_long(longest, self.context) if longest + 2 > self.context else prompt

    def _wave(
        self, prompts: Sequence[tuple[int, ...]], wanted: dict[str, tuple[int, ...]]
    ) -> dict[tuple[int, ...], dict[str, float] | EngineError]:
        """Score all of `wanted` after each of `prompts`."""
        pairs = [(prompt, text) for prompt in prompts for text in wanted]
        try:
            totals = self._totals(pairs, wanted)
            while missing := [pair for pair in pairs if pair not in totals]:
                self._discard(SCORES)  # blocks are there whose scores were not read for this continuation
                found = self._totals(missing, wanted)
                if not found:
                    raise EngineError("the log-probabilities of a continuation did not come back from the pipeline")
                totals |= found
        except EngineError as error:
            return dict.fromkeys(prompts, error)
        return {prompt: {text: totals[prompt, text] for text in wanted} for prompt in prompts}

    def _totals(
        self, pairs: Sequence[tuple[tuple[int, ...], str]], wanted: dict[str, tuple[int, ...]]
    ) -> dict[tuple[tuple[int, ...], str], float]:
        """The log-probabilities that come back; first the prompts are read, then nothing but echoes."""
        heads = {prompt: head_of(prompt) for prompt, _ in pairs}
        askings = [
            Asking(head, SCORING, lambda output: None, "reading") for head in dict.fromkeys(heads.values()) if head
        ]
        for future in self._queue(askings, SCORES):
            future.result()
        echoes = {pair: self._echoes.ask(pair[0], wanted[pair[1]]) for pair in pairs if wanted[pair[1]]}
        askings = [  # nobody waits for what continuations have in common beyond the head: each reads it
            Asking(echo.ids, SCORING, partial(self._echoes.read, echo), "echo", len(heads[prompt]) // BLOCK)
            for (prompt, _), echo in echoes.items()
        ]
        scores = [future.result() for future in self._queue(askings, SCORES)]
        found = {pair: score for pair, score in zip(echoes, scores, strict=True) if score is not None}
        return dict.fromkeys((pair for pair in pairs if pair not in echoes), 0.0) | found

    # -- the batch -------------------------------------------------------------------

    def _queue(self, askings: Sequence[Asking | EngineRefused], batch: str = TEXTS) -> list[Future[Any]]:
        """Send what is sound and fail what is not."""
        sound = [asking for asking in askings if isinstance(asking, Asking)]
        if sound:
            try:
                self._worker(batch).put(sound)
            except EngineError as error:
                return [_failed(error) for _ in askings]
        return [asking.future if isinstance(asking, Asking) else _failed(asking) for asking in askings]

    def _worker(self, batch: str) -> Worker:
        with self._guard:
            if self._closed:
                raise EngineError(f"engine {self.model} is closed")
            if batch not in self._workers:
                made_of = PipelineSettings(
                    self._model.folder,
                    self._words.ends,
                    self._gigabytes,
                    self._blocks,
                    WAVE if batch == SCORES else self.max_concurrency,
                    self._device,
                    exact=batch == SCORES,
                    lora=self._lora,
                )
                self._workers[batch] = Worker(made_of, name=self.model)
            return self._workers[batch]

    def _discard(self, batch: str) -> None:
        with self._guard:
            worker = self._workers.pop(batch, None)
        if worker is not None:
            worker.close()


def _close(workers: dict[str, Worker]) -> None:
    for worker in workers.values():
        worker.close()


def _failed(error: EngineError) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def _gigabytes(wanted: float) -> int:
    return max(1, min(math.ceil(wanted / 2**30), MOST_GIGABYTES, int(_free_bytes() / 4 / 2**30)))


def _free_bytes() -> float:
    try:
        text = Path("/proc/meminfo").read_text("utf-8")
    except OSError:  # not Linux
        return math.inf
    return int(dict(line.split(":", 1) for line in text.splitlines())["MemAvailable"].split()[0]) * 1024


def _too_long(tokens: int, context: int) -> EngineRefused:
    return EngineRefused(
        f"a prompt must leave room for an answer in {context} tokens, got {tokens}",
        mend="Use fewer demos or shorter inputs; a larger cache_gb helps where the cache is the limit.",
    )
