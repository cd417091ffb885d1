"""The 4-bit blocks of a GGUF file, said again as 8-bit blocks that OpenVINO keeps exactly.

GGUF's Q4_1 and Q4_K hold a weight as `d * q + m` with a real minimum `m` for each 32 weights.
openvino-genai 2026.4 rounds `m` to a whole multiple of `d` when it reads such a file, which moves
the weights of SmolLM2-135M by 8 % (relative norm) and changes its answers. `d / 15` as the step of
an unsigned byte holds `q` exactly and `m` to a thirtieth of `d`, at the speed of the 8-bit kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK", "Affine", "affine_tensors", "as_bytes", "unpack_nibbles"]

BLOCK = 32  # weights that share a scale and a minimum, in both formats

# q * FACTOR fits a byte (15 * 15 = 225), and so does a zero point up to 17 steps of d
FACTOR = 15
LARGEST_ZERO = 17.0

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Affine:
    """Scale `d` and minimum `m` of each block of one tensor, both of shape (rows, blocks)."""

    name: str
    d: Floats
    m: Floats

    def rows(self, order: NDArray[np.intp]) -> Affine:
        """Give the same tensor with its rows in another order."""
        return Affine(self.name, self.d[order], self.m[order])


def affine_tensors(path: Path) -> Iterator[Affine]:
    """Read the scales and minima of all Q4_1 and Q4_K tensors in a GGUF file.

    For the llama architecture the query and key tensors are given in the row order of the
    loaded model: GGUF interleaves the two halves of each rotary pair, OpenVINO keeps them apart.
    """
    import gguf

    reader = gguf.GGUFReader(path)
    readers = {gguf.GGMLQuantizationType.Q4_1: _q4_1, gguf.GGMLQuantizationType.Q4_K: _q4_k}
    architecture = reader.fields["general.architecture"].contents()
    for tensor in reader.tensors:
        if tensor.tensor_type not in readers or len(tensor.shape) != 2:
            continue
        affine = readers[tensor.tensor_type](tensor.name, np.asarray(tensor.data), int(tensor.shape[1]))
        heads = _heads(reader, architecture, tensor.name)
        yield affine.rows(_unrotated(len(affine.d), heads)) if heads else affine


def as_bytes(q: Bytes, affine: Affine) -> tuple[Bytes, Bytes, NDArray[np.float16]]:
    """Say `d * q + m` as `(byte - zero) * step`.

    Args:
        q: 0..15, shape (rows, blocks, 32).

    Returns:
        Bytes of the shape of `q`; zeros and steps of shape (rows, blocks, 1).
    """
    d, m = affine.d[..., None], affine.m[..., None]
    ratio = np.divide(-m, d, out=np.full_like(m, -1.0), where=d > 0)
    usual = (ratio >= 0) & (ratio <= LARGEST_ZERO)
    low, high = np.minimum(m, 0), np.maximum(m + 15 * d, 0)
    span = np.where(high > low, high - low, 1.0)
    step = np.where(usual, d / FACTOR, span / 255).astype(np.float16)
    exact = np.where(step > 0, step.astype(np.float32), 1.0)
    zero = np.clip(np.round(np.where(usual, ratio * FACTOR, -low / exact)), 0, 255)
    codes = q * np.uint8(FACTOR)
    rare = ~usual[..., 0]
    if rare.any():
        values = (d[rare] * q[rare] + m[rare]) / exact[rare] + zero[rare]
        codes[rare] = np.clip(np.round(values), 0, 255).astype(np.uint8)
    return codes, zero.astype(np.uint8), step


def unpack_nibbles(packed: Bytes, shape: tuple[int, int]) -> Bytes:
    """Unpack OpenVINO's u4 constants, low nibble first, to shape (rows, blocks, 32)."""
    flat = packed.reshape(-1)
    values = np.empty(flat.size * 2, np.uint8)
    values[0::2] = flat & 15
    values[1::2] = flat >> 4
    return values.reshape(*shape, BLOCK)


def _q4_1(name: str, data: NDArray[Any], rows: int) -> Affine:
    """Block of 20 bytes: half d, half m, 32 nibbles (ggml-common.h, block_q4_1)."""
    halves = data.reshape(-1, 20)[:, :4].copy().view(np.float16).astype(np.float32)
    return Affine(name, halves[:, 0].reshape(rows, -1), halves[:, 1].reshape(rows, -1))


def _q4_k(name: str, data: NDArray[Any], rows: int) -> Affine:
    """Block of 144 bytes: halves d and dmin, 8 + 8 six-bit scales, 256 nibbles (ggml-common.h, block_q4_K)."""
    blocks = data.reshape(-1, 144)
    halves = blocks[:, :4].copy().view(np.float16).astype(np.float32)
    packed = blocks[:, 4:16].astype(np.uint8)
    scales = np.concatenate([packed[:, :4] & 63, (packed[:, 8:] & 15) | ((packed[:, :4] >> 6) << 4)], axis=1)
    minima = np.concatenate([packed[:, 4:8] & 63, (packed[:, 8:] >> 4) | ((packed[:, 4:8] >> 6) << 4)], axis=1)
    return Affine(name, (halves[:, :1] * scales).reshape(rows, -1), (-halves[:, 1:] * minima).reshape(rows, -1))


def _heads(reader: Any, architecture: str, name: str) -> int:
    """How many heads the rows of a llama query or key tensor belong to; 0 for any other tensor."""
    key = {"attn_q.weight": "head_count", "attn_k.weight": "head_count_kv"}.get(
        name.partition(".")[2].partition(".")[2]
    )
    field = reader.fields.get(f"{architecture}.attention.{key}") if architecture == "llama" else None
    return int(field.contents()) if field is not None else 0


def _unrotated(rows: int, heads: int) -> NDArray[np.intp]:
    """Order of rows that puts the even rows of each head before its odd ones."""
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)
