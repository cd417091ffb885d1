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
scores the same continuation again. Its scores were given out before, and are kept here.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from ._batcher import Output
from ._prefixes import BLOCK, chain

__all__ = ["Echo", "Echoes", "head_of"]


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
        self._kept: OrderedDict[int, tuple[float, ...]] = OrderedDict()

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
        block = (echo.prompt + count) // BLOCK - 1
        links = chain(echo.ids)
        kept = self._kept.get(links[block], ()) if 0 <= block < len(links) else ()
        return kept if len(kept) == count else ()

    def _keep(self, echo: Echo, scores: Sequence[float]) -> None:
        """Keep, for each whole block that ends in the continuation, all scores up to its end."""
        links = chain(echo.ids)
        for block in range(echo.prompt // BLOCK, len(links)):
            count = (block + 1) * BLOCK - echo.prompt
            if 0 < count <= echo.scored:
                self._kept[links[block]] = tuple(scores[:count])
                self._kept.move_to_end(links[block])
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
