"""Know what you know: ask about a passage without showing it, keep what is known, refuse what is wrong again and again.

Llama 3.1 (arXiv:2407.21783, section 4.3.6): a question is made of a passage, the model answers it several times
without the passage, and a judge holds the answers against it. Mostly right: an answer becomes a row. Informative and
mostly wrong: a refusal does. Between the two nothing can be said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.programs.flow import At, Do, Flow, Part, State
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.rule import always
from stillroom.programs.records import Cap
from stillroom.signatures.operators import Answer, AskAbout, Judge, Revise

from ._texts import shared

__all__ = ["METHOD", "Params", "admits", "decide"]

CORRECT = (
    "1: what the response says agrees with the reference. 0: it does not, or it gives no answer. Nothing in between."
)
INFORMATIVE = "1: the response gives a definite answer to the question. 0: it evades it, or says that it does not know."
UNKNOWN = (
    "This is wrong: you do not know the answer. Say in one or two sentences that you do not know, and do not guess."
)
HONEST = "The response says openly that the answer is not known, and does not guess."
SYSTEM = "Answer from what you know, in one or two sentences."
_ADMITS = re.compile(
    r"\b(?:(?:do|does|did|am|are|is|was|could|can|would)(?:\s+not|n['’]t)|cannot|not|no|never)\b[^.!?]{0,60}"
    r"\b(?:know|knowledge|sure|certain|information|recall|remember|aware|tell|able|familiar|reliabl[ey])"
    r"|\b(?:unsure|uncertain|unknown to me|unaware|unfamiliar|unable)\b",
    re.IGNORECASE,
)
RUN = 8
"""Words in a row that a question may not share with its passage."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        samples: Answers asked for without the passage.
        known: Mean correctness from which the answer counts as known.
        unknown: Mean correctness up to which it counts as not known, if answers are informative.
        informative: Mean informativeness from which they are.
        cap: Largest share of refusals among the rows: a model learns to refuse from more, and nothing is exported.
    """

    samples: int = 8
    known: float = 0.75
    unknown: float = 0.25
    informative: float = 0.5
    cap: float = 0.15

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise BadConfig(f"samples must be at least 1, got {self.samples}")
        if not 0 <= self.unknown < self.known <= 1 or not 0 <= self.informative <= 1 or not 0 <= self.cap <= 1:
            raise BadConfig(
                f"thresholds must be 0 <= unknown < known <= 1 and the others in 0..1, got unknown {self.unknown}, "
                f"known {self.known}, informative {self.informative}, cap {self.cap}"
            )


def decide(correct: float, informative: float, params: Params) -> Literal["answer", "refusal", ""]:
    """What becomes of a question: an answer, a refusal, or nothing.

    Args:
        correct: Mean correctness of the answers, 0..1.
        informative: Mean informativeness, 0..1.
        params: The thresholds; each is inside its side.
    """
    if correct >= params.known:
        return "answer"
    return "refusal" if correct <= params.unknown and informative >= params.informative else ""


def admits(text: str) -> bool:
    """Whether a text says that something is not known."""
    return _ADMITS.search(text) is not None


def flow(job: Job[Params]) -> Flow:
    """Ask about a passage, answer without it, judge the answers against it, decide."""
    params, passages = job.params, job.source("passages")
    starts = [
        made_from(row, {"passage": str(row["passage"]).strip(), "nothing": ""})
        for row in job.rng("order").sample(passages, len(passages))
    ]

    def leaks(row: State) -> str:
        found = shared(row["question"], row["passage"], RUN)
        return f"the question has these words of its passage: {found}" if found else ""

    parts: list[Part] = [
        job.ask("ask"),
        At(Rule(f"question carries no {RUN} words of its passage", leaks), ("question", "passage")),
        always("set out", {"system": SYSTEM}),
        # of the passage nothing is read here: what is asked are its question and two fixed texts
        job.ask("answer", inputs={"instruction": "question", "input": "nothing"}, samples=params.samples,
                into="answers", least=params.samples),
        Do("lay out", _laid_out(params), ("answers",), _fields(params, "answer")),
        always("rubrics", {"rubric correct": CORRECT, "rubric informative": INFORMATIVE, "principle": HONEST}),
    ]  # fmt: skip
    for what, reference in (("correct", "passage"), ("informative", "nothing")):
        for at in range(params.samples):
            inputs = {
                "instruction": "question",
                "response": f"answer {at}",
                "rubric": f"rubric {what}",
                "reference": reference,
            }
            parts.append(job.ask(what, f"{what} {at}", inputs=inputs, into=f"{what} {at}"))

    def weighed(row: State) -> Mapping[str, Any]:
        right, definite = (_points(row, what, params) for what in ("correct", "informative"))
        means = sum(right) / params.samples, sum(definite) / params.samples
        kind = decide(*means, params)
        said = next(
            (row[f"answer {at}"] for at in range(params.samples) if right[at] == (kind == "answer") and definite[at]),
            "",
        )
        return {"correct": means[0], "informative": means[1], "kind": kind, "said": said, "critique": UNKNOWN}

    def known(row: State) -> str:
        if row["kind"]:
            return "" if row["said"] else "no answer says anything definite"
        return f"{row['correct']:.2f} of the answers are right and {row['informative']:.2f} informative: neither known nor unknown"

    def settled(row: State) -> Mapping[str, Any]:
        if row["kind"] == "answer":
            return {"response": row["said"], "pair": None}
        refusal = row["revised"].strip()
        return {"response": refusal, "pair": {"prompt": row["question"], "chosen": refusal, "rejected": row["said"]}}

    def honest(row: State) -> str:
        fine = row["kind"] == "answer" or admits(row["response"])
        return "" if fine else "the refusal does not say that the answer is not known"

    judged = [f"{what} {at}" for what in ("correct", "informative") for at in range(params.samples)]
    weights = ("correct", "informative", "kind", "said", "critique")
    parts += [
        Do("weigh", weighed, (*judged, *_fields(params, "answer")), weights),
        At(Rule("known or clearly unknown", known, by="judge"), weights),
        job.ask(
            "refuse", inputs={"instruction": "question", "response": "said"}, when=lambda row: row["kind"] == "refusal"
        ),
        Do("settle", settled, ("kind", "said", "revised", "question"), ("response", "pair")),
        At(Rule("refusal says so", honest), ("kind", "response")),
    ]
    return job.flow(
        Once(lambda: starts, job.rows),
        parts,
        emits=("question", "response", "kind", "correct", "informative", "pair"),
        text=("question",),
        attempts=1,
    )


def _fields(params: Params, name: str) -> tuple[str, ...]:
    return tuple(f"{name} {at}" for at in range(params.samples))


def _laid_out(params: Params) -> Any:
    """Each answer as a field of its own: what is asked about it runs beside what is asked about the others."""

    def work(row: State) -> Mapping[str, Any]:
        return {f"answer {at}": row["answers"][at]["response"] for at in range(params.samples)}

    return work


def _points(row: State, what: str, params: Params) -> Sequence[bool]:
    return [row[f"{what} {at}"][0]["score"] == 1 for at in range(params.samples)]


METHOD = Method(
    "probe",
    "2",
    Params,
    given={"passages": Given("texts with facts", {"passage": "a few sentences that are true"})},
    calls={
        "ask": Call(AskAbout, decoding=Decoding(temperature=0.7, max_tokens=128)),
        "answer": Call(Answer, role="student", decoding=Decoding(temperature=0.7, max_tokens=200)),
        "correct": Call(
            Judge,
            role="judge",
            decoding=Decoding(max_tokens=200),
            instruction="Hold what the response says against the reference: reasons first, then the points.",
        ),
        "informative": Call(
            Judge,
            role="judge",
            decoding=Decoding(max_tokens=200),
            instruction="Say whether the response commits itself to an answer: reasons first, then the points.",
        ),
        "refuse": Call(Revise, decoding=Decoding(temperature=0.7, max_tokens=128)),
    },
    flow=flow,
    emits={
        "sft": Emit({"prompt": ("question",), "completion": ("response",)}),
        "pref": Emit(field="pair"),
    },
    caps=lambda params: [Cap("kind", "refusal", params.cap)],
)
