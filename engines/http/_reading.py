"""From a reply to an answer: errors sorted, the model held to its name, the text read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._endpoint import Endpoint, Reply
from ._failures import Filtered
from ._served import Served
from ._wire import ChatWire, filtered, parse

if TYPE_CHECKING:
    from dspy.lm15 import Request, Response

__all__ = ["Reader"]


class Reader:
    """Read what `endpoint` replies in the name of `model`."""

    def __init__(self, endpoint: Endpoint, wire: ChatWire, served: Served, model: str) -> None:
        self.served = served
        self._endpoint, self._wire, self._model = endpoint, wire, model

    def read(self, reply: Reply, request: Request, most_tokens_in: int) -> Response:
        """The answer to `request`, whose prompt has so many tokens at the most.

        Raises:
            EngineBusy: If it is none, and another try may give one.
            EngineRefused: If another try will not, or another model answered.
        """
        try:
            data = parse(self._endpoint.accept(reply))
        except Filtered as refusal:
            data = filtered(refusal.words)
        self.served.check(data.get("model"))
        return self._wire.response(data, request, self._model, most_tokens_in)
