"""The line that rows go along: their steps at once, gates block after block where order counts.

A block's rows wait for each other only where gates look at them together, and
for the block before only at gates that remember. The calls of other blocks go on
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from .draft import Draft, Papers
from .flow import INPUT, Section
from .passing import Asking, Turn
from .wanted import Wanted
from .working import Bench, Steps, Stopped, together

__all__ = ["Block", "Line"]


class Block:
    """Rows that pass gates and are committed together.

    Attributes:
        units: As they were begun.
        drafts: As they were split; the same where nothing splits them.
    """

    def __init__(self, units: Sequence[Draft]) -> None:
        self.units = list(units)
        self.drafts = list(units)
        self.task: asyncio.Task[bool] | None = None
        self._turns: dict[int, asyncio.Future[bool]] = {}

    @property
    def wanted(self) -> list[Wanted]:
        """What its rows were begun for."""
        return [draft.wanted for draft in self.units]

    def turn(self, place: int) -> asyncio.Future[bool]:
        """Whether it has passed the gates at `place`: True, or False if it never will."""
        if place not in self._turns:
            self._turns[place] = asyncio.get_running_loop().create_future()
            if self.task is not None and self.task.done():
                self._turns[place].set_result(False)
        return self._turns[place]

    def give_up(self) -> None:
        """It passes no further gates."""
        for turn in self._turns.values():
            if not turn.done():
                turn.set_result(False)


class Line:
    """Works on rows.

    Args:
        sections: What rows do together, in order.
        bench: Where steps are done.
        papers: Shows rows to gates.
    """

    def __init__(self, sections: Sequence[Section], bench: Bench, papers: Papers) -> None:
        self._sections, self._bench, self._papers = sections, bench, papers

    def start(self, draft: Draft) -> None:
        """Begin the first steps of a row."""
        draft.task = asyncio.ensure_future(self._first(draft))

    def follow(self, block: Block, before: Block | None) -> None:
        """Take a block along the line, behind the one `before`; its rows are started."""
        block.task = asyncio.ensure_future(self._through(block, before))

    async def done(self, block: Block) -> bool:
        """Wait until `block` is through, and say whether it got to the end."""
        assert block.task is not None
        await asyncio.wait([block.task])  # whoever cancels the waiting does not cancel the work, which is paid for
        return block.task.result()

    async def settle(self, blocks: Iterable[Block], drafts: Iterable[Draft]) -> None:
        """Wait until all work under way has ended, in whichever way."""
        tasks = [draft.task for block in blocks for draft in block.units]
        tasks += [draft.task for draft in drafts]
        begun = [task for task in tasks if task is not None]
        following = [block.task for block in blocks if block.task is not None]
        await asyncio.gather(*begun, *following, return_exceptions=True)

    async def _first(self, draft: Draft) -> None:
        if draft.wanted.fault:
            draft.refuse("rejected", INPUT, draft.wanted.fault)
        elif self._sections and isinstance(self._sections[0], Steps):
            await self._steps(self._sections[0], draft)

    async def _steps(self, section: Steps, draft: Draft) -> None:
        try:
            await section.run(draft, self._bench)
        except Exception as error:
            self._bench.stop(error)  # not the row's fault: nothing goes on, and the run says why
            raise Stopped from error

    async def _through(self, block: Block, before: Block | None) -> bool:
        """Whether the rows of `block` got to the end of the line."""
        try:
            await together(*(draft.task for draft in block.units))
            for place, section in enumerate(self._sections):
                if isinstance(section, Turn) and before is not None and not await before.turn(place):
                    return False
                await self._pass(block, place, section)
        except Stopped:
            return False
        except Exception as error:
            self._bench.stop(error)
            return False
        finally:
            block.give_up()
        return True

    async def _pass(self, block: Block, place: int, section: Section) -> None:
        alive = [draft for draft in block.drafts if not draft.status]
        if isinstance(section, Turn):
            section.check(alive)
            turn = block.turn(place)
            turn.set_result(True)
        elif isinstance(section, Asking):
            if alive:
                await section.check(alive, self._bench)
        elif not isinstance(section, Steps):
            block.drafts = section.split(block.drafts)
        elif place:  # the first steps were begun one by one
            for draft in alive:
                self._papers.refuse(draft)
            await together(*(self._steps(section, draft) for draft in alive if not draft.status))
