"""Embeddings: texts to unit vectors, on this machine, offline, the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from stillroom.errors import BadConfig, ModelMissing

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Embedder", "default_embedder"]

_BATCH = 8  # texts in one forward pass
_STEP = 8  # lengths in tokens are padded up to a multiple of it


class Embedder:
    """A sentence-transformers model with a memo. Loaded when first asked.

    Every forward pass has one of a few shapes: always 8 texts, padded to a multiple
    of 8 tokens, the last batch filled up with empty texts. A vector then does not
    depend on what else is in the batch, nor on the order of asking: measured bitwise
    equal on one machine with one number of threads. Plain batching moves vectors by
    1e-7 in float32 and 3e-3 in bfloat16. Between machines expect 1e-6.

    Args:
        folder: A sentence-transformers folder; the `minilm` model by default.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the processor computes
            in it (about 2.5 times as fast, same quality of classifiers), else float32.

    Raises:
        BadConfig: If `precision` is none of these.
        ModelMissing: When first asked, if the model is not on this machine.
    """

    def __init__(self, folder: Path | str | None = None, *, precision: str = "auto") -> None:
        if precision not in ("auto", "float32", "bfloat16"):
            raise BadConfig(f"precision must be auto, float32 or bfloat16, got {precision!r}")
        self._asked = precision
        self._given = None if folder is None else Path(folder)
        self._memo: dict[bytes, np.ndarray] = {}
        self._lock = RLock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Embedder:
        # scikit-learn's clone copies settings; a second copy of the weights helps nobody
        return self

    @cached_property
    def precision(self) -> str:
        """What the weights are held in: "float32" or "bfloat16"."""
        if self._asked != "auto":
            return self._asked
        import torch

        return "bfloat16" if getattr(torch.cpu, "_is_avx512_bf16_supported", bool)() else "float32"

    @cached_property
    def folder(self) -> Path:
        """The model's folder. Raises `ModelMissing`."""
        if self._given is None:
            from stillroom.engines.files import find

            return find("minilm").path
        if not (self._given / "model.safetensors").is_file():
            raise ModelMissing(
                f"an embedder needs a folder with model.safetensors, got {str(self._given)!r}",
                mend="Fetch the default one: stillroom models pull minilm.",
            )
        return self._given

    @cached_property
    def digest(self) -> str:
        """The sha256 of the weights, 64 hex digits: with `precision`, the identity of a vector."""
        with (self.folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Embed `texts`: float32 of shape (len(texts), dimensions), every row of length 1.

        Texts over the model's limit (256 tokens for MiniLM) are cut off there. A text
        asked before comes from memory. Threads take turns.
        """
        import numpy as np

        keys = [_key(text) for text in texts]
        fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._memo}
        with self._lock:
            if not keys:
                return np.zeros((0, self._dimensions), dtype=np.float32)
            for batch, vectors in self._passes(list(fresh.items())):
                self._memo.update(zip(batch, vectors, strict=True))
        return np.stack([self._memo[key] for key in keys])

    def forget(self, texts: Sequence[str]) -> None:
        """Take `texts` out of the memo, so that the next time they are embedded afresh."""
        for text in texts:
            self._memo.pop(_key(text), None)

    def _passes(self, fresh: list[tuple[bytes, str]]) -> Iterator[tuple[list[bytes], np.ndarray]]:
        if not fresh:
            return
        tokens = self._model.tokenizer([text for _, text in fresh], truncation=True, max_length=self._longest)
        by_shape: dict[int, list[int]] = {}
        for i, ids in enumerate(tokens["input_ids"]):
            by_shape.setdefault(min(-(-len(ids) // _STEP) * _STEP, self._longest), []).append(i)
        for length in sorted(by_shape):
            members = by_shape[length]
            for start in range(0, len(members), _BATCH):
                batch = members[start : start + _BATCH]
                vectors = self._forward([tokens["input_ids"][i] for i in batch], length)
                yield [fresh[i][0] for i in batch], vectors

    def _forward(self, ids: list[list[int]], length: int) -> np.ndarray:
        """Run one batch of the fixed shape. Pools and normalises in float32, whatever the weights are."""
        import torch

        tokens = torch.full((_BATCH, length), self._model.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros((_BATCH, length), dtype=torch.long)
        mask[:, 0] = 1  # a filler row needs one token to look at
        for row, text in enumerate(ids):
            tokens[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        features: dict[str, Any] = {"input_ids": tokens, "attention_mask": mask}
        with torch.inference_mode():
            features = self._model[0](features)
            features["token_embeddings"] = features["token_embeddings"].float()
            for module in list(self._model)[1:]:
                features = module(features)
            vectors = torch.nn.functional.normalize(features["sentence_embedding"], dim=1)
        return vectors[: len(ids)].numpy().copy()

    @cached_property
    def _model(self) -> Any:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model = SentenceTransformer(
                str(self.folder),
                device="cpu",
                local_files_only=True,
                model_kwargs={"dtype": getattr(torch, self.precision)},
            )
        finally:
            if bars:
                logging.enable_progress_bar()
        return model.eval()

    @property
    def _longest(self) -> int:
        return int(self._model.max_seq_length or 256)

    @property
    def _dimensions(self) -> int:
        return int(self._model.get_embedding_dimension())


@cache
def default_embedder(precision: str = "auto") -> Embedder:
    """The `minilm` embedder that this process shares, with its memo."""
    return Embedder(precision=precision)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
