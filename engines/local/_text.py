"""Between texts and tokens, with the model's own tokenizer and chat template."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from stillroom.errors import BadConfig

from ._chat import Prompt
from .signals import kept_signal_stack

__all__ = ["Vocabulary", "cut", "tokens_within"]

# Models end a turn with one of these, whichever the file calls its end of sequence.
ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|end|>", "<end_of_turn>", "</s>")


class Vocabulary:
    """The tokenizer in a folder made by `_weights.prepared`. Safe from any thread.

    Attributes:
        ends: Tokens that end an answer.

    Raises:
        BadConfig: If the model has no chat template.
    """

    def __init__(self, folder: Path) -> None:
        import openvino_genai as genai

        with kept_signal_stack():
            # with more threads they would wait for each other, and for those of the model
            self.tokenizer: Any = genai.Tokenizer(folder, INFERENCE_NUM_THREADS=1)
        if not self.tokenizer.chat_template:
            raise BadConfig(
                "a local model must have a chat template, got a file without one",
                mend="Take an instruction-tuned model, or add tokenizer.chat_template to the GGUF file.",
            )
        self.encode = lru_cache(maxsize=256)(self._encode)  # a ledger counts what is then sent
        known = (self.encode(text) for text in ENDS)
        self.ends = frozenset([self.tokenizer.get_eos_token_id(), *(ids[0] for ids in known if len(ids) == 1)])
        self._bytes: dict[int, bytes] | None = None
        self._guard = threading.Lock()

    def _encode(self, text: str) -> tuple[int, ...]:
        if not text:
            return ()
        encoded = self.tokenizer.encode(text, add_special_tokens=False)
        return tuple(encoded.input_ids.data[0].tolist())

    def render(self, prompt: Prompt) -> str:
        """Put the messages into the chat template, up to where the answer begins or goes on."""
        turns = [{"role": role, "content": text} for role, text in prompt.messages]
        return self.tokenizer.apply_chat_template(turns, add_generation_prompt=True) + prompt.prefill

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of `ids`; half a character at the end is left out."""
        return self.tokenizer.decode(list(ids)) if ids else ""

    def bytes_of(self, ids: Iterable[int]) -> list[bytes]:
        """Give the bytes each token stands for."""
        with self._guard:
            if self._bytes is None:
                self._bytes = {number: piece for piece, number in self.tokenizer.get_vocab().items()}
        return [self._bytes.get(number, b"") for number in ids]


def cut(text: str, stops: Sequence[str]) -> str:
    """Cut `text` off before the first of the `stops` in it."""
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return text[: min(places)] if places else text


def tokens_within(pieces: Sequence[bytes], text: str) -> int:
    """Count the tokens that begin inside `text`, given the bytes of each."""
    length, seen = len(text.encode()), 0
    for count, piece in enumerate(pieces):
        if seen >= length:
            return count
        seen += len(piece)
    return len(pieces)
