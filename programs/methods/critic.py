"""Data that teaches judging: critiques with scores, made for each score, kept where people agree, or shown to help.

Prometheus (Kim et al. 2023, arXiv:2310.08491), Shepherd (Wang et al. 2023, arXiv:2308.04592), the judgements that
Self-Rewarding models are first taught with (Yuan et al. 2024, arXiv:2401.10020), and self-critiquing models (Saunders
et al. 2022, arXiv:2206.05802), whose premise carries all of them: to find a fault is easier than to make none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, Split, State
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, made_from
from stillroom.programs.published.caps import Share
from stillroom.programs.published.filters import RougeNovelty
from stillroom.programs.published.rule import always, told
from stillroom.signatures.operators import (
    Answer,
    Assess,
    Classify,
    Compare,
    Critique,
    Judge,
    ProposeFrom,
    ProposeTasks,
    Revise,
    WriteForScore,
)

from ._critiques import ERRORS, agrees, even, result
from ._orders import agreed

__all__ = ["METHOD", "Params"]

FINE = "no error"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: `scored`: rubrics, instructions for them, an answer for each score with its feedback. `errors`: what
            people said of answers, where it names an error. `agreement`: judgements whose order is people's.
            `helpful`: critiques whose revision is better than what they criticise.
        rubrics: New rubrics asked for from each that is given; the given ones are used too.
        instructions: Instructions asked for each rubric.
        lowest, highest: The scale.
        within: How far an answer may be from the mean length of its set, as a share.
        errors: What a critique may name.
        answers: Most answers judged of one ranking.
        common, share: The score that judges give too often, and the largest share of it.
        rubric: What is judged, where rows bring no rubric of their own.
    """

    kind: Literal["scored", "errors", "agreement", "helpful"] = "scored"
    rubrics: int = 20
    instructions: int = 20
    lowest: int = 1
    highest: int = 5
    within: float = 0.2
    errors: tuple[str, ...] = ERRORS
    answers: int = 4
    common: int = 4
    share: float = 0.5
    rubric: str = "0: the response has a fault worth naming. 1: it has none."


def flow(job: Job[Params]) -> Flow:
    """The flow of the parameters' kind."""
    kinds: Mapping[str, Callable[[Job[Params]], Flow]] = {
        "scored": _scored,
        "errors": _errors,
        "agreement": _agreement,
        "helpful": _helpful,
    }
    return kinds[job.params.kind](job)


def _scored(job: Job[Params]) -> Flow:
    """Rubrics grow from those given; each gets instructions, each instruction an answer for each score (Prometheus)."""
    params = job.params
    scale = range(params.lowest, params.highest + 1)

    def rubrics(row: State) -> Mapping[str, Any]:
        new = row["tasks"][: params.rubrics] if row["tasks"] else []
        return {"rubric": list(dict.fromkeys(each.strip() for each in [row["seed"], *new] if each.strip()))}

    def instructions(row: State) -> Mapping[str, Any]:
        return {"instruction": list(dict.fromkeys(each["problem"].strip() for each in row["problems"]))}

    def refer(row: State) -> Mapping[str, Any]:
        wanted = {f"score {score}": score for score in scale}
        return {"reference": row["referred"][0]["response"].strip(), **wanted}

    def texts(row: State) -> Mapping[str, Any]:
        return {f"text {score}": row[f"response {score}"][0]["response"].strip() for score in scale}

    def judged(row: State) -> Mapping[str, Any]:
        made, broken = [], ""
        for score in scale:
            response = row[f"text {score}"]
            found = result(row[f"assessed {score}"][0]["assessment"], params.lowest, params.highest)
            if found is None or found[1] != score:
                said = "none" if found is None else f"a score of {found[1]}"
                broken = broken or f"feedback for score {score} must end in [RESULT] {score}, got {said}"
                continue
            made.append({"response": response, "feedback": found[0], "score": score})
        uneven = "" if broken else even([each["response"] for each in made], params.within)
        return {"judgements": made, "broken": broken, "uneven": uneven}

    parts: list[Part] = [
        job.ask("rubrics", inputs={"demos": "seeds", "n": "more"}, when=lambda row: row["more"] > 0),
        Do("all rubrics", rubrics, reads=("seed", "tasks"), adds=("rubric",)),
        Split("rubric by rubric", "rubric", params.rubrics + 1),
        At(RougeNovelty(limit=0.7), ("rubric",)),
        job.ask("instructions", inputs={"seed": "rubric"}, samples=params.instructions, into="problems"),
        Do("all instructions", instructions, reads=("problems",), adds=("instruction",)),
        Split("instruction by instruction", "instruction", params.instructions),
        always("full points", {"top": params.highest, "none": ""}),
        job.ask("respond", "reference", inputs={"score": "top", "reference": "none"}, into="referred"),
        Do("refer", refer, reads=("referred",), adds=("reference", *(f"score {score}" for score in scale))),
        *(job.ask("respond", f"respond for {score}", inputs={"score": f"score {score}"}, into=f"response {score}")
          for score in scale),
        Do("texts", texts, reads=tuple(f"response {score}" for score in scale),
           adds=tuple(f"text {score}" for score in scale)),
        *(job.ask("assess", f"assess {score}", inputs={"score": f"score {score}", "response": f"text {score}"},
                  into=f"assessed {score}") for score in scale),
        Do("judge", judged, adds=("judgements", "broken", "uneven")),
        told("a judgement for each score", "broken"),
        told(f"lengths within {params.within:g}", "uneven"),
        # a set is kept whole or not at all, so that each rubric has as many answers of each score
        Split("judgement by judgement", "judgements", len(scale)),
    ]  # fmt: skip
    starts = [
        made_from(row, {"seed": str(row["rubric"]), "seeds": [str(row["rubric"])], "more": params.rubrics, "kind": "rubric",
          "constraint": "It is an instruction that a user may give, answers to which differ by this rubric."})
        for row in job.needed("rubrics")
    ]  # fmt: skip
    return job.flow(
        Once(lambda: starts, job.rows), parts, emits=("instruction", "response", "rubric", "reference", "feedback", "score"),
        text=("instruction", "response"),
    )  # fmt: skip


def _errors(job: Job[Params]) -> Flow:
    """What people said of an answer, or a critique where nobody did, if it names an error of a known kind (Shepherd)."""
    labels = [*job.params.errors, FINE]

    def critiqued(row: State) -> Mapping[str, Any]:
        return {"feedback": (row["comment"] or row["critique"] or "").strip()}

    def named(row: State) -> Mapping[str, Any]:
        label = row["label"].strip()
        why = "" if label in labels else f"an error must be one of {', '.join(labels)}, got {label!r}"
        none = "it names no error" if label == FINE or not row["feedback"] else ""
        return {"error": label, "unknown": why, "unnamed": none, "score": 0}

    starts = [
        made_from(row, {"instruction": str(row["instruction"]), "response": str(row["response"]), "rubric": job.params.rubric,
          "comment": str(row.get("comment") or ""), "labels": labels,
          "principle": f"The response must be free of errors, of these kinds above all: {', '.join(job.params.errors)}."})
        for row in job.needed("threads")
    ]  # fmt: skip
    return job.flow(
        Once(lambda: starts, job.rows),
        [
            job.ask("criticise", when=lambda row: not row["comment"]),
            Do("feedback", critiqued, reads=("comment", "critique"), adds=("feedback",)),
            At(Whole(), ("feedback",)),
            job.ask("classify", inputs={"text": "feedback"}),
            Do("name", named, reads=("label", "feedback"), adds=("error", "unknown", "unnamed", "score")),
            told("a known kind", "unknown"),
            told("names an error", "unnamed", "judge"),
        ],
        emits=("instruction", "response", "rubric", "feedback", "score", "error"),
        text=("feedback",),
    )


def _agreement(job: Job[Params]) -> Flow:
    """Judgements of answers that people have ranked, kept where the order of the points is people's (Self-Rewarding)."""
    params = job.params
    places = range(params.answers)

    def compared(row: State) -> Mapping[str, Any]:
        said = [row[f"judged {at}"][0] for at in places if row[f"judged {at}"]]
        scores = [each["score"] for each in said]
        outside = [each for each in scores if not params.lowest <= each <= params.highest]
        parted = "" if agrees(scores) else f"people rank best first, the points are {scores}"
        made = [
            {"response": row[f"response {at}"], "feedback": each["feedback"], "score": each["score"],
             "points": str(each["score"])}
            for at, each in enumerate(said)
        ]  # fmt: skip
        broken = f"points must be {params.lowest} to {params.highest}, got {outside[0]}" if outside else ""
        return {"judgements": made, "broken": broken, "parted": parted}

    starts = []
    for row in job.needed("rankings"):
        texts = [str(each) for each in row["responses"]][: params.answers]
        fields = {f"response {at}": text for at, text in enumerate(texts + [""] * (params.answers - len(texts)))}
        known = {"instruction": str(row["instruction"]), "rubric": params.rubric, "none": ""}
        starts.append(made_from(row, {**known, **fields}))
    return job.flow(
        Once(lambda: starts, job.rows),
        [
            *(job.ask("judge", f"judge {at}", inputs={"response": f"response {at}", "reference": "none"},
                      into=f"judged {at}", when=lambda row, at=at: bool(row[f"response {at}"])) for at in places),
            Do("compare", compared, adds=("judgements", "broken", "parted")),
            told("points on the scale", "broken"),
            told("people's order", "parted", "verifier"),
            Split("judgement by judgement", "judgements", params.answers),
            At(Share("points", str(params.common), params.share), ("points",)),
        ],
        emits=("instruction", "response", "rubric", "feedback", "score"),
        text=("feedback",),
    )  # fmt: skip


def _helpful(job: Job[Params]) -> Flow:
    """An answer, what is wrong with it, and the answer mended; kept if in both orders the mended one is better."""

    def better(row: State) -> Mapping[str, Any]:
        first, second = row["p straight"]["A"], row["p turned"]["B"]
        fine = agreed(first, second) and first > 0.5
        why = "" if fine else f"the revision wins with {first:.2f} shown first and {second:.2f} shown second"
        return {"worse": why, "score": 0, "feedback": row["critique"], "revision": row["revised"]}

    starts = [
        made_from(row, {"instruction": str(row["instruction"]), "input": str(row.get("input") or ""), "system": "",
          "principle": "It does what was asked, and what it says is true, complete and easy to follow.",
          "rubric": job.params.rubric})
        for row in job.needed("prompts")
    ]  # fmt: skip
    return job.flow(
        Once(lambda: starts, job.rows),
        [
            job.ask("answer"),
            job.ask("criticise"),
            job.ask("revise"),
            At(Whole(), ("critique", "revised")),
            job.ask("compare", "straight", inputs={"a": "revised", "b": "response"}, shares="p straight"),
            job.ask("compare", "turned", inputs={"a": "response", "b": "revised"}, shares="p turned"),
            Do("better", better, reads=("p straight", "p turned", "critique", "revised"),
               adds=("worse", "score", "feedback", "revision")),
            told("the revision is better in both orders", "worse", "judge"),
        ],
        emits=("instruction", "response", "rubric", "feedback", "score", "revision"),
        text=("feedback",),
    )  # fmt: skip


_RUBRICS = (
    "Write new scoring rubrics in the manner of those shown: what is judged, as a question, then what deserves each "
    "score from 1 to 5. Make them diverse, and different from those shown."
)
_WRITTEN = Decoding(temperature=1.0, top_p=0.9, max_tokens=512)

METHOD = Method(
    "critic",
    "2",
    Params,
    given={
        "rubrics": Given("rubrics to start from", {"rubric": "what is judged, and what deserves each score"}, True),
        "threads": Given(
            "answers that people have commented on",
            {"instruction": "the question", "response": "an answer", "comment?": "what somebody said of it"},
            True,
        ),
        "rankings": Given(
            "answers that people have ranked", {"instruction": "the question", "responses": "best first"}, True
        ),
        "prompts": Given("prompts to answer", {"instruction": "what is asked", "input?": "what it is about"}, True),
    },
    calls={
        "rubrics": Call(ProposeTasks, decoding=_WRITTEN, instruction=_RUBRICS),
        "instructions": Call(ProposeFrom, decoding=_WRITTEN),
        "respond": Call(WriteForScore, decoding=_WRITTEN),
        "assess": Call(Assess, role="judge", decoding=_WRITTEN),
        "criticise": Call(Critique, role="judge", decoding=Decoding(temperature=0.7, max_tokens=384)),
        "classify": Call(Classify, role="judge", decoding=Decoding(max_tokens=24)),
        "judge": Call(Judge, role="judge", decoding=Decoding(temperature=0.7, top_p=0.9, max_tokens=384)),
        "answer": Call(Answer, decoding=_WRITTEN),
        "revise": Call(Revise, decoding=_WRITTEN),
        "compare": Call(Compare, role="judge", decoding=Decoding(max_tokens=8), scored=True),
    },
    flow=flow,
    emits={"critique": Emit()},
)
