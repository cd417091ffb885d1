"""From conversations to token rows, cut by the tokenizer that will also serve the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillroom.engines.local.signals import kept_signal_stack
from stillroom.errors import BadData

__all__ = ["Conversation", "TokenRow", "check_conversations", "tokenised"]

Conversation = Sequence[Mapping[str, str]]

ROLES = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True)
class TokenRow:
    """One training row as token ids: loss falls on `completion` alone, whose last id ends the turn."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.completion)


def check_conversations(conversations: Sequence[Conversation]) -> None:
    """Refuse conversations that cannot train a student, all problems at once.

    Raises:
        BadData: If there are none, or some do not end with an assistant's answer to a message.
    """
    if not conversations:
        raise BadData("a student needs at least one conversation, got 0", mend="Emit or label rows first.")
    problems = [
        f"row {number}: {problem}" for number, row in enumerate(conversations, 1) for problem in _problems_of(row)
    ]
    if problems:
        raise BadData(
            f"every conversation must be messages that end with the assistant's answer, {len(problems)} are not",
            problems,
            mend='A row reads [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}].',
        )


def _problems_of(row: Conversation) -> list[str]:
    """What is wrong with one conversation; empty when nothing is."""
    if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Sequence):
        return [f"must be a list of messages, got {type(row).__name__}"]
    if len(row) < 2:
        return [f"needs a message and an answer, got {len(row)} messages"]
    found = [problem for place, message in enumerate(row, 1) if (problem := _problem_of_message(message, place))]
    if not found and row[-1]["role"] != "assistant":
        found = [f"the last message must be the assistant's, got {row[-1]['role']!r}"]
    if not found and not row[-1]["content"].strip():
        found = ["the assistant's answer must not be empty"]
    return found


def _problem_of_message(message: Mapping[str, str], place: int) -> str:
    """What is wrong with one message; empty when nothing is."""
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        return f"message {place} must have role and content, got {str(message)[:60]!r}"
    if message["role"] not in ROLES:
        return f"message {place} has the unknown role {message['role']!r}"
    if not isinstance(message["content"], str):
        return f"message {place} must have text as content, got {type(message['content']).__name__}"
    try:
        message["content"].encode()
    except UnicodeEncodeError:
        return f"message {place} holds text that is not valid Unicode"
    return ""


def tokenised(base_gguf: Path, conversations: Sequence[Conversation], max_length: int) -> list[TokenRow]:
    """Cut `conversations` into tokens with the local engine's own tokenizer and chat template.

    transformers also builds a tokenizer from a GGUF file, but keeps only part of its
    pre-tokenizer (for SmolLM2 it cuts two spaces before a digit otherwise), so a student
    would be trained on other tokens than it is asked with.

    Raises:
        BadData: If a row is longer than `max_length` tokens; nothing is cut off silently.
    """
    import openvino_genai as ov_genai

    with kept_signal_stack():
        tokenizer = ov_genai.Tokenizer(str(base_gguf))
    end = int(tokenizer.get_eos_token_id())
    prompts = [
        tokenizer.apply_chat_template([dict(message) for message in row[:-1]], add_generation_prompt=True)
        for row in conversations
    ]
    rows = [
        TokenRow(prompt, (*answer, end))
        for prompt, answer in zip(
            _encoded(tokenizer, prompts),
            _encoded(tokenizer, [row[-1]["content"] for row in conversations]),
            strict=True,
        )
    ]
    long = [f"row {number}: {len(row)} tokens" for number, row in enumerate(rows, 1) if len(row) > max_length]
    if long:
        raise BadData(
            f"a training row must have at most max_length={max_length} tokens, {len(long)} have more",
            long,
            mend="Raise max_length in LoraSettings, or shorten the rows.",
        )
    return rows


def _encoded(tokenizer: object, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each text, without padding and without added special tokens."""
    # One text at a time: a padded batch cannot be told from text whose own tokens are the padding token.
    encode = tokenizer.encode  # type: ignore[attr-defined]
    return [tuple(encode(text, add_special_tokens=False).input_ids.data[0].tolist()) for text in texts]
