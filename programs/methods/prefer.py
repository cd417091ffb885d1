"""Several answers to one prompt, brought into an order: rankings and pairs.

UltraFeedback (Cui et al. 2023, arXiv:2310.01377), Nectar (Zhu et al. 2023), Zephyr (Tunstall et al. 2023,
arXiv:2310.16944), Self-Rewarding (Yuan et al. 2024, arXiv:2401.10020), SPIN (Chen et al. 2024, arXiv:2401.01335).
They differ in who answers, in who judges and how, and in what is made of the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stillroom.errors import BadConfig, BadData
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, made_from
from stillroom.programs.published.caps import Share
from stillroom.programs.published.prompts import task_text
from stillroom.programs.published.rule import told
from stillroom.rows import By
from stillroom.signatures.operators import Answer, Compare, Judge, Rank, Rate

from ._judged import judged
from ._orders import Reducer, longer_side, pairs, ranked

__all__ = ["GOLD", "METHOD", "Params", "drawn"]

GOLD, POOL = "gold", "candidate"
"""The prompt's own answer as a source; and roles that begin so are a pool that answers are drawn from."""


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        sources: Who gives each answer: a role; `candidate`, a role drawn anew for each prompt among all that begin
            so; or `gold`, the prompt's own response.
        systems: System messages by name; each answer that a model gives has one drawn for it. None where there are none.
        judge: How an order is found. `order`: the sources stand best first, nobody is asked. `listwise`: each aspect
            is asked once, all answers shown in an order of its own. `pointwise`: each answer and aspect alone.
            `pairwise`: each pair in both orders. `ranking`: pairs in random order, then all of them.
        aspects: What is judged, a rubric by name; the first alone is the principle of `pairwise`.
        lowest, highest: The scale of the aspects.
        samples: Judgements of each answer and aspect, of which the mean counts; `pointwise` only.
        overall: The rubric of a critique with a score of each answer, besides; none where "".
        pairs: What is made of an order beside the ranking.
        longer: Largest share of rows whose chosen side is the longer one; further ones wait for a person.
        self_play: Whether the judge may be one of those that answer, where several models are named.
    """

    sources: tuple[str, ...] = (POOL,) * 4
    systems: Mapping[str, str] = field(default_factory=dict)
    judge: Literal["order", "listwise", "pointwise", "pairwise", "ranking"] = "listwise"
    aspects: Mapping[str, str] = field(default_factory=lambda: {"quality": "How good is the response, 1 to 5?"})
    lowest: int = 1
    highest: int = 5
    samples: int = 1
    overall: str = ""
    pairs: Reducer = "best-worst"
    longer: float = 0.7
    self_play: bool = False


def drawn(job: Job[Params], number: int) -> list[str]:
    """Who gives each answer to a prompt: roles, those of the pool without repeating one before all had their turn."""
    rng = job.rng("who", number)
    pool = sorted(role for role in job.engines if role.startswith(POOL)) or [POOL]
    turns: list[str] = []
    while len(turns) < len(job.params.sources):
        turns += rng.sample(pool, len(pool))
    return [turns.pop(0) if each == POOL else each for each in job.params.sources]


def flow(job: Job[Params]) -> Flow:
    """Answer, put in order, reduce."""
    params = job.params
    _check(job)
    by: By = "form" if params.judge == "order" else "judge"
    parts: list[Part] = [
        *_answers(job),
        Do("gather", lambda row: _gathered(job, row), adds=("answers", "prompt", "few", *_completions(params))),
        told("two answers", "few"),
        *judged(job),
        Do("reduce", lambda row: _reduced(job, row), adds=("responses", "pairs", "longer", "even")),
    ]
    if params.pairs != "none":
        parts += [told("answers differ in score", "even", by)]
    if params.longer < 1:
        parts += [At(Share("longer", "chosen", params.longer), ("longer",))]
    return job.flow(
        Once(lambda: (_start(job, number, row) for number, row in enumerate(job.source("prompts"))), job.rows),
        parts,
        emits=("instruction", "input", "prompt", "responses", "pairs", "critiques", "longer", "consistency"),
        text=("prompt",),
    )


def _check(job: Job[Params]) -> None:
    params = job.params
    if len(params.sources) < 2:
        raise BadConfig(f"an order needs two answers, got the sources {list(params.sources)}")
    asking = params.judge != "order"
    if asking and not params.aspects:
        raise BadConfig(f"a judge that is {params.judge} must be given aspects, got none")
    if GOLD in params.sources and any(not row.get("response") for row in job.source("prompts")):
        raise BadData("prompts must have a `response` where gold is one of the sources")
    answering = {job.engine(role).model for number in range(len(job.engines)) for role in drawn(job, number)}
    models = {engine.model for engine in job.engines.values()}
    if asking and not params.self_play and len(models) > 1 and job.engine("judge").model in answering:
        raise BadConfig(
            f"the judge must not be one of those it judges, got {job.engine('judge').model} for both",
            mend="Name another model for the role judge, or set self_play=true.",
        )


def _start(job: Job[Params], number: int, row: Mapping[str, Any]) -> Wanted:
    params, rng = job.params, job.rng("systems", number)
    who = drawn(job, number)
    names = sorted(params.systems)
    chosen = [rng.choice(names) if names and role != GOLD else "" for role in who]
    fields: dict[str, object] = {
        "number": number,
        "who": who,
        "systems": chosen,
        "instruction": str(row["instruction"]),
        "input": str(row.get("input") or ""),
        "gold": str(row.get("response") or ""),
        "knowledge": str(row.get("knowledge") or ""),
        "none": "",
        "overall": params.overall,
        **{f"rubric {name}": text for name, text in params.aspects.items()},
        **{f"system {at}": params.systems.get(name, "") for at, name in enumerate(chosen)},
    }
    return made_from(row, fields)


def _answers(job: Job[Params]) -> list[Part]:
    found: list[Part] = []
    for at, source in enumerate(job.params.sources):
        if source == GOLD:
            continue
        roles = sorted(role for role in job.engines if role.startswith(POOL)) if source == POOL else []
        plans = {role: job.plan("answer", role=role) for role in roles or [source]}

        def vary(_: object, row: State, at: int = at, plans: Mapping[str, Any] = plans) -> Any:
            return plans[row["who"][at]]

        found.append(
            job.ask("answer", f"answer {at}", role=next(iter(plans)), inputs={"system": f"system {at}"},
                    into=f"answered {at}", vary=vary)
        )  # fmt: skip
    return found


def _completions(params: Params) -> list[str]:
    return [f"completion {at}" for at in range(len(params.sources))]


def _gathered(job: Job[Params], row: State) -> dict[str, Any]:
    """The answers that differ from each other, in the order of their sources."""
    found: dict[str, dict[str, Any]] = {}
    for at, role in enumerate(row["who"]):
        text = (row["gold"] if role == GOLD else row[f"answered {at}"][0]["response"]).strip()
        if text and " ".join(text.split()) not in {" ".join(each.split()) for each in found}:
            model = "" if role == GOLD else job.engine(role).model
            found[text] = {"completion": text, "model": model, "system": row["systems"][at], "score": None}
    answers = list(found.values())
    texts = [each["completion"] for each in answers] + [""] * (len(row["who"]) - len(answers))
    few = "" if len(answers) > 1 else "fewer than two different answers"
    return {
        "answers": answers,
        "prompt": task_text(row),
        "few": few,
        **dict(zip(_completions(job.params), texts, strict=True)),
    }


def _reduced(job: Job[Params], row: State) -> dict[str, Any]:
    answers: Sequence[Mapping[str, Any]] = row["scored"]
    settled = row.get("agreed")  # of pairwise judgements: the pairs whose two orders say the same
    found = pairs(answers, job.params.pairs, job.rng("pairs", row["number"]))
    if settled is not None:
        known = {tuple(each) for each in settled}
        found = [pair for pair in found if tuple(answers.index(each) for each in pair) in known]
    scored = job.params.judge != "order"
    return {
        "responses": [
            {key: each[key] for key in ("completion", "model", "score") if scored or key != "score"}
            for each in ranked(answers)
        ],
        "pairs": [_pair(row, better, worse, scored) for better, worse in found],
        "longer": longer_side(found),
        "even": "" if found else "no two answers differ in score",
    }


def _pair(row: State, better: Mapping[str, Any], worse: Mapping[str, Any], scored: bool) -> dict[str, Any]:
    scores = {"score_chosen": better["score"], "score_rejected": worse["score"]} if scored else {}
    return {
        "prompt": row["prompt"],
        "chosen": better["completion"],
        "rejected": worse["completion"],
        "lengths": [len(better["completion"]), len(worse["completion"])],
        **scores,
    }


METHOD = Method(
    "prefer",
    "2",
    Params,
    given={
        "prompts": Given(
            "prompts to answer",
            {
                "instruction": "what is asked",
                "input?": "what it is about",
                "response?": "a good answer, as source `gold`",
                "knowledge?": "what is known to be true of it, for the judge",
            },
        )
    },
    calls={
        "answer": Call(Answer, decoding=Decoding(temperature=1.0, max_tokens=512)),
        "rate": Call(Rate, role="judge", decoding=Decoding(max_tokens=512)),
        "judge": Call(Judge, role="judge", decoding=Decoding(max_tokens=384)),
        "critique": Call(
            Judge,
            role="judge",
            decoding=Decoding(max_tokens=384),
            instruction="Tell the writer of the response, as a teacher would, what is weak and how to mend it, without "
            "giving the answer away; then the points for it as a whole, by the rubric.",
        ),
        "compare": Call(Compare, role="judge", decoding=Decoding(max_tokens=8), scored=True),
        "rank": Call(Rank, role="judge", decoding=Decoding(max_tokens=768)),
    },
    flow=flow,
    emits={
        "rank": Emit(),
        "pref": Emit(field="pairs"),
        "critique": Emit(field="critiques"),
    },
)
