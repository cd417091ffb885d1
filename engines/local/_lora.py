"""A LoRA file in PEFT's layout, checked against the model it is to go with before anything is loaded."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, ModelMissing

__all__ = ["Lora", "read_lora"]

FILE, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_[AB]\.weight")


@dataclass(frozen=True)
class Lora:
    """Weights are changed by `scale * B @ A` (Hu et al. 2021, arXiv:2106.09685).

    Attributes:
        digest: The first 12 hex digits of the file's sha256.
    """

    path: Path
    scale: float
    digest: str


def read_lora(path: Path, modules: Collection[str]) -> Lora:
    """Read what `peft` saved: a folder, or the safetensors file in it.

    Args:
        modules: Names of the products that can be changed, such as `model.layers.0.self_attn.q_proj`.

    Raises:
        ModelMissing: If the file or its settings are not there.
        BadConfig: If it is more than plain LoRA, or changes what the loaded model does not name.
    """
    from safetensors import SafetensorError, safe_open

    path = path / FILE if path.is_dir() else path
    settings = path.with_name(SETTINGS)
    for needed in (path, settings):
        if not needed.is_file():
            raise ModelMissing(f"no LoRA file at {str(needed)!r}", mend="Give the folder that peft saved.")
    try:
        with safe_open(path, "numpy") as tensors:
            keys = list(tensors.keys())
        scale = _scale(json.loads(settings.read_text("utf-8")))
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise BadConfig(f"a LoRA folder must be one that peft saved, got {str(path.parent)!r}") from error
    strange = [key for key in keys if (match := TENSOR.fullmatch(key)) is None or match["module"] not in modules]
    if strange or not keys:
        raise BadConfig(
            f"a LoRA file must change 4-bit layers of the model only, got {strange[0] if strange else 'no tensor'}",
            mend="Merge it into the model and export that as a GGUF file (Q8_0 or F16).",
        )
    return Lora(path, scale, hashlib.sha256(path.read_bytes()).hexdigest()[:12])


def _scale(settings: dict[str, Any]) -> float:
    extra = [
        word
        for word in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")
        if settings.get(word)
    ]
    if settings["peft_type"] != "LORA" or settings.get("bias", "none") != "none" or extra:
        raise BadConfig(
            f"a LoRA file must be plain LoRA, got {', '.join(extra) or settings['peft_type']}",
            mend="Merge it into the model and export that as a GGUF file (Q8_0 or F16).",
        )
    rank = settings["r"]
    return float(settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank))
