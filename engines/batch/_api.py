"""The batch API as OpenAI defines it: files up, batches made and watched, files down.

POST /files, POST /batches, GET /batches, GET /batches/ID, GET /files/ID/content
(https://platform.openai.com/docs/api-reference/batch).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from stillroom.engines.http import Backoff, Endpoint, NoSuchPath, Unanswered, lodge
from stillroom.errors import EngineBusy

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ENDED", "BatchApi", "Problem", "State"]

T = TypeVar("T")

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
LISTED = 100  # batches to a page, and what OpenAI allows
NAME = "stillroom"  # the key of the batch's name in its metadata


@dataclass(frozen=True)
class Problem:
    """What validation found: a code, words, and the line (from 1) if it is one line's."""

    code: str
    words: str
    line: int | None


@dataclass(frozen=True)
class State:
    """A batch as the endpoint tells of it.

    Attributes:
        id: Its name there.
        status: validating, in_progress, finalizing, cancelling, or one of `ENDED`.
        output: The file of answers, once there is one.
        errors: The file of lines that failed.
        counts: Lines in all, answered, failed.
        problems: Why validation failed.
    """

    id: str
    status: str
    output: str | None
    errors: str | None
    counts: tuple[int, int, int]
    problems: tuple[Problem, ...]

    @classmethod
    def read(cls, raw: bytes) -> State:
        """Read a batch object. Raises `Unanswered` if it is none."""
        try:
            return cls.of(json.loads(raw))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Unanswered("the endpoint must tell of a batch in JSON, got something else") from error

    @classmethod
    def of(cls, data: dict[str, Any]) -> State:
        """Read the JSON of a batch object."""
        counts = data.get("request_counts") or {}
        problems = (data.get("errors") or {}).get("data") or ()
        return cls(
            id=str(data["id"]),
            status=str(data["status"]),
            output=data.get("output_file_id") or None,
            errors=data.get("error_file_id") or None,
            counts=(counts.get("total") or 0, counts.get("completed") or 0, counts.get("failed") or 0),
            problems=tuple(
                Problem(str(each.get("code") or ""), str(each.get("message") or ""), each.get("line"))
                for each in problems
            ),
        )


class BatchApi:
    """The calls, each tried again while that may help; on one event loop, with one session.

    Every method raises `EngineBusy` when it is given up, and `EngineRefused` at once when the endpoint does not want it.
    """

    def __init__(self, endpoint: Endpoint, path: str, window: str, backoff: Backoff, rng: Random) -> None:
        self._endpoint, self._path, self._window = endpoint, path, window
        self._backoff, self._rng = backoff, rng
        self._open: aiohttp.ClientSession | None = None
        self._guest: AsyncIterator[None] | None = None

    async def upload(self, path: Path) -> str:
        """Send a file of lines; give its id."""
        import aiohttp

        async def send() -> str:
            with path.open("rb") as file:
                form = aiohttp.FormData({"purpose": "batch"})
                form.add_field("file", file, filename=path.name, content_type="application/jsonl")
                raw = await self._send("POST", "/files", data=form, timeout=self._endpoint.patient())
            try:
                return str(json.loads(raw)["id"])
            except (ValueError, TypeError, KeyError) as error:
                raise Unanswered("the endpoint must name the file it was sent, got something else") from error

        return await self._tried(send)

    async def create(self, file: str, name: str) -> State:
        """Make a batch of an uploaded file; one only, also when the answer to the first try is lost."""
        wanted = {
            "input_file_id": file,
            "endpoint": self._path,
            "completion_window": self._window,
            "metadata": {NAME: name},
        }
        unsure = False

        async def make() -> State:
            nonlocal unsure
            if unsure:
                made = await self._listed(file, name)
                if made is not None:
                    return made
            try:
                return State.read(await self._send("POST", "/batches", json=wanted))
            except Unanswered:
                unsure = True
                raise

        return await self._tried(make)

    async def find(self, file: str | None, name: str) -> State | None:
        """The batch of that name or file, if the endpoint lists one."""
        return await self._tried(lambda: self._listed(file, name))

    async def look(self, batch: str) -> State:
        """How far a batch is. One try: whoever looks will look again."""
        return State.read(await self._send("GET", f"/batches/{batch}"))

    async def lines(self, file: str) -> AsyncIterator[bytes]:
        """The lines of a file. One try."""
        async for line in self._endpoint.stream(await self._session(), self._endpoint.url(f"/files/{file}/content")):
            if line.strip():
                yield line

    async def close(self) -> None:
        """Close the session."""
        if self._open is not None:
            await self._open.close()
            self._open = None

    async def _listed(self, file: str | None, name: str) -> State | None:
        after = ""
        while True:
            try:
                page = json.loads(
                    await self._send(
                        "GET", "/batches", params={"limit": str(LISTED)} | ({"after": after} if after else {})
                    )
                )
                entries = page["data"]
                for each in entries:
                    if (each.get("metadata") or {}).get(NAME) == name or (file and each.get("input_file_id") == file):
                        return State.of(each)
            except NoSuchPath:  # it keeps no list
                return None
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise Unanswered("the endpoint must list its batches in JSON, got something else") from error
            if not page.get("has_more") or not entries:
                return None
            after = str(entries[-1]["id"])

    async def _send(self, method: str, path: str, params: dict[str, str] | None = None, **content: Any) -> bytes:
        url = self._endpoint.url(path)
        if params:
            url = url.update_query(params)
        return self._endpoint.accept(await self._endpoint.send(await self._session(), method, url, **content))

    async def _tried(self, do: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            try:
                return await do()
            except EngineBusy as error:
                wait = self._backoff.wait(attempt, error.retry_after, self._rng) if self._endpoint.reached else None
                if wait is None:
                    raise
            await asyncio.sleep(wait)
            attempt += 1

    async def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            self._open = self._endpoint.session()
            self._guest = await lodge(self.close)
        return self._open
