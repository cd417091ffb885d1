"""A GGUF file made ready for OpenVINO, once: exact weights and the tokenizer in a folder of the cache.

Reading the folder takes a fifth of the processor time of reading the GGUF itself (1.5B: 2.3 s
against 10 s), and the weights in it are those of the file (see `_blocks`), which the loader's are not.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig, ModelMissing

from ._blocks import BLOCK, Affine, affine_tensors, as_bytes, unpack_nibbles
from .files import cache_folder

__all__ = ["prepared"]

logger = logging.getLogger(__name__)

FORMAT = "v1"  # changes when what is written below changes
MODEL = "openvino_model.xml"


def prepared(path: Path, digest: str) -> Path:
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
    if (folder / MODEL).is_file():
        return folder
    logger.info("preparing %s for the local engine, once", path.name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as scratch:
            made = _convert(path, Path(scratch))
            try:
                made.rename(folder)
            except OSError:
                if not (folder / MODEL).is_file():  # else another process was faster
                    raise
    except OSError as error:
        raise ModelMissing(
            f"{path.name} cannot be prepared in {str(folder.parent)!r}: {error.strerror or error}",
            mend="Make room there, or set STILLROOM_CACHE to a folder that can be written.",
        ) from error
    return folder


def _convert(path: Path, scratch: Path) -> Path:
    import openvino as ov
    import openvino_genai as genai

    source, made = scratch / "model.gguf", scratch / "made"
    os.symlink(path.absolute(), source)  # the library writes beside the file it reads
    made.mkdir()
    try:
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
    _mend(model, path)
    ov.save_model(model, made / MODEL, compress_to_fp16=False)
    for part in scratch.glob("openvino_*tokenizer.*"):
        shutil.move(part, made / part.name)
    return made


def _mend(model: Any, path: Path) -> None:
    """Replace each 4-bit constant whose minima were rounded by bytes that hold them."""
    known = {_key(tensor.d): tensor for tensor in affine_tensors(path)}
    if not known:
        return
    mended = 0
    for subtract in [node for node in model.get_ops() if node.get_type_name() == "Subtract"]:
        weights = _constant(subtract, 0)
        if weights is None or weights.get_element_type().get_type_name() != "u4":
            continue
        multiply = next(iter(subtract.output(0).get_target_inputs())).get_node()
        scales = multiply.input_value(1).get_node().get_data()
        affine = known.get(_key(scales[..., 0]))
        if affine is not None:
            _replace(subtract, multiply, weights, affine)
            mended += 1
    if mended < len(known):
        logger.warning("%s: %d of %d 4-bit tensors keep rounded minima", path.name, len(known) - mended, len(known))


def _replace(subtract: Any, multiply: Any, weights: Any, affine: Affine) -> None:
    import numpy as np
    from openvino import opset13 as ops

    packed = np.asarray(weights.get_data()).view(np.uint8)
    codes, zeros, steps = as_bytes(unpack_nibbles(packed, (affine.d.shape[0], affine.d.shape[1])), affine)
    subtract.input(0).replace_source_output(ops.convert(ops.constant(codes), "f16").output(0))
    subtract.input(1).replace_source_output(ops.convert(ops.constant(zeros), "f16").output(0))
    multiply.input(1).replace_source_output(ops.constant(steps).output(0))


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
