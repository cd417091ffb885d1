"""Record schemas: what emitted rows are handed on as, with their papers, to trainers and people."""

from __future__ import annotations

from .build import Columns, build, build_all
from .fields import Message, ToolMessage
from .files import features, read_records, write_folder, write_jsonl, write_parquet
from .meta import Meta, meta_of
from .rejects import audits, preferences, unpaired
from .schemas import (
    SCHEMAS,
    Attr,
    Audit,
    Chat,
    Critique,
    Label,
    Pref,
    Rank,
    Record,
    Response,
    Sft,
    Steps,
    TextRecord,
    Tool,
    Unpaired,
    Verifiable,
    schema,
)
from .trl import TRAINERS, as_sft, as_trl, attribute_text, best_vs_random, check_rank, pairs, trl_schema

__all__ = [
    "SCHEMAS",
    "TRAINERS",
    "Attr",
    "Audit",
    "Chat",
    "Columns",
    "Critique",
    "Label",
    "Message",
    "Meta",
    "Pref",
    "Rank",
    "Record",
    "Response",
    "Sft",
    "Steps",
    "TextRecord",
    "Tool",
    "ToolMessage",
    "Unpaired",
    "Verifiable",
    "as_sft",
    "as_trl",
    "attribute_text",
    "audits",
    "best_vs_random",
    "build",
    "build_all",
    "check_rank",
    "features",
    "meta_of",
    "pairs",
    "preferences",
    "read_records",
    "schema",
    "trl_schema",
    "unpaired",
    "write_folder",
    "write_jsonl",
    "write_parquet",
]
