"""Code judged by running it: solutions against tests in the sandbox, repaired where they fail.

Llama 3.1's execution feedback (Llama team 2024, arXiv:2407.21783, section 4.3.1), Apple's code data (2024,
arXiv:2407.21075), Qwen2's executed tests and instructions that code can check (Yang et al. 2024, arXiv:2407.10671)
and ReST-EM on code (Singh et al. 2023, arXiv:2312.06585). Tests are written without sight of a solution. Every
solution meets every test; a test that all of several solutions fail is dropped as suspect, and a solution is right
that passes enough of the others. Instructions are treated alike: responses in place of solutions, functions that
check a response in place of tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals.copies.duplicates import Exact
from stillroom.evals.gates import Novelty
from stillroom.evals.sandbox import Limits, shared_sandbox
from stillroom.programs.flow import At, Do, Flow, Part, State, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Job, Method, Once, Rule, made_from
from stillroom.programs.published.rule import told
from stillroom.signatures.operators import Answer, RepairCode, SolveCode, WriteCheck, WriteTests

from ._execute_rows import ADDS, Runs, fenced, summed_up

__all__ = ["METHOD", "Params", "entry_of"]

EMITS = (
    "problem", "entry", "completion", "tests", "kept", "pairs", "labelled", "messages",
    "attempts", "grid", "passes", "dropped", "repairs", "changed", "caught", "weak",
)  # fmt: skip


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        kind: "code", or "text": responses to instructions, checked by functions.
        samples: Solutions, or responses, to each problem.
        tests: Whether tests are "written" by a model or "given" with the problem; what is given is taken for right.
        checks: Functions written to check the responses to an instruction.
        share: Of the tests that count, how many a right solution passes, in 0..1; rounded up.
        repairs: Times that a failing solution is shown what went wrong, and written again.
        edits: Whether a repair may change the tests.
        lint: Whether the linter must have nothing to say.
        cap: Right solutions of a problem that are kept, the best first.
        pairs: Pairs of a right and a wrong solution made of each problem, at most.
        mutants: Changed copies of a kept solution that its tests are tried on; 0 for none.
        strong: The share of them that strong tests notice; below it they are marked weak.
        seconds: Of one solution under one test.
    """

    kind: Literal["code", "text"] = "code"
    samples: int = 1
    tests: Literal["written", "given"] = "written"
    checks: int = 3
    share: float = 0.8
    repairs: int = 0
    edits: bool = False
    lint: bool = False
    cap: int = 1
    pairs: int = 1
    mutants: int = 5
    strong: float = 0.8
    seconds: float = 5.0


def flow(job: Job[Params]) -> Flow:
    """Solve and write tests, run, repair and run again, sum up."""
    params = job.params
    _check(params)
    shared_sandbox()  # without one nothing can be kept: refused before anything is paid for
    given = params.tests == "given"
    runs = Runs(params.kind == "code", params.share, params.lint, Limits(seconds=params.seconds), given)
    parts: list[Part]
    if params.kind == "code":
        parts = [job.ask("solve", samples=params.samples, into="tries")]
        parts += [] if given else [job.ask("tests", into="written")]
    else:
        instruction = {"instruction": "problem"}
        parts = [job.ask("respond", samples=params.samples, into="tries", inputs=instruction)]
        if not given:
            parts.append(job.ask("checks", samples=params.checks, into="written", inputs=instruction))
    reads = ("problem", "entry", "human", "tries", *(() if given else ("written",)))
    parts += [
        Do("run", runs.first, reads=reads, adds=ADDS, beside=True),
        At(Rule("tests can be run", _untested, "verifier", "audit"), ("tests", "dropped")),
    ]
    for number in range(1, params.repairs + 1):
        fixed = f"fixed {number}"
        shown = {"code": "shown code", "tests": "shown tests"}
        parts += [
            Do(f"show {number}", _shown, reads=("code", "tests"), adds=tuple(shown.values())),
            job.ask("repair", f"repair {number}", into=fixed, inputs=shown, when=lambda row: not row["right"]),
        ]
        again = runs.again(fixed, edits=params.edits)
        parts.append(
            Do(f"run {number}", again, reads=("problem", "entry", "human", fixed, *ADDS), adds=ADDS, beside=True)
        )
    last = "passes its tests" if params.kind == "code" else "keeps to its checks"
    parts += [
        At(Rule(last, lambda row: "" if row["right"] else row["feedback"], "verifier"), ("right", "feedback")),
        told("changed tests hold", "broken", "verifier"),
        Do("sum up", summed_up(params, runs), reads=("problem", "entry", *ADDS), adds=EMITS[2:], beside=True),
        At(Novelty("new solution", Exact), ("problem", "completion")),
    ]
    return job.flow(Once(lambda: _wanted(job), job.rows), parts, emits=EMITS, text=("problem",), attempts=1)


def _shown(row: State) -> Mapping[str, Any]:
    """Code in fences: it must be seen where it ends."""
    return {"shown code": fenced(row["code"]), "shown tests": fenced("\n".join(row["tests"]))}


def _untested(row: Mapping[str, Any]) -> str:
    if row["tests"]:
        return ""
    return f"each of {len(row['dropped'])} tests is failed by all" if row["dropped"] else "there is none that parses"


def _check(params: Params) -> None:
    if (
        params.samples < 1
        or params.cap < 1
        or params.checks < 1
        or min(params.repairs, params.pairs, params.mutants) < 0
    ):
        raise BadConfig(
            "samples, cap and checks must be >= 1, repairs, pairs and mutants >= 0, got "
            f"{params.samples}, {params.cap}, {params.checks}, {params.repairs}, {params.pairs} and {params.mutants}"
        )
    if not (0 <= params.share <= 1 and 0 <= params.strong <= 1):
        raise BadConfig(f"share and strong must be in 0..1, got {params.share} and {params.strong}")
    if params.kind == "text" and params.repairs:
        raise BadConfig(f"responses are not repaired, repairs must be 0, got {params.repairs}")


def _wanted(job: Job[Params]) -> Iterator[Wanted]:
    for row in job.stream("problems"):
        given = row.get("tests") or []
        human = [given] if isinstance(given, str) else [str(each) for each in given]
        entry = row.get("entry") or entry_of(row["problem"])
        language = row.get("language") or "Python"
        fields = {"problem": row["problem"], "entry": entry, "human": human, "language": language}
        fault = ""
        if job.params.kind == "code" and not entry:
            fault = "the problem must name its function, as in `name(first)`, or the row have an entry"
        elif job.params.tests == "given" and not human:
            fault = "the row must have tests"
        yield made_from(row, {**fields, "system": "", "input": row.get("input") or ""}, fault=fault)


def entry_of(problem: str) -> str:
    """The function that a problem asks for, where its text names one; else "".

    >>> entry_of("Write `seat_count(rows, gaps)`, which counts."), entry_of("Count the seats.")
    ('seat_count', '')
    """
    found = re.search(r"\bdef\s+(\w+)\s*\(|`(\w+)\s*\([^`]*\)`|\bfunction\s+`?(\w+)\s*\(", problem)
    return next((name for name in found.groups() if name), "") if found else ""


METHOD = Method(
    "execute",
    "1",
    Params,
    given={
        "problems": Given(
            "problems, or instructions, one a row",
            {
                "problem": "in words",
                "entry?": "the function asked for; found in the problem where not said",
                "tests?": "of people: asserts on the function",
                "input?": "what an instruction is about",
                "language?": "Python",
            },
        )
    },
    calls={
        "solve": Call(SolveCode, decoding=Decoding(temperature=0.7, max_tokens=1024)),
        "tests": Call(WriteTests, role="tester", decoding=Decoding(max_tokens=1024)),
        "repair": Call(RepairCode, decoding=Decoding(max_tokens=2048)),
        "respond": Call(Answer, decoding=Decoding(temperature=0.7, max_tokens=1024)),
        "checks": Call(WriteCheck, role="tester", decoding=Decoding(temperature=0.7, max_tokens=512)),
    },
    flow=flow,
    emits={
        "chat": Emit({"messages": ("messages",)}),
        "sft": Emit(field="kept"),
        "pref": Emit(field="pairs"),
        "unpaired": Emit(field="labelled"),
        "verifiable": Emit({"prompt": ("problem",), "solution": ("completion",), "tests": ("tests",)}),
    },
)
