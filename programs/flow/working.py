"""Do the steps of one row: each as soon as the fields it needs are there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stillroom.engines import Engine
from stillroom.errors import BadConfig, BudgetExceeded, EngineError, Interrupted, StillroomError
from stillroom.values import canonical, digest

from .asking import Reply, ask, scored
from .draft import Draft, Trace
from .scoring import Scorer
from .steps import Ask, Do, Step

if TYPE_CHECKING:
    from stillroom.programs.plan import Plan

__all__ = ["Bench", "Steps", "Stopped", "needs", "together"]


class Stopped(Exception):
    """The run makes no further calls. Never leaves the flow: what stopped it does, when all is settled."""


class Bench:
    """Where steps are done: the engines by their models, and whether the run goes on.

    Args:
        engines: The first is the run's own.
        seed: Of the run; every sample's seed follows from it and from the row.

    Attributes:
        stopped: What stopped the run: a full budget, Ctrl-C, something broken; or None.
    """

    def __init__(self, engines: Sequence[Engine], seed: int) -> None:
        self._engines = {engine.model: engine for engine in reversed(engines)}
        # rows that wait for a call here have promised nothing yet, and can still be stopped
        self._slots = {engine.model: asyncio.Semaphore(engine.max_concurrency) for engine in engines}
        self._scorers = {engine.model: Scorer(engine) for engine in engines}
        self._seed = seed
        self.stopped: BaseException | None = None

    def stop(self, error: BaseException) -> None:
        """Make no further calls because of `error`; the first one counts."""
        self.stopped = self.stopped or error

    def engine(self, plan: Plan) -> Engine:
        """Who answers `plan`. Raises `BadConfig` if no engine has its model."""
        found = self._engines.get(plan.model)
        if found is None:
            raise BadConfig(
                f"a plan for {plan.model} needs its engine, got {', '.join(self._engines)}",
                mend="Give it beside the run's own, or make the plan for one that is given.",
            )
        return found

    async def do(self, step: Step, draft: Draft) -> None:
        """Do one step. A row that it breaks on is quarantined.

        Raises:
            Stopped: If the run has stopped.
        """
        if step.when is not None and not step.when(draft.state):
            draft.state.update(dict.fromkeys(step.adds))
        elif isinstance(step, Ask):
            await self._ask(step, draft)
        else:
            await self._work(step, draft)

    async def _work(self, step: Do, draft: Draft) -> None:
        try:
            added = await asyncio.to_thread(step.work, draft.state) if step.beside else step.work(draft.state)
        except StillroomError:
            raise
        except Exception as error:  # a function of the user's that breaks on one row must not cost the others
            draft.quarantine(step.name, error)
            return
        if added.keys() - set(step.adds):
            raise BadConfig(f"step {step.name!r} says that it adds {step.adds}, got {sorted(added)}")
        draft.state.update(added)

    async def _ask(self, step: Ask, draft: Draft) -> None:
        plan = step.plan if step.vary is None else step.vary(draft.wanted, draft.state)
        inputs = step.shown(draft.state)
        seeds = [self._sample_seed(step, plan, draft, inputs, number) for number in range(step.samples)]
        try:
            if step.samples == 1:
                replies = [await self._reply(step, plan, inputs, seeds[0])]
            else:
                replies = await together(*(self._reply(step, plan, inputs, seed) for seed in seeds))
        except EngineError as error:
            draft.quarantine(step.name, error)
            return
        for reply in replies:
            draft.spent += reply.spent
            draft.note("repaired", reply.repaired)
            draft.note("reasked", reply.reasked)
        self._add(step, plan, draft, replies, seeds[0])

    async def _reply(self, step: Ask, plan: Plan, inputs: Mapping[str, Any], seed: int | None) -> Reply:
        async with self._slots[plan.model]:
            if self.stopped is not None:
                raise Stopped
            try:
                if plan.scored is not None:
                    return scored(await self._scorers[plan.model].answer(plan, inputs))
                return await ask(self.engine(plan), plan, inputs, seed, reask=step.reask, trim=step.trim)
            except (BudgetExceeded, Interrupted) as error:
                self.stop(error)
                raise Stopped from error

    def _add(self, step: Ask, plan: Plan, draft: Draft, replies: Sequence[Reply], seed: int | None) -> None:
        """Take the outputs into the row, or what was wrong with them."""
        decoding: dict[str, Any] = {
            "temperature": plan.decoding.temperature,
            "top_p": plan.decoding.top_p,
            "seed": seed,
        }
        if replies[0].served:
            decoding["served"] = replies[0].served
        parents = tuple(demo.id for demo in plan.demos)
        if step.listed:
            decoding["samples"] = step.samples
            good = [reply for reply in replies if reply.outputs is not None and reply.finish == "stop"]
            bad = next((reply for reply in replies if reply not in good), None) if len(good) < step.least else None
            draft.state[step.adds[0]] = [reply.outputs for reply in good]
            finish = "stop"
            fault = "" if bad is None else bad.fault or f"answer was cut off at {plan.decoding.max_tokens} tokens"
        else:
            (bad,) = replies
            finish, fault = bad.finish, bad.fault
            if bad.outputs is not None:
                draft.state.update(bad.outputs)
                if step.shares:
                    draft.state[step.shares] = dict(bad.shares) or _written(plan, bad.outputs)
        malformed, said = (False, "") if bad is None else (bad.malformed, bad.text)
        draft.traces[step.name] = Trace(
            plan.digest, plan.model, parents, decoding, finish, fault, malformed, said if fault else ""
        )

    def _sample_seed(self, step: Ask, plan: Plan, draft: Draft, inputs: Mapping[str, Any], number: int) -> int | None:
        wanted = draft.wanted
        if plan.decoding.temperature == 0 and wanted.attempt == 0 and number == 0:
            return None  # nothing is drawn, and equal requests should be one
        # rows of an input are told apart by what they hold, so that copies are asked once
        key = draft.place if wanted.key is None else f"{wanted.key}{wanted.attempt}{canonical(inputs)}"
        return int(digest([self._seed, step.name, key, number], 7), 16)


class Steps:
    """Steps that follow each other without a gate between them, and who needs whom."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        self._needs = needs(steps)
        self._chain = all(place == 0 or place - 1 in self._needs[place] for place in range(len(steps)))
        self._adds = list(dict.fromkeys(name for step in steps for name in step.adds))  # some are written twice

    async def run(self, draft: Draft, bench: Bench) -> None:
        """Do them all on one row. Where one breaks or its answer is at fault, those that need it are left out.

        Raises:
            Stopped: If the run has stopped.
        """
        if self._chain:
            for step in self.steps:
                await bench.do(step, draft)
                if draft.status or (step.name in draft.traces and draft.traces[step.name].fault):
                    return
            return
        begun: list[asyncio.Task[bool]] = []
        for place, step in enumerate(self.steps):
            before = [begun[other] for other in sorted(self._needs[place])]
            begun.append(asyncio.ensure_future(self._after(before, step, draft, bench)))
        await together(*begun)
        # the order of fields must not tell who answered first
        late = [name for name in self._adds if name in draft.state]
        draft.state.update({name: draft.state.pop(name) for name in late})

    async def _after(self, before: Sequence[asyncio.Task[bool]], step: Step, draft: Draft, bench: Bench) -> bool:
        """Do `step` when those before it have gone well; say whether it went well itself."""
        for each in before:
            if not await each:
                return False
        await bench.do(step, draft)
        return draft.gate != step.name and not (step.name in draft.traces and draft.traces[step.name].fault)


def _written(plan: Plan, outputs: Mapping[str, Any]) -> dict[str, float]:
    """All for the label that was written, where labels were not scored."""
    label = plan.shape.label_field
    return {} if label is None else {each: float(outputs[label.name] == each) for each in label.labels}


def needs(steps: Sequence[Step]) -> list[frozenset[int]]:
    """For each step the places of those before it that must have ended.

    Those whose fields it reads, all of them where it has a condition; and where it writes a field anew, those
    that read or write it before.
    """
    wrote: dict[str, int] = {}
    read: dict[str, set[int]] = {}
    everything: set[int] = set()  # steps that do not say what they read
    found = []
    for place, step in enumerate(steps):
        # a condition does not say what it looks at
        reads = None if step.when is not None else step.reads
        mine = set(range(place)) if reads is None else {wrote[name] for name in reads if name in wrote}
        for name in step.adds:
            mine |= read.get(name, set()) | everything
            if name in wrote:
                mine.add(wrote[name])
        for name in reads or ():
            read.setdefault(name, set()).add(place)
        if reads is None:
            everything.add(place)
        wrote.update(dict.fromkeys(step.adds, place))
        found.append(frozenset(mine))
    return found


async def together(*work: Any) -> list[Any]:
    """Wait for all of them, then give their results or raise the first of their errors in the order given."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return done
