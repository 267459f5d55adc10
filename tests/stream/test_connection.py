"""WebSocket connections: TLS, proxies, refused handshakes, lost connections, and no secrets."""

from __future__ import annotations

import asyncio
import base64
import http
import logging
import ssl
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from htx_async import ConnectError, HTXError, RateLimitedError, ServiceUnavailableError
from htx_async.auth.signature import websocket_params
from htx_async.stream import connection
from htx_async.stream.connection import open_websocket
from htx_async.stream.sockets import SocketClosedError
from htx_async.transports.environment import Proxy
from htx_async.validation import Origin
from tests.stream.exchange import KEYS

pytestmark = pytest.mark.slow


@attrs.define
class Server:
    """What a server of websockets has received."""

    origin: Origin
    headers: list[dict[str, str]] = attrs.field(factory=list)
    messages: list[Any] = attrs.field(factory=list)


Handler = Callable[[ServerConnection], Any]
Process = Callable[[ServerConnection, Request], Response | None]


async def echo(socket: ServerConnection) -> None:
    async for message in socket:
        await socket.send(message)


@asynccontextmanager
async def server(
    handler: Handler = echo,
    process: Process | None = None,
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncGenerator[Server]:
    running: Server

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        running.headers.append(dict(socket.request.headers))
        assert socket.request.path == "/ws/v2"
        await handler(socket)

    async with serve(
        handle, "127.0.0.1", 0, ssl=context, process_request=process, close_timeout=1
    ) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        running = Server(Origin("http" if context is None else "https", host, port))
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_messages_and_headers() -> None:
    """Our user agent, no compression, no secret in the URL; and closing ends both sides."""
    async with server() as running:
        socket = await open_websocket(running.origin)
        await socket.send("ü")
        assert await socket.receive() == "ü"
        await socket.aclose()
        headers = {name.lower(): value for name, value in running.headers[0].items()}
        assert headers["user-agent"].startswith("htx_async/")
        assert "sec-websocket-extensions" not in headers
        with pytest.raises(SocketClosedError, match="client closed the connection with code 1000"):
            await socket.receive()
        with pytest.raises(SocketClosedError):
            await socket.send("x")


async def test_tls(authority: trustme.CA) -> None:
    """With the certificates of the environment; an unknown one is permanent."""
    async with server(context=server_context(authority, "127.0.0.1")) as running:
        socket = await open_websocket(running.origin)
        await socket.aclose()
    async with server(context=server_context(trustme.CA(), "127.0.0.1")) as running:
        with pytest.raises(ConnectError, match="certificate not trusted") as caught:
            await open_websocket(running.origin)
        assert not caught.value.retryable
        assert caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy(
    scheme: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By CONNECT, with its password, which no error contains."""
    plain = connection.VERSION < "17"  # it would send the encoded password
    password, encoded = ("p4ss", "p4ss") if plain else ("p4ss@#", "p4ss%40%23")
    command = [sys.executable, "-m", "tests.transports.connect_proxy", f"user:{password}"]
    if scheme == "https":
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "proxy.pem"
        )
        command.append(str(tmp_path / "proxy.pem"))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        port = int(process.stdout.readline())
        context = server_context(authority, "htx.test")
        async with server(context=context, host="htx.test") as running:
            proxy = f"127.0.0.1:{port}"
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:{encoded}@{proxy}")
            socket = await open_websocket(running.origin)
            await socket.send("x")
            assert await socket.receive() == "x"
            await socket.aclose()
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:SECRET@{proxy}")
            with pytest.raises(ConnectError, match=f"the proxy {proxy} returned 407") as caught:
                await open_websocket(running.origin)
            assert not caught.value.retryable
            assert "SECRET" not in shown(caught.value)
        process.communicate()


async def test_proxy_password_that_an_old_library_cannot_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the version that can, and not the password."""
    monkeypatch.setattr(connection, "VERSION", "16.0")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:SECRET%40@127.0.0.1:1")
    with pytest.raises(ConnectError, match=r"Install websockets>=17\.$") as caught:
        await open_websocket(Origin("https", "htx.test", 443))
    assert not caught.value.retryable
    assert "SECRET" not in shown(caught.value)


def shown(error: BaseException) -> str:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [frame for frame in frames if "tests." not in frame.f_globals["__name__"]]
    return "".join([repr(frame.f_locals) for frame in names] + [repr(error), repr(vars(error))])


def test_password_of_a_proxy_is_encoded() -> None:
    header = f"Proxy-Authorization: Basic {base64.b64encode(b'u:p@:').decode()}\r\n"
    proxy = Proxy("p", 1, is_tls=True, setting="X", header=header)
    assert connection._proxy_url(proxy) == "https://u:p%40%3A@p:1"
    assert connection._proxy_url(attrs.evolve(proxy, is_tls=False, header="")) == "http://p:1"


@pytest.mark.parametrize(
    ("status", "body", "error", "retryable"),
    [
        (403, "<html>blocked</html>", ServiceUnavailableError, False),
        (429, "slow down", RateLimitedError, True),
        (502, "<html>bad gateway</html>", ServiceUnavailableError, True),
        (302, "", ServiceUnavailableError, False),
        (200, "", HTXError, False),
    ],
)
async def test_response_instead_of_a_handshake(
    status: int, body: str, error: type[HTXError], retryable: bool
) -> None:
    """Redirects are not followed, and the classes are those of REST."""

    def respond(socket: ServerConnection, _: Request) -> Response:
        response = socket.respond(http.HTTPStatus(status), body)
        response.headers["Location"] = "/elsewhere"
        return response

    async with server(process=respond) as running:
        with pytest.raises(error, match=f"returned {status} instead of a WebSocket") as caught:
            await open_websocket(running.origin)
        assert caught.value.retryable is retryable
        assert caught.value.http_status == status
        assert caught.value.__context__ is None


@pytest.mark.parametrize("response", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 101 X\r\n\r\n"])
async def test_peer_that_does_not_speak_websocket(response: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="the WebSocket handshake failed") as caught:
            await open_websocket(Origin("http", "127.0.0.1", port))
        assert caught.value.retryable
    with pytest.raises(ConnectError, match=r"could not connect to http://127\.0\.0\.1"):
        await open_websocket(Origin("http", "127.0.0.1", port))


async def test_lost_connection_says_why() -> None:
    """A close frame, none, text that is not UTF-8, and a message that is too long."""

    async def handle(socket: ServerConnection) -> None:
        how = await socket.recv()
        if how == "close":
            await socket.close(1011, "SECRET")
        elif how == "abort":
            socket.transport.abort()
        elif how == "long":
            await socket.send("x" * (2**20 + 1))
        else:
            await socket.send(b"\xff", text=True)
            await socket.wait_closed()

    cases = {
        "close": "with code 1011",
        "abort": "lost",
        "long": "code 1009",
        "text": "code 1007",
    }
    async with server(handle) as running:
        for how, text in cases.items():
            socket = await open_websocket(running.origin)
            await socket.send(how)
            with pytest.raises(SocketClosedError, match=text) as caught:
                await socket.receive()
            assert "SECRET" not in str(caught.value)
            await socket.aclose()


async def test_dead_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pings of our own: the other side reads nothing, and sends nothing."""
    monkeypatch.setattr(connection, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(connection, "PING_TIMEOUT", 0.1)

    async def handle(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await asyncio.sleep(5)
        socket.transport.abort()

    async with server(handle) as running:
        socket = await open_websocket(running.origin)
        started = asyncio.get_running_loop().time()
        with pytest.raises(SocketClosedError, match="code 1011"):
            await socket.receive()
        assert asyncio.get_running_loop().time() - started < 3
        await socket.aclose()


async def test_websockets_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG it would log the signature."""
    caplog.set_level(logging.DEBUG)
    async with server() as running:
        caplog.clear()
        socket = await open_websocket(running.origin)
        params = websocket_params("api.huobi.pro", "/ws/v2", KEYS, 0.0)
        await socket.send(params["signature"])
        await socket.receive()
        await socket.aclose()
        records = [record for record in caplog.records if "client" in record.name]
        assert not records
        assert "htx_async.websockets" not in logging.Logger.manager.loggerDict
