"""openvino-genai's continuous batching, as `_batcher` wants it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._batcher import Output
from ._chat import Constraint, Decoding
from ._lora import Lora

__all__ = ["OpenVinoPipeline", "cache_precision", "generation_settings", "scoring_settings"]

# Pieces of long prompts per step: larger reads prompts no faster, smaller slows them (128: -30 %).
TOKENS_PER_STEP = 512


def cache_precision(device: str) -> tuple[str, int]:
    """Say in which type keys and values are kept, and its bytes: that of the computation.

    The library would keep them as bytes with a scale per channel of a block, and write the whole
    block anew with each token in it: repeating one prompt moved its log-probabilities by 0.5 nats.
    Plain numbers are as fast and take twice the memory.
    """
    import openvino as ov

    kind = ov.Core().get_property(device, "INFERENCE_PRECISION_HINT").get_type_name()
    return kind, 4 if kind == "f32" else 2


class OpenVinoPipeline:
    """One loaded model. Every method is to be called from one thread.

    Args:
        folder: What `_weights.prepared` made.
        tokenizer: Of `_text.Vocabulary`; constraints are compiled for it.
        gigabytes: Memory for keys and values, GiB.
        exact: Do not round activations to 8 bits: a fifth slower, half the error.
        lora: Added to the weights for good; changing it between requests would not reach the batch.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Any,
        *,
        gigabytes: int,
        width: int,
        device: str,
        exact: bool = False,
        lora: Lora | None = None,
    ) -> None:
        import openvino_genai as genai

        settings = genai.SchedulerConfig()
        settings.cache_size = gigabytes
        settings.enable_prefix_caching = True
        settings.max_num_batched_tokens = TOKENS_PER_STEP
        settings.max_num_seqs = width
        properties: dict[str, Any] = {"KV_CACHE_PRECISION": cache_precision(device)[0]}
        if device == "CPU":
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            properties |= {"INFERENCE_NUM_THREADS": cores, "sampler_num_threads": cores}
        if exact:
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        if lora is not None:
            adapters, mode = genai.AdapterConfig, genai.AdapterConfig.Mode.MODE_STATIC
            properties["adapters"] = adapters(genai.Adapter(lora.path), lora.scale, mode=mode)
        self._pipeline = genai.ContinuousBatchingPipeline(folder, tokenizer, settings, device, **properties)

    def add(self, number: int, ids: Sequence[int], settings: Any) -> _Request:
        """Add a request; its cached prefix is looked up now. Raises `RuntimeError` for bad settings."""
        import openvino as ov

        tokens = ov.Tensor(np.asarray([ids], dtype=np.int64))
        return _Request(self._pipeline.add_request(number, tokens, settings))

    def step(self) -> None:
        """Advance every request by a token, or by a piece of its prompt."""
        self._pipeline.step()


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


def generation_settings(decoding: Decoding, limit: int, ends: frozenset[int]) -> Any:
    """Settings that generate at most `limit` tokens, or up to one of the `ends`."""
    import openvino_genai as genai

    settings = genai.GenerationConfig(max_new_tokens=limit, logprobs=int(decoding.logprobs), apply_chat_template=False)
    settings.stop_token_ids = set(ends)
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
        settings.structured_output_config = _constraint(decoding.constraint)
    return settings


def scoring_settings(ends: frozenset[int]) -> Any:
    """Settings that give the log-probabilities of the prompt's own tokens, and of one more."""
    import openvino_genai as genai

    settings = genai.GenerationConfig(max_new_tokens=1, logprobs=1, echo=True, apply_chat_template=False)
    settings.stop_token_ids = set(ends)
    return settings


def _constraint(constraint: Constraint) -> Any:
    import openvino_genai as genai

    return genai.StructuredOutputConfig(**{constraint.kind: constraint.text})
