"""Texts to pretrain on: textbooks over a grid, stories with given words, rephrased web pages, and a filter of quality.

phi-1 (Gunasekar et al. 2023) and phi-1.5 (Li et al. 2023) write textbooks about topics for readers; phi-1 also has
texts labelled for their educational value and filters all others by a random forest on embeddings. TinyStories (Eldan
and Li 2023) forces diversity by three words and random features a story. WRAP (Maini et al. 2024) rephrases pages in
four styles and mixes them with real ones, token for token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.evals import gates
from stillroom.evals.copies.duplicates import Exact
from stillroom.programs.flow import At, Do, Flow, Part, Quotas, Source, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.rule import always
from stillroom.signatures.operators import Compose, Rephrase, YesNo

from ._inflected import missing
from ._rephrased import kept_facts, stripped
from ._texts import Piece, chunks, cut, sentences, tokens

__all__ = ["FEATURES", "METHOD", "STYLES", "Params", "beside"]

FEATURES = {
    "Dialogue": "the story has at least one dialogue",
    "Twist": "something unexpected happens",
    "BadEnding": "the story has a bad ending",
    "MoralValue": "the story has a moral value",
    "Foreshadowing": "something that comes later is hinted at early",
    "Conflict": "the story has a conflict",
}
"""The features of TinyStories, as its published rows name them."""
STYLES = {
    "easy": "Use a very small vocabulary and extremely simple sentences that a toddler will understand.",
    "medium": "Use high-quality English, as in sentences on Wikipedia.",
    "hard": "Use very terse and abstruse language that only an erudite scholar will understand. Replace simple words and "
    "phrases with rare and complex ones.",
    "qa": "a conversation in the form of questions and answers, each 'Question:' followed by its 'Answer:'",
}
"""The styles of WRAP, as its prompts name them (arXiv:2401.16380, appendix)."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: `textbook` sections over a grid; `story` with given words; `rephrase` pages; `label` their educational
            value; `filter` them by a forest that learnt from labels.
        audiences: Whom textbooks are for.
        forms: What textbooks are like.
        least: Words of a textbook section or of a story, at least.
        features: Features of stories by name.
        most_features: Of one story; how many is drawn evenly.
        instruct: Whether a story's row is its words, features, summary and one of its sentences, then the story.
        styles: Styles that are rephrased into, by name, in turns.
        chunk: Tokens of a chunk that is rephrased, at most.
        ratio: Tokens of real text for each of synthetic text.
        facts: Least share of its source's numbers and names that a rephrased text must have, 0..1.
        question: What a label is the answer to.
        good: Probability from which the filter keeps a text.
        trees: Of the forest.
    """

    kind: Literal["textbook", "story", "rephrase", "label", "filter"] = "textbook"
    audiences: tuple[str, ...] = ("beginners",)
    forms: tuple[str, ...] = ("a section of a textbook",)
    least: int = 50
    features: dict[str, str] = field(default_factory=lambda: dict(FEATURES))
    most_features: int = 3
    instruct: bool = False
    styles: dict[str, str] = field(default_factory=lambda: dict(STYLES))
    chunk: int = 300
    ratio: float = 1.0
    facts: float = 0.0
    question: str = (
        "Does the text have high educational value for a student whose goal is to learn basic coding concepts?"
    )
    good: float = 0.5
    trees: int = 200


def _long(least: int) -> Rule:
    def why(row: Mapping[str, Any]) -> str:
        count = len(row["text"].split())
        return "" if count >= least else f"a text has {least} words or more, got {count}"

    return Rule(f"length(text, {least}..)", why)


# a row may give several texts: each kind ends with a list of them
_TEXTS = Do("texts", lambda row: {"texts": [{"text": row["text"]}]}, reads=("text",), adds=("texts",))


def _checked(params: Params) -> tuple[Part, ...]:
    return (
        At(gates.Whole(), ("text",)),
        At(_long(params.least), ("text",)),
        At(gates.Novelty("new text", Exact), ("text",)),
    )


# -- textbooks -----------------------------------------------------------------------------


def _textbooks(job: Job[Params]) -> tuple[Source, list[Part]]:
    """The cells of topic x audience x form in a drawn order; when all have had their turn, again."""
    params = job.params
    if not params.audiences or not params.forms:
        raise BadConfig(f"a grid needs audiences and forms, got {params.audiences} and {params.forms}")
    grid = list(product([str(row["topic"]) for row in job.source("topics")], params.audiences, params.forms))
    job.rng("grid").shuffle(grid)

    def draw(cell: str, slot: int) -> Wanted:
        topic, audience, form = grid[slot % len(grid)]
        asked = {"topic": topic, "audience": audience, "form": form}
        return Wanted(cell, slot, {"subject": topic, "requirements": f"{form}, for {audience}"}, asked=asked)

    return Quotas({"texts": job.rows}, draw), [job.ask("compose"), *_checked(params), _TEXTS]


# -- stories -------------------------------------------------------------------------------


def _words(job: Job[Params]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"noun": [], "verb": [], "adjective": []}
    for row in job.source("words"):
        if row["kind"] not in found:
            raise BadData(f"the kind of a word must be one of {', '.join(found)}, got {row['kind']!r}")
        found[row["kind"]].append(str(row["word"]))
    lacking = [kind for kind, words in found.items() if not words]
    if lacking:
        raise BadData(f"words must be of all kinds, got none of {', '.join(lacking)}")
    return found


def _stories(job: Job[Params]) -> tuple[Source, list[Part]]:
    params, lists = job.params, _words(job)

    def draw(cell: str, slot: int) -> Wanted:
        rng = job.rng("story", slot)
        words = {kind: rng.choice(each) for kind, each in lists.items()}
        features = rng.sample(sorted(params.features), rng.randint(0, min(params.most_features, len(params.features))))
        told = "; ".join(params.features[each] for each in features)
        requirements = (
            "3 to 5 paragraphs, only simple words that a child of 3 or 4 years understands. It uses the verb "
            f"{words['verb']!r}, the noun {words['noun']!r} and the adjective {words['adjective']!r}"
            + (f"; {told}." if told else ".")
        )
        parts = [each for each in ("Words", "Features", "Summary", "Random sentence") if rng.random() < 0.5]
        fields = {"subject": "a short story", "requirements": requirements, "words": list(words.values()),
                  "features": features, "shown": parts or ["Words"], "place": rng.random()}  # fmt: skip
        return Wanted(cell, slot, fields, asked={**words, "features": features})

    def lacks(row: Mapping[str, Any]) -> str:
        absent = missing(row["words"], row["text"])
        return f"the story lacks {', '.join(absent)}" if absent else ""

    rule = Rule("its three words", lacks, by="verifier")
    parts: list[Part] = [job.ask("compose"), *_checked(params), At(rule, ("text", "words"))]
    if params.instruct:
        parts += [
            Do("story", lambda row: {"story": row["text"], "style": "a summary in one or two sentences"},
               reads=("text",), adds=("story", "style")),
            job.ask("rephrase", inputs={"passage": "story"}, into="summaries"),
            Do("instruct", _instruct, adds=("prompt", "text")),
        ]  # fmt: skip
    return Quotas({"texts": job.rows}, draw), [*parts, _TEXTS]


def _instruct(row: State) -> Mapping[str, Any]:
    """What the story is to be, as far as it is shown, and then the story."""
    told = [each.text for each in sentences(row["story"])]
    known = {
        "Words": ", ".join(row["words"]),
        "Features": ", ".join(row["features"]),
        "Summary": row["summaries"][0]["text"].strip(),
        "Random sentence": told[int(row["place"] * len(told))],
    }
    prompt = "\n".join(f"{name}: {known[name]}" for name in row["shown"] if known[name])
    prompt = prompt or f"Words: {known['Words']}"
    return {"prompt": prompt, "text": f"{prompt}\nStory:\n\n{row['story']}"}


# -- rephrased pages -----------------------------------------------------------------------


def beside(real: str, reserve: str, synthetic: str, ratio: float) -> list[str] | None:
    """Real text that is `ratio` times as long in tokens as the synthetic one: the source, then its reserve, cut there.

    None where both together are shorter.
    """
    wanted = round(tokens(synthetic) * ratio)
    first = cut(real, wanted)
    second = cut(reserve, wanted - tokens(first))
    if tokens(first) + tokens(second) < wanted:
        return None
    return [each for each in (first, second) if each]


def _pages(job: Job[Params]) -> Iterator[Wanted]:
    """Chunks in pairs: the first is rephrased, both stand ready to be the real half."""
    styles = list(job.params.styles.items())
    if not styles:
        raise BadConfig("rephrasing needs a style at least, got none")
    waiting: list[tuple[Mapping[str, Any], Piece]] = []
    slot = 0

    def wanted(reserve: str) -> Wanted:
        row, piece = waiting[0]
        name, style = styles[slot % len(styles)]
        fields = {"passage": piece.text, "style": style, "reserve": reserve}
        return made_from(row, fields, style=name, start=piece.start, end=piece.end)

    for row in job.stream("texts"):
        for piece in chunks(row["text"], job.params.chunk):
            waiting.append((row, piece))
            if len(waiting) == 2:
                yield wanted(piece.text)
                waiting.clear()
                slot += 1
    if waiting:
        yield wanted("")


def _rephrased(job: Job[Params]) -> tuple[Source, list[Part]]:
    params = job.params

    def mixed(row: State) -> Mapping[str, Any]:
        real = beside(row["passage"], row["reserve"], row["synthetic"], params.ratio) or []
        return {"texts": [{"text": text} for text in (row["synthetic"], *real)]}

    def swollen(row: Mapping[str, Any]) -> str:
        there = beside(row["passage"], row["reserve"], row["synthetic"], params.ratio)
        return "" if there is not None else "it is longer than the real text that there is beside it"

    def lost(row: Mapping[str, Any]) -> str:
        return (
            "" if row["facts"] >= params.facts else f"keeps {row['facts']:.2f} of the numbers and names of its source"
        )

    return Once(lambda: _pages(job), job.rows), [
        job.ask("rephrase"),
        Do("strip", lambda row: {"synthetic": stripped(row["text"])}, reads=("text",), adds=("synthetic",)),
        At(gates.Whole("whole rephrase"), ("synthetic",)),
        At(Rule(f"as long as its real half({params.ratio:g})", swollen), ("passage", "reserve", "synthetic")),
        Do("facts", lambda row: {"facts": kept_facts(row["passage"], row["synthetic"])},
           reads=("passage", "synthetic"), adds=("facts",)),
        At(Rule(f"numbers and names >= {params.facts:g}", lost, by="verifier"), ("facts",)),
        Do("mix", mixed, reads=("passage", "reserve", "synthetic"), adds=("texts",)),
    ]  # fmt: skip


# -- educational value ---------------------------------------------------------------------


def _given(job: Job[Params], **asked: Any) -> Source:
    def rows() -> Iterator[Wanted]:
        for row in job.stream("texts"):
            yield made_from(row, {"text": row["text"]}, **asked)

    return Once(rows, job.rows)


def _labels(job: Job[Params]) -> tuple[Source, list[Part]]:
    def read(row: State) -> Mapping[str, Any]:
        return {"label": row["verdict"], "probs": [row["shares"][name] for name in ("no", "yes")]}

    return _given(job), [
        always("question", {"question": job.params.question}),
        job.ask("value", shares="shares"),
        Do("label", read, reads=("verdict", "shares"), adds=("label", "probs")),
    ]


def _filtered(job: Job[Params]) -> tuple[Source, list[Part]]:
    from stillroom.evals.quality import Quality, QualityScore

    rows = job.source("labelled")
    labels = [_is_good(row["label"]) for row in rows]
    score = QualityScore(trees=job.params.trees, seed=job.seed).fit([str(row["text"]) for row in rows], labels)
    share, precision = score.kept(job.params.good)
    found = {
        "rows": len(rows),
        "auroc": [score.auroc_.low, score.auroc_.mean, score.auroc_.high],
        "kept": share,
        "precision": precision,
    }
    gate = Quality(score, job.params.good, ("text",))
    return _given(job, forest=found), [At(gate, ("text",)), _TEXTS]


def _is_good(label: Any) -> bool:
    good, bad = ("yes", "good", "true", "1"), ("no", "bad", "false", "0")
    said = str(label).strip().lower()
    if said not in good + bad:
        raise BadData(f"a label must be one of {', '.join(good)} or of {', '.join(bad)}, got {label!r}")
    return said in good


KINDS = {
    "textbook": (_textbooks, ("topics",), ("texts", "subject", "requirements")),
    "story": (_stories, ("words",), ("texts", "prompt", "story", "words", "features")),
    "rephrase": (_rephrased, ("texts",), ("synthetic", "style", "facts", "texts")),
    "label": (_labels, ("texts",), ("text", "label", "probs")),
    "filter": (_filtered, ("texts", "labelled"), ("texts",)),
}


def flow(job: Job[Params]) -> Flow:
    """The flow of the kind of text that is made."""
    make, needs, emits = KINDS[job.params.kind]
    job.need(*needs)
    source, parts = make(job)
    return job.flow(source, parts, emits=emits, text=("texts",), attempts=1 if isinstance(source, Once) else 4)


METHOD = Method(
    "corpus",
    "2",
    Params,
    given={
        "topics": Given("what textbooks are about", {"topic": "a topic"}, optional=True),
        "words": Given("simple words", {"word": "its base form", "kind": "noun, verb or adjective"}, optional=True),
        "texts": Given("real texts", {"text": "one of them"}, optional=True),
        "labelled": Given("texts with their educational value", {"text": "one", "label": "yes or no"}, optional=True),
    },
    calls={
        "compose": Call(Compose, decoding=Decoding(temperature=1.0, max_tokens=1024)),
        "rephrase": Call(
            Rephrase,
            decoding=Decoding(temperature=0.7, max_tokens=512),
            instruction="Paraphrase the passage in the style asked for. Keep all of its facts and add none.",
        ),
        "value": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
    },
    flow=flow,
    emits={
        "text": Emit(field="texts"),
        "sft": Emit({"prompt": ("prompt",), "completion": ("story",)}),
        "label": Emit(),
    },
)
