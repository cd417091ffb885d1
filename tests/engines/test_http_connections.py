"""What may come on a connection, byte by byte, and what becomes of it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from contracts.engine_contract import ask

from stillroom.engines.http import HttpEngine, _connections
from stillroom.engines.http._connections import Connections, Lost, Unconnected
from stillroom.errors import EngineRefused

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE
STUCK = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
KEPT = {WHOLE, CHUNKED, CONTINUED, WHOLE + WHOLE, STUCK}


class Server:
    """Says `said[n]` to the n-th request it gets, the last one ever after; stays connected after what is in `KEPT`."""

    def __init__(self, said: list[bytes | None]) -> None:
        self.said = said
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.requests.append(head + await reader.readexactly(length))
            said = self.said[min(len(self.requests), len(self.said)) - 1]
            if said is None:
                break
            for byte in [said] if len(said) > 200 else [said[i : i + 1] for i in range(len(said))]:
                writer.write(byte)
                await asyncio.sleep(0)
            if said not in KEPT:
                break
        writer.close()


@asynccontextmanager
async def posting(*said: bytes | None, timeout: float = 5.0, **more: Any) -> AsyncIterator[tuple[Connections, Server]]:
    """Connections to a server that says this."""
    server = Server(list(said))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, **more)
    server.port = listening.sockets[0].getsockname()[1]
    host, tls = ("localhost", True) if more else ("127.0.0.1", False)
    connections = Connections(host, server.port, "/v1/x", {"Host": "here"}, tls=tls, connect=5.0, timeout=timeout)
    try:
        yield connections, server
    finally:
        await connections.close()
        listening.close()
        await listening.wait_closed()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine, with its key, that nobody vouches for."""
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {made} -out {made}.crt"
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"openssl makes no certificate here: {error}")
    made.write_bytes(made.read_bytes() + made.with_name("both.pem.crt").read_bytes())
    return made


def on_both_loops(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` on asyncio's loop and on uvloop's."""
    import uvloop

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work())


@pytest.mark.parametrize(
    "said",
    [
        WHOLE,
        CHUNKED,
        b"HTTP/1.1 200 OK\r\n\r\nok",  # its end is that of the connection
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        CONTINUED,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_bodies_of_all_kinds_are_read_whole(said: bytes) -> None:
    """Also byte by byte, and twice in a row."""

    async def main() -> None:
        async with posting(said) as (connections, server):
            for body in (b"one", b"two"):
                reply = await connections.post(body)
                assert (reply.status, reply.body) == (200, b"ok")
            assert [each.split(b"\r\n\r\n")[1] for each in server.requests] == [b"one", b"two"]

    on_both_loops(main)


def test_a_connection_is_used_again_and_as_many_are_made_as_are_under_way() -> None:
    """One after the other on one; five at once on five."""

    async def main() -> None:
        async with posting(WHOLE) as (connections, server):
            for _ in range(3):
                await connections.post(b"{}")
            assert server.connections == 1
            await asyncio.gather(*(connections.post(b"{}") for _ in range(5)))
            assert server.connections == 5
            await asyncio.gather(*(connections.post(b"{}") for _ in range(5)))
            assert server.connections == 5

    on_both_loops(main)


def test_headers_are_told_in_lower_case_and_the_first_of_a_name_counts() -> None:
    """However they are spelled."""
    said = b"HTTP/1.1 429 No\r\nRetry-After: 3\r\nRETRY-AFTER: 4\r\nContent-Length: 0\r\n\r\n"

    async def main() -> None:
        async with posting(said) as (connections, _):
            reply = await connections.post(b"{}")
            assert (reply.status, reply.headers["retry-after"], reply.body) == (429, "3", b"")

    on_both_loops(main)


@pytest.mark.parametrize(
    "said",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_lost(said: bytes | None) -> None:
    """And the next request goes out on another connection."""

    async def main() -> None:
        async with posting(said, WHOLE) as (connections, server):
            with pytest.raises(Lost):
                await connections.post(b"{}")
            assert (await connections.post(b"{}")).body == b"ok"
            assert server.connections == 2

    on_both_loops(main)


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    """It would be taken for the answer to the next request."""

    async def main() -> None:
        async with posting(WHOLE + WHOLE, WHOLE) as (connections, server):
            assert (await connections.post(b"{}")).body == b"ok"
            await asyncio.sleep(0.05)
            assert (await connections.post(b"{}")).body == b"ok"
            assert server.connections == 2

    on_both_loops(main)


def test_the_latest_is_late_when_its_own_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer watches over all of them, each from its own beginning."""

    async def main() -> None:
        async with posting(STUCK, timeout=0.2) as (connections, _):
            loop = asyncio.get_running_loop()

            async def late(after: float) -> float:
                await asyncio.sleep(after)
                began = loop.time()
                with pytest.raises(TimeoutError):
                    await connections.post(b"{}")
                return loop.time() - began

            for taken in await asyncio.gather(late(0.0), late(0.0), late(0.1)):
                assert taken >= 0.15  # uvloop's clock counts milliseconds, from the last turn
            assert connections._timer is None
            assert not connections._due

    on_both_loops(main)


def test_an_old_idle_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server may be about to close it."""
    monkeypatch.setattr(_connections, "IDLE", 0.0)

    async def main() -> None:
        async with posting(WHOLE) as (connections, server):
            for _ in range(2):
                await connections.post(b"{}")
            assert server.connections == 2

    on_both_loops(main)


def test_nothing_is_sent_to_a_server_that_has_said_goodbye() -> None:
    """It would be lost, and counted as what may be on the bill."""

    async def main() -> None:
        async with posting(WHOLE) as (connections, server):
            await connections.post(b"{}")
            connections._idle[0].eof_received()
            await connections.post(b"{}")
            assert server.connections == 2

    on_both_loops(main)


def test_given_up_it_is_dropped() -> None:
    """What came later would answer somebody else."""

    async def main() -> None:
        async with posting(STUCK) as (connections, server):
            waiting = asyncio.ensure_future(connections.post(b"{}"))
            while not server.requests:
                await asyncio.sleep(0.001)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            assert not connections._idle
            assert not connections._due

    on_both_loops(main)


def test_closed_everybody_hears_of_it() -> None:
    """Who waits, and who comes later."""

    async def main() -> None:
        async with posting(STUCK) as (connections, server):
            waiting = asyncio.ensure_future(connections.post(b"{}"))
            while not server.requests:
                await asyncio.sleep(0.001)
            await connections.close()
            with pytest.raises(Lost):
                await waiting
            with pytest.raises(Lost):
                await connections.post(b"{}")
            assert not connections._all

    on_both_loops(main)


def test_nobody_there_and_no_such_name() -> None:
    """Both say why, and that nothing was sent."""

    async def main() -> None:
        async with posting(WHOLE) as (_, server):
            port = server.port
        for host in ("127.0.0.1", "no-such-host.invalid"):
            gone = Connections(host, port, "/", {}, tls=False, connect=5.0, timeout=5.0)
            with pytest.raises(Unconnected) as caught:
                await gone.post(b"{}")
            assert caught.value.strerror
            await gone.close()

    on_both_loops(main)


def test_tls_is_held_to_its_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that somebody vouches for is taken, another one is refused before anything is sent."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)

    async def trusted() -> None:
        async with posting(WHOLE, ssl=serving) as (connections, _):
            assert (await connections.post(b"{}")).body == b"ok"
            assert (await connections.post(b"{}")).body == b"ok"

    async def refused() -> None:
        async with posting(WHOLE, ssl=serving) as (connections, server):
            with pytest.raises(ssl.SSLError):
                await connections.post(b"{}")
            assert server.requests == []
            engine = HttpEngine(f"https://localhost:{server.port}/v1", "tiny", retries=0)
            with pytest.raises(EngineRefused, match="certificate that can be trusted"):
                await engine.acomplete(ask("hi"))
            engine.close()

    on_both_loops(refused)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    on_both_loops(trusted)


def test_a_proxy_of_the_environment_is_used(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the whole address, and gives the answer."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{endpoint.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    engine = HttpEngine("http://far-away.invalid/v1", "tiny", retries=0)
    assert engine.complete(ask("through")).text == "echo: through"
    assert endpoint.headers[0]["Host"] == "far-away.invalid"
    engine.close()
