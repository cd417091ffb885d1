"""Run a flow: a window of rows under way, committed in the order of their numbers, block by block.

    begin -> first steps -> [block: gates in turn -> gates that ask -> ...] -> commit -> begin ...

Rows are numbered as they are begun and fall into blocks by their numbers. What
to begin is decided when a block is committed, by what was committed and nothing
else. So what a run emits is a function of the flow and of the answers, and not of
who answered first; and a run that was killed goes on as if it had not been.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from itertools import groupby

from stillroom.engines import Engine, Session
from stillroom.errors import EngineError
from stillroom.evals.gates import bound
from stillroom.licences import inherited, of_teacher
from stillroom.rows import EmittedRow

from .draft import UNANSWERED, Draft, Papers
from .flow import QUOTA, Flow, sections
from .history import History, Leg
from .line import Block, Line
from .passing import Turn
from .schedule import Schedule
from .steps import Ask
from .tally import Tally
from .working import Bench

__all__ = ["DEPTH", "Run"]

DEPTH = 8
"""Rows under way for each call that the engine is worth: what keeps it busy while one row in front is slow.

On several machines it is counted for one of them, as rows must not depend on how many there are.
"""


class Run:
    """One session of a flow's run.

    Args:
        flow: What is run.
        session: Store, ledger and engine; the calls of gates go through it too.
        engines: Further engines, for plans of other models; recorded like the session's own.
        licence: Of the rows, as far as the session's engine and the sources decide it; the engine's where not given.
            Rows inherit those of the other engines too.
        on_progress: Called with (accepted, wanted) after each block; of an input, wanted are the rows begun.

    Attributes:
        tally: Counts of what was committed.
        schedule: How far it is.

    Raises:
        BadConfig: Before anything is asked, for what cannot work.
        FingerprintChanged: If the run began with something else.
    """

    def __init__(
        self,
        flow: Flow,
        session: Session,
        *,
        engines: Sequence[Engine] = (),
        licence: str | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        own = session.engine
        self._flow, self._store = flow, session.store
        self._bench = Bench([own, *(session.beside(engine) for engine in engines)], flow.seed)
        asked = [part for part in flow.parts if isinstance(part, Ask)]
        for step in asked:
            self._bench.engine(step.plan)
        names = [step.name for step in asked]
        others = [of_teacher(engine.model, engine.licence) for engine in engines]
        terms = inherited(own.model, licence or own.licence, others)
        self._papers = Papers(flow.key, own.model, terms, names, flow.emits, flow.text)
        self._sections = sections([bound(part, session) for part in flow.parts], self._papers)
        self._line = Line(self._sections, self._bench, self._papers)
        usual = flow.block * math.ceil(DEPTH * own.max_concurrency / own.copies / flow.block)
        self._history = History(session.store, flow.key, flow.block, flow.window, usual)
        self._outage = _Outage(self._history.window)
        self._on_progress = on_progress or (lambda accepted, wanted: None)
        self._blocks: deque[Block] = deque()
        self._open: list[Draft] = []
        self._in_flight = self._committed = 0
        self._live = False
        self.schedule = Schedule(flow.source, flow.attempts)
        self.tally = Tally()

    async def run(self, *, retry: bool = False) -> None:
        """Go on until every quota is met or cannot be; with `retry`, also with what was lost to faults.

        Raises:
            BudgetExceeded: When the budget ends first. What was under way is finished and recorded.
            EngineError: When nothing works at all: every row failed with the same error. When the run goes on, rows
                that this has cost are tried again.
        """
        retry = retry or self._history.owed
        # the last leg begins if the input has grown since
        legs = [*self._history.legs, *([Leg(retry=True)] if retry else []), Leg()]
        try:
            for leg in legs:
                await self._run_leg(leg)
        except BaseException as error:
            self._bench.stop(error)
            raise
        finally:
            await self._line.settle(self._blocks, self._open)

    async def _run_leg(self, leg: Leg) -> None:
        self.schedule.limit = leg.inputs
        self._outage = _Outage(self._history.window)
        if leg.retry:
            self.schedule.revive()
        self._begin(leg)
        if leg.retry:
            self._history.owe(False)
        while self._blocks:
            block = self._blocks[0]
            rows = self._recalled(block)
            if rows is None:
                rows = await self._made(block)
            self._commit(block, rows)
            self._begin(leg)
        self._history.end_leg(leg, self._committed)
        if not leg.retry:  # of rows that were lost before, those that are left may be those that always fail
            self._stop_if(self._outage.to_the_end(self._flow.block))

    def _stop_if(self, outage: Exception | None) -> None:
        if outage is not None:
            self._history.owe(True)
            raise outage

    # -- deciding ------------------------------------------------------------------------

    def _begin(self, leg: Leg) -> None:
        """Begin what the schedule wants, as far as the window has room."""
        if self._bench.stopped is not None:
            return
        begun = self.schedule.begin(self._history.window - self._in_flight)
        if begun:
            self._history.begin_leg(leg)
        if self.schedule.ended is not None:
            self._history.end_input(leg, self.schedule.ended)
        self._in_flight += len(begun)
        for wanted in begun:
            self._open.append(Draft(wanted))
            if self._live:
                self._line.start(self._open[-1])
            if len(self._open) == self._flow.block:
                self._close()
        if self._open and not self._blocks:
            self._close()

    def _close(self) -> None:
        """No further row falls into the open block."""
        block, self._open = Block(self._open), []
        if self._live:
            self._line.follow(block, self._blocks[-1] if self._blocks else None)
        self._blocks.append(block)

    def _commit(self, block: Block, rows: Sequence[Sequence[EmittedRow]]) -> None:
        """See what became of the first block; all decisions follow from here."""
        for wanted, made in zip(block.wanted, rows, strict=True):
            passed = 0
            for row in made:
                self.tally.add(wanted.cell, row)
                passed += row.status in ("accepted", "surplus")
            lost = all(row.status == "quarantined" for row in made)
            unanswered = lost and any(UNANSWERED in row.extra for row in made)
            self.schedule.end(wanted, passed, lost=lost, unanswered=unanswered)
        self._flow.source.learn([row for made in rows for row in made])
        self._blocks.popleft()
        self._in_flight -= len(block.units)
        self._committed += len(block.units)
        self._on_progress(self.schedule.accepted, self.schedule.wanted)

    # -- rows of an earlier session ---------------------------------------------------------

    def _recalled(self, block: Block) -> list[list[EmittedRow]] | None:
        """The rows of `block` if they are committed; gates that remember are told of them."""
        if self._live:
            return None
        rows = self._history.take(block.wanted)
        if rows is None:
            self._go_live()
            return None
        for wanted, made in zip(block.wanted, rows, strict=True):
            for row in made:
                if row.status == "accepted":
                    self.schedule.admit(wanted.cell)
        flat = [row for made in rows for row in made]
        for section in self._sections:
            if isinstance(section, Turn):
                section.recall(flat)
        return rows

    def _go_live(self) -> None:
        """From here on rows are worked on; those that were begun are started, in their order."""
        self._live = True
        if self._blocks:
            first = next((draft for draft in self._blocks[0].units if not draft.wanted.fault), None)
            if first is not None:
                self._flow.check(first.state)
        for draft in [*(draft for block in self._blocks for draft in block.units), *self._open]:
            self._line.start(draft)
        before = None
        for block in self._blocks:
            self._line.follow(block, before)
            before = block

    # -- rows of this session ------------------------------------------------------------------

    async def _made(self, block: Block) -> list[list[EmittedRow]]:
        """The rows of the first block once it is through, committed to the store."""
        if not await self._line.done(block):
            assert self._bench.stopped is not None
            raise self._bench.stopped
        self._stop_if(self._outage.see(block.units, first=self._committed == 0))
        rows = [
            [self._row(draft) for draft in drafts]
            for _, drafts in groupby(block.drafts, key=lambda draft: id(draft.wanted))
        ]
        self._store.put_rows(self._flow.key, [row for made in rows for row in made])
        return rows

    def _row(self, draft: Draft) -> EmittedRow:
        """What a draft has become, now that its turn has come."""
        if not draft.status:
            self._papers.refuse(draft)
        if not draft.status:
            cell = draft.wanted.cell
            if self.schedule.admit(cell):
                draft.status = "accepted"
            else:
                draft.refuse("surplus", QUOTA, f"the quota of {cell} was full")
        return self._papers.row(draft)


class _Outage:
    """Sees when nothing works: every row of the run's first block, of a whole window, or of its end broke with the same error."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._alike, self._count = "", 0
        self._error: Exception | None = None

    def see(self, drafts: Sequence[Draft], *, first: bool) -> Exception | None:
        """Look at the rows of a block before they are committed: the error that all rows lately had, if it is one."""
        for draft in drafts:
            alike = "" if draft.error is None else _alike(draft.error)
            self._count = self._count + 1 if alike and alike == self._alike else int(bool(alike))
            self._alike = alike
        self._error = drafts[-1].error
        return self._error if self._count >= (len(drafts) if first else self._most) else None

    def to_the_end(self, least: int) -> Exception | None:
        """The engine's error that at least so many rows had, up to the last one there is."""
        return self._error if isinstance(self._error, EngineError) and self._count >= least else None


def _alike(error: Exception) -> str:
    """Errors are alike if they differ in nothing but numbers: the name of a request, the seconds waited."""
    return f"{type(error).__name__}: {re.sub(r'[0-9a-f]*[0-9][0-9a-f]*', '#', str(error).casefold())}"
