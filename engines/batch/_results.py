"""Lines of a batch: requests as they are sent, and what came of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from stillroom.engines.http import Reply

__all__ = ["CANCELLED", "OVERHEAD", "Result", "custom_id", "line", "missing", "result"]

OVERHEAD = 200  # bytes of a line around its body, at the most
CANCELLED = "batch_cancelled"


@dataclass(frozen=True)
class Result:
    """What came of one line: a reply as from the live endpoint, or the code of why there is none."""

    reply: Reply | None
    code: str = ""
    words: str = ""


def custom_id(body: bytes) -> str:
    """What a line asks, in 32 hex digits: the same in every session.

    >>> custom_id(b"{}")
    '44136fa355b3678a1146ad16f7e8649e'
    """
    return hashlib.sha256(body).hexdigest()[:32]


def line(identity: str, path: str, body: bytes) -> bytes:
    r"""One line of the file that is sent.

    >>> line("1.0", "/v1/chat/completions", b'{"model":"m"}')
    b'{"custom_id":"1.0","method":"POST","url":"/v1/chat/completions","body":{"model":"m"}}\n'
    """
    head = json.dumps({"custom_id": identity, "method": "POST", "url": path}, separators=(",", ":"))
    return head[:-1].encode() + b',"body":' + body + b"}\n"


def result(raw: bytes) -> tuple[str, Result] | None:
    """Read one line of a file of answers or errors: its id and what came of it; `None` if it is no such line."""
    try:
        data: dict[str, Any] = json.loads(raw)
        identity = str(data["custom_id"])
        response, error = data.get("response"), data.get("error") or {}
        if response:
            return identity, Result(Reply(int(response["status_code"]), {}, json.dumps(response["body"]).encode()))
        return identity, Result(None, str(error.get("code") or "no answer"), str(error.get("message") or ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def missing(status: str) -> Result:
    """What came of a line that no file speaks of, by the status its batch ended in."""
    if status == "cancelled":
        return Result(None, CANCELLED, "somebody cancelled the batch")
    return Result(None, f"batch_{status}", "no line of it came back")
