"""One call of a recipe as a subject: asked inside the recipe's own flow, scored by the recipe's own gates.

The rows are wanted rows of the flow, drawn as the recipe draws them. A candidate plan stands in for
the call, everything else is done as ever, and the score of a row is the share of what came of it that
passed: gates of form, verifiers and judges alike. Gates that compare rows with each other are left
out, as what they say depends on which other rows were run.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from stillroom.engines import Engine, Session
from stillroom.errors import BadConfig, EngineError, StillroomError, near
from stillroom.programs import Cost, Outcome, Plan
from stillroom.programs.evaluate import remembered
from stillroom.programs.flow import INPUTS, Ask, At, Do, Flow, State, Wanted, run_flow
from stillroom.programs.flow.aside import aside
from stillroom.programs.flow.steps import Part as FlowPart
from stillroom.programs.forecast.some import Few
from stillroom.programs.plan import Demo, separable
from stillroom.programs.published import Job, Once
from stillroom.programs.published.asked import asked_calls
from stillroom.rows import EmittedRow
from stillroom.signatures import FORMATS, Example, inputs_text
from stillroom.values import digest

from .confirm import keep_fresh
from .settings import Settings
from .subject import Candidate, Choice, Part, Step

__all__ = ["LEAST", "RecipeSubject"]

LEAST = 8
"""Wanted rows that a search can do with."""
SEARCHED = 0.4  # of the rows; the others are learnt from, or kept for the end
GOOD = 0.8  # share of what came of an answer that must have passed for the answer to be shown as a demo
KEPT = "asked of"  # begins the names of fields that keep what the call was asked and what it answered


@dataclass(frozen=True)
class RecipeSubject:
    """What `stillroom compile --recipe` searches. Fulfils `Subject`.

    Args:
        job: The recipe with the user's rows and engines; rows are drawn with its seed.
        call: Which of its calls is compiled.
        session: Store, ledger and the teacher's engine.
        settings: Which formats and reasoning may be tried.
        others: Engines of the recipe's other roles.

    Raises:
        BadConfig: If the recipe does not ask the call.
    """

    job: Job[Any]
    call: str
    session: Session
    settings: Settings
    others: Sequence[Engine] = ()

    def __post_init__(self) -> None:
        asked = asked_calls(self.job)
        if self.call not in asked:
            has = f"It asks {', '.join(asked) or 'none'}."
            raise BadConfig(f"{self.job.preset.name} does not ask {self.call!r}", mend=near(self.call, asked, has))

    @property
    def name(self) -> str:
        """Recipe and call."""
        return f"{self.job.preset.name}: {self.call}"

    @cached_property
    def code(self) -> str:
        """The recipe in words and its steps in their order: what an instruction is for."""
        steps = " -> ".join(self.job.method.flow(self.job).names)
        return f"{self.job.preset.title}. {self.job.preset.about}\nThe steps of each row: {steps}"

    # -- rows ----------------------------------------------------------------------------

    @cached_property
    def wanted(self) -> dict[str, Wanted]:
        """The wanted rows by id, shuffled; rows that start from the same fields are one.

        Raises:
            BadConfig: If there are too few.
        """
        source = self.job.method.flow(self.job).source
        drawn = Few.of(source, self.job.rows).rows
        found = {digest(dict(each.fields)): _alone(each) for each in drawn if not each.fault}
        if len(found) < LEAST:
            raise BadConfig(
                f"a search needs at least {LEAST} different wanted rows of {self.job.preset.name}, got {len(found)}",
                mend="Ask for more of them (--rows), or give more sources.",
            )
        ids = sorted(found)
        random.Random(f"rows/{self.settings.seed}").shuffle(ids)
        return {id: found[id] for id in ids}

    @cached_property
    def _split(self) -> tuple[list[Example], list[Example], list[Example]]:
        """Rows to learn from, rows kept for the end, rows to be scored on."""
        rows = [Example(id, _told(wanted), {}) for id, wanted in self.wanted.items()]
        many = round(len(rows) * SEARCHED)
        learnt, fresh = keep_fresh(rows[many:], self.parts, self.settings.confirm, self.settings.seed)
        return learnt, fresh, rows[:many]

    @property
    def demos(self) -> Sequence[Example]:
        """Wanted rows whose answers may be learnt from."""
        return self._split[0]

    @property
    def fresh(self) -> Sequence[Example]:
        """Wanted rows that are kept for the end."""
        return self._split[1]

    @property
    def search(self) -> Sequence[Example]:
        """Wanted rows that candidates are scored on."""
        return self._split[2]

    # -- the call ------------------------------------------------------------------------

    @cached_property
    def declared(self) -> Plan:
        """The call as the recipe asks it."""
        return self.job.plan(self.call)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The call. Raises `BadConfig` for formats that cannot ask for it."""
        plan, settings = self.declared, self.settings
        fit = [
            name
            for name, format in FORMATS.items()
            if format.fits(plan.shape) and (plan.scored is None or separable(plan.shape, name))
        ]
        unfit = [name for name in settings.formats or () if name not in fit]
        if unfit:
            raise BadConfig(f"formats for {self.name} may be {', '.join(fit)}, got {unfit}")
        other = settings.reasoning is True and plan.scored is None
        return (
            Part(
                "",
                plan.instruction,
                tuple(each.name for each in plan.shape.inputs),
                tuple(each.name for each in plan.asked.outputs),
                (),  # what is right is for the gates to say: no row has a label
                tuple(dict.fromkeys((plan.format, *(settings.formats or fit)))),
                (plan.reasoning, not plan.reasoning) if other else (plan.reasoning,),
            ),
        )

    def default(self, part: Part) -> Choice:
        """As the recipe asks it."""
        plan = self.declared
        return Choice(plan.instruction, plan.demos, plan.format, plan.reasoning, plan.decoding)

    def build(self, choices: Mapping[str, Choice]) -> Candidate:
        """The plan of these choices; the call as it is where they change nothing."""
        choice = choices[""]
        plan = replace(
            self.declared,
            instruction=choice.instruction,
            demos=choice.demos,
            format=choice.format,
            reasoning=choice.reasoning,
            decoding=replace(choice.decoding, max_tokens=self._room(choice)),
        )
        return Candidate(choices, plan.digest, plan)

    def _room(self, choice: Choice) -> int:
        # what reasons already has its room
        declared = self.declared
        return declared.decoding.max_tokens if declared.reasoning == choice.reasoning else choice.decoding.max_tokens

    # -- answers -------------------------------------------------------------------------

    def run(self, candidate: Candidate, examples: Sequence[Example]) -> list[Outcome]:
        """One outcome per row, in order; those known to the store cost nothing.

        Raises:
            EngineError: If a call failed for good; all other outcomes were recorded first.
            BudgetExceeded: If the budget ends before the rows do; likewise.
        """
        keys = [digest(["recipe row", self.job.digest, self.call, candidate.digest, each.id]) for each in examples]
        return remembered(
            self.session.store, candidate.digest, keys, examples, lambda rows: self._answers(candidate.program, rows)
        )

    def bootstrap(self, candidate: Candidate, examples: Sequence[Example]) -> list[tuple[Example, Outcome]]:
        """The candidate's answers of which came what passed; an answer counts as right where nearly all of it did."""
        found = []
        for example, outcome in zip(examples, self.run(candidate, examples), strict=True):
            good = [step for step in outcome.outputs.get("steps", ()) if step["passed"] >= GOOD]
            right = replace(outcome, score=1.0, outputs={**outcome.outputs, "steps": good})
            found.append((example, right if good else replace(outcome, score=min(outcome.score, 0.99))))
        return found

    def steps(self, example: Example, outcome: Outcome) -> Sequence[Step]:
        """What the call was asked behind `outcome`, and what it answered."""
        return [Step("", each["inputs"], each["outputs"]) for each in outcome.outputs.get("steps", ())]

    def shown(self, part: Part, example: Example) -> Demo | None:
        """A wanted row says nothing of what is right."""
        return None

    def _answers(self, plan: Plan, examples: Sequence[Example]) -> list[Outcome | BaseException]:
        """Run the flow on these rows; an outcome for each that was committed, the failure for the others."""
        if not examples:
            return []
        flow = self.flow(plan, examples)
        failure: BaseException = EngineError("the row was not run")
        with aside(flow, self.session, self.others) as session:
            try:
                run_flow(flow, session, engines=self.others)
            except (Exception, KeyboardInterrupt) as error:
                failure = error
            session.store.flush()
            came: defaultdict[str, list[EmittedRow]] = defaultdict(list)
            for row in session.store.rows(flow.key):
                came[row.place.rpartition("/")[0]].append(row)
        return [
            _outcome(each.id, came[place]) if came[place] else _unrun(each.id, failure)
            for place, each in ((f"{INPUTS}/{slot}", each) for slot, each in enumerate(examples))
        ]

    def flow(self, plan: Plan, examples: Sequence[Example]) -> Flow:
        """The recipe's flow with `plan` in place of the call, over these rows alone, each begun once."""
        job = self.job
        if plan.digest != self.declared.digest:
            job = replace(job, plans={**job.plans, self.call: plan})
        flow = job.method.flow(job)
        parts: list[FlowPart] = []
        for part in flow.parts:
            if hasattr(part.gate if isinstance(part, At) else part, "fresh"):
                continue
            parts.append(part)
            if isinstance(part, Ask) and _same(part.plan, plan):
                parts.append(_noted(part))
        kept = [part.adds[0] for part in parts if isinstance(part, Do) and part.name.startswith(KEPT)]
        return replace(
            flow,
            source=Once(lambda: (self.wanted[each.id] for each in examples), None),
            parts=tuple(parts),
            emits=(*flow.emits, *kept) if flow.emits else (),
            text=flow.text or flow.emits,
            recipe=digest([job.digest, [each.id for each in examples]]),
            attempts=1,
        )


def _alone(wanted: Wanted) -> Wanted:
    """A wanted row as what is asked about it is a function of, whichever rows are begun beside it."""
    key = wanted.place if wanted.key is None else wanted.key
    return Wanted(INPUTS, wanted.slot, wanted.fields, wanted.target, wanted.asked, wanted.parents, key)


def _told(wanted: Wanted) -> dict[str, Any]:
    """What a wanted row starts from; its place where that has no words to compare rows by."""
    fields = dict(wanted.fields)
    return fields if re.search(r"\w\w", inputs_text(fields)) else {**fields, "row": f"row {wanted.slot:03d}"}


def _same(one: Plan, other: Plan) -> bool:
    """Whether two plans ask the same call: methods say more of its fields, show demos and choose who answers."""
    first, second = (
        [[each.name for each in side] for side in (plan.shape.inputs, plan.shape.outputs)] for plan in (one, other)
    )
    return first == second and one.instruction == other.instruction


def _noted(ask: Ask) -> Do:
    """Keep what a step was asked and what it answered."""
    name = f"{KEPT} {ask.name}"

    def work(row: State) -> Mapping[str, Any]:
        if ask.listed:
            answers = row[ask.adds[0]] or []
        else:
            answers = [{each.name: row[each.name] for each in ask.plan.asked.outputs}]
        given = [dict(each) for each in answers if None not in each.values()]
        return {name: [{"inputs": ask.shown(row), "outputs": each} for each in given] if given else []}

    return Do(name, work, reads=(*ask.reads, *ask.adds), adds=(name,))


def _outcome(id: str, rows: Sequence[EmittedRow]) -> Outcome | BaseException:
    """What came of one wanted row."""
    broken = next((row for row in rows if row.status == "quarantined" and _engines(row.why)), None)
    if broken is not None:
        return EngineError(f"a call at {broken.gate} must be answered, got {broken.why}")
    passed = sum(row.status == "accepted" for row in rows)
    stopped = {f"{row.gate}: {row.why}": None for row in rows if row.status != "accepted"}
    cost = Cost(calls=sum(row.passport.calls for row in rows), tokens_in=sum(row.passport.tokens for row in rows))
    unread = all(row.status == "quarantined" for row in rows)
    return Outcome(
        id,
        "unparsed" if unread else "scored",
        passed / len(rows),
        "; ".join(list(stopped)[:3]),
        {"steps": _steps(rows), "rows": len(rows), "passed": passed},
        cost,
    )


def _steps(rows: Iterable[EmittedRow]) -> list[dict[str, Any]]:
    """Each answer of the call once, with the share of the rows that came of it that passed."""
    answers: dict[str, tuple[dict[str, Any], list[bool]]] = {}
    for row in rows:
        for name, asked in row.values.items():
            for each in asked if name.startswith(KEPT) else ():
                answers.setdefault(digest(each), (each, []))[1].append(row.status == "accepted")
    return [{**each, "passed": sum(passed) / len(passed)} for each, passed in answers.values()]


def _engines(why: str) -> bool:
    """Whether a row was lost because of an engine, and not of what it said."""
    kinds: list[type[EngineError]] = [EngineError, *EngineError.__subclasses__()]
    return why.partition(":")[0] in {each.__name__ for each in kinds}


def _unrun(id: str, failure: BaseException) -> Outcome | BaseException:
    """A row that was never committed: the failure, unless it is of a function that broke on what was answered."""
    if isinstance(failure, (StillroomError, KeyboardInterrupt)):
        return failure
    return Outcome(id, "unparsed", 0.0, f"{type(failure).__name__}: {failure}"[:500], {}, Cost(calls=1))
