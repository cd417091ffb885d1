"""Write a fine-tuned model as a GGUF file: the base file with low-rank updates merged into its weights.

Everything that was not trained (tokenizer, chat template, norms, embeddings) is
copied byte for byte. Merged weights are stored at eight bits or more: put back
on the four-bit grid of the base they would round to the base itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stillroom.errors import BadConfig

if TYPE_CHECKING:
    from ._sft import LowRank

__all__ = ["Precision", "merged_gguf", "permuted"]

Precision = Literal["q8_0", "f16"]

ROTARY_INTERLEAVED = frozenset({"llama"})
"""Architectures whose GGUF keeps the rows of query and key interleaved, unlike transformers."""

STRAIGHT = frozenset({"qwen2"})
"""Architectures whose GGUF keeps all weights as transformers does."""


def merged_gguf(
    base_gguf: Path,
    updates: Mapping[str, LowRank],
    target: Path,
    precision: Precision,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write `base_gguf` with `updates` (by transformers module name) merged in to `target`.

    Args:
        notes: Extra text entries for the metadata, such as where the student came from.

    Raises:
        BadConfig: If the architecture's weight layout is not known here, or an update fits no weight.
    """
    import gguf

    reader = gguf.GGUFReader(str(base_gguf))
    architecture = str(reader.get_field(gguf.Keys.General.ARCHITECTURE).contents())
    kind = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "f16": gguf.GGMLQuantizationType.F16}[precision]
    pending = _by_gguf_name(reader, architecture, updates)
    writer = gguf.GGUFWriter(str(target), architecture)
    _copy_metadata(reader, writer, precision, notes or {})
    for tensor in reader.tensors:
        update = pending.pop(tensor.name, None)
        if update is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type) + update.dense()
        writer.add_tensor(tensor.name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    if pending:
        raise BadConfig(f"every update must fit a weight of the base file, {sorted(pending)[0]!r} does not")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _by_gguf_name(reader: Any, architecture: str, updates: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """The updates in the layout of the GGUF file, by its tensor names."""
    import gguf

    if architecture not in ROTARY_INTERLEAVED | STRAIGHT:
        known = ", ".join(sorted(ROTARY_INTERLEAVED | STRAIGHT))
        raise BadConfig(
            f"the student's architecture must be one of {known}, got {architecture!r}",
            mend="Choose a base model of one of these architectures.",
        )
    blocks = int(_number(reader, f"{architecture}.block_count"))
    heads = {"q_proj": int(_number(reader, f"{architecture}.attention.head_count"))}
    heads["k_proj"] = int(_number(reader, f"{architecture}.attention.head_count_kv", heads["q_proj"]))
    arch = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(arch, blocks)
    placed: dict[str, LowRank] = {}
    for module, update in updates.items():
        name = names.get_name(module)
        if name is None:
            raise BadConfig(f"every update must fit a weight of the base file, {module!r} does not")
        turned = heads.get(module.rsplit(".", 1)[-1]) if architecture in ROTARY_INTERLEAVED else None
        placed[f"{name}.weight"] = replace(update, b=permuted(update.b, turned)) if turned else update
    return placed


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Reorder the rows of a query or key weight from transformers' halves to GGUF's pairs.

    transformers rotates dimension i with i + d/2, the GGUF of a llama rotates 2i with 2i + 1
    (`LlamaModel.permute` in llama.cpp's convert_hf_to_gguf.py).
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _number(reader: Any, key: str, default: float | None = None) -> float:
    field = reader.get_field(key)
    if field is None:
        if default is None:
            raise BadConfig(f"a base GGUF file must state {key}")
        return default
    return float(field.contents())


def _copy_metadata(reader: Any, writer: Any, precision: Precision, notes: Mapping[str, str]) -> None:
    """Copy every metadata entry of the base, with the new file type and `notes`."""
    import gguf

    written_by_writer = {gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE}
    for field in reader.fields.values():
        if field.name in written_by_writer or field.name in notes or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
    writer.add_file_type({"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}[precision])
    for name, text in notes.items():
        writer.add_string(name, text)
