"""openvino-genai's continuous batching, as `_batch` wants it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ._batch import FLOOR, PIECE, Kind, Output
from ._chat import Constraint, Decoding
from ._lora import Lora

__all__ = ["OpenVinoPipeline", "PipelineSettings", "cache_precision", "constraint_settings"]

IDLE = (999, 999)  # no chat template begins like that
IDLE_TOKENS = 28  # with its prompt less than a block of the cache


def cache_precision(device: str) -> tuple[str, int]:
    """Say in which type keys and values are kept, and its bytes: that of the computation.

    The library would keep them as bytes with a scale per channel of a block, and write the whole
    block anew with each token in it: repeating one prompt moved its log-probabilities by 0.5 nats.
    Plain numbers are as fast and take twice the memory.
    """
    import openvino as ov

    kind = ov.Core().get_property(device, "INFERENCE_PRECISION_HINT").get_type_name()
    return kind, 4 if kind == "f32" else 2


@dataclass(frozen=True)
class PipelineSettings:
    """What a pipeline is made of.

    Attributes:
        folder: What `_weights.prepared` made.
        ends: Tokens that end an answer.
        gigabytes: Memory for keys and values, GiB.
        blocks: Blocks of the cache that this makes.
        width: Requests in the batch at once.
        exact: Do not round activations to 8 bits: a fifth slower, half the error.
        lora: Added to the weights for good; changing it between requests would not reach the batch.
    """

    folder: Path
    ends: frozenset[int]
    gigabytes: int
    blocks: int
    width: int
    device: str = "CPU"
    exact: bool = False
    lora: Lora | None = None


class OpenVinoPipeline:
    """One loaded model. Every method is to be called from one thread.

    Args:
        tokenizer: Of `_text.Vocabulary`; constraints are compiled for it.
    """

    def __init__(self, made_of: PipelineSettings, tokenizer: Any) -> None:
        import openvino_genai as genai

        settings = genai.SchedulerConfig()
        settings.cache_size = made_of.gigabytes
        settings.enable_prefix_caching = True
        settings.max_num_seqs = 2 * (made_of.width + FLOOR)  # those just dropped are still there for a step
        # the library splits prompts that do not fit a step: there is room for all that the batch adds in one
        settings.max_num_batched_tokens = PIECE + settings.max_num_seqs
        properties: dict[str, Any] = {"KV_CACHE_PRECISION": cache_precision(made_of.device)[0]}
        if made_of.device == "CPU":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            properties |= {"INFERENCE_NUM_THREADS": cores, "sampler_num_threads": cores}
        if made_of.exact:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        if made_of.lora is not None:
            adapters, mode = genai.AdapterConfig, genai.AdapterConfig.Mode.MODE_STATIC
            properties["adapters"] = adapters(genai.Adapter(made_of.lora.path), made_of.lora.scale, mode=mode)
        self._pipeline = genai.ContinuousBatchingPipeline(
            made_of.folder, tokenizer, settings, made_of.device, **properties
        )
        self._ends = set(made_of.ends)
        self._numbers = itertools.count(1)

    def add(self, ids: Sequence[int], decoding: Decoding, kind: Kind) -> _Request:
        """Add a request; its cached prefix is looked up now. Raises `RuntimeError` for bad settings."""
        if kind == "reading":
            return self.read(ids)
        if kind == "echo":
            return self._add(ids, self._echoing)
        return self._add(ids, self._decoding(decoding))

    def read(self, ids: Sequence[int]) -> _Request:
        """Add a request that only reads its prompt."""
        return self._add(ids, self._reading)

    def idle(self) -> _Request:
        """Add a request that wants nothing, for company; it shares no prefix with any other."""
        return self._add(IDLE, self._idling)

    def step(self) -> None:
        """Advance every request by a token. Holds Python's lock for as long as it takes."""
        self._pipeline.step()

    def _add(self, ids: Sequence[int], settings: Any) -> _Request:
        import openvino as ov

        tokens = ov.Tensor(np.asarray([ids], dtype=np.int64))
        return _Request(self._pipeline.add_request(next(self._numbers), tokens, settings))

    @cached_property
    def _reading(self) -> Any:
        return self._settings(1)

    @cached_property
    def _echoing(self) -> Any:
        return self._settings(1, echo=True, logprobs=1)

    @cached_property
    def _idling(self) -> Any:
        return self._settings(IDLE_TOKENS, ignore_eos=True)

    def _settings(self, limit: int, **more: Any) -> Any:
        import openvino_genai as genai

        settings = genai.GenerationConfig(max_new_tokens=limit, apply_chat_template=False, **more)
        settings.stop_token_ids = self._ends
        return settings

    def _decoding(self, decoding: Decoding) -> Any:
        # a last block that held a prompt and nothing more would be found again, with one token of it left to read
        settings = self._settings(max(decoding.max_tokens, 2), logprobs=int(decoding.logprobs))
        if decoding.temperature > 0:
            settings.do_sample = True
            settings.temperature = decoding.temperature
            settings.rng_seed = decoding.seed
            if decoding.top_p is not None:
                settings.top_p = decoding.top_p
            if decoding.top_k is not None:
                settings.top_k = decoding.top_k
        settings.frequency_penalty = decoding.frequency_penalty
        settings.presence_penalty = decoding.presence_penalty
        if decoding.stop:
            settings.stop_strings = set(decoding.stop)
            settings.include_stop_str_in_output = True  # the text is cut exactly, not at a token's edge
        if decoding.constraint is not None:
            settings.structured_output_config = constraint_settings(decoding.constraint)
        return settings


class _Request:
    """A request in the pipeline."""

    def __init__(self, handle: Any) -> None:
        import openvino_genai as genai

        self._handle = handle
        self._running = genai.GenerationStatus.RUNNING
        self._ignored = genai.GenerationStatus.IGNORED
        self._length = genai.GenerationFinishReason.LENGTH

    def begun(self) -> bool:
        return self._handle.can_read() or self._handle.get_status() != self._running

    def output(self) -> Output | None:
        status = self._handle.get_status()
        if status == self._running:
            return None
        if status == self._ignored or not self._handle.can_read():
            return Output((), (), "full")
        (result,) = self._handle.read_all()
        finish = "length" if result.finish_reason == self._length else "stop"
        return Output(tuple(result.generated_ids), tuple(result.generated_log_probs), finish)

    def cancel(self) -> None:
        self._handle.cancel()


def constraint_settings(constraint: Constraint) -> Any:
    """Say it as the library wants it said."""
    import openvino_genai as genai

    return genai.StructuredOutputConfig(**{constraint.kind: constraint.text})
