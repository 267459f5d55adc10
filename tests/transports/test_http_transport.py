"""The package's transport in an `httpx.AsyncClient`."""

from __future__ import annotations

import asyncio
import gc
import gzip
import logging
import socket
import traceback
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest

from htx_async.errors import EventLoopError, InvalidInputError
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_transport import MAX_UNUSED_POOLS, HTTPTransport
from htx_async.validation import Origin
from tests.transports.http_bytes import GZIPPED, JSON, response, with_chunks, with_length
from tests.transports.raw_server import (
    SECRET,
    Handler,
    LoopFactory,
    Peer,
    answering,
    each_event_loop,
    get,
    open_pool,
    repeating,
    run,
    serve,
    silent,
    until,
)

pytestmark = pytest.mark.slow
GZIP = b"Content-Encoding: gzip"


def url(origin: Origin, path: str = "/v1/x?a=1") -> str:
    """Return a URL of *origin*."""
    return f"{origin}{path}"


@each_event_loop
def test_httpx_client_gets_response(loop_factory: LoopFactory) -> None:
    """With all that httpx's own transport returns."""

    async def main() -> None:
        stream = with_length(
            GZIPPED, GZIP, b"Set-Cookie: a=1", b"Set-Cookie: b=2", status=b"HTTP/1.1 404 Oh"
        )
        last_stream = with_length(JSON, status=b"HTTP/1.0 200 Fine")
        async with (
            serve(answering(stream, with_chunks(JSON), last_stream)) as server,
            httpx.AsyncClient(transport=HTTPTransport()) as client,
        ):
            result = await client.get(url(server.origin))
            assert (result.status_code, result.content) == (404, JSON)
            assert result.headers.get_list("set-cookie") == ["a=1", "b=2"]
            assert result.headers["content-length"] == str(len(JSON))
            assert (result.http_version, result.reason_phrase) == ("HTTP/1.1", "Oh")
            assert result.is_closed
            assert result.elapsed.total_seconds() > 0
            assert (await client.get(url(server.origin))).json()["code"] == 200
            (peer,) = server.peers
            last = await client.get(url(server.origin))
            assert (last.http_version, last.reason_phrase) == ("HTTP/1.0", "Fine")
        assert peer.requests[0].startswith(b"GET /v1/x?a=1 HTTP/1.1\r\nHost: 127.0.0.1:")

    run(loop_factory, main())


@each_event_loop
def test_httpx_client_decodes_other_encodings(loop_factory: LoopFactory) -> None:
    """All that it accepts."""

    async def main() -> None:
        stream = with_length(zlib.compress(JSON), b"Content-Encoding: deflate")
        async with (
            serve(answering(stream)) as server,
            httpx.AsyncClient(transport=HTTPTransport()) as client,
        ):
            assert (await client.get(url(server.origin))).content == JSON

    run(loop_factory, main())


@each_event_loop
def test_httpx_client_sends_content(loop_factory: LoopFactory) -> None:
    """Also of unknown length: it is read before it is sent."""

    async def main() -> None:
        async def parts() -> AsyncIterator[bytes]:
            yield b"ab"
            yield b"cde"

        async def read(peer: Peer) -> None:
            for _ in range(2):
                assert b"\r\nContent-Length: 5\r\n" in await peer.request()
                assert await peer.reader.readexactly(5) == b"abcde"
                peer.writer.write(with_length(JSON))

        async with (
            serve(read) as server,
            httpx.AsyncClient(transport=HTTPTransport()) as client,
        ):
            for content in (b"abcde", parts()):
                result = await client.post(url(server.origin), content=content)
                assert result.content == JSON
            assert b"transfer-encoding" not in server.requests[1].lower()

    run(loop_factory, main())


@each_event_loop
def test_httpx_client_sends_head(loop_factory: LoopFactory) -> None:
    """Its response has no body; the connection is used again."""

    async def main() -> None:
        async with (
            serve(answering(response(b"Content-Length: 99"), with_length(JSON))) as server,
            httpx.AsyncClient(transport=HTTPTransport()) as client,
        ):
            result = await client.head(url(server.origin))
            assert (result.headers["content-length"], result.content) == ("99", b"")
            assert (await client.get(url(server.origin))).content == JSON
            assert len(server.peers) == 1

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("value", ["close", "Keep-Alive, Close"])
def test_httpx_client_closes_connection_as_requested(value: str, loop_factory: LoopFactory) -> None:
    """Even if the server does not."""

    async def main() -> None:
        async with (
            serve(repeating(with_length(JSON))) as server,
            httpx.AsyncClient(transport=HTTPTransport()) as client,
        ):
            await client.get(url(server.origin), headers={"Connection": value})
            await client.get(url(server.origin))
            await client.get(url(server.origin))
            assert [len(peer.requests) for peer in server.peers] == [1, 2]

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b"", httpx.ReadError),
        (b"SSH-2.0\r\n", httpx.RemoteProtocolError),
        (with_length(GZIPPED[:-1], GZIP), httpx.RemoteProtocolError),
        (with_length(GZIPPED + b"x", GZIP), httpx.DecodingError),
        (with_length(gzip.compress(bytes(2000), mtime=0), GZIP), httpx.DecodingError),
        (with_length(bytes(2000)), httpx.DecodingError),
    ],
)
def test_httpx_client_gets_errors_of_httpx(
    stream: bytes, error: type[httpx.RequestError], loop_factory: LoopFactory
) -> None:
    """With the request, and without ours."""

    async def main() -> None:
        async with (
            serve(answering(stream)) as server,
            httpx.AsyncClient(transport=HTTPTransport(max_body=1000)) as client,
        ):
            with pytest.raises(error) as caught:
                await client.get(url(server.origin))
            assert type(caught.value) is error
            assert caught.value.request.method == "GET"
            assert caught.value.__context__ is None

    run(loop_factory, main())


@each_event_loop
def test_httpx_client_times_out(loop_factory: LoopFactory) -> None:
    """By the timeouts of the request, of which each phase has its own."""

    async def main() -> None:
        transport = HTTPTransport(max_connections=1)
        async with (
            serve(silent, scheme="http") as server,
            httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(None)) as client,
        ):
            with pytest.raises(httpx.ReadTimeout):
                await client.get(url(server.origin), timeout=httpx.Timeout(None, read=0.01))
            waiting = asyncio.create_task(client.get(url(server.origin)))
            await asyncio.sleep(0)
            with pytest.raises(httpx.PoolTimeout):
                await client.get(url(server.origin), timeout=httpx.Timeout(None, pool=0.01))
            waiting.cancel()
            tls = Origin("https", "127.0.0.1", server.origin.port)
            await transport.pool(tls).prepare()
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(url(tls), timeout=httpx.Timeout(None, connect=0.01))

    run(loop_factory, main())


@each_event_loop
def test_httpx_client_cannot_connect(loop_factory: LoopFactory) -> None:
    """The message has the reason."""

    async def main() -> None:
        async with httpx.AsyncClient(transport=HTTPTransport()) as client:
            with socket.socket() as bound:
                bound.bind(("127.0.0.1", 0))
                port = bound.getsockname()[1]
                with pytest.raises(httpx.ConnectError, match="connection refused"):
                    await client.get(f"http://127.0.0.1:{port}/")

    run(loop_factory, main())


async def test_httpx_client_rejects_other_schemes() -> None:
    """As httpx does."""
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(httpx.UnsupportedProtocol, match="must be http or https, got 'ws'"):
            await client.get("ws://127.0.0.1/")


@pytest.mark.parametrize("port", [0, 65_536, 65_616, 99_999])
async def test_httpx_client_rejects_ports_that_do_not_exist(port: int) -> None:
    """The system would connect to another one."""
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(httpx.LocalProtocolError, match=f"from 1 to 65535, got {port}"):
            await client.get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("headers", "extensions"),
    [
        ([(b"X", b"a\r\nY: b")], {}),
        ([(b"X", b"a\n")], {}),
        ([(b"X\r\nY", b"a")], {}),
        ([(b"Content-Length ", b"5")], {}),
        ([(b"", b"a")], {}),
        ([(b"X", b"a\0")], {}),
        ([], {"target": b"/ HTTP/1.1\r\nX: y"}),
        ([], {"target": b"/a b"}),
        ([], {"target": b"/\r\n"}),
        ([], {"target": b" /"}),
        ([], {"target": b"/\x7f"}),
        ([], {"target": b"/\xff"}),
        ([], {"target": b""}),
    ],
)
async def test_httpx_client_cannot_inject_headers(
    headers: list[tuple[bytes, bytes]], extensions: dict[str, bytes]
) -> None:
    """Nothing is sent."""
    request = httpx.Request("GET", "http://127.0.0.1:1/", headers=headers, extensions=extensions)
    async with HTTPTransport() as transport:
        with pytest.raises(httpx.LocalProtocolError, match="a character that cannot be sent"):
            await transport.handle_async_request(request)


@pytest.mark.parametrize("method", ["GET / HTTP/1.1\r\nX: y\r\n\r\nGET", "GET ", "G:T", "", "É"])
async def test_httpx_client_cannot_send_other_methods_than_tokens(method: str) -> None:
    """One with a line end would be several requests."""
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(httpx.LocalProtocolError, match="a character that cannot be sent"):
            await client.request(method, "http://127.0.0.1:1/")


async def test_httpx_client_cannot_open_tunnel() -> None:
    """The next request would be sent through it."""
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(httpx.LocalProtocolError, match="CONNECT is not supported"):
            await client.request("CONNECT", "http://127.0.0.1:1/")


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: htx\r\n\r\n"


@pytest.mark.parametrize(
    "lengths", [["0"], ["1"], ["99"], ["+37"], ["37", "37"], ["37, 37"], ["037"], [""]]
)
async def test_httpx_client_cannot_misstate_content_length(lengths: list[str]) -> None:
    """The rest of the content would be the next request, and its response that of the next call."""
    assert len(SMUGGLED) == 37
    headers = [("Content-Length", length) for length in lengths]
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(httpx.LocalProtocolError, match="once and be 37"):
            await client.post("http://127.0.0.1:1/", content=SMUGGLED, headers=headers)
        with pytest.raises(httpx.LocalProtocolError, match="once and be 0"):
            await client.get("http://127.0.0.1:1/", headers={"Content-Length": "37"})


@each_event_loop
def test_httpx_client_announces_content_of_stream(loop_factory: LoopFactory) -> None:
    """It sets no header itself if the stream is passed as such."""

    async def main() -> None:
        async with serve(repeating(with_length(JSON))) as server, HTTPTransport() as transport:
            request = httpx.Request(
                "POST", url(server.origin), stream=httpx.ByteStream(SMUGGLED), headers={"Host": "x"}
            )
            await transport.handle_async_request(request)
            await transport.handle_async_request(httpx.Request("GET", url(server.origin, "/next")))
            first, smuggled, following = server.requests
            assert first.endswith(b"\r\nContent-Length: 37\r\n\r\n")
            assert (smuggled, following[:9]) == (SMUGGLED, b"GET /next")

    run(loop_factory, main())


@pytest.mark.parametrize("hosts", [[], ["a", "b"], ["a", "a"]])
async def test_httpx_client_cannot_send_several_hosts(hosts: list[str]) -> None:
    """A proxy and the server behind it could choose different ones."""
    request = httpx.Request("GET", "http://127.0.0.1:1/")
    request.headers = httpx.Headers([("Host", host) for host in hosts])
    async with HTTPTransport() as transport:
        with pytest.raises(httpx.LocalProtocolError, match="exactly one Host header"):
            await transport.handle_async_request(request)


async def test_wrong_setting_is_invalid_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not an error of the network."""
    monkeypatch.setenv("SSL_CERT_FILE", "/missing")
    async with httpx.AsyncClient(transport=HTTPTransport()) as client:
        with pytest.raises(InvalidInputError, match="SSL_CERT_FILE: /missing"):
            await client.get("https://127.0.0.1:1/")


@pytest.mark.parametrize("arguments", [{"max_connections": 0}, {"max_body": 0}, {"max_body": "1"}])
def test_wrong_argument_is_invalid_input(arguments: dict[str, int]) -> None:
    """When the transport is created."""
    with pytest.raises(InvalidInputError, match=f"{next(iter(arguments))} must be"):
        HTTPTransport(**arguments)


def test_transport_belongs_to_one_loop() -> None:
    """Its connections do."""
    transport = HTTPTransport()

    async def main() -> None:
        request = httpx.Request("GET", "http://127.0.0.1:1/")
        await transport.handle_async_request(request)

    with pytest.raises(httpx.ConnectError):
        asyncio.run(main())
    with pytest.raises(EventLoopError, match="belongs to another event loop"):
        asyncio.run(main())


def test_transport_cannot_be_closed_in_another_loop() -> None:
    """Its connections can be closed in their loop only."""
    transport = HTTPTransport()

    async def use() -> None:
        with pytest.raises(httpx.ConnectError):
            await transport.handle_async_request(httpx.Request("GET", "http://127.0.0.1:1/"))

    asyncio.run(use())
    with pytest.raises(EventLoopError, match="belongs to another event loop"):
        asyncio.run(transport.aclose())


@each_event_loop
def test_closed_transport_rejects_requests(loop_factory: LoopFactory) -> None:
    """Also while it is being closed, and to other hosts."""

    async def main() -> None:
        async with (
            serve(repeating(with_length(JSON))) as first,
            serve(answering(b"", then=silent)) as second,
            serve(silent) as third,
        ):
            transport = HTTPTransport()
            requests = [httpx.Request("GET", url(s.origin)) for s in (first, second, third)]
            await transport.handle_async_request(requests[0])
            running = asyncio.create_task(transport.handle_async_request(requests[1]))
            await until(lambda: len(second.requests) == 1)
            closing = asyncio.create_task(transport.aclose())
            await asyncio.sleep(0)
            for request in requests:
                with pytest.raises(httpx.ConnectError, match="the transport is closed"):
                    await transport.handle_async_request(request)
            await closing
            with pytest.raises(httpx.ReadError):
                await running
            for request in requests:
                with pytest.raises(httpx.ConnectError, match="the transport is closed"):
                    await transport.handle_async_request(request)
            assert [len(server.peers) for server in (first, second, third)] == [1, 1, 0]

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("failing", [0, 1])
def test_aclose_closes_all_pools(
    failing: int, loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if closing one of them fails."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main() -> None:
        async with (
            serve(repeating(with_length(JSON))) as first,
            serve(repeating(with_length(JSON))) as second,
        ):
            transport = HTTPTransport()
            pools = [transport.pool(server.origin) for server in (first, second)]
            for pool in pools:
                await get(pool)
            monkeypatch.setattr(pools[failing], "aclose", fail)
            with pytest.raises(ZeroDivisionError):
                await transport.aclose()
            assert pools[1 - failing].open_connections == 0
            await until(lambda: pools[failing].open_connections == 0)

    run(loop_factory, main())


@each_event_loop
def test_transport_has_a_pool_for_each_origin(loop_factory: LoopFactory) -> None:
    """The direct interface uses the same one."""

    async def main() -> None:
        async with (
            serve(repeating(with_length(JSON))) as first,
            serve(repeating(with_length(JSON))) as second,
            httpx.AsyncClient(transport=(transport := HTTPTransport())) as client,
        ):
            for server in (first, second):
                assert (await client.get(url(server.origin))).content == JSON
                assert (await get(transport.pool(server.origin))).body == JSON
                assert len(server.peers) == 1

    run(loop_factory, main())


@each_event_loop
def test_transport_drops_pools_without_connections(loop_factory: LoopFactory) -> None:
    """Unless a client uses it, or there are few."""

    async def main() -> None:
        close = with_length(JSON, b"Connection: close")
        async with (
            serve(repeating(with_length(JSON))) as server,
            serve(answering(close)) as closing,
            HTTPTransport() as transport,
        ):
            await transport.handle_async_request(httpx.Request("GET", url(server.origin)))
            of_client = transport.pool(Origin("http", "127.0.0.1", 1))
            hosts = [f"127.0.{number // 200}.{number % 200 + 1}" for number in range(250)]
            for host in hosts:
                origin = Origin("http", host, closing.origin.port)
                with suppress(httpx.ConnectError):
                    await transport.handle_async_request(httpx.Request("GET", url(origin)))
            assert len(transport._pools) <= MAX_UNUSED_POOLS
            assert transport.pool(of_client.origin) is of_client
            await transport.handle_async_request(httpx.Request("GET", url(server.origin)))
            assert len(server.peers) == 1

    run(loop_factory, main())


async def test_transport_has_one_read_buffer() -> None:
    """It is larger than everything else."""
    async with HTTPTransport() as transport:
        origins = [Origin("http", "127.0.0.1", port) for port in (1, 2)]
        first, second = (transport.pool(origin)._read_buffer for origin in origins)
        assert first is second


# Secrets


async def _lose(peer: Peer) -> None:
    await peer.request()


async def _echo(peer: Peer) -> None:
    path = (await peer.request()).split()[1]
    peer.writer.write(response(b"X: " + path, b"Content-Length: x" + path))


@each_event_loop
@pytest.mark.parametrize("handler", [_lose, _echo, silent, answering()])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_errors_contain_no_secret(
    handler: Handler, scheme: str, caplog: pytest.LogCaptureFixture, loop_factory: LoopFactory
) -> None:
    """Neither text nor notes, chain, log records or the locals of our frames."""
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        asyncio.get_running_loop().set_debug(enabled=True)
        async with serve(handler, scheme=scheme) as server, open_pool(server.origin) as pool:
            task = asyncio.create_task(get(pool))
            await asyncio.sleep(0.01)
            assert SECRET.decode() not in f"{pool!r} {vars(pool)}"
            for connection in pool._connections:
                assert SECRET.decode() not in f"{connection!r} {vars(connection)}"
            task.cancel()
            with pytest.raises((ExchangeError, asyncio.CancelledError)) as caught:
                await task
            assert SECRET.decode() not in f"{locals_of(caught.value)}"
            assert SECRET.decode() not in f"{caught.value!r} {caught.value}"
        assert SECRET.decode() not in caplog.text

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("handler", [_lose, silent, answering(with_length(bytes(2000)))])
def test_errors_of_httpx_contain_no_secret(handler: Handler, loop_factory: LoopFactory) -> None:
    """The error has the request, of which its text shows the URL only."""

    async def main() -> None:
        async with serve(handler) as server, HTTPTransport(max_body=1000) as transport:
            for value in (SECRET, SECRET + b"\0"):
                request = httpx.Request(
                    "POST",
                    url(server.origin),
                    headers={b"Host": b"htx", b"X": value},
                    content=SECRET,
                    extensions={"target": b"/" + SECRET, "timeout": {"read": 0.01}},
                )
                with pytest.raises(httpx.RequestError) as caught:
                    await transport.handle_async_request(request)
                assert SECRET.decode() not in f"{locals_of(caught.value)}"

    run(loop_factory, main())


def locals_of(error: BaseException) -> list[dict[str, str] | None]:
    """Return the locals of the transport's frames in the traceback of *error*."""
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in trace.stack if "htx_async/transports/" in frame.filename]
    assert frames
    return [frame.locals for frame in frames]


@each_event_loop
def test_nothing_keeps_a_request(loop_factory: LoopFactory) -> None:
    """Once the response is there, or the caller has gone."""

    async def main() -> None:
        async with serve(repeating(with_length(JSON))) as server, open_pool(server.origin) as pool:
            for _ in range(3):
                await get(pool)
            task = asyncio.create_task(get(pool))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await get(pool)
            assert pool.open_connections == 1
            for connection in pool._connections:
                for referent in gc.get_referents(connection, connection.transport):
                    assert SECRET not in repr(referent).encode()

    run(loop_factory, main())
