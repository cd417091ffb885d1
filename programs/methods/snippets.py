"""Ground tasks in real artefacts: lines of code, whole functions, topics or names of functions.

OSS-Instruct (Wei et al. 2023, arXiv:2312.02120; parameters from the code, ise-uiuc/magicoder): some lines of real
code inspire a problem, and one call gives it with its solution. WaveCoder (Yu et al. 2023, arXiv:2312.14187; code:
microsoft/WaveCoder): a core-set of real code, four tasks, and a discriminator that goes through rules one by one;
what it accepts and what it refuses is shown to later calls. The exercises of phi-1 (Gunasekar et al. 2023,
arXiv:2306.11644): the name of a function is given. Problem steps of Llama 3.1 (arXiv:2407.21783) and Apple's
foundation models (arXiv:2407.21075): problems alone, for `execute` to solve.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.errors import BadConfig
from stillroom.evals import as_gate
from stillroom.evals.code import extract_code, python_parses
from stillroom.evals.gates import Whole
from stillroom.programs.flow import At, Do, Flow, Part, Quotas, Source, Wanted
from stillroom.programs.plan import Decoding
from stillroom.programs.published import Call, Emit, Given, Growing, Job, Method, Once, Rule, made_from
from stillroom.programs.published.shares import spread
from stillroom.rows import EmittedRow
from stillroom.signatures.operators import Discriminate, MakeCase, ProposeFrom, ProposeSolved
from stillroom.values import digest

from ._snippets_seeds import case_text, core, guard, identifiers, named, new, sentences, snippet, verdict_of

__all__ = ["CRITERIA", "METHOD", "TASKS", "Params", "identifiers", "source"]

TASKS = {
    "summarise": "code summarisation: the code is given, what it does is to be said in words",
    "generate": "code generation: what is wanted is said in words, the code is to be written",
    "translate": "code translation: the code is given, it is to be written in another programming language",
    "repair": "code repair: code with a mistake in it is given, it is to be corrected",
}
"""The four tasks of WaveCoder's CodeOcean, as a model is told them."""
CRITERIA = (
    "the instruction names the programming language",
    "the solution is a solution of this very instruction, with the information given",
    "the solution holds nothing but what was asked for, without explanations around it",
    "code in the solution is easy to follow and to learn from",
    "code in the solution imports what it needs",
)
"""What the discriminator goes through (after the prompt in WaveCoder's code)."""
ACCEPTED = "discriminator accepts"
PATIENCE = 20  # draws of each code that may give nothing new
EMITS = (
    "problem", "solution", "text", "seed", "kind", "language", "seed_licence",
    "task_name", "case_instruction", "information", "rules", "overall",
)  # fmt: skip


@dataclass(frozen=True)
class Params:
    """What tells the systems apart.

    Attributes:
        seed: What a seed is: some "lines" of a code, a "whole" code, a "topic" or the "name" of a function.
        solve: Whether the solution comes "together" with the problem, as a "case" that a discriminator judges, or
            "not" at all.
        constraint: What the problem must meet. `{seed}`, `{language}` and `{difficulty}` stand for the row's own.
        least, most: Lines of a seed.
        difficulties: Each topic is asked for at each of them.
        tasks: Of a case, by name; rows are shared out evenly.
        criteria: What the discriminator goes through.
        core: Codes chosen so that none is far from one that was chosen; all where there are not more.
        shown: Accepted and refused cases shown to each call, each.
        copied: Whether a problem's own code will do for a solution.
        window: Cases under way at once: they do not see what becomes of each other.
    """

    seed: Literal["lines", "whole", "topic", "name"] = "lines"
    solve: Literal["together", "case", "not"] = "together"
    constraint: str = "A programming problem in {language} that can be understood without the snippet."
    least: int = 1
    most: int = 15
    difficulties: tuple[str, ...] = ()
    tasks: tuple[str, ...] = tuple(TASKS)
    criteria: tuple[str, ...] = CRITERIA
    core: int = 20_000
    shown: int = 1
    copied: bool = True
    window: int = 8


def flow(job: Job[Params]) -> Flow:
    """Draw seeds, have problems written, refuse copies."""
    params = job.params
    _check(params)
    parts = {"together": _together, "case": _case, "not": _alone}[params.solve](job)
    written = ("problem",) if params.solve == "not" else ("problem", "solution")
    parts += [At(new(field), (field,)) for field in written]
    if not params.copied:
        parts.append(At(Rule("solution is its own", _own), ("problem", "solution")))
    if params.seed == "name":
        parts += [At(as_gate(python_parses("solution")), ("solution",)), At(named(), ("seed", "solution"))]
    parts += guard(job.source("guard"), written)
    settings: dict[str, Any] = {"emits": EMITS, "text": ("problem",)}
    if params.solve == "case":
        return job.flow(_each_task(job), parts, window=params.window, **settings)
    if params.seed == "topic":
        return job.flow(_each_topic(job), parts, **settings)
    # a seed that came to nothing is not tried again: greedily asked, it would come to the same
    return job.flow(source(job), parts, attempts=1, **settings)


def _check(params: Params) -> None:
    if not 1 <= params.least <= params.most:
        raise BadConfig(f"a seed has 1 <= least <= most lines, got {params.least} and {params.most}")
    if params.core < 1 or params.window < 1 or params.shown < 0:
        raise BadConfig(f"core and window must be >= 1, shown >= 0, got {params.core}, {params.window}, {params.shown}")
    unknown = sorted(set(params.tasks) - set(TASKS))
    if unknown or not params.tasks:
        raise BadConfig(f"tasks must be among {', '.join(TASKS)}, got {unknown or 'none'}")
    try:
        params.constraint.format(seed="", language="", difficulty="")
    except (KeyError, IndexError, ValueError) as error:
        raise BadConfig(
            f"a constraint may hold {{seed}}, {{language}} and {{difficulty}}, got {params.constraint!r}"
        ) from error


# -- what is asked -------------------------------------------------------------------


def _together(job: Job[Params]) -> list[Part]:
    text = (lambda row: row["solution"]) if job.params.seed == "name" else _problem_and_solution
    return [
        job.ask("propose and solve"),
        Do("text", lambda row: {"text": text(row)}, reads=("problem", "solution"), adds=("text",)),
        At(Whole(), ("problem", "solution")),
    ]


def _alone(job: Job[Params]) -> list[Part]:
    return [
        job.ask("propose"),
        Do("text", lambda row: {"text": row["problem"]}, reads=("problem",), adds=("text",)),
        At(Whole(), ("problem",)),
    ]


def _case(job: Job[Params]) -> list[Part]:
    """Make a case, look at its form, then let the discriminator go through the rules."""

    def made(row: Mapping[str, Any]) -> Mapping[str, Any]:
        told = row["information"].strip()
        told = "" if told.strip("<>. ").lower() in ("", "none", "noinput") else told
        problem = "\n\n".join(each for each in (row["case_instruction"].strip(), told) if each)
        case = case_text({**row, "information": told})
        text = f"{problem}\n\n{row['solution'].strip()}"
        return {"information": told, "problem": problem, "case": case, "text": text}

    return [
        job.ask("case", inputs={"code": "seed"}),
        Do(
            "put together",
            made,
            reads=("task_name", "case_instruction", "information", "solution"),
            adds=("information", "problem", "case", "text"),
        ),
        At(Whole(), ("problem", "solution")),
        At(Rule("one or two sentences", _short), ("case_instruction", "information")),
        job.ask("discriminate"),
        At(
            Rule("discriminator is consistent", lambda row: verdict_of(row, len(job.params.criteria))[1], by="judge"),
            ("rules", "overall"),
        ),
        At(Rule(ACCEPTED, _refused, by="judge"), ("rules", "overall")),
    ]


def _problem_and_solution(row: Mapping[str, Any]) -> str:
    return f"{row['problem'].strip()}\n\n{row['solution'].strip()}"


def _short(row: Mapping[str, Any]) -> str:
    instruction, information = sentences(row["case_instruction"]), sentences(row["information"])
    if not 1 <= instruction <= 2:
        return f"an instruction has one or two sentences, got {instruction}"
    return "" if information <= 2 else f"information has at most two sentences, got {information}"


def _refused(row: Mapping[str, Any]) -> str:
    failed = [f"{each['rule']} ({each['reason']})" for each in row["rules"] if not each["ok"]]
    return "" if row["overall"] else f"refused: {'; '.join(failed)}"


def _own(row: Mapping[str, Any]) -> str:
    blocks = ["".join(extract_code(row[name]).split()) for name in ("problem", "solution")]
    fenced = all("```" in row[name] for name in ("problem", "solution"))
    return "the solution's code is the problem's" if fenced and blocks[0] == blocks[1] else ""


# -- what is drawn -------------------------------------------------------------------


@dataclass
class _Cases(Growing):
    """A pool that also learns the cases that the discriminator refused."""

    refused: tuple[EmittedRow, ...] = ()

    def learn(self, rows: Sequence[EmittedRow]) -> None:
        super().learn(rows)
        self.refused += tuple(row for row in rows if row.gate == ACCEPTED)


def _rows(job: Job[Params]) -> list[dict[str, Any]]:
    """The user's rows that seeds are taken from, in an order drawn for the job; each has its `seed`."""
    params = job.params
    source, field = {"topic": ("topics", "topic"), "name": ("names", "name")}.get(params.seed, ("code", "code"))
    rows = [{**row, "seed": row[field]} for row in job.needed(source)]
    if source == "code":
        rows = [rows[at] for at in core([row["seed"] for row in rows], params.core, job.rng("core"))]
    job.rng("order").shuffle(rows)
    return rows


def _fields(params: Params, row: Mapping[str, Any], seed: str, difficulty: str = "") -> dict[str, Any]:
    language = row.get("language") or "Python"
    return {
        "seed": seed,
        "kind": params.seed if params.seed in ("topic", "name") else "snippet",
        "constraint": params.constraint.format(seed=seed, language=language, difficulty=difficulty),
        "language": language,
        "seed_licence": row.get("licence") or "unknown",
    }


def source(job: Job[Params]) -> Source:
    """Code or names as seeds, a new one for each row; lines are drawn again and again, until nothing new comes of it."""
    params, rows = job.params, _rows(job)

    def wanted() -> Iterator[Wanted]:
        seen: set[str] = set()
        last = 0
        for draw in itertools.count():
            row = rows[draw % len(rows)]
            if draw - last > PATIENCE * len(rows) or (params.seed != "lines" and draw >= len(rows)):
                return
            seed = row["seed"]
            if params.seed == "lines":
                seed = snippet(seed, job.rng("lines", draw), params.least, params.most)
            bare = "".join(seed.split())
            if bare not in seen and any(character.isalpha() for character in bare):
                seen.add(bare)
                last = draw
                fields = _fields(params, row, seed)
                yield made_from(row, fields, seed_licence=fields["seed_licence"])

    return Once(wanted, job.rows)


def _each_topic(job: Job[Params]) -> Source:
    """Rows shared out over topics and difficulties."""
    places = [(row, level) for row in _rows(job) for level in job.params.difficulties or ("",)]
    job.rng("places").shuffle(places)
    cells = {", ".join(filter(None, (row["seed"], level))): (row, level) for row, level in places}

    def draw(cell: str, slot: int) -> Wanted:
        row, level = cells[cell]
        return Wanted(cell, slot, _fields(job.params, row, row["seed"], level), parents=(digest(row),))

    return Quotas(spread(job.rows, dict.fromkeys(cells, 1)), draw)


def _each_task(job: Job[Params]) -> Source:
    """Rows shared out over the tasks; a call is shown what became of earlier cases."""
    params, rows = job.params, _rows(job)
    first: dict[bool, list[str]] = {True: [], False: []}
    for row in job.source("cases"):
        first[bool(row["good"])].append(row["case"])

    def shown(good: bool, bank: Sequence[EmittedRow], cell: str, slot: int) -> list[str]:
        known = [*first[good], *(case_text(row.values) + verdict_of(row.values)[0] for row in bank)]
        return job.rng("shown", good, cell, slot).sample(known, min(params.shown, len(known)))

    def draw(cell: str, slot: int, pool: Sequence[EmittedRow]) -> Wanted:
        row = rows[(slot * len(params.tasks) + params.tasks.index(cell)) % len(rows)]
        cases = {"good": shown(True, pool, cell, slot), "bad": shown(False, found.refused, cell, slot)}
        fields = {**_fields(params, row, row["seed"]), "task": TASKS[cell], "criteria": list(params.criteria), **cases}
        return Wanted(cell, slot, fields, asked={"seed_licence": fields["seed_licence"]}, parents=(digest(row),))

    found = _Cases(spread(job.rows, dict.fromkeys(params.tasks, 1)), draw)
    return found


METHOD = Method(
    "snippets",
    "1",
    Params,
    given={
        "code": Given(
            "real code",
            {"code": "a file, or a part of one", "language?": "Python where not said", "licence?": "of the code"},
            optional=True,
        ),
        "topics": Given("topics of programming", {"topic": "in a few words"}, optional=True),
        "names": Given("names of functions", {"name": "as it is called"}, optional=True),
        "cases": Given("cases to begin with", {"case": "as text", "good": "true or false"}, optional=True),
        "guard": Given("texts of benchmarks that no row may copy", {"text": "a prompt or a solution"}, optional=True),
    },
    calls={
        "propose and solve": Call(ProposeSolved, decoding=Decoding(max_tokens=2500)),
        "propose": Call(ProposeFrom, decoding=Decoding(temperature=1.0, max_tokens=1024)),
        "case": Call(MakeCase, decoding=Decoding(temperature=1.0, max_tokens=512)),
        "discriminate": Call(Discriminate, role="judge", decoding=Decoding(temperature=1.0, max_tokens=512)),
    },
    flow=flow,
    emits={
        "sft": Emit({"prompt": ("problem",), "completion": ("solution",)}),
        "text": Emit(),
    },
)
