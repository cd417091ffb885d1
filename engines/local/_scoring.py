"""Log-probabilities of given continuations, read off as the echo of a prompt.

The pipeline echoes log-probabilities only for tokens that it did not find in its prefix cache: the
prompt should be found there and the continuation should not. Two more faults of openvino-genai
2026.4 shape what is done. The echo is right only while nothing but echoes is in the batch, since
the place of a request's logits is counted over the echoes before it (`_fill_prompt_log_probs`);
and no two requests may go on from the same partly filled block (see `_prefixes`). So scores have a
pipeline of their own, in which

1. the whole blocks of a prompt are read first, which leaves no partly filled block, and
2. each prompt and continuation ends with a token that was not used so before, which leaves a last
   block that no later request goes on from.

A block that begins in the prompt and lies wholly inside prompt and continuation is found by whoever
asks for it once it is there, and neither its scores come back nor that of the token after it. So all
continuations of a prompt are added before any of them is read: answers that begin
alike, as those of one format do, would lose each other's scores otherwise. Who scores the same
continuation again finds what was given out before, which is kept here.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from ._batch import Output
from ._prefixes import BLOCK, chain

__all__ = ["WAVE", "Echo", "Echoes", "head_of"]

WAVE = 256  # echoes added at once


@dataclass(frozen=True)
class Echo:
    """Prompt, continuation and a last token that makes the request unlike any other."""

    ids: tuple[int, ...]
    prompt: int
    scored: int


def head_of(prompt: Sequence[int]) -> tuple[int, ...]:
    """Give the part of a prompt that its continuations share: whole blocks, without the last token."""
    return tuple(prompt[: (len(prompt) - 1) // BLOCK * BLOCK])


class Echoes:
    """Put echoes together and read the answers.

    Args:
        salts: Tokens to end an echo with, each used again only after all the others.
        capacity: Blocks whose scores are kept; not less than the pipeline has.
    """

    def __init__(self, salts: range, capacity: int) -> None:
        self._salts = itertools.cycle(salts)
        self._capacity = capacity
        self._kept: OrderedDict[tuple[int, int | None], tuple[float, ...]] = OrderedDict()

    def ask(self, prompt: Sequence[int], continuation: Sequence[int]) -> Echo:
        """Make a request whose last tokens but one are to be scored."""
        return Echo((*prompt, *continuation, next(self._salts)), len(prompt), len(continuation))

    def read(self, echo: Echo, output: Output) -> float | None:
        """Sum the log-probabilities of the continuation; None if the output does not reach back to it.

        The output ends with the salt and with one token that was generated.
        """
        known = list(output.logprobs[:-2])[-echo.scored :] if output.finish != "full" else []
        if len(known) < echo.scored:
            known = [*self._first(echo, echo.scored - len(known)), *known]
        if len(known) < echo.scored:
            return None
        self._keep(echo, known)
        return float(sum(known))

    def _first(self, echo: Echo, count: int) -> tuple[float, ...]:
        """Find the first `count` scores among those kept for the blocks that were found."""
        end = (echo.prompt + count) // BLOCK * BLOCK
        kept = self._kept.get(_place(chain(echo.ids), echo, end), ()) if end >= echo.prompt else ()
        return kept if len(kept) == count else ()

    def _keep(self, echo: Echo, scores: Sequence[float]) -> None:
        """Keep, for each whole block that ends before or in the continuation, all scores up to the token after it."""
        links = chain(echo.ids)
        for end in range(BLOCK, BLOCK * len(links) + 1, BLOCK):
            if echo.prompt <= end <= echo.prompt + echo.scored:
                place = _place(links, echo, end)
                self._kept[place] = tuple(scores[: end - echo.prompt + 1])
                self._kept.move_to_end(place)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)


def _place(links: Sequence[int], echo: Echo, end: int) -> tuple[int, int | None]:
    """The block that ends before the token at `end`, and that token unless it is the salt."""
    return links[end // BLOCK - 1], echo.ids[end] if end < echo.prompt + echo.scored else None
