"""Records in the formats that TRL's trainers take, and what has no trainer turned into what has one.

Formats were read off TRL 1.16's own preparation of datasets. It has no trainer of step labels: the one that
read `steps` (`trl.experimental.prm`) was removed in September 2026, and the format is kept as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

from stillroom.errors import BadConfig

from .schemas import Attr, Critique, Pref, Rank, Record, Response, Sft

__all__ = ["TRAINERS", "as_sft", "as_trl", "attribute_text", "best_vs_random", "check_rank", "pairs", "trl_schema"]

TRAINERS: dict[str, tuple[str, ...]] = {
    "sft": ("SFTTrainer",),
    "chat": ("SFTTrainer",),
    "pref": ("DPOTrainer", "RewardTrainer"),
    "unpaired": ("KTOTrainer",),
    "steps": (),
    "tool": ("SFTTrainer",),
    "text": ("SFTTrainer",),
    "label": (),
    "verifiable": ("GRPOTrainer",),
}
"""Trainers of TRL that take each schema's rows."""

_EXPORTED = {"rank": "pref", "critique": "sft", "attr": "sft"}


def trl_schema(name: str) -> str:
    """The schema whose rows stand for records of schema `name` at a trainer.

    Raises:
        BadConfig: If nothing trains on them.

    >>> trl_schema("rank"), trl_schema("chat")
    ('pref', 'chat')
    """
    found = _EXPORTED.get(name, name)
    if found not in TRAINERS:
        raise BadConfig(
            f"a schema that is trained on is one of {', '.join([*TRAINERS, *_EXPORTED])}, got {name!r}",
            mend="Export it as jsonl, parquet or hf.",
        )
    return found


def as_trl(records: Iterable[Record], *, rank: str = "all", rng: Random | None = None) -> Iterator[Record]:
    """Records that a trainer takes, one at a time: most as they are, `rank`, `critique` and `attr` turned into others.

    Args:
        records: Of any schemas that train.
        rank: Pairs made of a ranking: `all`, or the `best-vs-random` other.
        rng: Draws the other; a fresh one of seed 0 by default.

    Raises:
        BadConfig: If a schema does not train, or `rank` is neither.
    """
    check_rank(rank)
    rng = rng or Random(0)
    for record in records:
        match record:
            case Rank():
                yield from pairs(record) if rank == "all" else [best_vs_random(record, rng)]
            case Critique() | Attr():
                yield as_sft(record)
            case _:
                trl_schema(record.schema_id)
                yield record


def check_rank(rank: str) -> None:
    """See that pairs of a ranking are called by a name there is. Raises BadConfig if not."""
    if rank not in ("all", "best-vs-random"):
        raise BadConfig(f"pairs of a ranking are 'all' or 'best-vs-random', got {rank!r}")


def pairs(record: Rank) -> list[Pref]:
    """All C(K, 2) pairs of a ranking, better answer chosen, best first (as in InstructGPT, arXiv 2203.02155, 3.5)."""
    return [
        _pref(record, better, worse, f"ranks {first + 1} and {second + 1} of {len(record.responses)}")
        for (first, better), (second, worse) in combinations(enumerate(record.responses), 2)
    ]


def best_vs_random(record: Rank, rng: Random) -> Pref:
    """The best answer and one of the others, drawn evenly (as Zephyr binarises UltraFeedback, arXiv 2310.16944)."""
    other = rng.randrange(1, len(record.responses))
    made = f"rank 1 and rank {other + 1} of {len(record.responses)}, drawn"
    return _pref(record, record.responses[0], record.responses[other], made)


def as_sft(record: Critique | Attr) -> Sft:
    """A critique or a row with attributes as prompt and completion.

    A critic learns to write feedback, then the score (Prometheus, arXiv 2310.08491). A model steered by
    attributes finds them as text behind the prompt (SteerLM, arXiv 2310.05344).
    """
    if isinstance(record, Critique):
        reference = f"\n\nReference answer:\n{record.reference}" if record.reference else ""
        prompt = (
            f"Instruction:\n{record.instruction}\n\nResponse:\n{record.response}\n\nRubric:\n{record.rubric}{reference}"
            "\n\nWrite feedback on the response by the rubric, then the score."
        )
        fields: dict[str, Any] = {"prompt": prompt, "completion": f"{record.feedback}\n\nScore: {record.score}"}
        return Sft.make(fields, replace(record.meta, made=_made(record, "feedback, then score")))
    messages = record.fields()["prompt"]
    last = messages[-1]
    steered = {**last, "content": f"{last['content']}\n\n{attribute_text(record.attributes)}"}
    fields = {"prompt": [*messages[:-1], steered], "completion": record.fields()["response"]}
    return Sft.make(fields, replace(record.meta, made=_made(record, "attributes in the prompt")))


def attribute_text(attributes: dict[str, int]) -> str:
    """Attributes as a line of text, by name, whatever order they were given in.

    >>> attribute_text({"quality": 4, "humour": 0})
    'Attributes: humour:0,quality:4'
    """
    return f"Attributes: {','.join(f'{name}:{value}' for name, value in sorted(attributes.items()))}"


def _pref(record: Rank, better: Response, worse: Response, made: str) -> Pref:
    fields = {
        "prompt": record.prompt,
        "chosen": better.completion,
        "rejected": worse.completion,
        "score_chosen": better.score,
        "score_rejected": worse.score,
    }
    return Pref.make(fields, replace(record.meta, made=_made(record, made)))


def _made(record: Record, how: str) -> str:
    return "; ".join(filter(None, [record.meta.made, f"{record.schema_id}: {how}"]))
