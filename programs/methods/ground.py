"""Tasks for texts that are there: the text is the answer, holds the answer, or is what the answer is about.

Instruction backtranslation (Li et al. 2023, "Humpback") asks for the instruction that a piece of human text answers,
and keeps the pairs it finds good itself. Qwen2 (2024, section 4.2) does so for literature, at several levels of
detail, and lets characters speak from their profiles. Hunyuan-Large (2024) extracts questions with their answers
and generalises them. Llama 3.1 (2024, section 4.3.4) asks about one chunk of a long document and trains on the whole
of it, sums up summaries, and takes a file out of a repository that others import. Text of people is never altered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.programs.flow import Ask, At, Do, Flow, Part, Split, State, Wanted
from stillroom.programs.plan import Decoding, Demo
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.prompts import prompt_of
from stillroom.programs.published.rule import always
from stillroom.signatures.operators import Answer, Evolve, ExtractQA, InstructionFor, Judge, Rephrase, YesNo
from stillroom.values import digest

from ._graded import graded
from ._grounding import Evidence, bucket, found_at, noisy
from ._imports import dependants
from ._texts import Piece, chunks, sections, tokens

__all__ = ["METHOD", "Params"]

RUBRIC = (
    "5: a perfect answer of an assistant to this instruction: on the point, complete, well written, by somebody who "
    "knows. 4: good, with little that could be better. 3: it helps, but it is not written for the one who asks: part "
    "of a page, say. 2: it answers a part. 1: it does not answer."
)

HARDER = "Generalise it and make it a little harder; it must stay answerable from the same text."


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: What is made: `instruction` that a section answers; `role`, a question to somebody and the answer from
            their profile; `question` and answer out of a chunk; `summary` of a long document; `dependants` of a file
            that was taken out of a repository.
        least, most: Characters of a section.
        alike: Largest Jaccard overlap of word 3-grams between two sentences of a section.
        details: How detailed instructions are asked for, in turns.
        judgements: How often an instruction and its text are rated; their mean counts. 0 for never.
        cut: Least mean rating, 1..5.
        shown: Pairs of people shown to whoever writes instructions, at most.
        tags: Whether the prompt begins with the system message for texts from the web.
        chunk: Tokens of a chunk.
        questions: Questions asked for about a chunk.
        entailed: Probability of a yes with which an answer may do that is not word for word in its chunk; 0 for none.
        generalise: Whether questions are made harder and answered anew.
        context: What the prompt shows beside the question: nothing, or the whole document.
        buckets: Lengths in tokens: a document belongs to the smallest that holds it and is left out if none does.
        users: Files that must import a file, for it to be taken out.
    """

    kind: Literal["instruction", "role", "question", "summary", "dependants"] = "instruction"
    least: int = 600
    most: int = 3000
    alike: float = 0.8
    details: tuple[str, ...] = ("",)
    judgements: int = 3
    cut: float = 4.5
    shown: int = 4
    tags: bool = True
    chunk: int = 512
    questions: int = 3
    entailed: float = 0.0
    generalise: bool = False
    context: Literal["none", "document"] = "none"
    buckets: tuple[int, ...] = ()
    users: int = 5


# -- what is wanted ------------------------------------------------------------------------


def _sections(job: Job[Params]) -> Iterator[Wanted]:
    details = cycle(job.params.details or ("",))
    for row in job.stream("texts"):
        for piece in sections(row["text"]):
            header = piece.header or str(row.get("title") or "")
            fields = {"text": piece.text, "header": header, "detail": next(details)}
            yield made_from(row, fields, start=piece.start, end=piece.end, detail=fields["detail"])


def _profiles(job: Job[Params]) -> Iterator[Wanted]:
    for row, detail in zip(job.stream("texts"), cycle(job.params.details or ("",)), strict=False):
        yield made_from(row, {"text": row["text"], "detail": detail})


def _documents(job: Job[Params]) -> list[tuple[Mapping[str, Any], int]]:
    """Documents with their buckets, bucket after bucket in turns, so that every beginning of the list is balanced."""
    shelves: dict[int, list[Mapping[str, Any]]] = {}
    for row in job.stream("texts"):
        place = bucket(tokens(row["text"]), job.params.buckets)
        if place is not None:
            shelves.setdefault(place, []).append(row)
    longest = max(map(len, shelves.values()), default=0)
    return [
        (rows[turn], place) for turn in range(longest) for place, rows in sorted(shelves.items()) if turn < len(rows)
    ]


def _chunks(job: Job[Params]) -> Iterator[Wanted]:
    """A chunk of each document at random, where the whole of it is shown; else every chunk."""
    params = job.params
    for row, place in _documents(job):
        parts = chunks(row["text"], params.chunk)
        if params.context == "document":
            parts = [job.rng("chunk", digest(row)).choice(parts)] if parts else []
        for part in parts:
            fields = {"document": row["text"], "passage": part.text, "start": part.start, "n": params.questions}
            yield made_from(row, fields, bucket=place, start=part.start, end=part.end)


def _whole(job: Job[Params]) -> Iterator[Wanted]:
    for row, place in _documents(job):
        yield made_from(row, {"document": row["text"]}, bucket=place)


def _repositories(job: Job[Params]) -> Iterator[Wanted]:
    """Each file that enough others import: who they are, and what is in it."""
    repositories: dict[str, dict[str, str]] = {}
    for row in job.stream("texts"):
        if not row.get("path"):
            raise BadData("files of a repository must have a path, got none", mend="Give fields path, text and repo.")
        repositories.setdefault(str(row.get("repo") or ""), {})[str(row["path"])] = row["text"]
    for name, files in repositories.items():
        for path, users in dependants(files).items():
            rest = "\n\n".join(f"### {other}\n{text}" for other, text in files.items() if other != path)
            place = bucket(tokens(rest), job.params.buckets)
            if len(users) < job.params.users or place is None:
                continue
            for ask, response in (
                (
                    f"The file {path} is missing from this repository. Which of its files depend on it?",
                    "\n".join(users),
                ),
                (f"The file {path} is missing from this repository. Write it.", files[path]),
            ):
                fields = {"context": rest, "question": ask, "response": response}
                yield made_from([name, path], fields, repo=name, path=path, bucket=place)


# -- flows ---------------------------------------------------------------------------------


def _rated(job: Job[Params]) -> list[Part]:
    """Self-curation: the mean of several ratings, reasons first."""
    params = job.params
    if not params.judgements:
        return []
    return [
        *graded(job, "rate", "rate", RUBRIC, 5, samples=params.judgements, into="score"),
        At(
            Rule(
                f"curation >= {params.cut:g}",
                lambda row: "" if row["score"] >= params.cut else f"rated {row['score']:.2f} of 5",
                by="judge",
            ),
            ("score",),
        ),
    ]


def _instructions(job: Job[Params]) -> list[Part]:
    tag = "Answer with knowledge from web search." if job.params.tags else ""
    pairs = job.source("seeds")[: job.params.shown]
    demos = [
        Demo(digest(row), {"text": row["response"], "detail": ""}, {"instruction": row["instruction"]}) for row in pairs
    ]
    return [
        *(At(rule, ("text", "header")) for rule in noisy(job.params.least, job.params.most, job.params.alike)),
        job.ask("instruct", demos=demos),
        Do("response", lambda row: {"response": row["text"]}, reads=("text",), adds=("response",)),
        *_rated(job),
        Do(
            "prompt",
            lambda row: {"prompt": prompt_of(row["instruction"], tag)},
            reads=("instruction",),
            adds=("prompt",),
        ),
    ]


def _roles(job: Job[Params]) -> list[Part]:
    return [
        job.ask("instruct"),
        Do(
            "role",
            lambda row: {"system": f"You are the one whom this describes. Stay in character.\n\n{row['text']}"},
            reads=("text",),
            adds=("system",),
        ),
        always("no input", {"input": ""}),
        job.ask("answer"),
        *_rated(job),
        Do("prompt", lambda row: {"prompt": prompt_of(row["instruction"], row["system"])}, adds=("prompt",)),
    ]


def _questions(job: Job[Params]) -> list[Part]:
    params = job.params

    def missing(row: State) -> bool:
        return bool(params.entailed) and found_at(row["answer"], row["passage"]) is None

    def claim(row: State) -> Mapping[str, Any]:
        return {"claim": f"Does the text say that the answer to {row['question']!r} is {row['answer']!r}?"}

    def prompt(row: State) -> Mapping[str, Any]:
        asked = row["question"] if params.context == "none" else f"{row['document']}\n\n{row['question']}"
        return {"prompt": prompt_of(asked), "context": row["document"] if params.context == "document" else ""}

    def pair(row: State) -> Mapping[str, Any]:
        return {"question": row["question"].strip(), "answer": row["answer"].strip()}

    parts: list[Part] = [
        job.ask("extract"),
        Split("pairs", "pairs"),
        Do("pair", pair, adds=("question", "answer")),
    ]
    if params.entailed:
        parts += [
            Do("claim", claim, reads=("question", "answer"), adds=("claim",)),
            job.ask("entail", inputs={"question": "claim", "text": "passage"}, shares="says", when=missing),
        ]
    parts += [
        Do(
            "entailment",
            lambda row: {"entailment": (row.get("says") or {}).get("yes")},
            adds=("entailment",),
        ),
        At(Evidence(params.entailed), ("answer", "passage", "start", "entailment")),
    ]
    if params.generalise:
        parts += [
            always("how", {"op": HARDER, "system": ""}),
            job.ask("generalise", inputs={"instruction": "question"}),
            Do("harder", lambda row: {"question": row["evolved"]}, reads=("evolved",), adds=("question",)),
            job.ask("answer", inputs={"instruction": "question", "input": "passage"}),
        ]
    else:
        parts += [Do("response", lambda row: {"response": row["answer"]}, reads=("answer",), adds=("response",))]
    return [*parts, Do("prompt", prompt, adds=("prompt", "context"))]


def _summaries(job: Job[Params]) -> list[Part]:
    """Chunks are summed up, then their summaries: as many steps as the longest document has chunks."""
    params = job.params
    most = max((len(chunks(row["text"], params.chunk)) for row, _ in _documents(job)), default=1)
    names = [f"chunk {number}" for number in range(most)]

    def cut(row: State) -> Mapping[str, Any]:
        pieces: list[Piece] = chunks(row["document"], params.chunk)
        texts = [piece.text for piece in pieces]
        return {"style": "a short summary", **dict(zip(names, [*texts, *[None] * (most - len(texts))], strict=True))}

    def there(name: str) -> Any:
        return lambda row: row[name] is not None

    def joined(row: State) -> Mapping[str, Any]:
        return {"passage": "\n\n".join(row[f"sum {name}"][0]["text"] for name in names if row[f"sum {name}"])}

    asks: list[Ask] = [
        job.ask("summarise", f"sum {name}", inputs={"passage": name}, into=f"sum {name}", when=there(name))
        for name in names
    ]
    return [
        Do("chunks", cut, reads=("document",), adds=("style", *names)),
        *asks,
        Do("join", joined, adds=("passage",)),
        job.ask("summarise", "sum up"),
        Do(
            "prompt",
            lambda row: {
                "question": "Summarise the text above.",
                "context": row["document"],
                "prompt": prompt_of(f"{row['document']}\n\nSummarise the text above."),
                "response": row["text"],
            },
            adds=("question", "context", "prompt", "response"),
        ),
    ]


def _missing_files(job: Job[Params]) -> list[Part]:
    return [
        Do(
            "prompt",
            lambda row: {"prompt": prompt_of(f"{row['context']}\n\n{row['question']}")},
            reads=("context", "question"),
            adds=("prompt",),
        )
    ]


KINDS = {
    "instruction": (_sections, _instructions, ("prompt", "instruction", "response", "score")),
    "role": (_profiles, _roles, ("prompt", "instruction", "response", "score")),
    "question": (_chunks, _questions, ("prompt", "question", "response", "context")),
    "summary": (_whole, _summaries, ("prompt", "question", "response", "context")),
    "dependants": (_repositories, _missing_files, ("prompt", "question", "response", "context")),
}


def flow(job: Job[Params]) -> Flow:
    """The flow of the kind of task that is made."""
    if job.params.chunk < 1:
        raise BadConfig(f"chunk must be at least 1 token, got {job.params.chunk}")
    wanted, parts, emits = KINDS[job.params.kind]
    return job.flow(
        Once(lambda: wanted(job), job.rows),
        parts(job),
        emits=emits,
        text=("response",),
        attempts=1,
    )


METHOD = Method(
    "ground",
    "1",
    Params,
    given={
        "texts": Given("documents, profiles or files", {"text": "the whole of it", "title?": "its heading",
                                                        "repo?": "of a file", "path?": "of a file"}),
        "seeds": Given("pairs of people", {"instruction": "what was asked", "response": "the answer"}, optional=True),
    },
    calls={
        "instruct": Call(InstructionFor, decoding=Decoding(temperature=0.7, top_p=0.9, max_tokens=256)),
        "rate": Call(Judge, role="judge", decoding=Decoding(temperature=0.7, max_tokens=384)),
        "extract": Call(ExtractQA, decoding=Decoding(temperature=0.7, max_tokens=512)),
        "entail": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "generalise": Call(Evolve, decoding=Decoding(temperature=0.7, max_tokens=256)),
        "answer": Call(Answer, decoding=Decoding(temperature=0.7, max_tokens=768)),
        "summarise": Call(Rephrase, decoding=Decoding(temperature=0.3, max_tokens=384)),
    },
    flow=flow,
    emits={
        "sft": Emit({"prompt": ("prompt",), "completion": ("response",)}),
        "text": Emit({"text": ("context", "question", "response")}),
    },
)  # fmt: skip
