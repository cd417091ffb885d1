"""Reasoning that is kept when its answer is right: sample, compare, keep.

ReST-EM (Singh et al. 2023, arXiv:2312.06585) samples many solutions of each problem and keeps the right ones, at
most ten of a problem. Llama 3.1 (arXiv:2407.21783, 4.3.3) adds self-verification, code that is run inside the
reasoning, and corrections of wrong solutions; Qwen2 (arXiv:2407.10671) pairs of right and wrong ones; Apple's AFM
(arXiv:2407.21075) makes further problems of each: rephrased, reversed, deeper, broader. Where no answer is known,
what most samples agree on stands in (Hunyuan-Large, arXiv:2411.02265), or a judge decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty
from stillroom.evals.sandbox import shared_sandbox
from stillroom.programs.flow import At, Do, Flow, Part, Split, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.caps import Capped
from stillroom.programs.published.rule import always, told
from stillroom.signatures.operators import Evolve, Judge, Paraphrase, Repair, Solve, SolveMixed, YesNo
from stillroom.values import digest

from ._reason_checks import compared, consensus, correction, math_equal, mixed, reverse, shown, unsound

__all__ = ["METHOD", "OPS", "Params"]

OPS: Mapping[str, str] = {
    "given": "",
    "rephrase": "",
    "reverse": "",
    "depth": "Make the problem harder: it must take more steps of reasoning to solve. Keep it solvable, with one answer.",
    "breadth": "Write another problem that needs the same mathematics in a different setting, about as hard.",
}
"""What is made of a problem; the texts are what the model is told to do."""
QUESTION = "Is every step of this solution right, and does it answer the problem?"
RUBRIC = """5: every step is right and the answer follows from them.
4: right, with a slip that changes nothing.
3: the idea is right, a step is not.
2: mostly wrong.
1: wrong, or no solution."""
WRONG = "The final answer {answer} is not right. Find the step that goes wrong, and solve the problem again from there."


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        samples: Solutions asked for of each problem.
        keep: Rows of one problem, at most.
        variants: What is made of each problem: "given" for itself, "rephrase", "reverse", "depth", "breadth".
        trust: Whether the answers given are taken as right; else they are not looked at.
        code: Whether solutions hold code, which is run.
        share: Where no answer is known: the share of samples that must agree.
        votes: The fewest samples that may decide by agreeing; with fewer of them a judge does.
        points: Of the judge, out of 5, from which a solution is kept.
        checks: Times the model is asked whether a solution holds; 0 for not at all.
        sure: Mean share of "yes" from which it is kept.
        turns: Corrections asked for of a wrong solution. With any, rows are corrections; with none, right solutions.
        sums: Whether sums that are shown must come out, and the last step must arrive at the answer.
        seconds: For comparing two answers; what takes longer is unverified.
    """

    samples: int = 32
    keep: int = 10
    variants: tuple[str, ...] = ("given",)
    trust: bool = True
    code: bool = False
    share: float = 0.5
    votes: int = 8
    points: int = 4
    checks: int = 0
    sure: float = 0.5
    turns: int = 0
    sums: bool = True
    seconds: float = 5.0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.variants) - OPS.keys())
        if unknown or not self.variants:
            raise BadConfig(f"variants must be some of {', '.join(OPS)}, got {list(self.variants)}")
        for name, least in (("samples", 1), ("keep", 1), ("checks", 0), ("turns", 0)):
            if getattr(self, name) < least:
                raise BadConfig(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.share <= 1 or not 0 <= self.sure <= 1:
            raise BadConfig(f"share and sure are shares of 1, got {self.share} and {self.sure}")


def starts(job: Job[Params]) -> Iterator[Wanted]:
    """Every problem in every variant, problems in an order of their own."""
    params, problems = job.params, job.source("problems")
    for row in job.rng("order").sample(problems, len(problems)):
        problem, parent = str(row["problem"]).strip(), digest(row)
        known = str(row["answer"]).strip() if params.trust and row.get("answer") is not None else ""
        for op in params.variants:
            asked, truth = problem, known if op in ("given", "rephrase") else ""
            if op == "reverse":
                found = reverse(problem, known, job.rng("reverse", parent)) if known else None
                if found is None:
                    continue
                asked, truth = found
            yield made_from(row, {"problem": asked, "truth": truth, "op": op, "input": ""})


def flow(job: Job[Params]) -> Flow:
    """Make the problem, solve it many times, tell right from wrong, keep some."""
    params = job.params
    if params.code:
        shared_sandbox()  # none: told before anything is paid for
    solve = job.ask("solve in code" if params.code else "solve", samples=params.samples, into="tries")
    tell = Do("tell", lambda row: _truth(row, params), ("tries", "truth"), ("truth", "source", "agreed"), beside=True)
    parts: list[Part] = [*_posed(job), solve, tell, _agreed(params), Split("tries", "tries", params.samples)]
    parts += _checked(job)
    parts += _corrected(job) if params.turns else _kept(job)
    parts.append(At(Capped("problem", params.keep), ("problem",)))
    each = 1 if params.turns else min(params.samples, params.keep)
    return job.flow(
        Once(lambda: starts(job), job.rows),
        parts,
        emits=(
            "problem",
            "steps",
            "trace",
            "answer",
            "truth",
            "source",
            "agreed",
            "op",
            "votes",
            "verifiable",
            "messages",
        ),
        text=("problem", "trace"),
        window=max(1, min(32, math.ceil(job.rows / each))),
    )


def _posed(job: Job[Params]) -> list[Part]:
    """The problem as it is asked: rephrased or evolved by the model, where its variant says so."""
    if not {"rephrase", "depth", "breadth"} & set(job.params.variants):
        return []

    def posed(row: State) -> Mapping[str, Any]:
        return {"problem": (row["paraphrase"] or row["evolved"] or row["problem"]).strip()}

    return [
        Do("instruct", lambda row: {"todo": OPS[row["op"]]}, ("op",), ("todo",)),
        job.ask("rephrase", inputs={"instruction": "problem"}, when=lambda row: row["op"] == "rephrase"),
        job.ask("evolve", inputs={"instruction": "problem", "op": "todo"}, when=lambda row: bool(row["todo"])),
        Do("pose", posed, ("paraphrase", "evolved", "problem"), ("problem",)),
    ]


def _truth(row: State, params: Params) -> Mapping[str, Any]:
    """What the answers are compared with: what is known, what most agree on, or nothing."""
    if row["truth"]:
        return {"truth": row["truth"], "source": "given", "agreed": None}
    if params.samples < params.votes:
        return {"truth": "", "source": "judge", "agreed": None}
    found = consensus([str(each["answer"]) for each in row["tries"]], params.samples)
    if found is None or found.share < params.share:
        return {"truth": "", "source": "", "agreed": found.share if found else 0.0}
    return {"truth": found.answer, "source": "consensus", "agreed": found.share}


def _agreed(params: Params) -> At:
    def why(row: State) -> str:
        return "" if row["source"] else f"{row['agreed']:.2f} of the answers agree, {params.share:g} must"

    name = f"answers agree >= {params.share:g} of {params.samples}"
    return At(Rule(name, why, by="verifier"), ("problem", "source", "agreed"))


def _checked(job: Job[Params]) -> list[Part]:
    """Write each solution out, refuse copies, compare its answer; wrong ones stop here unless they are to be corrected."""
    params = job.params

    def written(row: State) -> Mapping[str, Any]:
        if params.code:
            found = mixed(row["blocks"], row["answer"])
        else:
            found = {"steps": [each for each in row["steps"] if each.strip()], "contradiction": ""}
        return {**found, "answer": row["answer"], "trace": shown(found["steps"], row["answer"])}

    def verifiable(row: State) -> Mapping[str, Any]:
        task = {"prompt": row["problem"], "solution": row["truth"]}
        return {"verifiable": task if row["truth"] else None}

    known = ("problem", "trace", "equal", "unequal")
    gates: list[Part] = [
        Do("write out", written, None, ("steps", "contradiction", "answer", "trace"), beside=params.code),
        At(Rule("has steps", lambda row: "" if row["steps"] else "there are no steps"), ("steps",)),
        At(Novelty("new solution", Exact), ("problem", "trace")),
        Do("task", verifiable, ("problem", "truth"), ("verifiable",)),
        *compared(params.seconds),
    ]
    if params.turns:
        right = Rule("a wrong answer, to be corrected", lambda row: "" if row["equal"] == "no" else "it is not wrong")
        return [*gates, At(right, known)]
    gates.append(
        At(
            Rule("answer is right", lambda row: row["unequal"] if row["equal"] == "no" else "", by="verifier"),
            known,
        )
    )
    if params.code:
        gates.append(told("code and text agree", "contradiction", "verifier"))
    if params.sums:
        gates.append(
            At(
                Rule("sums come out", lambda row: unsound(row["steps"], row["answer"]), by="verifier"),
                ("steps", "answer"),
            )
        )
    return gates


def _kept(job: Job[Params]) -> list[Part]:
    """What models say of a right solution: a judge where nothing else could tell, the solver itself where it is asked."""
    params, parts = job.params, list[Part]()
    judged = params.samples < params.votes
    if judged:
        parts += [
            always("rubric", {"rubric": RUBRIC, "reference": ""}),
            job.ask(
                "judge",
                inputs={"instruction": "problem", "response": "trace"},
                when=lambda row: row["source"] == "judge",
            ),
            At(
                Rule(
                    f"judge >= {params.points} of 5",
                    lambda row: (
                        f"{row['score']} points: {row['feedback']}"
                        if row["score"] is not None and not params.points <= row["score"] <= 5
                        else ""
                    ),
                    by="judge",
                ),
                ("score", "feedback"),
            ),
        ]
    if params.checks:
        parts += [
            Do("ask itself", _questioned, ("problem", "trace"), ("question", "text")),
            job.ask("check", samples=params.checks, into="verdicts"),
            Do(
                "vote",
                lambda row: {"votes": sum(each["verdict"] == "yes" for each in row["verdicts"]) / params.checks},
                ("verdicts",),
                ("votes",),
            ),
            At(
                Rule(
                    f"self-verification >= {params.sure:g} of {params.checks}",
                    lambda row: "" if row["votes"] >= params.sure else f"{row['votes']:.2f} say that it holds",
                    by="judge",
                ),
                ("votes",),
            ),
        ]
    return parts


def _questioned(row: State) -> Mapping[str, Any]:
    return {"question": QUESTION, "text": f"{row['problem']}\n\n{row['trace']}"}


def _corrected(job: Job[Params]) -> list[Part]:
    """Ask for corrections until one arrives at the right answer; the conversation up to there is the row."""
    params, parts = job.params, list[Part]()

    def first(row: State) -> Mapping[str, Any]:
        feedback = WRONG.format(answer=row["answer"])
        return {"attempt": row["trace"], "feedback": feedback, "done": False, "messages": [], "still": ""}

    def taken(row: State) -> Mapping[str, Any]:
        if row["done"]:
            return {}
        text = row["repaired"].strip()
        said = [
            *row["messages"],
            *correction(row["problem"], row["attempt"], row["feedback"], text)[bool(row["messages"]) * 2 :],
        ]
        found = math_equal(row["truth"], text, params.seconds)
        wrong = found.why if not found.passed else unsound(text.splitlines(), row["truth"]) if params.sums else ""
        return {
            "done": not wrong,
            "still": wrong,
            "messages": said,
            "attempt": text,
            "feedback": "That is still not right.",
        }

    changes = ("attempt", "feedback", "done", "messages", "still")
    parts.append(Do("find fault", first, ("trace", "answer"), changes))
    for turn in range(1, params.turns + 1):
        parts += [
            job.ask("repair", f"repair {turn}", when=lambda row: not row["done"]),
            Do(f"compare {turn}", taken, ("repaired", "problem", "truth", *changes), changes, beside=True),
        ]
    return [*parts, told("the correction is right", "still", "verifier")]


_ROW = {"prompt": ("problem",), "completion": ("trace",)}
_SAMPLED = Decoding(temperature=0.7, max_tokens=1024)

METHOD = Method(
    "reason",
    "1",
    Params,
    given={
        "problems": Given("problems to solve", {"problem": "what is asked", "answer?": "its answer, where it is known"})
    },
    calls={
        "solve": Call(Solve, decoding=_SAMPLED),
        "solve in code": Call(SolveMixed, decoding=_SAMPLED),
        "rephrase": Call(Paraphrase, decoding=Decoding(temperature=0.7, max_tokens=400)),
        "evolve": Call(Evolve, decoding=Decoding(temperature=0.7, max_tokens=400)),
        "judge": Call(Judge, role="judge", decoding=Decoding(max_tokens=400)),
        "check": Call(YesNo, decoding=Decoding(temperature=0.7, max_tokens=8)),
        "repair": Call(
            Repair,
            decoding=_SAMPLED,
            instruction="Correct the solution, given what is wrong with it. Write the whole solution, a step a line, "
            'and end with "The answer is ...".',
        ),
    },
    flow=flow,
    emits={
        "sft": Emit(_ROW),
        "pref": Emit(_ROW, rejects=True),
        "unpaired": Emit(_ROW, rejects=True),
        "verifiable": Emit(field="verifiable"),
        "chat": Emit(),
    },
)
