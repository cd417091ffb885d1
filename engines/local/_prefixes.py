"""What the cache holds of each prompt, and which prompts should wait because another is just reading their beginning.

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

A third makes reading a matter of equal answers: a prompt of which one token is left to read comes
out otherwise in its last bits than one of which more are left. What is found must not decide which
of the two happens, see `Prefixes.ahead`. For the same reason nobody joins who would find the last
block of a prompt that was just read: it is its own one token later.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BLOCK", "Chain", "Claim", "Prefixes", "Prompt", "chain"]

BLOCK = 32  # tokens in a block of the pipeline's cache on CPU

Chain = tuple[int, ...]
Tail = tuple[int, tuple[int, ...]]  # the link before a partly filled block, and the tokens in it


def chain(ids: Sequence[int]) -> Chain:
    """Hash each whole block of `ids` together with all that precedes it."""
    links, link = [], 0
    for start in range(0, len(ids) - BLOCK + 1, BLOCK):
        link = hash((link, *ids[start : start + BLOCK]))
        links.append(link)
    return tuple(links)


@dataclass(frozen=True)
class Prompt:
    """Tokens and the hashes of their blocks, as far as these may be shared with other prompts."""

    ids: Sequence[int]
    links: Chain

    @classmethod
    def of(cls, ids: Sequence[int]) -> Prompt:
        """Hash `ids`."""
        return cls(ids, chain(ids))

    def head(self, tokens: int) -> Prompt:
        """Give the first `tokens`, which must be whole blocks."""
        return Prompt(self.ids[:tokens], self.links[: tokens // BLOCK])


@dataclass(frozen=True)
class Claim:
    """The blocks of one added request, those it is the one to compute, and the tail it goes on from."""

    prompt: Prompt
    computing: Chain
    tail: Tail | None


class Prefixes:
    """What the cache holds and what is on its way there, as far as one can tell from outside.

    Args:
        capacity: Blocks to remember; an older one counts as forgotten.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._there: OrderedDict[int, None] = OrderedDict()
        self._coming: Counter[int] = Counter()
        self._tails: OrderedDict[Tail, None] = OrderedDict()
        self._after: dict[tuple[int, int], set[Tail]] = {}  # by link and first token
        self._taken: set[Tail] = set()
        self._young: dict[int, Tail | None] = {}  # claims whose second token is yet to come, by identity
        self._fresh: Counter[Tail] = Counter()  # what they left

    def missing(self, prompt: Prompt) -> Chain:
        """Give the links that would have to be computed."""
        for index, link in enumerate(prompt.links):
            if link not in self._there:
                return prompt.links[index:]
        return ()

    def unread(self, prompt: Prompt) -> int:
        """Count the tokens that would have to be read; at least one always is."""
        return max(1, len(prompt.ids) - BLOCK * (len(prompt.links) - len(self.missing(prompt))))

    def must_wait(self, prompt: Prompt) -> bool:
        """Whether the cache will hold something else for `prompt` after a step or two: a block, or no tail."""
        missing = self.missing(prompt)
        if missing and missing[0] in self._coming:
            return True
        tail = self._tail(prompt)
        if tail in self._taken or tail in self._fresh:
            return True
        return bool(self._fresh) and self._own_tail(prompt.ids) in self._fresh

    def ahead(self, prompt: Prompt, most: int) -> Prompt | None:
        """Give the whole blocks that must be read by a request of their own before `prompt` is added; None if none.

        They are read ahead in pieces where more than `most` tokens are unread, so that the pipeline
        never splits a prompt by itself: it would leave a single token for the end now and then,
        depending on who else is there. And where all whole blocks of a prompt, once found, leave one
        token to read, they are always read ahead: the answer is then the same whether they had been
        found or not.
        """
        unread = self.unread(prompt)
        there = len(prompt.ids) - unread
        one_left = len(prompt.ids) % BLOCK in {0, 1} and bool(self.missing(prompt))
        if not one_left and unread <= most:
            return None
        whole = len(prompt.links) * BLOCK
        return prompt.head(min(there // BLOCK * BLOCK + most // BLOCK * BLOCK, whole))

    def claim(self, prompt: Prompt) -> Claim:
        """Note that a request with this prompt is added now.

        Report what becomes of it: `arrived`, then `ended`; or `lost`.
        """
        claim = Claim(prompt, self.missing(prompt), self._tail(prompt))
        self._coming.update(claim.computing)
        if claim.tail is not None:
            self._taken.add(claim.tail)
        return claim

    def arrived(self, claim: Claim) -> None:
        """Note that the prompt has been read: its blocks can be found from now on."""
        self._computed(claim)
        self._keep(claim.prompt.links)
        tail = self._young[id(claim)] = self._leave_tail(claim.prompt.ids)
        if tail is not None:
            self._fresh[tail] += 1

    def moved(self, claim: Claim) -> None:
        """Note that a second token was generated: the tails it went on from are no more."""
        if id(claim) in self._young:
            for tail in (claim.tail, self._grown(claim)):
                if tail is not None:
                    self._drop(tail)
                    self._taken.discard(tail)

    def ended(self, claim: Claim, output: Sequence[int]) -> None:
        """Note that the request ended with `output`; the last token of it was never read."""
        if len(output) > 1:
            self.moved(claim)
            read = (*claim.prompt.ids, *output[:-1])
            self._keep(chain(read))
            self._leave_tail(read)
        elif id(claim) in self._young:
            self._grown(claim)
            if claim.tail is not None:
                self._taken.discard(claim.tail)

    def lost(self, claim: Claim) -> None:
        """Note that the request ended before its prompt was read."""
        self._computed(claim)
        if claim.tail is not None:
            self._taken.discard(claim.tail)

    def _keep(self, links: Chain) -> None:
        for link in links:
            self._there[link] = None
            self._there.move_to_end(link)
        while len(self._there) > self._capacity:
            self._there.popitem(last=False)

    def _computed(self, claim: Claim) -> None:
        self._coming.subtract(claim.computing)
        for link in claim.computing:
            if self._coming[link] <= 0:
                del self._coming[link]

    def _leave_tail(self, ids: Sequence[int]) -> Tail | None:
        tail = self._own_tail(ids)
        if tail is not None:
            self._tails[tail] = None
            self._after.setdefault((tail[0], tail[1][0]), set()).add(tail)
            while len(self._tails) > self._capacity:
                self._drop(next(iter(self._tails)))
        return tail

    def _grown(self, claim: Claim) -> Tail | None:
        """Give what a young claim left; others may have left the same."""
        tail = self._young.pop(id(claim))
        if tail is not None:
            self._fresh[tail] -= 1
            if not self._fresh[tail]:
                del self._fresh[tail]
        return tail

    @staticmethod
    def _own_tail(ids: Sequence[int]) -> Tail | None:
        """Where a request that read `ids` stands within a block."""
        whole = len(ids) // BLOCK * BLOCK
        if whole == len(ids):
            return None
        links = chain(ids)
        return (links[-1] if links else 0, tuple(ids[whole:]))

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
