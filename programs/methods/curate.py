"""Cleaning what exists: rules for conversations, agreement with labels, mixtures, grades, and choosing the best of a set.

FastChat's cleaning of ShareGPT (Vicuna 2023); SlimOrca (2023), which dropped answers that contradict people's labels;
OpenHermes (Teknium 2023), a mixture of sets; Hunyuan-Large (2024), rules, a critic's four grades, people, and balance
over a taxonomy; Llama 3.1 (2024, section 4.2.3), topics, quality, difficulty, and copies of which the better stays.
Nothing is generated but labels and grades, and revisions of hard rows where the method has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.evals import gates
from stillroom.evals.copies.duplicates import Exact, NearDuplicates, folded
from stillroom.evals.filters.boilerplate import boilerplate
from stillroom.programs.flow import At, Do, Flow, Part, Source, Split, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.filters import sized
from stillroom.programs.published.prompts import answered, prompt_of
from stillroom.programs.published.rule import always
from stillroom.signatures.operators import Classify, Critique, Intentions, Judge, Revise, YesNo

from ._conversations import conversation_rules, pieces, trimmed, turns
from ._graded import graded
from ._sets import Apart, Balanced, Best, Rare

__all__ = ["METHOD", "Params", "upper_quartile"]

QUALITY = (
    "3: accurate, does what was asked, in a fitting tone. 2: one of these is lacking. 1: more than one is lacking."
)
HARDNESS = (
    "How hard is the instruction? 3: several steps or special knowledge. 2: some thought. 1: anybody can do it at once."
)
GRADES = "4: excellent, as it is. 3: good, with slips that do no harm. 2: doubtful: a person should look. 1: wrong or useless."
PRINCIPLE = "accurate, does everything that was asked, in a fitting tone"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: `conversations` by rules; `labelled` answers that agree with people's; a `mixture` of sets; `grade`s of a
            critic over a taxonomy; `choose` by quality and difficulty.
        blocked: Words that no turn of a conversation may have.
        languages: Languages of conversations that are kept; all where empty.
        not_languages: Languages that are not.
        same_digits: Whether more than eight equal digits in a row are refused.
        length: Tokens of a piece of a conversation, at most.
        sure: Least probability that an answer agrees with its label.
        weights: Shares of the sources of a mixture, or of the labels of a taxonomy; equal where empty.
        taxonomy: Labels that rows are sorted by.
        least, most: Words of an instruction.
        judgements: How often each row is graded; the mean counts.
        passing: Least mean grade that passes (1..4).
        doubtful: Least mean grade that a person looks at; below it a row is refused.
        quartile: Share of rows with the highest `reward` that are of high quality by it.
        alike: Largest cosine of two rows of a topic.
        phrases: Phrases that are used too often.
        overused: Largest share of rows with one of them.
        revise: Whether rows of the highest difficulty whose quality is not the highest are revised rather than refused.
    """

    kind: Literal["conversations", "labelled", "mixture", "grade", "choose"] = "conversations"
    blocked: tuple[str, ...] = ("openai", "chatgpt")
    languages: tuple[str, ...] = ()
    not_languages: tuple[str, ...] = ()
    same_digits: bool = False
    length: int = 2048
    sure: float = 0.5
    weights: dict[str, float] = field(default_factory=dict)
    taxonomy: tuple[str, ...] = ("mathematics", "code", "writing", "knowledge", "everyday life")
    least: int = 3
    most: int = 2000
    judgements: int = 1
    passing: float = 3.0
    doubtful: float = 2.0
    quartile: float = 0.25
    alike: float = 0.9
    phrases: tuple[str, ...] = ("I'm sorry", "I apologize", "As an AI", "!!", "delve")
    overused: float = 0.1
    revise: bool = True


def _rows(job: Job[Params], fields: Any = dict, most: int | None = None) -> Once:
    """Every row of the source, once; until enough are accepted where `most` says so."""

    def wanted() -> Iterator[Wanted]:
        for row in job.stream("rows"):
            yield made_from(row, {"system": "", **fields(row)})

    return Once(wanted, most)


def _needs(job: Job[Params], *names: str) -> None:
    for at, row in enumerate(job.stream("rows"), start=1):
        lacking = [name for name in names if row.get(name) in (None, "")]
        if lacking:
            raise BadData(f"rows of {job.preset.name} must have {', '.join(names)}, row {at} lacks {lacking}")


def _messages(row: State) -> Mapping[str, Any]:
    prompt = prompt_of(row["instruction"], row["system"])
    return {"prompt": prompt, "messages": answered(prompt, row["response"])}


_MESSAGES = Do("messages", _messages, reads=("instruction", "system", "response"), adds=("prompt", "messages"))


# -- conversations -------------------------------------------------------------------------


def _conversations(job: Job[Params]) -> tuple[Source, list[Part]]:
    params = job.params

    def clean(row: State) -> Mapping[str, Any]:
        return {"messages": trimmed(turns(row["given"]))}

    def key(row: State) -> Mapping[str, Any]:
        said = [each["content"] for each in row["messages"] if each["role"] != "system"]
        return {"key": f"{len(said)} {said[1]}"}  # as published: the first answer, and how many turns there are

    def cut(row: State) -> Mapping[str, Any]:
        return {"pieces": [{"messages": each} for each in pieces(row["messages"], params.length)]}

    rules = conversation_rules(params.blocked, params.languages, params.not_languages, params.same_digits)
    return _rows(job, lambda row: {"given": row}, job.rows), [
        Do("clean", clean, reads=("given",), adds=("messages",)),
        *(At(rule, ("messages",)) for rule in rules),
        Do("key", key, reads=("messages",), adds=("key",)),
        At(gates.Novelty("new conversation", Exact), ("key",)),
        Do("cut", cut, reads=("messages",), adds=("pieces",)),
        Split("pieces", "pieces"),
    ]


# -- answers with labels -------------------------------------------------------------------


def _labelled(job: Job[Params]) -> tuple[Source, list[Part]]:
    """What is the label itself agrees; all else is asked about."""
    _needs(job, "instruction", "response", "gold")
    params = job.params

    def asked(row: State) -> Mapping[str, Any]:
        question = f"Does the response give the same answer as the reference {row['gold']!r}?"
        same = folded(str(row["gold"])) == folded(row["response"].strip().rstrip("."))
        return {"question": question, "same": same}

    def agrees(row: State) -> Mapping[str, Any]:
        return {"agrees": 1.0 if row["same"] else row["shares"]["yes"]}

    def why(row: Mapping[str, Any]) -> str:
        return "" if row["agrees"] >= params.sure else f"it agrees with its label with probability {row['agrees']:.2f}"

    rule = Rule(f"agrees with its label >= {params.sure:g}", why, by="judge")
    return _rows(job, most=job.rows), [
        Do("question", asked, reads=("gold", "response"), adds=("question", "same")),
        job.ask("agree", inputs={"text": "response"}, shares="shares", when=lambda row: not row["same"]),
        Do("agrees", agrees, adds=("agrees",)),
        At(rule, ("agrees",)),
        _MESSAGES,
    ]


# -- whole sets ----------------------------------------------------------------------------


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['instruction']}\n{row['response']}"


_TEXT = Do("text", lambda row: {"text": _pair(row)}, reads=("instruction", "response"), adds=("text",))


def _mixture(job: Job[Params]) -> tuple[Source, list[Part]]:
    """Sets of several sources without refusals and copies, each with its share."""
    _needs(job, "instruction", "response", "source")

    def labelled(row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "label": str(row["source"]), "score": 0.0}

    rules = ("self-identification", "refusal", "placeholder", "chat template", "truncated")
    return _rows(job, labelled), [
        At(boilerplate("response", rules=rules), ("response",)),
        _TEXT,
        At(gates.Novelty("new among all sources", NearDuplicates), ("text",)),
        At(Balanced(job.params.weights, job.rows), ("label", "score", "text")),
        _MESSAGES,
    ]


def _sorted(job: Job[Params]) -> list[Part]:
    """The label of a taxonomy; a label that is none of it is a row's own fault."""
    params = job.params
    if len(params.taxonomy) < 2:
        raise BadConfig(f"a taxonomy has two labels or more, got {params.taxonomy}")

    def known(row: State) -> Mapping[str, Any]:
        said = {folded(each): each for each in params.taxonomy}
        return {"label": said.get(folded(row["label"].strip(" .\"'")), "")}

    unknown = Rule("a label of the taxonomy", lambda row: "" if row["label"] else "it was given no label there is")
    return [
        always("labels", {"labels": list(params.taxonomy)}),
        job.ask("classify", inputs={"text": "instruction"}),
        Do("label", known, reads=("label",), adds=("label",)),
        At(unknown, ("label",)),
    ]


def _grades(job: Job[Params]) -> tuple[Source, list[Part]]:
    """Rules, labels, a critic, people for what is doubtful, and balance."""
    _needs(job, "instruction", "response")
    params = job.params
    refused = Rule(
        f"grade >= {params.doubtful:g}",
        by="judge",
        why=lambda row: "" if row["score"] >= params.doubtful else f"graded {row['score']:.2f}",
    )
    looked = Rule(
        f"grade >= {params.passing:g}",
        by="judge",
        on_fail="audit",
        why=lambda row: "" if row["score"] >= params.passing else f"graded {row['score']:.2f}: a person decides",
    )
    return _rows(job), [
        At(sized("instruction", params.least, params.most), ("instruction",)),
        At(boilerplate("response", rules=("self-identification", "placeholder", "chat template", "truncated")), ("response",)),
        _TEXT,
        At(gates.Novelty("new text", NearDuplicates), ("text",)),
        *_sorted(job),
        *graded(job, "grade", "critic", GRADES, 4, samples=params.judgements, into="score"),
        At(refused, ("score",)),
        At(looked, ("score",)),
        At(Balanced(params.weights, job.rows), ("label", "score", "text")),
        _MESSAGES,
    ]  # fmt: skip


def upper_quartile(rewards: Iterable[float], share: float) -> float:
    """The least reward of the highest `share` of rows; infinite where there are none."""
    ordered = sorted(rewards, reverse=True)
    return ordered[max(1, round(share * len(ordered))) - 1] if ordered else float("inf")


def _chosen(job: Job[Params]) -> tuple[Source, list[Part]]:
    """Quality by reward or judge, difficulty by intentions and judge, hard rows mended, copies out, phrases rare."""
    _needs(job, "instruction", "response")
    params = job.params
    bar = upper_quartile(
        [float(row["reward"]) for row in job.stream("rows") if row.get("reward") is not None], params.quartile
    )

    def by_reward(row: State) -> bool:
        return row.get("reward") is not None and float(row["reward"]) >= bar

    def hard(row: State) -> bool:
        return bool(params.revise and row["hard"] == 3 and row["quality"] < 3 and not by_reward(row))

    def mended(row: State) -> Mapping[str, Any]:
        if row["again"] is None:
            return {"response": row["response"], "original": None}
        return {"response": row["revised"], "original": row["response"], "quality": row["again"]}

    def scored(row: State) -> Mapping[str, Any]:
        difficulty = len({folded(each) for each in row["intentions"]}) + row["hard"]
        high = row["quality"] == 3 or (row["original"] is None and by_reward(row))
        return {"difficulty": difficulty, "high": high, "score": row["quality"] * difficulty, "text": _pair(row)}

    quality = Rule(
        "high quality",
        by="judge",
        why=lambda row: "" if row["high"] else "neither its reward is among the highest nor its grade the highest",
    )
    return _rows(job), [
        *_sorted(job),
        *graded(job, "grade", "quality", QUALITY, 3, samples=params.judgements, into="quality"),
        job.ask("intentions"),
        *graded(job, "grade", "difficulty", HARDNESS, 3, samples=params.judgements, into="hard"),
        always("principle", {"principle": PRINCIPLE}),
        job.ask("critique", when=hard),
        job.ask("revise", when=hard),
        *graded(job, "grade", "quality again", QUALITY, 3, samples=params.judgements, into="again",
                inputs={"response": "revised"}, when=hard),
        Do("mend", mended, adds=("response", "original", "quality")),
        Do("score", scored, adds=("difficulty", "high", "score", "text")),
        At(quality, ("high",)),
        At(Apart(params.alike), ("label", "score", "text")),
        At(Rare(params.phrases, params.overused), ("response", "score", "text")),
        At(Best(job.rows), ("score", "text")),
        _MESSAGES,
    ]  # fmt: skip


SET = ("instruction", "response", "prompt", "messages", "label", "score")
KINDS = {
    "conversations": (_conversations, ("messages",)),
    "labelled": (_labelled, ("instruction", "response", "prompt", "messages", "agrees")),
    "mixture": (_mixture, SET),
    "grade": (_grades, SET),
    "choose": (_chosen, (*SET, "quality", "difficulty", "original")),
}


def flow(job: Job[Params]) -> Flow:
    """The flow of the kind of cleaning that is done."""
    make, emits = KINDS[job.params.kind]
    source, parts = make(job)
    whole = job.params.kind in ("mixture", "grade", "choose")
    # gates that choose from the whole set must see it at once
    window = max(1, sum(1 for _ in job.stream("rows"))) if whole else None
    return job.flow(source, parts, emits=emits, attempts=1, window=window)


METHOD = Method(
    "curate",
    "2",
    Params,
    given={
        "rows": Given(
            "what is to be cleaned: conversations, or instructions with their responses",
            {
                "messages?": "turns with role and content",
                "conversations?": "turns with from and value",
                "instruction?": "what was asked",
                "response?": "the answer",
                "system?": "the system message",
                "gold?": "the label of people",
                "source?": "the set it is from",
                "reward?": "of a reward model",
            },
        )
    },
    calls={
        "agree": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "classify": Call(Classify, role="judge", decoding=Decoding(max_tokens=24)),
        "grade": Call(Judge, role="judge", decoding=Decoding(max_tokens=256)),
        "intentions": Call(Intentions, role="judge", decoding=Decoding(max_tokens=192)),
        "critique": Call(Critique, decoding=Decoding(temperature=0.7, max_tokens=256)),
        "revise": Call(Revise, decoding=Decoding(temperature=0.7, max_tokens=768)),
    },
    flow=flow,
    emits={
        "chat": Emit({"messages": ("messages",)}),
        "sft": Emit({"prompt": ("prompt",), "completion": ("response",)}),
    },
)
