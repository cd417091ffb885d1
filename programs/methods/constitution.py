"""Principles in place of people's labels: answers revised by them, compared under them, written for and against them.

Constitutional AI (Bai et al. 2022) lets a model criticise and revise its own answers, each time by a principle that is
drawn, and then compares answers by the log-probabilities of A and B under a principle. SALMON (Sun et al. 2023) holds
a comparison to several principles, some of them turned around. Qwen2 (2024) answers by a rule and against it.
Collective Constitutional AI (2023) finds the principles: what every group of people agrees to, without copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.filters.boilerplate import refuses
from stillroom.programs.flow import At, Do, Flow, Part, Quotas, Source, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.signatures.operators import Answer, Compare, Critique, Rephrase, Revise
from stillroom.values import digest

from ._orders import agreed, settled
from ._principles import Principle, consensus, drawn, length_ratio, read
from ._sets import Apart, Best

__all__ = ["METHOD", "Params"]

OWN, HELPFUL = "principled", "helpful"
PRINCIPLE = "a rule for judging answers that begins with the words: Choose the response that"


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: `revise` own answers; `compare` two under principles; `contrast` an answer by a principle with one against
            it; `select` principles that judge steadily; `consensus` of groups of people.
        revisions: Rounds of criticism and revision.
        changed: Whether an answer that the revisions left as it was is refused.
        helpful: Share of rows that keep a model helpful: answers as they are, or given pairs. 0 for none.
        several: Principles that one comparison is held to; the one that tells the answers apart most decides.
        inverted: Share of them that are turned around, and their label with them.
        clamp: Bounds of the probability that is stored.
        pairs: Pairs of answers that a principle is tried on.
        overlap: Largest cosine of two principles that are kept.
        lengths: Least and largest length of a principle, in words, as a multiple of the median.
        consistency: Least share of pairs on which both orders of a principle agree.
        unsure: How near to 0.5 a label says nothing.
        agreed: Least share of every opinion group that agrees to a statement.
    """

    kind: Literal["revise", "compare", "contrast", "select", "consensus"] = "revise"
    revisions: int = 4
    changed: bool = False
    helpful: float = 0.0
    several: int = 1
    inverted: float = 0.0
    clamp: tuple[float, float] = (0.0, 1.0)
    pairs: int = 8
    overlap: float = 0.9
    lengths: tuple[float, float] = (0.5, 2.0)
    consistency: float = 0.6
    unsure: float = 0.05
    agreed: float = 0.6


# -- what is wanted ------------------------------------------------------------------------


def _prompts(job: Job[Params], times: int) -> Source:
    """A prompt with the principles drawn for it; prompts take turns, helpful ones in a cell of their own."""
    principles, prompts = read(job.source("principles")), job.source("prompts")
    keep = job.source("helpful") or job.source("pairs") if job.params.helpful else []
    quotas = {OWN: job.rows - round(job.rows * job.params.helpful)}
    if keep:
        quotas[HELPFUL] = job.rows - quotas[OWN]
    elif job.params.helpful:
        raise BadConfig(f"{job.preset.name} mixes in helpful rows, got neither 'helpful' nor 'pairs'")
    blank = {"system": "", "input": ""}

    def draw(cell: str, slot: int) -> Wanted:
        rows = prompts if cell == OWN else keep
        row = rows[slot % len(rows)]
        rng = job.rng("principles", cell, slot)
        found = drawn(principles, times, rng) if job.params.kind != "compare" else _apart(principles, times, rng)
        turned = [rng.random() < job.params.inverted for _ in found]
        fields = {**blank, "instruction": str(row["instruction"]), "cell": cell, "turned": turned,
                  "given": dict(row), "principles": [vars(each) for each in found]}  # fmt: skip
        asked = {"principles": [each.id for each in found], "turned": turned} if cell == OWN else {}
        return Wanted(cell, slot, fields, asked=asked, parents=(digest(row),))

    return Quotas(quotas, draw)


def _apart(principles: Sequence[Principle], count: int, rng: Any) -> list[Principle]:
    return list(rng.sample(list(principles), min(count, len(principles))))


def _own(row: State) -> bool:
    return bool(row["cell"] == OWN)


def _differ(left: str, right: str) -> Rule:
    def why(row: Mapping[str, Any]) -> str:
        return (
            "" if row[left] is None or row[left].strip() != (row[right] or "").strip() else "both answers are the same"
        )

    return Rule("answers differ", why)


# -- critique and revision -----------------------------------------------------------------


def _revisions(job: Job[Params]) -> tuple[Source, list[Part]]:
    params = job.params
    parts: list[Part] = [
        job.ask("answer"),
        Do("first", lambda row: {"original": row["response"], "turns": []}, reads=("response",), adds=("original", "turns")),
    ]  # fmt: skip
    for number in range(params.revisions):

        def principle(row: State, number: int = number) -> Mapping[str, Any]:
            return {"principle": row["principles"][number]["text"]}

        def turn(row: State, number: int = number) -> Mapping[str, Any]:
            if not _own(row):
                return {"response": row["response"], "turns": row["turns"]}
            said = {name: row[name] for name in ("critique", "revised")}
            return {
                "response": row["revised"],
                "turns": [*row["turns"], {"principle": row["principles"][number]["id"], **said}],
            }

        parts += [
            Do(f"principle {number}", principle, adds=("principle",)),
            job.ask("critique", f"critique {number}", when=_own),
            job.ask("revise", f"revise {number}", when=_own),
            Do(f"turn {number}", turn, adds=("response", "turns")),
        ]
    if params.changed:
        parts.append(At(_differ("response", "original"), ("response", "original")))
    return _prompts(job, params.revisions), [*parts, Do("pair", _revised, adds=("pair", "evasive"))]


def _revised(row: State) -> Mapping[str, Any]:
    """The revision before the first answer; none where nothing was revised."""
    pair = {"prompt": row["instruction"], "chosen": row["response"], "rejected": row["original"]}
    same = row["response"].strip() == row["original"].strip()
    return {"pair": [] if same or not _own(row) else [pair], "evasive": not refuses(row["response"]).passed}


# -- comparison ----------------------------------------------------------------------------


def _comparisons(job: Job[Params]) -> tuple[Source, list[Part]]:
    params = job.params
    parts: list[Part] = [
        job.ask("answer", samples=2, into="answers", least=2, when=_own),
        Do("two", _two, adds=("a", "b")),
        At(_differ("a", "b"), ("a", "b")),
    ]
    for number in range(params.several):

        def principle(row: State, number: int = number) -> Mapping[str, Any]:
            return {"principle": row["principles"][min(number, len(row["principles"]) - 1)]["text"]}

        parts += [
            Do(f"principle {number}", principle, adds=("principle",)),
            job.ask("compare", f"compare {number}", shares=f"ab {number}", when=_own),
            job.ask("compare", f"swapped {number}", inputs={"a": "b", "b": "a"}, shares=f"ba {number}", when=_own),
        ]

    def decide(row: State) -> Mapping[str, Any]:
        return _decided(row, params) if _own(row) else _given_pair(row)

    undecided = Rule("preference", lambda row: "" if row["p_a"] != 0.5 else "neither answer is preferred", by="judge")
    parts += [Do("decide", decide, adds=("p_a", "orders", "pair")), At(undecided, ("p_a",))]
    return _prompts(job, params.several), parts


def _two(row: State) -> Mapping[str, Any]:
    if not _own(row):
        return {"a": row["given"]["chosen"], "b": row["given"]["rejected"]}
    return {"a": row["answers"][0]["response"], "b": row["answers"][1]["response"]}


def _decided(row: State, params: Params) -> Mapping[str, Any]:
    """The label by the principle that tells the answers apart most; turned around with it where it is."""
    orders = [[row[f"ab {at}"]["A"], row[f"ba {at}"]["B"]] for at in range(params.several)]
    means = [settled(*each) for each in orders]
    turned = row["turned"][: params.several]
    labels = [
        1 - mean if flip else mean for mean, flip in zip(means, [*turned, *[False] * params.several], strict=False)
    ]
    p_a = max(labels, key=lambda label: abs(label - 0.5))
    low, high = params.clamp
    stored = min(max(p_a, 1 - p_a, low), high)
    better, worse = ("a", "b") if p_a >= 0.5 else ("b", "a")
    pair = {"prompt": _held_to(row, params), "chosen": row[better], "rejected": row[worse], "p_chosen": stored}
    return {"p_a": p_a, "orders": orders, "pair": [] if p_a == 0.5 else [pair]}


def _held_to(row: State, params: Params) -> str:
    """The prompt; with the principles before it where a reward model is to follow them."""
    if params.several == 1 and not params.inverted:
        return str(row["instruction"])
    rules = [
        each["opposite"] if flip else each["text"] for each, flip in zip(row["principles"], row["turned"], strict=True)
    ]
    return "\n".join(["Judge by these principles:", *(f"- {rule}" for rule in rules), "", row["instruction"]])


def _given_pair(row: State) -> Mapping[str, Any]:
    """A pair of people's, as it is."""
    pair = {"prompt": row["instruction"], "chosen": row["a"], "rejected": row["b"]}
    return {"p_a": 1.0, "orders": [], "pair": [pair]}


# -- for and against -----------------------------------------------------------------------


def _contrasts(job: Job[Params]) -> tuple[Source, list[Part]]:
    def rules(row: State) -> Mapping[str, Any]:
        found = row["principles"][0]
        return {"rule": found["text"], "against": found["opposite"]}

    def gather(row: State) -> Mapping[str, Any]:
        aligned, deviating = row["aligned"][0]["response"], row["deviating"][0]["response"]
        pair = {"prompt": row["instruction"], "chosen": aligned, "rejected": deviating}
        return {"response": aligned, "original": deviating, "pair": [] if aligned == deviating else [pair]}

    return _prompts(job, 1), [
        Do("rules", rules, reads=("principles",), adds=("rule", "against")),
        job.ask("answer", "aligned", inputs={"system": "rule"}, into="aligned"),
        job.ask("answer", "deviating", inputs={"system": "against"}, into="deviating"),
        Do("gather", gather, adds=("response", "original", "pair")),
        At(_differ("response", "original"), ("response", "original")),
    ]


# -- which principles ----------------------------------------------------------------------


def _selected(job: Job[Params]) -> tuple[Source, list[Part]]:
    """Each principle is held against the others, then tried on the same pairs in both orders."""
    params, rows = job.params, job.source("principles")
    texts = [each.text for each in read(rows)]
    pairs = job.source("pairs")
    pairs = job.rng("pairs").sample(pairs, min(params.pairs, len(pairs)))
    shown = {f"{name} {at}": pair[key] for at, pair in enumerate(pairs)
             for name, key in (("asked", "instruction"), ("a", "chosen"), ("b", "rejected"))}  # fmt: skip

    def wanted() -> Iterator[Wanted]:
        for row, text in zip(rows, texts, strict=True):
            ratio = length_ratio(text, texts)
            fields = {"principle": text, "ratio": ratio, "text": text, "label": "", "score": 0.0}
            yield made_from(row, {**shown, **fields})

    def measured(row: State) -> Mapping[str, Any]:
        both = [(row[f"ab {at}"]["A"], row[f"ba {at}"]["B"]) for at in range(len(pairs))]
        near_half = [abs(settled(*each) - 0.5) <= params.unsure for each in both]
        steady = fmean(agreed(*each) for each in both)
        return {"consistency": steady, "unsure": fmean(near_half), "score": steady}

    low, high = params.lengths
    length = Rule(
        f"length({low:g}..{high:g} of the median)",
        lambda row: "" if low <= row["ratio"] <= high else f"{row['ratio']:.2f} times as long as the median",
    )
    steady = Rule(
        f"swap-consistency >= {params.consistency:g}",
        by="judge",
        why=lambda row: "" if row["consistency"] >= params.consistency else f"consistent on {row['consistency']:.2f}",
    )
    # what is told by the texts alone comes before the calls
    parts: list[Part] = [At(Apart(params.overlap), ("label", "score", "text")), At(length, ("ratio",))]
    for at in range(len(pairs)):
        names = {"instruction": f"asked {at}", "a": f"a {at}", "b": f"b {at}"}
        parts += [
            job.ask("compare", f"compare {at}", inputs=names, shares=f"ab {at}"),
            job.ask("compare", f"swapped {at}", inputs={**names, "a": f"b {at}", "b": f"a {at}"}, shares=f"ba {at}"),
        ]
    parts += [Do("measure", measured, adds=("consistency", "unsure", "score")), At(steady, ("consistency",)),
              At(Best(job.rows), ("score", "text"))]  # fmt: skip
    return Once(wanted, None), parts


def _agreed(job: Job[Params]) -> tuple[Source, list[Part]]:
    """Statements that every group agrees to, without copies, written as principles."""
    params, rows = job.params, job.source("statements")

    def wanted() -> Iterator[Wanted]:
        for row in rows:
            said, share = str(row["statement"]), consensus(row["votes"])
            fields = {"passage": said, "text": said, "style": PRINCIPLE, "label": "", "score": share}
            yield made_from(row, fields, consensus=round(share, 4))

    def why(row: Mapping[str, Any]) -> str:
        return "" if row["score"] >= params.agreed else f"a group agrees by {row['score']:.2f} only"

    return Once(wanted, None), [
        At(Rule(f"consensus >= {params.agreed:g} in every group", why, by="person"), ("score",)),
        At(Apart(params.overlap), ("label", "score", "text")),
        job.ask("word", inputs={}),
        Do(
            "principle",
            lambda row: {"principle": row["text"].strip(), "consensus": row["score"]},
            reads=("text", "score"),
            adds=("principle", "consensus"),
        ),
        At(Best(job.rows), ("score", "text")),
    ]


PAIR = ("instruction", "response", "original", "pair")
KINDS = {
    "revise": (_revisions, ("principles", "prompts"), (*PAIR, "turns", "evasive")),
    "compare": (_comparisons, ("principles", "prompts"), ("instruction", "a", "b", "p_a", "orders", "pair")),
    "contrast": (_contrasts, ("principles", "prompts"), PAIR),
    "select": (_selected, ("principles", "pairs"), ("principle", "ratio", "consistency", "unsure")),
    "consensus": (_agreed, ("statements",), ("principle", "consensus")),
}


def flow(job: Job[Params]) -> Flow:
    """The flow of the kind of rows that is made."""
    make, needs, emits = KINDS[job.params.kind]
    job.need(*needs)
    source, parts = make(job)
    if not isinstance(source, Once):
        return job.flow(source, parts, emits=emits)
    # what is chosen from a whole set must be seen at once
    return job.flow(source, parts, emits=emits, attempts=1, window=max(1, len(job.source(needs[0]))))


METHOD = Method(
    "constitution",
    "2",
    Params,
    given={
        "principles": Given("what answers are held to", {"principle": "as a judge is told it", "id?": "its name",
                                                         "opposite?": "the same turned around"}, optional=True),
        "prompts": Given("what is asked, harmful requests among them", {"instruction": "one prompt"}, optional=True),
        "helpful": Given("harmless prompts", {"instruction": "one prompt"}, optional=True),
        "pairs": Given("pairs of answers", {"instruction": "the prompt", "chosen": "the better answer",
                                            "rejected": "the worse one"}, optional=True),
        "statements": Given("what people voted on", {"statement": "one", "votes": "for each opinion group how many "
                            "agree, and how many voted"}, optional=True),
    },
    calls={
        "answer": Call(Answer, decoding=Decoding(temperature=1.0, max_tokens=512)),
        "critique": Call(Critique, decoding=Decoding(temperature=1.0, max_tokens=256)),
        "revise": Call(Revise, decoding=Decoding(temperature=1.0, max_tokens=512)),
        "compare": Call(Compare, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "word": Call(Rephrase, decoding=Decoding(max_tokens=128)),
    },
    flow=flow,
    emits={
        "sft": Emit({"prompt": ("instruction",), "completion": ("response",)}),
        "pref": Emit(field="pair"),
        "text": Emit({"text": ("principle",)}),
    },
)  # fmt: skip
