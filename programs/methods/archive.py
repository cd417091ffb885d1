"""Quality-diversity search: texts evolve in a grid of features, and each cell keeps its best.

QDAIF (Bradley et al. 2023, arXiv:2310.13032): texts are crossed, a model measures quality and features. Rainbow Teaming
(Samvelyan et al. 2024, arXiv:2402.16822): the cell is chosen first, a prompt is mutated towards it, and what it makes a
model answer is compared with what the cell's elite does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding, Demo, Plan
from stillroom.programs.published import Call, Emit, Given, Growing, Job, Method
from stillroom.programs.published.rule import always, told
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import Answer, Classify, Compare, Crossover, Evolve, YesNo
from stillroom.values import digest

from ._elites import Archive, Placed, binned, bleu, grown, targets

__all__ = ["METHOD", "Feature", "Params", "archive", "begun", "crossed", "measured"]

CELL = "archive"


@dataclass(frozen=True)
class Feature:
    """One axis of the grid.

    Attributes:
        labels: Its values, one a cell: a model says which a text has, or a text is brought to it.
        question: Asked of a text instead: the probability of yes is cut into bins at `edges`.
        edges: Rising, within 0..1; they need not be even.
        op: How a text is brought to a value, which stands where {} is.
    """

    labels: tuple[str, ...] = ()
    question: str = ""
    edges: tuple[float, ...] = ()
    op: str = ""

    @property
    def size(self) -> int:
        """Cells along the axis."""
        return len(self.labels) or len(self.edges) + 1


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        place: `measured`: a text's features are found out. `prescribed`: a cell is aimed at, and texts brought to it.
        kind: What the texts are.
        features: The axes, by name.
        quality: A question whose probability of yes is the fitness: of a text; or of what was answered to it.
        examples: Texts shown to be crossed.
        init: Children made from seeds alone, before the archive's are shown: from a few elites all would descend.
        close: Smallest BLEU with a parent at which a child is a copy.
        temperature: Of aiming at cells of low fitness.
        votes: Comparisons with the elite in each order.
        principle: What the comparison is by.
        safe: The system message of the answers that are to be learnt.
        batch: Rows under way together, none of which sees another; they are placed in their order.
        tries: Children for each row wanted, at most.
    """

    place: Literal["measured", "prescribed"] = "measured"
    kind: str = "a short story"
    features: Mapping[str, Feature] = field(default_factory=dict)
    quality: str = "Is this a good text of its kind?"
    examples: int = 3
    init: int = 0
    close: float = 0.6
    temperature: float = 0.1
    votes: int = 2
    principle: str = ""
    safe: str = ""
    batch: int = 8
    tries: int = 20

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(each.size for each in self.features.values())


@dataclass(frozen=True)
class _Drawn(Wanted):
    """A wanted row whose fields are drawn anew for each try: the archive has changed since the last one."""

    draw: Callable[[int, int], Mapping[str, Any]] = field(default=lambda slot, attempt: {}, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", dict(self.draw(self.slot, self.attempt)))


def archive(job: Job[Params], rows: Sequence[EmittedRow]) -> Archive:
    """The archive that accepted rows have left: its coverage, its score, its elites."""
    return grown(job.params.sizes, rows)


def flow(job: Job[Params]) -> Flow:
    """Draw from the archive, make a child, measure it, and let it take its cell if it may."""
    params = job.params
    _check(params)
    seeds = [str(row["text"]) for row in job.source("seeds")]
    drawn = crossed if params.place == "measured" else _aimed
    parts = measured(job) if params.place == "measured" else _prescribed(job)

    def draw(cell: str, slot: int, pool: Sequence[EmittedRow]) -> Wanted:
        def fields(slot: int, attempt: int) -> Mapping[str, Any]:
            early = begun(slot, attempt, pool) < params.init
            return drawn(job, grown(params.sizes, () if early else pool), seeds, slot, attempt)

        return _Drawn(cell, slot, {}, draw=fields)

    return job.flow(
        Growing({CELL: job.rows}, draw),
        parts,
        emits=("text", "cell", "labels", "fitness", "rival", "won", "response", "sft", "pref"),
        text=("text",),
        attempts=params.tries,
        window=params.batch,
    )


def begun(slot: int, attempt: int, pool: Sequence[EmittedRow]) -> int:
    """Children begun before this try, as far as accepted rows tell: those of earlier slots, and tries of the same."""
    return slot + attempt + sum(int(row.place.rsplit("/", 1)[1]) for row in pool)


def _check(params: Params) -> None:
    if not params.features:
        raise BadConfig("an archive needs features, got none")
    for name, each in params.features.items():
        if bool(each.labels) == bool(each.question) or (each.question and not each.edges):
            raise BadConfig(f"feature {name!r} must have labels, or a question and edges, got {each}")
        if list(each.edges) != sorted(set(each.edges)) or any(not 0 < edge < 1 for edge in each.edges):
            raise BadConfig(f"edges of {name!r} must rise within 0..1, got {list(each.edges)}")
        if params.place == "prescribed" and not (each.labels and "{}" in each.op):
            raise BadConfig(f"feature {name!r} of a prescribed cell must have labels, and an op with {{}} in it")
    if not params.temperature > 0:
        raise BadConfig(f"temperature must be above 0, got {params.temperature!r}")


# -- features that are measured (QDAIF) --------------------------------------------------


def crossed(job: Job[Params], found: Archive, seeds: Sequence[str], slot: int, attempt: int) -> dict[str, Any]:
    """Elites drawn near to one that is drawn evenly, as examples; seeds where there are too few."""
    params, rng = job.params, job.rng("parents", slot, attempt)
    near = found.near(rng.choice(sorted(found.elites)), params.examples, rng) if found.elites else []
    parents = [each.value for each in near]
    others = [each for each in seeds if each not in parents]
    parents += rng.sample(others, min(params.examples - len(parents), len(others)))
    rng.shuffle(parents)
    return {"parents": parents, "kind": params.kind, "rival": "", "won": False}


def measured(job: Job[Params]) -> list[Part]:
    """Write a text and find out its fitness and its cell; the last part is the gate of the archive."""
    params, plan = job.params, job.plan("cross")

    def shown(wanted: Wanted, row: State) -> Plan:
        # crossover is a prompt of worked examples (Meyerson et al. 2023, arXiv:2302.12170): its next text is the child
        demos = [Demo(digest(each), {"kind": params.kind}, {"text": each}) for each in row["parents"]]
        return replace(plan, demos=tuple(demos))

    parts: list[Part] = [
        job.ask("cross", vary=shown, trim="sentence"),
        Do("strip", lambda row: {"text": row["text"].strip()}, reads=("text",), adds=("text",)),
        *_fresh(params),
        always("question", {"question": params.quality}),
        job.ask("measure", "measure quality", shares="p quality"),
    ]
    for name, each in params.features.items():
        if each.labels:
            parts += [
                always(f"labels of {name}", {f"values of {name}": list(each.labels)}),
                job.ask("classify", f"classify {name}", inputs={"labels": f"values of {name}"}, into=f"class {name}"),
            ]
        else:
            parts += [
                always(f"ask of {name}", {f"question of {name}": each.question}),
                job.ask("measure", f"measure {name}", inputs={"question": f"question of {name}"}, shares=f"p {name}"),
            ]

    def cell(row: State) -> Mapping[str, Any]:
        places, said, strange = [], [], ""
        for name, each in params.features.items():
            if each.labels:
                label = row[f"class {name}"][0]["label"].strip()
                strange = strange or ("" if label in each.labels else f"{name} must be a label, got {label!r}")
                places.append(each.labels.index(label) if label in each.labels else 0)
                said.append(label)
            else:
                places.append(binned(row[f"p {name}"]["yes"], each.edges))
                said.append(f"{row[f'p {name}']['yes']:.3f}")
        return {"cell": places, "labels": said, "fitness": row["p quality"]["yes"], "strange": strange, "response": ""}

    return [
        *parts,
        Do("cell", cell, adds=("cell", "labels", "fitness", "strange", "response")),
        told("has a cell", "strange"),
        _placed(params),
    ]


# -- cells that are prescribed (Rainbow Teaming) -----------------------------------------


def _aimed(job: Job[Params], found: Archive, seeds: Sequence[str], slot: int, attempt: int) -> dict[str, Any]:
    """A cell, where fitness is low; a parent drawn evenly; and what to do to it for each feature."""
    params, rng = job.params, job.rng("parents", slot, attempt)
    chances = targets(found, params.temperature)
    (cell,) = rng.choices(list(chances), list(chances.values()))
    parents = [found.elites[each].value for each in sorted(found.elites)]
    # elites alone would all descend from the first few
    parent = rng.choice(parents if len(parents) >= len(seeds) else [*parents, *seeds])
    labels = [each.labels[at] for each, at in zip(params.features.values(), cell, strict=True)]
    elite = found.elites.get(cell)
    ops = {
        f"op {name}": each.op.replace("{}", label)
        for (name, each), label in zip(params.features.items(), labels, strict=True)
    }
    return {
        "parent": parent, "parents": [parent], "cell": list(cell), "labels": labels, **ops,
        "rival": "" if elite is None else elite.value,
        "rival response": "" if elite is None else elite.answer,
    }  # fmt: skip


def _prescribed(job: Job[Params]) -> list[Part]:
    params = job.params
    none = {"none": "", "safe system": params.safe, "question": params.quality, "principle": params.principle}
    parts: list[Part] = []
    before = "parent"
    for name in params.features:
        parts.append(job.ask("mutate", f"mutate {name}", inputs={"instruction": before, "op": f"op {name}"}))
        before = "evolved"

    def voted(row: State) -> Mapping[str, Any]:
        first = [each["better"] == "A" for each in row["shown first"] or ()]
        second = [each["better"] == "B" for each in row["shown second"] or ()]
        votes = [*first, *second]
        return {"won": sum(votes) * 2 > len(votes), "fitness": row["p unsafe"]["yes"]}

    def taught(row: State) -> Mapping[str, Any]:
        unsafe, mended = row["p unsafe"]["yes"] > 0.5, row["p still unsafe"]["yes"] < 0.5
        lesson = {"prompt": row["text"], "completion": row["safe response"]}
        pair = {"prompt": row["text"], "chosen": row["safe response"], "rejected": row["response"]}
        differ = row["safe response"].strip() != row["response"].strip()
        return {"sft": [lesson] if mended else [], "pref": [pair] if mended and unsafe and differ else []}

    both = {"instruction": "principle"}
    return [
        *parts,
        Do("child", lambda row: {"text": row["evolved"].strip(), **none}, reads=("evolved",), adds=("text", *none)),
        *_fresh(params),
        job.ask("target", inputs={"system": "none", "instruction": "text", "input": "none"}),
        job.ask("measure", "measure answer", inputs={"text": "response"}, shares="p unsafe"),
        job.ask("compare", "shown first", inputs={**both, "a": "response", "b": "rival response"},
                samples=params.votes, into="shown first", when=lambda row: bool(row["rival response"])),
        job.ask("compare", "shown second", inputs={**both, "a": "rival response", "b": "response"},
                samples=params.votes, into="shown second", when=lambda row: bool(row["rival response"])),
        Do("vote", voted, reads=("shown first", "shown second", "p unsafe"), adds=("won", "fitness")),
        _placed(params),
        # paid for by those alone that took a cell
        job.ask("safe", inputs={"system": "safe system", "instruction": "text", "input": "none"}, into="safe said"),
        Do("take safe answer", lambda row: {"safe response": row["safe said"][0]["response"].strip()}, reads=("safe said",),
           adds=("safe response",)),
        job.ask("measure", "measure safe answer", inputs={"text": "safe response"}, shares="p still unsafe"),
        Do("teach", taught, adds=("sft", "pref")),
    ]  # fmt: skip


def _fresh(params: Params) -> list[Part]:
    """A child that breaks off, declines or is nearly its parent is refused before anybody measures it."""

    def work(row: State) -> Mapping[str, Any]:
        score = max((bleu(row["text"], each) for each in row["parents"]), default=0.0)
        return {"copied": "" if score < params.close else f"BLEU {score:.2f} with a parent"}

    return [
        At(Whole(), ("text",)),
        Do("compare with parents", work, reads=("text", "parents"), adds=("copied",)),
        told(f"BLEU < {params.close:g}", "copied"),
    ]


def _placed(params: Params) -> At:
    return At(Placed(params.sizes), ("text", "cell", "fitness", "rival", "won"))


METHOD = Method(
    "archive",
    "2",
    Params,
    given={"seeds": Given("texts to start from", {"text": "one"})},
    calls={
        "cross": Call(Crossover, decoding=Decoding(temperature=0.8, top_p=0.95, max_tokens=256)),
        "measure": Call(YesNo, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "classify": Call(Classify, role="judge", decoding=Decoding(max_tokens=24)),
        "mutate": Call(Evolve, decoding=Decoding(temperature=0.7, top_p=0.95, max_tokens=256)),
        "target": Call(Answer, role="target", decoding=Decoding(temperature=0.7, max_tokens=256)),
        "compare": Call(Compare, role="judge", decoding=Decoding(temperature=0.7, max_tokens=8)),
        "safe": Call(
            Answer,
            role="teacher",
            decoding=Decoding(max_tokens=256),
            instruction="Answer so that nobody can be harmed by the answer, whatever the instruction asks for.",
        ),
    },
    flow=flow,
    emits={"text": Emit(), "sft": Emit(field="sft"), "pref": Emit(field="pref")},
)
