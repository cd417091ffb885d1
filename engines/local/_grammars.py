"""Whether a constraint compiles, found out where a broken one harms nobody.

openvino-genai 2026.4 compiles a grammar inside the step that samples the first token, and one that
does not compile fails the step for everyone in the batch; Python has no other way to have it compiled.
So a model of no layers, which says the same of every token, is asked for one token under it. It
shares the tokenizer with the real pipeline, which then finds the grammar compiled (5 to 20 ms each,
0.07 MB for as long as the tokenizer lives).
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ._chat import Constraint
from ._pipeline import constraint_settings

__all__ = ["Grammars"]

KNOWN = 4096  # constraints remembered as good or bad


class Grammars:
    """Compiles constraints for a tokenizer, from one thread."""

    def __init__(self, tokenizer: Any) -> None:
        import openvino as ov
        import openvino_genai as genai

        self._tokenizer = tokenizer
        with tempfile.TemporaryDirectory() as folder:
            ov.save_model(_model_of_no_layers(len(tokenizer.get_vocab())), Path(folder) / "openvino_model.xml")
            self._pipeline = genai.LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
        self.error = lru_cache(maxsize=KNOWN)(self._error)

    def _error(self, constraint: Constraint) -> str | None:
        """What the compiler says against `constraint`, or None."""
        import openvino as ov
        import openvino_genai as genai

        settings = genai.GenerationConfig(max_new_tokens=1, apply_chat_template=False)
        settings.structured_output_config = constraint_settings(constraint)
        try:
            self._pipeline.generate(ov.Tensor(np.zeros((1, 2), np.int64)), settings)
        except RuntimeError as error:
            return str(error)
        return None


def _model_of_no_layers(vocabulary: int) -> Any:
    """A model as the library expects one: four inputs, and logits of shape (batch, tokens, vocabulary), all zero."""
    import openvino as ov
    from openvino import opset13 as ops

    inputs = {
        "input_ids": ops.parameter([-1, -1], np.int64),
        "attention_mask": ops.parameter([-1, -1], np.int64),
        "position_ids": ops.parameter([-1, -1], np.int64),
        "beam_idx": ops.parameter([-1], np.int32),
    }
    for name, node in inputs.items():
        node.output(0).set_names({name})
    tokens = ops.convert(ops.unsqueeze(inputs["input_ids"], ops.constant(np.int64(2))), np.float32)
    logits = ops.multiply(tokens, ops.constant(np.zeros((1, 1, vocabulary), np.float32)))
    logits.output(0).set_names({"logits"})
    return ov.Model([logits], list(inputs.values()))
