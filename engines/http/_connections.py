"""Connections kept alive to one address, for requests that all post JSON to one path.

A client for everything looks at URLs, cookies, redirects and encodings for each request, which takes
four times the processor time of the exchange itself. The bytes are parsed by llhttp (httptools), and
connections come about as they do in aiohttp (aiohappyeyeballs).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from socket import SOCK_STREAM
from typing import Any, NamedTuple, cast

from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpResponseParser

__all__ = ["Connections", "Lost", "Reply", "Unconnected"]

IDLE = 15.0  # seconds after which an idle connection is not used again: many servers close them then
STAGGER = 0.25  # seconds that an address has before the next one is tried beside it (RFC 8305)
KNOWN = 10.0  # seconds for which an address is not looked up again


class Reply(NamedTuple):
    """What came back: status, headers (their names in lower case, at least) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unconnected(OSError):
    """No connection came about: nothing was sent."""


class Lost(OSError):
    """The connection ended, or was no HTTP, before the answer was whole."""


class Connections:
    """Post bodies to one path, each on a connection of its own while it is under way.

    Redirects are not followed, cookies not kept, and answers not decompressed: none is asked to be compressed.

    Not thread-safe: it belongs to one event loop, the running one.

    Args:
        host: Name or address.
        port: Of it.
        path: With its query.
        headers: Sent always, on top of Host and Content-Length.
        tls: Whether it is HTTPS.
        connect: Seconds for a connection to come about.
        timeout: Seconds from a request to the end of its answer.

    Attributes:
        closed: Whether nothing can be posted any more.
    """

    def __init__(
        self, host: str, port: int, path: str, headers: Mapping[str, str], *, tls: bool, connect: float, timeout: float
    ) -> None:
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._host, self._port, self._connect_within, self._timeout = host, port, connect, timeout
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "Content-Length: "]
        self._head = "\r\n".join(lines).encode("ascii")
        self._tls = ssl.create_default_context() if tls else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["http/1.1"])
        self._all: set[_Connection] = set()
        self._idle: list[_Connection] = []  # the one used last is used next
        self._due: dict[_Connection, float] = {}  # all have the same time, so those sent first are due first
        self._timer: asyncio.TimerHandle | None = None
        self._found: list[Any] = []
        self._found_until = 0.0
        self._finding = asyncio.Lock()

    async def post(self, body: bytes) -> Reply:
        """One request and whatever came back.

        Raises:
            Unconnected: If there is no connection.
            SSLError: If there is none that can be trusted.
            TimeoutError: If no whole answer came in time.
            Lost: If the connection ended before.
        """
        connection = self._rested() or await self._connected()
        now = self._loop.time()
        reply = connection.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        self._due[connection] = now + self._timeout
        if self._timer is None:
            self._timer = self._loop.call_at(now + self._timeout, self._look)
        try:
            answer = await reply
        except BaseException:  # late, lost or given up: what comes on it now is an answer to nobody
            connection.drop()
            raise
        finally:
            del self._due[connection]
        if connection.usable:
            connection.rests_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.drop()
        return answer

    async def close(self) -> None:
        """Drop all connections; whoever waits for an answer hears that it is lost."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        left = [connection.gone for connection in self._all]
        for connection in list(self._all):
            connection.drop()
        if left:
            await asyncio.wait(left, timeout=1.0)

    def forget(self, connection: _Connection) -> None:
        """Hear that a connection has ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def _rested(self) -> _Connection | None:
        """An idle connection that is not too old to be there still."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and self._loop.time() - connection.rests_since < IDLE:
                return connection
            connection.drop()
        return None

    async def _connected(self) -> _Connection:
        if self.closed:
            raise Lost("closed")
        connection = _Connection(self)
        try:
            async with asyncio.timeout(self._connect_within):
                socket = await start_connection(await self._addresses(), loop=self._loop, happy_eyeballs_delay=STAGGER)
                name = self._host if self._tls else None
                await self._loop.create_connection(lambda: connection, sock=socket, ssl=self._tls, server_hostname=name)
            self._all.add(connection)
        except ssl.SSLError:
            raise
        except TimeoutError:
            raise Unconnected(None, f"none within {self._connect_within:g} s") from None
        except OSError as error:
            self._found_until = 0.0
            raise Unconnected(error.errno, error.strerror or str(error)) from None
        finally:
            if self.closed or connection not in self._all:  # meanwhile; or it came about too late
                connection.drop()
        return connection

    async def _addresses(self) -> list[Any]:
        async with self._finding:  # the others find what the first has found
            if self._loop.time() >= self._found_until:
                self._found = await self._loop.getaddrinfo(self._host, self._port, type=SOCK_STREAM)
                self._found_until = self._loop.time() + KNOWN
        return self._found

    def _look(self) -> None:
        """Fail what is late."""
        self._timer = None
        now = self._loop.time()
        for connection, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._look)
                return
            connection.fail(TimeoutError())


class _Connection(asyncio.Protocol):
    """One connection; it carries one exchange at a time.

    Attributes:
        usable: Whether another request may be sent on it once this one is answered.
        rests_since: When its last answer was whole.
        gone: Done when it has ended.
    """

    __slots__ = (
        "_body",
        "_headers",
        "_open_ended",
        "_parser",
        "_pool",
        "_reply",
        "_transport",
        "gone",
        "rests_since",
        "usable",
    )

    def __init__(self, pool: Connections) -> None:
        self.usable = True
        self.rests_since = 0.0
        self.gone: asyncio.Future[None] = pool._loop.create_future()
        self._pool = pool
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._reply: asyncio.Future[Reply] | None = None
        self._headers: dict[str, str] | None = None
        self._body: list[bytes] = []
        self._open_ended = False  # the end of the body is that of the connection

    def send(self, request: bytes) -> asyncio.Future[Reply]:
        """Send a whole request; its answer is told by the future."""
        self._reply = reply = self._pool._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            reply.set_exception(Lost("closed before"))
        else:
            self._transport.write(request)
        return reply

    def fail(self, error: Exception) -> None:
        """Tell whoever waits that no answer comes."""
        self.usable = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)
        self._reply = None

    def drop(self) -> None:
        """End it now."""
        self.fail(Lost("dropped"))
        if self._transport is not None:
            self._transport.abort()

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._reply is None:  # nobody asked
            self.drop()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.fail(Lost(f"no HTTP: {type(error).__name__}"))
            self.drop()

    def eof_received(self) -> None:
        self.usable = False  # the transport closes itself now; nothing more is to be sent on it

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._open_ended:
            self.usable = False
            self._answer()
        self.fail(Lost(type(error).__name__ if error else "closed"))
        self._pool.forget(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._headers, self._body, self._open_ended = {}, [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._headers is not None
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        assert self._headers is not None
        self._open_ended = "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # "100 Continue" and the like go before the answer
            self._headers = None
            return
        self.usable = self.usable and self._parser.should_keep_alive()
        self._answer()

    def _answer(self) -> None:
        reply, self._reply = self._reply, None
        headers, self._headers = self._headers, None
        if reply is not None and not reply.done() and headers is not None:
            reply.set_result(Reply(self._parser.get_status_code(), headers, b"".join(self._body)))
