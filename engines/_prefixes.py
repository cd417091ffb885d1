"""Which prompts should wait a moment, because another is just computing their beginning.

The pipeline keeps the keys and values of finished blocks of 32 tokens and looks for them once,
when a request is added. Requests that share a long prefix and are added together therefore all
compute it; added after the first has read its prompt, they find it. Chained block hashes tell which
prefix is there, which is being computed, and which request would gain by waiting (the scheme of
vLLM's automatic prefix caching, Kwon et al. 2023, arXiv:2309.06180, section 4.4).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

__all__ = ["BLOCK", "Prefixes", "chain"]

BLOCK = 32  # tokens in a block of the pipeline's cache on CPU

# Waiting costs the batch one step, about as much as reading this many tokens of a prompt.
WORTH_WAITING = 64

Chain = tuple[int, ...]


def chain(ids: Sequence[int]) -> Chain:
    """Hash each whole block of `ids` together with all that precedes it. The last token never counts:
    the pipeline reads it again to have something to predict from.
    """  # noqa: D205, D209, D415
    links, link = [], 0
    for start in range(0, len(ids) - BLOCK, BLOCK):
        link = hash((link, *ids[start : start + BLOCK]))
        links.append(link)
    return tuple(links)


class Prefixes:
    """What the cache holds and what is on its way there, as far as one can tell from outside.

    Args:
        capacity: Blocks to remember; an older one counts as forgotten. A wrong guess costs time only.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._there: OrderedDict[int, None] = OrderedDict()
        self._coming: dict[int, int] = {}

    def missing(self, links: Chain) -> Chain:
        """Give the links that would have to be computed."""
        for index, link in enumerate(links):
            if link not in self._there:
                return links[index:]
        return ()

    def gains(self, links: Chain) -> int:
        """Count the tokens that a request need not compute if it waits for those under way."""
        count = 0
        for link in self.missing(links):
            if link not in self._coming:
                break
            count += 1
        return count * BLOCK

    def choose(self, waiting: Iterable[Chain], room: int) -> list[int]:
        """Choose which of the `waiting` to add now, at most `room`, by index in their order.

        The chosen count as coming; report each with `arrived` or `lost`.
        """
        chosen: list[int] = []
        held: list[tuple[int, Chain, int]] = []
        for index, links in enumerate(waiting):
            if len(chosen) + len(held) >= room:
                break
            gain = self.gains(links)
            if gain:
                held.append((index, links, gain))
            else:
                chosen.append(index)
                self.coming(links)
        # one that would gain little on its own waits if others wait for the same blocks
        company = Counter(self.missing(links)[0] for _, links, _ in held)
        for index, links, gain in held:
            if gain * company[self.missing(links)[0]] < WORTH_WAITING:
                chosen.append(index)
                self.coming(links)
        return sorted(chosen)

    def coming(self, links: Chain) -> None:
        """Note that a request which computes `links` was added."""
        for link in self.missing(links):
            self._coming[link] = self._coming.get(link, 0) + 1

    def arrived(self, links: Chain) -> None:
        """Note that a prompt has been read: its blocks can be found from now on."""
        self.lost(links)
        for link in links:
            self._there[link] = None
            self._there.move_to_end(link)
        while len(self._there) > self._capacity:
            self._there.popitem(last=False)

    def lost(self, links: Chain) -> None:
        """Note that a request ended before its prompt was read."""
        for link in links:
            left = self._coming.get(link, 0) - 1
            if left > 0:
                self._coming[link] = left
            else:
                self._coming.pop(link, None)

    def forget(self) -> None:
        """Note that the cache is gone."""
        self._there.clear()
        self._coming.clear()
