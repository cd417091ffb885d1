"""OpenAI-compatible endpoints.

Beside the engine stand the parts that other ways to the same endpoints are made of.
"""

from ._endpoint import Endpoint, Reply, key_from_environment
from ._failures import NoSuchPath, Unanswered
from ._gate import closed
from ._guest import lodge
from ._lines import Thread
from ._reading import Reader
from ._retry import Backoff
from ._served import Served
from ._wire import ChatWire
from .engine import HttpEngine

__all__ = [
    "Backoff",
    "ChatWire",
    "Endpoint",
    "HttpEngine",
    "NoSuchPath",
    "Reader",
    "Reply",
    "Served",
    "Thread",
    "Unanswered",
    "closed",
    "key_from_environment",
    "lodge",
]
