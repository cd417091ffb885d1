"""Pairs by translation and round trip: code to a rare language, code by way of its description, prose both ways.

Llama 3.1's translation of programs, its backtranslation of code and its multilingual data (Llama team 2024,
arXiv:2407.21783, sections 4.3.1 and 4.3.2), and back-translation (Edunov et al. 2018, arXiv:1808.09381; before it
Sennrich et al. 2016, arXiv:1511.06709). What people wrote is the completion, what a model wrote the prompt. The other
direction is given only where a run has shown that both say the same, and is tagged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals import folded
from stillroom.evals.code import extract_code
from stillroom.evals.gates import Whole
from stillroom.evals.outputs import LANGUAGES, usable
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.rule import told
from stillroom.signatures.operators import Answer, Describe, FromDoc, Judge, Translate

from ._translate_checks import Reproduction, lopsided, mismatch, named, numbers_kept, quotes

__all__ = ["METHOD", "RUBRIC", "Params"]

EMITS = (
    "prompt", "completion", "records", "tags", "direction", "source_language", "target_language", "checked",
    "text", "translation", "doc", "score", "feedback", "responses",
)  # fmt: skip
RUBRIC = (
    "How faithful is the response to the reference, the code that was described? 1: it does something else. "
    "2: it does a part of it. 3: the same in the main, with differences that a user would notice. "
    "4: the same but for rare cases or style. 5: the same in every respect."
)
HUMAN, MACHINE = "completion by a person", "completion by a model"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: What is translated. "program": code into a language that is run to check it. "description": code into
            words, and the words back into code. "prose": real text into another language, to be the source side.
            "reasoning": problems and their solutions. "answer": nothing; prompts are answered in their own language.
        languages: Those wanted: of programs as in `stillroom.evals.outputs.LANGUAGES`, of prose by ISO 639-1 codes.
        inputs: For which both programs must give the same.
        ratio: How many times as long a text may be as its translation, or the other way round, in characters.
        least: Points of 5 for faithfulness, of a description's code.
        both: Whether the direction with a model's completion is given too, where a run has shown it right.
        tag: Put in front of prompts that a model wrote.
        machine: Put in front of prompts whose completion a model wrote.
        samples: Answers to each prompt, of which the first in its language is taken.
        seconds: Of all calls of one program together.
    """

    kind: Literal["program", "description", "prose", "reasoning", "answer"] = "program"
    languages: tuple[str, ...] = ()
    inputs: int = 40
    ratio: float = 3.0
    least: int = 4
    both: bool = False
    tag: str = ""
    machine: str = ""
    samples: int = 1
    seconds: float = 5.0


def flow(job: Job[Params]) -> Flow:
    """Translate, check, and put the human side last."""
    params = job.params
    _check(params)
    source, _ = _SOURCES[params.kind]
    job.need(source)
    parts = {
        "program": _program, "description": _description, "prose": _prose, "reasoning": _reasoning, "answer": _answer
    }[params.kind](job)  # fmt: skip
    return job.flow(Once(lambda: _wanted(job), job.rows), parts, emits=EMITS, text=("prompt",), attempts=1)


def _check(params: Params) -> None:
    if not 1 <= params.least <= 5 or min(params.inputs, params.samples, params.ratio) < 1:
        raise BadConfig(
            "least must be in 1..5, inputs, samples and ratio >= 1, got "
            f"{params.least}, {params.inputs}, {params.samples} and {params.ratio}"
        )
    if params.kind == "program":
        rare = [each for each in LANGUAGES if each != "python"]
        unknown = sorted(set(params.languages) - set(rare))
        if unknown or not params.languages:
            raise BadConfig(f"languages must be among {', '.join(rare)}, got {', '.join(unknown) or 'none'}")
    if params.kind in ("program", "description"):
        for language in ("python", *(params.languages if params.kind == "program" else ())):
            usable(language)  # refused before anything is paid for
    if params.kind in ("prose", "reasoning") and not params.languages:
        raise BadConfig("languages to translate into must be named, got none", mend="Such as de or hi.")


def _record(prompt: str, completion: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


# -- programs ------------------------------------------------------------------------


def _runs(run: Reproduction) -> list[Part]:
    """The source is run before anything is asked: one that tells nothing is left to a person."""
    return [
        Do(
            "run source",
            run.source,
            reads=("text", "entry", "inputs", "seed"),
            adds=("names", "tried", "wanted", "unchecked"),
            beside=True,
        ),
        told("source runs", "unchecked", "verifier", "audit"),
    ]


def _reproduces(work: Callable[[State], Mapping[str, Any]]) -> list[Part]:
    return [
        Do("run", work, adds=("translation", "checked", "broken", "differs"), beside=True),
        told("parses and compiles", "broken", "verifier"),
        told("reproduces the outputs", "differs", "verifier"),
    ]


def _program(job: Job[Params]) -> list[Part]:
    params = job.params
    run = Reproduction(params.inputs, params.seconds)

    def work(row: State) -> Mapping[str, Any]:
        language = row["language"]
        code = extract_code(row["translation"], language)
        return {"translation": code, **run.other(row, code, language)}

    def direct(row: State) -> Mapping[str, Any]:
        other = LANGUAGES[row["language"]]
        ours, theirs = f"```python\n{row['text'].strip()}\n```", f"```{other.tag}\n{row['translation'].strip()}\n```"
        human = _record(f"{params.tag}Write this {other.title} program in Python.\n\n{theirs}", row["text"])
        forward = _record(f"{params.machine}Write this Python program in {other.form}.\n\n{ours}", theirs)
        return _directed(params, human, forward)

    return [
        *_runs(run),
        job.ask("translate"),
        *_reproduces(work),
        Do("direct", direct, adds=_DIRECTED),
    ]


_DIRECTED = ("prompt", "completion", "records", "tags", "direction")


def _directed(params: Params, human: dict[str, str], forward: dict[str, str]) -> dict[str, Any]:
    records, tags = [human], [HUMAN]
    if params.both:
        records.append(forward)
        tags.append(MACHINE)
    return {**human, "records": records, "tags": tags, "direction": HUMAN}


def _description(job: Job[Params]) -> list[Part]:
    params = job.params
    run = Reproduction(params.inputs, params.seconds)

    def work(row: State) -> Mapping[str, Any]:
        code = extract_code(row["rebuilt"][0]["code"], defines=row["entry"])
        return {"translation": code, **run.other(row, code, "python")}

    def asked(row: State) -> Mapping[str, Any]:
        return {"instruction": f"Write the code that this describes.\n\n{row['doc']}", "rubric": RUBRIC}

    def direct(row: State) -> Mapping[str, Any]:
        ours = f"```python\n{row['text'].strip()}\n```"
        human = _record(f"{params.tag}Write the Python code that this describes.\n\n{row['doc']}", row["text"])
        forward = _record(f"{params.machine}Describe what this code does.\n\n{ours}", row["doc"])
        return _directed(params, human, forward)

    def unfaithful(row: Mapping[str, Any]) -> str:
        return "" if row["score"] >= params.least else f"{row['score']} of 5 points: {row['feedback']}"

    return [
        *_runs(run),
        job.ask("describe", inputs={"code": "text"}),
        At(Whole(), ("doc",)),
        At(Rule("says it in words", quotes), ("text", "doc")),
        job.ask("write from description", into="rebuilt"),
        *_reproduces(work),
        Do("ask", asked, reads=("doc",), adds=("instruction", "rubric")),
        job.ask("judge", inputs={"response": "translation", "reference": "text"}),
        At(Rule(f"faithful >= {params.least}", unfaithful, "judge"), ("score", "feedback")),
        Do("direct", direct, adds=_DIRECTED),
    ]


# -- prose ---------------------------------------------------------------------------


def _prose(job: Job[Params]) -> list[Part]:
    params = job.params

    def direct(row: State) -> Mapping[str, Any]:
        human = _record(f"{params.tag}{row['translation']}", row["text"])
        return _directed(replace(params, both=False), human, human)

    def even(row: Mapping[str, Any]) -> str:
        return lopsided(row["text"], row["translation"], params.ratio)

    def why(row: Mapping[str, Any]) -> str:
        if row["translation"].strip().casefold() == row["text"].strip().casefold():
            return "the text was not translated"
        return mismatch(row["translation"], row["target_language"])

    return [
        job.ask("translate"),
        At(Whole(), ("translation",)),
        At(Rule(f"length ratio <= {params.ratio:g}", even), ("text", "translation")),
        At(Rule("in the language asked for", why, "verifier"), ("text", "translation", "target_language")),
        Do("direct", direct, adds=_DIRECTED),
    ]


def _reasoning(job: Job[Params]) -> list[Part]:
    """Problem and solution are translated apart, and must keep their numbers."""

    def why(row: Mapping[str, Any]) -> str:
        wrong = (mismatch(row[each], row["target_language"]) for each in ("prompt", "completion"))
        return next(filter(None, wrong), "")

    def kept(row: Mapping[str, Any]) -> str:
        return numbers_kept(row["text"], row["prompt"]) or numbers_kept(row["solution"], row["completion"])

    def direct(row: State) -> Mapping[str, Any]:
        record = _record(row["problems"][0]["translation"], row["solutions"][0]["translation"])
        return {**record, "records": [record], "tags": [MACHINE], "direction": MACHINE}

    return [
        job.ask("translate", "translate problem", into="problems"),
        job.ask("translate", "translate solution", into="solutions", inputs={"text": "solution"}),
        Do("direct", direct, reads=("problems", "solutions"), adds=_DIRECTED),
        At(Whole(), ("prompt", "completion")),
        At(Rule("in the language asked for", why, "verifier"), ("prompt", "completion", "target_language")),
        At(Rule("numbers are kept", kept, "verifier"), ("text", "solution", "prompt", "completion")),
    ]


def _answer(job: Job[Params]) -> list[Part]:
    def first(row: State) -> Mapping[str, Any]:
        said = [each["response"] for each in row["tries"]]
        fit = [
            each
            for each in said
            if folded(each) != folded(row["prompt"]) and not mismatch(each, row["target_language"], row["prompt"])
        ]
        record = _record(row["prompt"], (fit or said)[0])
        return {
            "completion": record["completion"], "records": [record], "tags": [MACHINE], "direction": MACHINE, "responses": said,
        }  # fmt: skip

    def why(row: Mapping[str, Any]) -> str:
        return mismatch(row["completion"], row["target_language"], row["prompt"])

    def echo(row: Mapping[str, Any]) -> str:
        return "the answer is the prompt" if folded(row["completion"]) == folded(row["prompt"]) else ""

    return [
        job.ask("answer", samples=job.params.samples, into="tries", inputs={"instruction": "prompt"}),
        Do(
            "first",
            first,
            reads=("prompt", "target_language", "tries"),
            adds=("completion", "records", "tags", "direction", "responses"),
        ),
        At(Whole(), ("completion",)),
        At(Rule("no echo", echo), ("prompt", "completion")),
        At(Rule("in the prompt's language", why, "verifier"), ("prompt", "completion", "target_language")),
    ]


# -- what is drawn -------------------------------------------------------------------


_SOURCES = {
    "program": ("programs", "code"), "description": ("programs", "code"), "prose": ("texts", "text"),
    "reasoning": ("problems", "problem"), "answer": ("prompts", "prompt"),
}  # fmt: skip
"""By kind: the rows that are needed, and the field that is translated."""


def _wanted(job: Job[Params]) -> Iterator[Wanted]:
    params = job.params
    if params.kind == "answer":
        for row in job.stream("prompts"):
            fields: dict[str, Any] = {
                "prompt": row["prompt"],
                "target_language": row.get("language") or "",
                "system": "",
                "input": "",
            }
            yield made_from(row, fields)
        return
    source, field = _SOURCES[params.kind]
    for slot, row in enumerate(job.stream(source)):
        for language in params.languages or ("python",):
            fields = {"text": row[field], "kind": "code" if source == "programs" else "prose"}
            if source == "programs":
                fields |= {"entry": row.get("entry") or "", "inputs": row.get("inputs") or [], "seed": [job.seed, slot]}
                fields |= {"language": language, "source": "Python", "target": LANGUAGES[language].form}
                fields |= {"source_language": "python", "target_language": language}
            else:
                own = row.get("language") or "en"
                fields |= {"source": named(own), "target": named(language), "solution": row.get("solution") or ""}
                fields |= {"source_language": own, "target_language": language}
            if language != fields["source_language"] or params.kind == "description":
                yield made_from(row, fields)


METHOD = Method(
    "translate",
    "1",
    Params,
    given={
        "programs": Given(
            "Python functions that people wrote, with annotated parameters",
            {"code": "a whole function", "entry?": "its name; the first one's", "inputs?": "lists of arguments to try"},
            optional=True,
        ),
        "texts": Given(
            "texts that people wrote", {"text": "a sentence or a few", "language?": "ISO 639-1; en"}, optional=True
        ),
        "problems": Given(
            "problems with solutions",
            {"problem": "in words", "solution": "with its steps", "language?": "en"},
            optional=True,
        ),
        "prompts": Given(
            "prompts that people wrote", {"prompt": "in any language", "language?": "ISO 639-1"}, optional=True
        ),
    },
    calls={
        "translate": Call(Translate, decoding=Decoding(max_tokens=1024)),
        "describe": Call(Describe, decoding=Decoding(max_tokens=768)),
        "write from description": Call(FromDoc, decoding=Decoding(max_tokens=1024)),
        "judge": Call(Judge, role="judge", decoding=Decoding(max_tokens=512)),
        "answer": Call(Answer, decoding=Decoding(temperature=0.6, max_tokens=1024)),
    },
    flow=flow,
    emits={"sft": Emit(field="records")},
)
