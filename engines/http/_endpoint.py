"""One endpoint: its address, its key, and what comes back from it or goes wrong on the way."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from stillroom.errors import BadConfig, EngineBusy, EngineError, EngineRefused

from ._connections import Connections, Reply, Unconnected
from ._failures import NoSuchPath, Said, Unanswered, Unreachable, carries_error, failure, reason
from ._rates import wish

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Endpoint", "Reply", "key_from_environment"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CONNECT = 10.0  # seconds for a connection to come about, where a try may take longer


def key_from_environment(url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Find the key for `url`: STILLROOM_HTTP_KEY, else OPENAI_API_KEY.

    The second was not made for this endpoint, so it travels only over https or to this machine.

    Raises:
        BadConfig: If `url` is not one of an endpoint.
    """
    parts = _parts(url)
    own = environ.get("STILLROOM_HTTP_KEY")
    if own or not (parts.scheme == "https" or parts.hostname in LOOPBACK):
        return own or None
    return environ.get("OPENAI_API_KEY") or None


class Endpoint:
    """Send requests below `url`, and sort what is not an answer into its error.

    The key and the query are in no message, repr or log.

    Attributes:
        host: With the port, as written.
        scheme: http or https.
        name: Without the port.
        reached: Whether anything ever answered.

    Raises:
        BadConfig: If the URL, the key or the timeout cannot work.
    """

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        parts = _parts(url)
        if key is not None and not (key.isascii() and key.isprintable()):
            mend = "Look for a line break or a quote in it."
            raise BadConfig("a key must be printable ASCII, got one that is not", mend=mend)
        if not timeout > 0:
            raise BadConfig(f"timeout must be above 0 seconds, got {timeout!r}")
        self.host, self.scheme, self.name = parts.netloc, parts.scheme, parts.hostname or ""
        self.reached = False
        self._parts, self._key, self._timeout = parts, key or None, timeout
        bypassed = self.name in LOOPBACK or urllib.request.proxy_bypass(self.name)
        self._proxy = None if bypassed else urllib.request.getproxies().get(parts.scheme)

    def __repr__(self) -> str:
        return f"Endpoint({self.scheme}://{self.host})"

    def session(self, **headers: str) -> aiohttp.ClientSession:
        """A new session on the running loop that sends `headers` always; whoever asks for it closes it."""
        import aiohttp

        limits = aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(self._timeout, CONNECT))
        # the gate is the limit; the connector would only queue a second time. Answers set no cookies that matter.
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(
            connector=connector, headers=self._headers(headers), timeout=limits, cookie_jar=aiohttp.DummyCookieJar()
        )

    def posting(self, path: str) -> Connections | Proxied:
        """What posts JSON to `path`, on the running loop; whoever asks for it closes it."""
        headers = {"Content-Type": "application/json"}
        if self._proxy is not None:
            return Proxied(self, self.session(**headers), self.url(path))
        url = self.url(path)
        own = {
            "Host": url.host_port_subcomponent,
            "User-Agent": "stillroom",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        return Connections(
            url.raw_host,
            url.port,
            url.raw_path_qs,
            self._headers(own | headers),
            tls=self.scheme == "https",
            connect=min(self._timeout, CONNECT),
            timeout=self._timeout,
        )

    async def post(self, posting: Connections | Proxied, body: bytes) -> Reply:
        """One try by what `posting` gave. Raises as `send` does."""
        try:
            reply = await posting.post(body)
        except OSError as error:  # TimeoutError is one
            raise self._lost(error) from None
        self.reached = True
        return reply

    def url(self, path: str) -> Any:
        """The address of `path` below the base, query and all, as aiohttp likes it best."""
        from yarl import URL

        query = f"?{self._parts.query}" if self._parts.query else ""
        return URL(f"{self.scheme}://{self.host}{self._parts.path.rstrip('/')}{path}{query}")

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        return {**more, **({"Authorization": f"Bearer {self._key}"} if self._key else {})}

    async def send(self, session: aiohttp.ClientSession, method: str, url: Any, **content: Any) -> Reply:
        """One try: whatever came back.

        Args:
            session: From `session`, on the running loop.
            method: GET, POST, ...
            url: From `url`.
            content: `data`, `headers` or `timeout`, as aiohttp takes them.

        Raises:
            EngineBusy: If nothing did.
            EngineRefused: If its certificate cannot be trusted.
        """
        try:
            async with session.request(method, url, proxy=self._proxy, allow_redirects=False, **content) as reply:
                raw = await reply.read()
        except (TimeoutError, OSError, _client_error()) as error:
            raise self._lost(error) from None  # aiohttp spells out the URL, and a query may hold a secret
        self.reached = True
        return Reply(reply.status, reply.headers, raw)

    async def stream(self, session: aiohttp.ClientSession, url: Any) -> AsyncIterator[bytes]:
        """The lines of a long body, one by one. Raises as `send` and `accept` do."""
        rest = b""
        try:
            async with session.get(url, proxy=self._proxy, allow_redirects=False, timeout=self.patient()) as reply:
                if reply.status != 200:
                    self.accept(Reply(reply.status, reply.headers, await reply.read()))
                async for chunk in reply.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line
        except (TimeoutError, OSError, _client_error()) as error:
            raise self._lost(error) from None
        if rest:
            yield rest

    def patient(self) -> aiohttp.ClientTimeout:
        """For long files: no limit in all, but nothing may stand still for longer than one try may take."""
        import aiohttp

        return aiohttp.ClientTimeout(total=None, sock_connect=min(self._timeout, CONNECT), sock_read=self._timeout)

    def accept(self, reply: Reply) -> bytes:
        """The body of a 200 that is no error in disguise. Raises the right `EngineError` for anything else."""
        if reply.status == 200 and not carries_error(reply.body):
            return reply.body
        said = Said.read(reply.body, self._key)
        raise failure(self.host, reply.status, said, wish(reply.headers), with_key=bool(self._key))

    async def models(self, session: aiohttp.ClientSession, name: str) -> tuple[str, ...]:
        """The model names that it lists; empty if it keeps no list.

        Raises:
            EngineBusy: If it cannot be reached or does not answer in JSON.
            EngineRefused: If it does not accept the key, or lists models without `name`.
        """
        try:
            raw = self.accept(await self.send(session, "GET", self.url("/models")))
        except NoSuchPath:
            return ()
        try:
            names = tuple(str(entry["id"]) for entry in json.loads(raw)["data"])
        except (ValueError, TypeError, KeyError) as error:
            raise EngineBusy(
                f"{self.host} must list its models as JSON, got something else", mend="Does the URL end in /v1?"
            ) from error
        if names and not {name, f"{name}:latest"} & set(names):
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise EngineRefused(f"{self.host} does not serve {name!r}", mend=f"It serves {shown}.")
        return names

    def strike(self, text: str) -> str:
        """`text` without the key."""
        return text.replace(self._key, "***") if self._key else text

    def _lost(self, error: Exception) -> EngineError:
        """Sort what kept an answer from coming."""
        import aiohttp

        if isinstance(error, (ssl.SSLError, aiohttp.ClientSSLError)):
            return EngineRefused(f"{self.host} must have a certificate that can be trusted ({reason(error)})")
        if isinstance(error, (Unconnected, aiohttp.ClientConnectorError)):
            mend = "Start the server, or correct the URL."
            why = f"endpoint must be reachable, got no connection to {self.host} ({reason(error)})"
            return Unreachable(why, mend=mend)
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return Unreachable(f"endpoint must be reachable, got no connection to {self.host} in time")
        if isinstance(error, TimeoutError):
            why = f"{self.host} must answer within {self._timeout:g} s, got nothing"
            return Unanswered(why, mend="Raise timeout=.")
        return Unanswered(f"{self.host} must answer in full, got a lost connection ({type(error).__name__})")


class Proxied:
    """Posts as `Connections` does, through the proxy that the environment names."""

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession, url: Any) -> None:
        self._endpoint, self._session, self._url = endpoint, session, url

    @property
    def closed(self) -> bool:
        """Whether nothing can be posted any more."""
        return self._session.closed

    async def post(self, body: bytes) -> Reply:
        """One try. Raises as `Endpoint.send` does."""
        return await self._endpoint.send(self._session, "POST", self._url, data=body)

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()


def _client_error() -> type[Exception]:
    import aiohttp

    return aiohttp.ClientError


def _parts(url: str) -> SplitResult:
    mend = "For example http://localhost:8000/v1."
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is not a number, brackets that do not close
        raise BadConfig(f"an endpoint must be http(s)://host[:port]/path, got one with {error}", mend=mend) from error
    if "@" in parts.netloc:
        raise BadConfig(
            "the URL of an endpoint must not carry a password, got one that does",
            mend="Pass api_key= or set STILLROOM_HTTP_KEY.",
        )
    if not sound or parts.fragment:
        raise BadConfig(f"an endpoint must be http(s)://host[:port]/path, got {url.partition('?')[0]!r}", mend=mend)
    return parts
