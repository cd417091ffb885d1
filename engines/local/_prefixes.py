"""Which prompts should wait a moment, because another is just reading their beginning.

The pipeline keeps the keys and values of blocks of 32 tokens and looks for them once, when a
request is added. Requests that share a long prefix and are added together therefore all compute it;
added after the first has read its prompt, they find it. Chained block hashes tell which prefix is
there, which is being computed, and which request would gain by waiting (the scheme of vLLM's
automatic prefix caching, Kwon et al. 2023, arXiv:2309.06180, section 4.4).

Two faults of openvino-genai 2026.4 make waiting a matter of right answers. A block is found as soon
as a request that reads its prompt in pieces has begun it, computed or not. And the last, partly
filled block of a request is found too, but several prompts which go on from it (the next turns of a
dialogue, say) write into the same memory: here one at a time goes on from such a tail, until it has
generated a second token and thereby made the block its own.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BLOCK", "Claim", "Prefixes", "Prompt", "chain"]

BLOCK = 32  # tokens in a block of the pipeline's cache on CPU

Chain = tuple[int, ...]
Tail = tuple[int, tuple[int, ...]]  # the link before a partly filled block, and the tokens in it


def chain(ids: Sequence[int]) -> Chain:
    """Hash each whole block of `ids` together with all that precedes it.

    A block that ends with the last token does not count: the pipeline reads that token again.
    """
    links, link = [], 0
    for start in range(0, len(ids) - BLOCK, BLOCK):
        link = hash((link, *ids[start : start + BLOCK]))
        links.append(link)
    return tuple(links)


@dataclass(frozen=True)
class Claim:
    """The blocks of one added request, those it is the one to compute, and the tail it goes on from."""

    prompt: Prompt
    computing: Chain
    tail: Tail | None


@dataclass(frozen=True)
class Prompt:
    """Tokens and the hashes of their blocks."""

    ids: Sequence[int]
    links: Chain

    @classmethod
    def of(cls, ids: Sequence[int]) -> Prompt:
        """Hash `ids` once, in the thread that has them."""
        return cls(ids, chain(ids))


class Prefixes:
    """What the cache holds and what is on its way there, as far as one can tell from outside.

    Args:
        capacity: Blocks to remember; an older one counts as forgotten. A wrong guess costs time only.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._there: OrderedDict[int, None] = OrderedDict()
        self._coming: Counter[int] = Counter()
        self._tails: OrderedDict[Tail, None] = OrderedDict()
        self._after: dict[tuple[int, int], set[Tail]] = {}  # by link and first token
        self._taken: set[Tail] = set()

    def missing(self, links: Chain) -> Chain:
        """Give the links that would have to be computed."""
        for index, link in enumerate(links):
            if link not in self._there:
                return links[index:]
        return ()

    def choose(self, waiting: Sequence[Prompt]) -> list[tuple[int, Claim]]:
        """Choose which of the `waiting` to add now, by index in their order.

        Report what becomes of each claim: `arrived`, then `ended`; or `lost`.
        """
        return [(index, self.claim(prompt)) for index, prompt in enumerate(waiting) if not self._must_wait(prompt)]

    def _must_wait(self, prompt: Prompt) -> bool:
        missing = self.missing(prompt.links)
        return bool(missing and missing[0] in self._coming) or self._tail(prompt) in self._taken

    def claim(self, prompt: Prompt) -> Claim:
        """Note that a request with this prompt is added now."""
        claim = Claim(prompt, self.missing(prompt.links), self._tail(prompt))
        self._coming.update(claim.computing)
        if claim.tail is not None:
            self._taken.add(claim.tail)
        return claim

    def arrived(self, claim: Claim) -> None:
        """Note that the prompt has been read: its blocks can be found from now on."""
        self._computed(claim)
        for link in claim.prompt.links:
            self._there[link] = None
            self._there.move_to_end(link)
        while len(self._there) > self._capacity:
            self._there.popitem(last=False)
        self._leave_tail(claim.prompt.ids)

    def moved(self, claim: Claim) -> None:
        """Note that a second token was generated: the tails it went on from are no more."""
        for tail in (claim.tail, self._own_tail(claim.prompt.ids)):
            if tail is not None:
                self._drop(tail)
                self._taken.discard(tail)

    def ended(self, claim: Claim, output: Sequence[int]) -> None:
        """Note that the request ended with `output`; the last token of it was never read."""
        if len(output) > 1:
            self.moved(claim)
            self._leave_tail((*claim.prompt.ids, *output[:-1]))
        elif claim.tail is not None:
            self._taken.discard(claim.tail)

    def lost(self, claim: Claim) -> None:
        """Note that the request ended before its prompt was read."""
        self._computed(claim)
        if claim.tail is not None:
            self._taken.discard(claim.tail)

    def _computed(self, claim: Claim) -> None:
        self._coming.subtract(claim.computing)
        for link in claim.computing:
            if self._coming[link] <= 0:
                del self._coming[link]

    def _leave_tail(self, ids: Sequence[int]) -> None:
        tail = self._own_tail(ids)
        if tail is None:
            return
        self._tails[tail] = None
        self._after.setdefault((tail[0], tail[1][0]), set()).add(tail)
        while len(self._tails) > self._capacity:
            self._drop(next(iter(self._tails)))

    @staticmethod
    def _own_tail(ids: Sequence[int]) -> Tail | None:
        """Where a request that read `ids` stands within a block."""
        whole = len(ids) // BLOCK * BLOCK
        if whole == len(ids):
            return None
        links = chain(ids)
        return (links[-1] if links else 0, tuple(ids[whole:]))

    def forget(self) -> None:
        """Note that the cache is gone."""
        for memory in (self._there, self._coming, self._tails, self._after, self._taken):
            memory.clear()

    def _tail(self, prompt: Prompt) -> Tail | None:
        """Find the tail that the prompt goes on from; one that ends where the prompt ends is no danger."""
        for number, link in enumerate((0, *prompt.links)):
            start = number * BLOCK
            tails = self._after.get((link, prompt.ids[start])) if start < len(prompt.ids) else None
            if tails:
                block = tuple(prompt.ids[start : start + BLOCK])
                found = [tail for tail in tails if len(tail[1]) < len(block) and block[: len(tail[1])] == tail[1]]
                if found:
                    return min(found, key=lambda tail: len(tail[1]))  # the pipeline takes the shortest
        return None

    def _drop(self, tail: Tail) -> None:
        self._tails.pop(tail, None)
        key = tail[0], tail[1][0]
        left = self._after.get(key, set())
        left.discard(tail)
        if not left:
            self._after.pop(key, None)
