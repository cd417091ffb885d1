"""The order in which waiting requests are considered: relatives together, and nobody overtaken for ever.

Requests that share the longest prefixes are admitted one after the other whatever the order they came
in, so that a prefix is read once and used while the cache still holds it (the longest-prefix-first
order of SGLang's RadixAttention, Zheng et al. 2024, arXiv:2312.07104, section 3). The oldest request
opens a group, its nearest relatives follow. A request that was overtaken too often goes before all,
and its group has the floor for as many as had overtaken it: groups take turns, but not at every step.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from ._prefixes import Chain, Prompt

__all__ = ["Waiting"]


class Waits(Protocol):
    """What the order depends on. Numbers grow with time; relatives share links of their prompts."""

    number: int
    prompt: Prompt


Job = TypeVar("Job", bound=Waits)


@dataclass
class _Group:
    """A prefix in use: the links of the request that was admitted last."""

    anchor: Chain


class Waiting(Generic[Job]):
    """Requests that wait for a place.

    Args:
        patience: How many that came later may leave before the oldest request.
        looks: How many requests of a group are looked at in one go; bounds the time it takes.
    """

    def __init__(self, patience: int, looks: int) -> None:
        self._patience, self._looks = patience, looks
        self._jobs: OrderedDict[int, Job] = OrderedDict()  # by arrival
        self._turn: dict[int, int] = {}  # how many came before
        self._relatives: list[tuple[Chain, int]] = []  # sorted, so that neighbours share most
        self._groups: list[_Group] = []
        self._floor: _Group | None = None
        self._floor_ends = 0  # when so many have left
        self._came = self._left = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Let `job` wait."""
        self._jobs[job.number] = job
        self._turn[job.number] = self._came
        self._came += 1
        insort(self._relatives, (job.prompt.links, job.number))

    def take(self, number: int) -> Job | None:
        """Let a request go, because it was admitted or is not wanted any more; None if it does not wait."""
        job = self._jobs.pop(number, None)
        if job is not None:
            del self._turn[number]
            self._left += 1
            del self._relatives[bisect_left(self._relatives, (job.prompt.links, number))]
        return job

    def take_all(self) -> list[Job]:
        """Let all go."""
        return [job for number in list(self._jobs) if (job := self.take(number)) is not None]

    def overdue(self, job: Job) -> bool:
        """Whether more have overtaken the request than may."""
        return self._left - self._turn[job.number] > self._patience

    def candidates(self) -> Iterator[Job]:
        """Give each request at most once, the one to admit first first; what is given may be taken meanwhile."""
        given: set[int] = set()
        floor = self._holder()
        if floor is not None:
            yield from self._of(floor, given)
        self._groups = [group for group in self._groups if self._near(group.anchor, 1)]
        for group in list(self._groups):
            yield from self._of(group, given)
        for job in list(islice(self._jobs.values(), self._looks)):
            if job.number not in given and job.number in self._jobs:
                self._groups.append(_Group(job.prompt.links))
                yield from self._of(self._groups[-1], given)

    def _holder(self) -> _Group | None:
        """The group that has the floor; the oldest request opens one when it is overdue."""
        if self._floor is not None and (self._left >= self._floor_ends or not self._near(self._floor.anchor, 1)):
            self._floor = None
        oldest = next(iter(self._jobs.values()), None)
        if self._floor is None and oldest is not None and self.overdue(oldest):
            self._floor, self._floor_ends = _Group(oldest.prompt.links), self._left + self._patience
        return self._floor

    def _of(self, group: _Group, given: set[int]) -> Iterator[Job]:
        for number in self._near(group.anchor, self._looks):
            job = self._jobs.get(number)
            if job is not None and number not in given:
                given.add(number)
                yield job
                if number not in self._jobs:  # admitted
                    group.anchor = job.prompt.links

    def _near(self, anchor: Chain, most: int) -> list[int]:
        """Number those who share a block or more with `anchor`, who shares most first."""
        right = bisect_left(self._relatives, (anchor, 0))
        left = right - 1
        found: list[int] = []
        while len(found) < most:
            before = _shared(self._relatives[left][0], anchor) if left >= 0 else 0
            after = _shared(self._relatives[right][0], anchor) if right < len(self._relatives) else 0
            if not before and not after:
                break
            if after >= before:
                found.append(self._relatives[right][1])
                right += 1
            else:
                found.append(self._relatives[left][1])
                left -= 1
        return found


def _shared(one: Chain, other: Chain) -> int:
    """Count the blocks that two prompts begin with together; those of less than a block are relatives too."""
    count = int(not one and not other)
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        count += 1
    return count
