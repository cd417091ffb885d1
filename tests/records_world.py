"""One row for each record schema, and a model small enough to be trained on them for a step."""

from __future__ import annotations

from typing import Any

from stillroom.rows import EmittedRow, Passport

MODEL = "local/tiny@0123456789ab"
ASK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what is two plus two"}]
SAY = [{"role": "assistant", "content": "four"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 0.1 + 0.2}}}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "number", "description": "the other"}},
        },
    },
}
FIELDS: dict[str, dict[str, Any]] = {
    "sft": {"prompt": ASK, "completion": SAY},
    "chat": {"messages": [*ASK, *SAY]},
    "pref": {"prompt": ASK, "chosen": SAY, "rejected": "five", "p_chosen": 0.8, "score_chosen": 4, "score_rejected": 1},
    "rank": {
        "prompt": "what is two plus two",
        "responses": [
            {"completion": "four", "model": MODEL, "score": 9.0},
            {"completion": "five", "score": 2.5},
            {"completion": "six"},
        ],
    },
    "unpaired": {"prompt": ASK, "completion": SAY, "label": True},
    "steps": {"prompt": "what is two plus two", "completions": ["two plus two", "is five"], "labels": [True, False]},
    "critique": {
        "instruction": "what is two plus two",
        "response": "five",
        "rubric": "is it right",
        "reference": "four",
        "feedback": "five is one too many",
        "score": 1,
        "revision": "four",
    },
    "attr": {"prompt": ASK, "response": "four", "attributes": {"quality": 4, "humour": 0}},
    "tool": {
        "messages": [
            *ASK,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "name": "add", "tool_call_id": "c1", "content": "four"},
            *SAY,
        ],
        "tools": [ADD],
    },
    "text": {"text": "two plus two is four"},
    "label": {"text": "two plus two", "label": "sum", "probs": [0.25, 0.75]},
    "verifiable": {"prompt": ASK, "solution": "$4$", "tests": ["assert f() == 4"]},
    "audit": {"values": {"q": "two", "n": [1, {"x": None}]}, "status": "audit", "gate": "agreement", "why": "says 5"},
}


def row(
    values: dict[str, Any],
    place: str = "x/0/0",
    *,
    gate: str = "",
    by: str = "verifier",
    licence: str = "Apache-2.0",
    status: str = "",
) -> EmittedRow:
    """An emitted row; with a gate, one that the gate rejected."""
    verdict = {
        "gate": gate or "exact",
        "by": by,
        "passed": not gate,
        "why": "",
        "found": {"gap": 0.1 + 0.2, "n": 2**70},
    }
    passport = Passport(
        "recipe", "plan", MODEL, licence, ("demo1", "demo2"), {"temperature": 0.7, "seed": 3},
        {"label": None}, 2, 30, (verdict,),
    )  # fmt: skip
    known: Any = status or ("rejected" if gate else "accepted")
    return EmittedRow(f"id-{place}", place, known, values, passport, gate, "wrong" if gate else "", {"repaired": 1})


def tokenizer(texts: list[str]) -> Any:
    """A tokenizer of the words of `texts`, made here, with a template for chats and tools."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.split()})
    names = ["<unk>", "<pad>", "<eos>", *(f"<{role}>" for role in ("system", "user", "assistant", "tool"))]
    made = Tokenizer(WordLevel({word: at for at, word in enumerate([*names, *words])}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    template = (
        "{% if tools %}<system> {{ tools | tojson }} <eos> {% endif %}"
        "{% for m in messages %}<{{ m.role }}> {{ m.content or '' }}"
        "{% for call in m.tool_calls or [] %} {{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}"
        " <eos> {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="<eos>", chat_template=template
    )


def config(size: int, **more: Any) -> Any:
    """A llama of two layers with `size` words."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, pad_token_id=1, eos_token_id=2, bos_token_id=2, **more,
    )  # fmt: skip
