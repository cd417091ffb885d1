"""A GGUF file made ready for OpenVINO, once: exact weights and the tokenizer in a folder of the cache.

Reading the folder takes a fifth of the processor time of reading the GGUF itself (1.5B: 2.3 s
against 10 s), and the weights in it are those of the file (see `_blocks`), which the loader's are not.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.engines.files import cache_folder
from stillroom.errors import BadConfig, ModelMissing

from ._blocks import BLOCK, Affine, affine_tensors, as_bytes, unpack_nibbles
from .signals import kept_signal_stack

__all__ = ["Prepared", "prepared"]

logger = logging.getLogger(__name__)

FORMAT = "v1"  # changes when what is written below changes
MODEL = "openvino_model.xml"
TOKENIZER = "openvino_tokenizer.xml"
ABOUT = "about.json"

LORA_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class Prepared:
    """A folder that OpenVINO loads, and what the settings of a pipeline depend on.

    Attributes:
        context: Tokens the model was made for, prompt and answer together.
        token_values: How many numbers the keys and values of one token are.
        modules: Products that a LoRA file can change, by the names it knows them by.
    """

    folder: Path
    context: int
    token_values: int
    modules: frozenset[str]


def prepared(path: Path, digest: str) -> Prepared:
    """Give the folder made from the GGUF at `path`, making it on first use.

    It is kept under the model's digest in `cache_folder() / "openvino"`, and takes the room of the
    weights as bytes (SmolLM2-135M 0.2 GB, Qwen2.5-Coder-1.5B 2 GB). Safe with several processes.

    Raises:
        ModelMissing: If there is no such file, or no room to write the folder.
        BadConfig: If openvino-genai cannot read the file.
    """
    if not path.is_file():
        raise ModelMissing(f"no model file at {str(path)!r}")
    folder = cache_folder() / "openvino" / f"{digest}-{path.stat().st_size}-{FORMAT}"
    if (folder / ABOUT).is_file():
        return _read(folder)
    logger.info("preparing %s for the local engine, once", path.name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as scratch:
            made = _convert(path, Path(scratch))
            try:
                made.rename(folder)
            except OSError:
                if not (folder / ABOUT).is_file():  # else another process was faster
                    raise
    except OSError as error:
        raise ModelMissing(
            f"{path.name} cannot be prepared in {str(folder.parent)!r}: {error.strerror or error}",
            mend="Make room there, or set STILLROOM_CACHE to a folder that can be written.",
        ) from error
    return _read(folder)


def _read(folder: Path) -> Prepared:
    about = json.loads((folder / ABOUT).read_text("utf-8"))
    return Prepared(folder, about["context"], about["token_values"], frozenset(about["modules"]))


def _convert(path: Path, scratch: Path) -> Path:
    import openvino as ov
    import openvino_genai as genai

    source, made = scratch / "model.gguf", scratch / "made"
    os.symlink(path.absolute(), source)  # the library writes beside the file it reads
    made.mkdir()
    about: dict[str, Any] = dict(_about(path))
    try:
        with kept_signal_stack():
            tokenizer = genai.Tokenizer(source, enable_save_ov_model=True)
        settings = genai.SchedulerConfig()
        settings.cache_size = 1
        genai.ContinuousBatchingPipeline(source, tokenizer, settings, "CPU", enable_save_ov_model=True)
    except RuntimeError as error:
        raise BadConfig(
            f"the local engine reads GGUF files of the llama and qwen families, got {path.name}",
            mend=f"openvino-genai said: {str(error).strip().splitlines()[-1][:200]}",
        ) from error
    model = ov.Core().read_model(scratch / MODEL)
    about["modules"] = _mend(model, path)
    ov.save_model(model, made / MODEL, compress_to_fp16=False)
    for part in scratch.glob("openvino_detokenizer.*"):
        shutil.move(part, made / part.name)
    ov.save_model(_uncut(scratch / TOKENIZER), made / TOKENIZER)
    (made / ABOUT).write_text(json.dumps(about), "utf-8")
    return made


def _uncut(path: Path) -> Any:
    """Read the tokenizer without its limit of 8,192 tokens, past which it would cut a prompt off unasked."""
    import numpy as np
    import openvino as ov
    import openvino_tokenizers  # type: ignore[import-untyped]  # noqa: F401 - teaches OpenVINO to read tokenizers
    from openvino import opset13 as ops

    model = ov.Core().read_model(path)
    for node in [node for node in model.get_ops() if node.get_type_name() == "Minimum"]:
        limit = node.input_value(1).get_node()
        if limit.get_type_name() == "Constant":
            node.input(1).replace_source_output(ops.constant(np.int32(2**31 - 1)).output(0))
    return model


def _about(path: Path) -> dict[str, int]:
    import gguf

    try:
        fields = gguf.GGUFReader(path).fields
        name = fields["general.architecture"].contents()
        layers, width, heads = (
            int(fields[f"{name}.{key}"].contents())
            for key in ("block_count", "embedding_length", "attention.head_count")
        )
        context = int(fields[f"{name}.context_length"].contents())
    except (KeyError, ValueError, IndexError) as error:
        raise BadConfig(f"{path.name} must be a GGUF file of a language model, got one without {error}") from error
    pairs = fields.get(f"{name}.attention.head_count_kv")
    size = fields.get(f"{name}.attention.key_length")
    head = int(size.contents()) if size else width // heads
    return {"context": context, "token_values": 2 * layers * (int(pairs.contents()) if pairs else heads) * head}


def _mend(model: Any, path: Path) -> list[str]:
    """Replace each 4-bit constant whose minima were rounded by bytes that hold them; name what uses them."""
    known = {_key(tensor.d): tensor for tensor in affine_tensors(path)}
    mended: list[str] = []
    for subtract in [node for node in model.get_ops() if node.get_type_name() == "Subtract"]:
        weights = _constant(subtract, 0)
        if weights is None or weights.get_element_type().get_type_name() != "u4":
            continue
        multiply = next(iter(subtract.output(0).get_target_inputs())).get_node()
        scales = multiply.input_value(1).get_node().get_data()
        affine = known.get(_key(scales[..., 0]))
        if affine is not None:
            _replace(subtract, multiply, weights, affine)
            mended.append(_name(multiply, affine.name))
    if len(mended) < len(known):
        logger.warning(
            "%s: %d of %d 4-bit tensors keep rounded minima", path.name, len(known) - len(mended), len(known)
        )
    return sorted(mended)


def _replace(subtract: Any, multiply: Any, weights: Any, affine: Affine) -> None:
    import numpy as np
    from openvino import opset13 as ops

    packed = np.asarray(weights.get_data()).view(np.uint8)
    codes, zeros, steps = as_bytes(unpack_nibbles(packed, (affine.d.shape[0], affine.d.shape[1])), affine)
    subtract.input(0).replace_source_output(ops.convert(ops.constant(codes), "f16").output(0))
    subtract.input(1).replace_source_output(ops.convert(ops.constant(zeros), "f16").output(0))
    multiply.input(1).replace_source_output(ops.constant(steps).output(0))


def _name(multiply: Any, tensor: str) -> str:
    """Give the product with a tensor the name that LoRA files know it by; leave any other tensor's alone."""
    _, layer, part, *_ = [*tensor.split("."), "", ""]
    if part not in LORA_NAMES:  # the embedding or the output, which are one in small models
        return tensor
    node = multiply
    while node.get_type_name() != "MatMul":
        node = next(iter(node.output(0).get_target_inputs())).get_node()
    node.set_friendly_name(f"model.layers.{layer}.{LORA_NAMES[part]}")
    return str(node.get_friendly_name())


def _constant(node: Any, index: int) -> Any:
    """The constant behind the conversion at an input, or None."""
    convert = node.input_value(index).get_node()
    if convert.get_type_name() != "Convert" or convert.input_value(0).get_node().get_type_name() != "Constant":
        return None
    constant = convert.input_value(0).get_node()
    return constant if len(constant.shape) == 3 and constant.shape[2] == BLOCK else None


def _key(scales: Any) -> tuple[tuple[int, ...], bytes]:
    """What tells tensors apart whose names were lost: their scales, as the loader rounds them."""
    import hashlib

    import numpy as np

    halves = np.ascontiguousarray(scales, dtype=np.float16)
    return halves.shape, hashlib.blake2b(halves.tobytes(), digest_size=16).digest()
