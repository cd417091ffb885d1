"""The batch: who is in it, who joins next, what came of whom. No threads and no clocks, so tests need neither.

Between two steps of the pipeline `Batch.turn` admits waiting requests (`_waiting` says in which
order), holds back those which should find a prefix that is just being computed (`_prefixes`), and
gives what has ended. It knows the pipeline by the methods in `Pipeline`.

An answer is to depend on its request alone, to the last bit of its log-probabilities. The kernels
behind openvino-genai 2026.4 see to that (AVX-512, SmolLM2-135M and Qwen2.5-Coder-1.5B: equal bits at
every width of the batch from 5 to 128, in every order, with prompts read in pieces of any size)
except in four places, which are kept out of the way here:

- below five requests they take other kernels: idle company fills the batch up to `FLOOR`;
- one token of a prompt left to read: see `Prefixes.ahead`;
- a request that loses its place in a full cache reads its own answer as a prompt later: nobody is
  admitted whose longest answer would not fit beside those already there;
- a grammar that does not compile fails its whole batch: it never gets there (`_grammars`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol

from ._prefixes import BLOCK, Claim, Prefixes, Prompt
from ._waiting import Waiting

__all__ = [
    "FLOOR",
    "PIECE",
    "Batch",
    "Ended",
    "Failure",
    "Handle",
    "Job",
    "Output",
    "Pipeline",
    "last_line",
    "room_for_answers",
]

FLOOR = 5  # requests in the batch from which on the width does not matter
PIECE = 512  # tokens of prompts read in a step; more is no faster, fewer are slower (128: -30 %)
PATIENCE = 4  # batches of younger requests that may overtake one

Kind = Literal["answer", "reading", "echo"]


@dataclass(frozen=True)
class Output:
    """What came of a request. `finish` is `stop`, `length`, or `full` when the cache had no room."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: str

    def first(self, tokens: int) -> Output:
        """Cut it off after `tokens`."""
        if len(self.ids) <= tokens:
            return self
        return Output(self.ids[:tokens], self.logprobs[:tokens], "length")


@dataclass(frozen=True)
class Failure:
    """Why nothing came of a request; `refused` if it is the request's own fault."""

    message: str
    mend: str = ""
    refused: bool = False


Ended = tuple[int, Output | Failure]


class Handle(Protocol):
    """One request in the pipeline."""

    def begun(self) -> bool:
        """Whether the prompt has been read."""

    def output(self) -> Output | None:
        """What came of it, or None while it runs."""

    def cancel(self) -> None:
        """Drop it at the next step."""


class Pipeline(Protocol):
    """A continuous batch."""

    def add(self, ids: Sequence[int], settings: Any, kind: Kind) -> Handle:
        """Add a request; its cached prefix is looked up now. Raises `RuntimeError` for settings it does not take."""

    def read(self, ids: Sequence[int]) -> Handle:
        """Add a request that only reads its prompt."""

    def idle(self) -> Handle:
        """Add a request that wants nothing, for company; it shares no prefix with any other."""

    def step(self) -> None:
        """Advance every request by a token; prompts are read whole."""


@dataclass(eq=False)
class Job:
    """A request.

    Attributes:
        number: Unlike any other's, and larger than those before.
        settings: What the pipeline takes.
        longest: Tokens of the answer, at most.
        kind: An `answer` may be read in pieces and in company; a `reading` of a prompt and an `echo` may not.
    """

    number: int
    prompt: Prompt
    settings: Any = None
    longest: int = 1
    kind: Kind = "answer"


@dataclass(eq=False)
class _Active:
    """A request in the pipeline; without a job it reads ahead for others."""

    job: Job | None
    handle: Handle
    claim: Claim
    blocks: int  # of its own
    steps: int = 0  # since the prompt was read, counting the one that read it
    unwanted: bool = False


@dataclass
class _Room:
    """What this turn may still admit."""

    places: int
    tokens: int
    read: int = 0

    @property
    def open(self) -> bool:
        return self.places > 0 and self.tokens > 0

    def holds(self, tokens: int) -> bool:
        """Whether a prompt is read in this step; one that is too long for any step is read if it is the first."""
        return self.places > 0 and (tokens <= self.tokens or not self.read)

    def take(self, tokens: int) -> None:
        self.places -= 1
        self.tokens -= tokens
        self.read += tokens


@dataclass
class _Cache:
    """Blocks that requests in the batch may come to need, counting shared ones once."""

    blocks: int
    private: int = 0
    shared: Counter[int] = field(default_factory=Counter)

    def own(self, prompt: Prompt, longest: int) -> int:
        """Blocks of a request that nobody shares."""
        return -(-(len(prompt.ids) + longest + 1) // BLOCK) - len(prompt.links)

    def holds(self, prompt: Prompt, longest: int) -> bool:
        new = sum(link not in self.shared for link in prompt.links)
        return self.private + len(self.shared) + new + self.own(prompt, longest) <= self.blocks

    def take(self, claim: Claim, own: int) -> None:
        self.private += own
        self.shared.update(claim.prompt.links)

    def give(self, claim: Claim, own: int) -> None:
        self.private -= own
        for link in claim.prompt.links:
            self.shared[link] -= 1
            if not self.shared[link]:
                del self.shared[link]


class Batch:
    """Requests on the pipeline that `build` makes, at most `width` at a time.

    Args:
        build: Called in the first turn, and in the next one after the pipeline failed.
        blocks: How many cache blocks the pipeline has.
        floor: From how many requests on the answers are the same; 0 for no company.
    """

    def __init__(self, build: Callable[[], Pipeline], *, width: int, blocks: int, floor: int = FLOOR) -> None:
        self._build, self._width, self._blocks, self._floor = build, width, blocks, floor
        self._waiting: Waiting[Job] = Waiting(PATIENCE * width, PATIENCE * width)
        self._ended: list[Ended] = []
        self._reset()

    def _reset(self) -> None:
        self._pipeline: Pipeline | None = None
        self._active: list[_Active] = []
        self._leaving: list[_Active] = []
        self._company: list[Handle] = []
        self._prefixes = Prefixes(self._blocks)
        self._cache = _Cache(room_for_answers(self._blocks, self._floor))

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._active or self._waiting or self._leaving)

    def put(self, job: Job) -> None:
        """Let `job` wait for its turn."""
        self._waiting.put(job)

    def drop(self, number: int) -> None:
        """Let go of a request that nobody wants any more; it is not among those that `turn` gives."""
        self._waiting.take(number)
        for active in self._active:
            active.unwanted |= active.job is not None and active.job.number == number

    def turn(self) -> list[Ended]:
        """Admit, step, and give what ended.

        Raises:
            StillroomError: If the pipeline cannot be built; what waits goes on waiting.
        """
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            self._dismiss()
            self._admit(self._pipeline)
            if self._active or self._leaving:
                self._keep_company(self._pipeline)
                self._pipeline.step()
                self._settle()
        except RuntimeError as error:  # the library raises nothing finer
            # with nobody in the batch the next turn would fail in the same way
            self._fail(Failure(f"the local pipeline failed: {last_line(str(error))}"), everyone=not self._active)
        ended, self._ended = self._ended, []
        return ended

    def fail(self, failure: Failure) -> list[Ended]:
        """End everything in the same way."""
        self._fail(failure, everyone=True)
        ended, self._ended = self._ended, []
        return ended

    def _fail(self, failure: Failure, *, everyone: bool) -> None:
        failed = [active.job for active in self._active if active.job is not None and not active.unwanted]
        failed += self._waiting.take_all() if everyone else []
        self._ended += [(job.number, failure) for job in failed]
        self._reset()

    # -- who joins -------------------------------------------------------------------

    def _dismiss(self) -> None:
        """Take those out of the batch whom nobody wants; the pipeline lets go of them with its next step."""
        # before, it would leave a block behind that holds its prompt or half of it and is found by the text
        unwanted = [active for active in self._active if active.unwanted and active.steps > 1]
        for active in unwanted:
            active.handle.cancel()
            self._prefixes.ended(active.claim, ())
            self._active.remove(active)
        self._leaving += unwanted

    def _admit(self, pipeline: Pipeline) -> None:
        places = self._width - len(self._active)
        room = _Room(places, PIECE + places)
        if not room.open:
            return
        for job in islice(self._waiting.candidates(), PATIENCE * self._width):
            if not self._consider(job, room, pipeline) or not room.open:
                break

    def _consider(self, job: Job, room: _Room, pipeline: Pipeline) -> bool:
        """Add a request, or what is to be read ahead for it, if it is its time; False if nobody may pass it."""
        if self._prefixes.must_wait(job.prompt):
            return True
        ahead = self._prefixes.ahead(job.prompt, PIECE) if job.kind == "answer" else None
        target, longest = (ahead, 0) if ahead else (job.prompt, job.longest)
        unread = 0 if job.kind == "echo" else self._prefixes.unread(target)  # echoes must be added at once
        alone = not self._active  # what does not fit alone never will
        if not (room.holds(unread) and (alone or self._cache.holds(target, longest))):
            return not self._waiting.overdue(job)
        claim = self._prefixes.claim(target)
        try:
            handle = pipeline.read(target.ids) if ahead else pipeline.add(target.ids, job.settings, job.kind)
        except RuntimeError as error:
            self._prefixes.lost(claim)
            self._waiting.take(job.number)
            message = f"the local engine takes no such request: {last_line(str(error))}"
            self._ended.append((job.number, Failure(message, refused=True)))
            return True
        own = self._cache.own(target, longest)
        self._cache.take(claim, own)
        room.take(unread)
        self._active.append(_Active(None if ahead else job, handle, claim, own))
        if not ahead:
            self._waiting.take(job.number)
        return True

    def _keep_company(self, pipeline: Pipeline) -> None:
        """Fill the batch up with idle requests to where its width does not matter."""
        self._company = [handle for handle in self._company if handle.output() is None]
        wanted = max(0, self._floor - len(self._active)) if self._active else 0
        for handle in self._company[wanted:]:
            handle.cancel()
        del self._company[wanted:]
        self._company += [pipeline.idle() for _ in range(wanted - len(self._company))]

    # -- what came of whom -----------------------------------------------------------

    def _settle(self) -> None:
        for active in self._leaving:
            self._cache.give(active.claim, active.blocks)
        self._leaving = []
        self._active = [active for active in self._active if self._goes_on(active)]

    def _goes_on(self, active: _Active) -> bool:
        output = active.handle.output()
        if active.steps or output is not None or active.handle.begun():
            active.steps += 1
        if active.steps == 1:
            self._prefixes.arrived(active.claim)
        elif active.steps == 2:
            self._prefixes.moved(active.claim)
        if output is None:
            return True
        self._prefixes.ended(active.claim, output.ids)
        self._cache.give(active.claim, active.blocks)
        if active.job is not None and not active.unwanted:
            whole = active.job.kind == "echo"
            self._ended.append((active.job.number, output if whole else output.first(active.job.longest)))
        return False


def room_for_answers(blocks: int, floor: int = FLOOR) -> int:
    """How many of a pipeline's blocks its company leaves."""
    return blocks - floor


def last_line(message: str) -> str:
    """What a library's message says: its last line, without the place in its source."""
    lines = [line for line in message.strip().splitlines() if line.strip()]
    return re.sub(r"^.*\.(cc|cpp|hpp):\d+:\s*", "", lines[-1])[-300:] if lines else "no reason given"
