"""The typed signatures of the operators that published data-generation systems are made of.

Each is declared once and asked wherever a method needs it; its instruction and demos are what a
compile may rewrite. Fields are called as the record schemas call them, where these have them.
"""

from __future__ import annotations

from .answering import (
    Answer,
    Describe,
    Evolve,
    FromDoc,
    Paraphrase,
    Repair,
    Rephrase,
    Revise,
    Solve,
    SolveCode,
    SolveMixed,
    Translate,
    WriteCheck,
    WriteTests,
)
from .judging import Attributes, Classify, Compare, Critique, Discriminate, Judge, Rank, WriteForScore, YesNo
from .proposing import (
    Abstract,
    AskAbout,
    CallTools,
    ExtractQA,
    InstructionFor,
    MakeCase,
    MakeInstances,
    MakeLabelled,
    ProposeFrom,
    ProposeTasks,
    ToolQuery,
    WriteForLabel,
)

__all__ = [
    "Abstract",
    "Answer",
    "AskAbout",
    "Attributes",
    "CallTools",
    "Classify",
    "Compare",
    "Critique",
    "Describe",
    "Discriminate",
    "Evolve",
    "ExtractQA",
    "FromDoc",
    "InstructionFor",
    "Judge",
    "MakeCase",
    "MakeInstances",
    "MakeLabelled",
    "Paraphrase",
    "ProposeFrom",
    "ProposeTasks",
    "Rank",
    "Repair",
    "Rephrase",
    "Revise",
    "Solve",
    "SolveCode",
    "SolveMixed",
    "ToolQuery",
    "Translate",
    "WriteCheck",
    "WriteForLabel",
    "WriteForScore",
    "WriteTests",
    "YesNo",
]
