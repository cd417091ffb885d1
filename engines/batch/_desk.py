"""Where requests are gathered into batches, and batches are watched until they are answered."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from stillroom.engines.http import ChatWire, NoSuchPath, Reader, Unanswered
from stillroom.errors import EngineBusy, EngineError, EngineRefused

from ._api import BatchApi, State
from ._notes import Note, Notes
from ._results import CANCELLED, OVERHEAD, Result, custom_id, line, missing
from ._watcher import Watcher

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Desk", "Terms"]

FULL = "token_limit_exceeded"  # validation's word for: too much in line already


@dataclass(frozen=True)
class Terms:
    """How batches are made and watched.

    Attributes:
        host: For messages.
        model: The engine's model string.
        lines: At most so many to a batch.
        size: At most so many bytes to a file.
        linger: Seconds without another request after which a batch is sent.
        poll: Seconds between two looks at a batch, at the most.
        patience: Seconds for which looking may fail before its rows do.
        retries: Further batches for a line that failed or expired.
        path: What each line asks, from the host's root.
    """

    host: str
    model: str
    lines: int
    size: int
    linger: float
    poll: float
    patience: float
    retries: int
    path: str


@dataclass(eq=False)
class _Asked:
    """A request that waits for its answer.

    Attributes:
        id: Of its line.
        failed: How many batches brought nothing.
        unanswered: How many of these brought an answer that could not be used.
    """

    id: str
    request: Request
    answer: asyncio.Future[Response] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    failed: int = 0
    unanswered: int = 0


class Desk:
    """Lives on one event loop."""

    def __init__(self, api: BatchApi, wire: ChatWire, reader: Reader, terms: Terms, notes: Notes) -> None:
        self._watcher = Watcher(api, terms.poll, terms.patience)
        self._api, self._wire, self._reader, self._terms = api, wire, reader, terms
        self._asked: dict[str, _Asked] = {}
        self._gathered: dict[str, _Asked] = {}
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by the name of the note
        self.settle_in(notes)

    def settle_in(self, notes: Notes) -> None:
        """Keep notes there from now on, and find the batches that are noted there."""
        self._notes = notes
        self._known = {note.name: note for note in notes.all(self._terms.model)}
        self._where = {identity: note.name for note in self._known.values() for identity in note.ids}
        self._unclaimed: dict[str, Result] = {}  # answers that nobody has asked for yet
        # of several that ask the same, each has its turn; in another session they get the same ones
        self._count: Counter[str] = Counter()
        self._free: defaultdict[str, list[int]] = defaultdict(list)

    @property
    def states(self) -> dict[str, State]:
        """How far each batch was when it was last looked at."""
        return self._watcher.states

    async def answer(self, request: Request, body: bytes) -> Response:
        """Put `request` on the desk and wait for its answer.

        Raises:
            EngineBusy: If its line failed too often, its batch was cancelled, or the endpoint cannot be asked.
            EngineRefused: If the line was refused.
        """
        self._reader.served.hold()
        same = custom_id(body)
        turn = self._free[same].pop() if self._free[same] else self._count[same]
        self._count[same] = max(self._count[same], turn + 1)
        asked = self._asked[f"{same}.{turn}"] = _Asked(f"{same}.{turn}", request)
        try:
            self._place(asked)
            return await asked.answer
        except BaseException:
            self._free[same].append(turn)  # whoever asks again has the same line, and what its batch may yet bring
            raise
        finally:
            del self._asked[asked.id]
            if self._gathered.pop(asked.id, None) is not None:
                self._size -= len(body) + OVERHEAD

    def flush(self) -> None:
        """Send what was gathered."""
        if self._timer is not None:
            self._timer.cancel()
        gathered, self._gathered, self._size = list(self._gathered.values()), {}, 0
        if not gathered:
            return
        note = self._notes.begin(self._terms.model, [asked.id for asked in gathered])
        self._know(note)
        self._watch(note, lambda notes: self._sent(notes, note, gathered))

    # -- gathering -----------------------------------------------------------------

    def _place(self, asked: _Asked) -> None:
        """Have `asked` answered: by what has come already, by the batch that it is in, or by the next one."""
        note = self._known.get(self._where.get(asked.id, ""))
        if asked.id in self._unclaimed:
            self._settle(asked, self._unclaimed.pop(asked.id))
        elif note is not None:
            self._watch(note, lambda notes: self._found(notes, note))
        else:
            self._gather(asked)

    def _gather(self, asked: _Asked) -> None:
        size = len(self._wire.body(asked.request)) + OVERHEAD
        if size > self._terms.size:
            raise EngineRefused(f"a request must have at most {self._terms.size} bytes, got {size}")
        if self._size + size > self._terms.size:
            self.flush()
        self._where.pop(asked.id, None)
        self._gathered[asked.id] = asked
        self._size += size
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._terms.linger, self.flush)
        if len(self._gathered) >= self._terms.lines:
            self.flush()

    def _know(self, note: Note) -> Note:
        self._known[note.name] = note
        self._where.update(dict.fromkeys(note.ids, note.name))
        return note

    def _drop(self, notes: Notes, note: Note) -> list[_Asked]:
        """Forget a batch that never was or is no more; those whose answers it was to bring."""
        notes.drop(note)
        self._known.pop(note.name, None)
        for identity in note.ids:
            if self._where.get(identity) == note.name:
                del self._where[identity]
        return [asked for identity in note.ids if (asked := self._waiting(identity)) is not None]

    def _waiting(self, identity: str) -> _Asked | None:
        asked = self._asked.get(identity)
        return None if asked is None or asked.answer.done() else asked

    # -- one batch -----------------------------------------------------------------

    def _watch(self, note: Note, work: Callable[[Notes], Awaitable[None]]) -> None:
        """See to a batch, unless somebody does already."""
        running = self._tasks.get(note.name)
        if running is None or running.done():
            self._tasks[note.name] = asyncio.ensure_future(self._seen_to(note, work))

    async def _seen_to(self, note: Note, work: Callable[[Notes], Awaitable[None]]) -> None:
        try:
            await work(self._notes)
        except Exception as error:  # whatever it is, those who wait must hear of it
            for identity in note.ids:
                asked = self._waiting(identity)
                if asked is not None and identity not in self._gathered:
                    asked.answer.set_exception(error)

    async def _sent(self, notes: Notes, note: Note, gathered: list[_Asked]) -> None:
        """Upload the lines and make the batch."""
        path = notes.lines(note)
        try:
            with path.open("wb") as file:
                file.writelines(line(each.id, self._terms.path, self._wire.body(each.request)) for each in gathered)
            note = self._know(notes.add(note, file=await self._api.upload(path)))
            state = await self._api.create(note.file or "", note.name)
        except EngineRefused:
            self._drop(notes, note)
            raise
        except (EngineError, OSError):
            if note.file is None:  # nothing can have been made of it
                self._drop(notes, note)
            raise
        finally:
            path.unlink(missing_ok=True)
        note = self._know(notes.add(note, batch=state.id))
        await self._ended(notes, note, await self._watcher.ended(state.id, fresh=True))

    async def _found(self, notes: Notes, note: Note) -> None:
        """Go on with a batch of an earlier session, if it was ever made and is still there."""
        batch = note.batch
        if batch is None:
            made = await self._api.find(note.file, note.name)
            if made is not None:
                batch = made.id
                note = self._know(notes.add(note, batch=batch))
        if batch is not None:
            with suppress(NoSuchPath):  # batches and files are kept for some weeks only
                await self._ended(notes, note, await self._watcher.ended(batch, fresh=False))
                return
        for asked in self._drop(notes, note):
            self._gather(asked)

    async def _ended(self, notes: Notes, note: Note, state: State) -> None:
        """Hand out what came of each line."""
        if state.status == "failed":
            self._invalid(notes, note, state)
            return
        left = dict.fromkeys(note.ids, missing(state.status))
        async for identity, found in self._watcher.results(state):
            if left.pop(identity, None) is not None:
                self._hand(note, identity, found)
        for identity, found in left.items():
            self._hand(note, identity, found)

    def _invalid(self, notes: Notes, note: Note, state: State) -> None:
        """Nothing of it was asked or paid: refuse the lines that are to blame, and send the others again."""
        places = {identity: place for place, identity in enumerate(note.ids, start=1)}
        blamed = {problem.line: problem for problem in state.problems if problem.line is not None}
        general = state.problems[0] if state.problems else None
        for asked in self._drop(notes, note):
            problem = blamed.get(places[asked.id], None if blamed else general)
            if problem is None and blamed and asked.failed < self._terms.retries:
                asked.failed += 1
                self._gather(asked)
                continue
            got = f"{problem.code}: {problem.words}" if problem else "a batch that failed"
            rule = f"{self._terms.host} must accept the batch, got {got}"
            if problem is not None and problem.code == FULL:
                asked.answer.set_exception(EngineBusy(rule, mend="Lower max_lines, or wait for other batches to end."))
            else:
                asked.answer.set_exception(EngineRefused(rule))

    # -- one line --------------------------------------------------------------------

    def _hand(self, note: Note, identity: str, found: Result) -> None:
        if self._where.get(identity) != note.name:
            return  # it is in a later batch by now
        asked = self._waiting(identity)
        if asked is None:
            self._unclaimed[identity] = found
        else:
            self._settle(asked, found)

    def _settle(self, asked: _Asked, found: Result) -> None:
        """Answer, refuse, or send again."""
        try:
            if found.reply is None:
                rule = f"{self._terms.host} must answer every line of a batch, got {found.code}"
                raise EngineBusy(f"{rule}: {found.words}" if found.words else rule)
            answer = self._reader.read(found.reply, asked.request, len(self._wire.body(asked.request)))
        except EngineBusy as error:
            asked.unanswered += isinstance(error, Unanswered)
            if found.code == CANCELLED or asked.failed >= self._terms.retries:
                error.unanswered_tries = asked.unanswered
                asked.answer.set_exception(error)
                return
            asked.failed += 1
            self._gather(asked)
        except EngineError as error:
            asked.answer.set_exception(error)
        else:
            if asked.unanswered:
                told = {**(answer.provider_data or {}), "unanswered_tries": asked.unanswered}
                answer = replace(answer, provider_data=told)
            asked.answer.set_result(answer)
