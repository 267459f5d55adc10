"""The transport adapter and the httpx transport: bytes sent, responses, translated errors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

import httpcore
import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from htx_async import Clock, ConnectError, DecodeError, HTXError, NoResponseError
from htx_async.auth.credentials import Credentials
from htx_async.auth.signature import canonical_query
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from htx_async.testing import ScriptedTransport, Step
from htx_async.transports import httpx as httpx_transport
from htx_async.transports.adapter import TransportAdapter
from htx_async.validation import Origin, parse_base_url
from tests.error_text import full_text
from tests.virtual import VirtualClock, run

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SECRET_KEY = "b0c1d2e3-f4a5b6c7-d8e9f0a1-b2c3d"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)
HOST = "api.huobi.pro"
ENDPOINT = Endpoint("/v2/point/account", RateLimit(2, per=1.0), bytes)
AT = 1_700_000_000.0
SIGNED = sign_request(Request(ENDPOINT, ENDPOINT.path, (("subUid", "7"),)), CREDENTIALS, HOST, AT)
SIGNATURE = unquote(SIGNED.query.partition("&Signature=")[2])
URL = "https://api.huobi.pro/v2/point/account"

Handler = Callable[[httpx.Request], Awaitable[httpx.Response]]


class Chunks(httpx.AsyncByteStream):
    """A response body in chunks, optionally followed by an exception."""

    def __init__(self, *chunks: bytes, fault: BaseException | None = None) -> None:
        self.chunks, self.fault = chunks, fault
        self.yielded, self.closed = 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.yielded += 1
            yield chunk
        if self.fault is not None:
            raise self.fault

    async def aclose(self) -> None:
        self.closed = True


def adapter_for(
    transport: httpx.AsyncBaseTransport | None,
    base_url: str = "https://api.huobi.pro",
    *,
    max_body: int = 1000,
    clock: Clock | None = None,
) -> TransportAdapter:
    return TransportAdapter(
        transport, parse_base_url(base_url), clock or Clock(), max_connections=3, max_body=max_body
    )


def make_response(*chunks: bytes, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=Chunks(*chunks))


async def outcome_of(outcome: Step, *, max_body: int = 1000) -> Response | HTXError:
    """Return the response or error of the adapter when the transport has that *outcome*."""
    try:
        return await adapter_for(ScriptedTransport([outcome]), max_body=max_body)(SIGNED)
    except HTXError as error:
        return error


async def test_adapter_returns_body_headers_and_sent_query() -> None:
    """Header names are in lower case."""
    response = await adapter_for(
        ScriptedTransport([make_response(b'{"a"', b"", b":1}", status=418, X_HB="7")])
    )(SIGNED)
    assert (response.status, response.body) == (418, b'{"a":1}')
    assert response.headers == {"x-hb": "7"}
    assert response.sent_query == SIGNED.query
    assert response.error is None


def test_adapter_records_the_time_of_the_first_byte() -> None:
    """`first_byte_at` is the time of the headers, not of the end of the body."""

    class SlowBody(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(4)
            yield b"x"

    transport = ScriptedTransport([httpx.Response(200, stream=SlowBody())], delay=3.0)
    response = run(adapter_for(transport, clock=VirtualClock())(SIGNED))
    assert (response.first_byte_at, response.body) == (3.0, b"x")


@pytest.mark.parametrize("slow", ["headers", "body"])
def test_adapter_aborts_a_slow_response(slow: str) -> None:
    """When the call is aborted, reading stops and the connection is closed."""
    stream = Chunks(b"x")

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(100)
            yield b"x"

        async def aclose(self) -> None:
            await stream.aclose()

    async def main() -> float:
        clock = VirtualClock()
        delay = 100.0 if slow == "headers" else 0.0
        transport = ScriptedTransport([httpx.Response(200, stream=Body())], delay=delay)
        request = Request(ENDPOINT, ENDPOINT.path)
        for _ in range(2):  # aborting twice has no further effect
            clock.call_later(5.0, request.call.abort)
        with pytest.raises(NoResponseError, match="no complete response in time") as caught:
            await adapter_for(transport, clock=clock)(request)
        assert caught.value.delivery == "unknown"
        assert caught.value.retryable
        assert caught.value.endpoint == "GET /v2/point/account"
        return clock.monotonic()

    assert run(main()) == 5.0
    assert stream.closed == (slow == "body")


def test_transport_timeouts_end_at_the_deadline() -> None:
    """Connecting may take at most 10 s, everything else the time left until the deadline."""

    async def timeouts_for(until: float) -> dict[str, Any]:
        transport = ScriptedTransport([make_response(b"")])
        request = Request(ENDPOINT, ENDPOINT.path)
        request.call.deadline = until
        await adapter_for(transport, clock=VirtualClock())(request)
        timeouts: dict[str, Any] = transport.requests[0].extensions["timeout"]
        return timeouts

    assert run(timeouts_for(4.0)) == {"connect": 4.0, "read": 4.0, "write": 4.0, "pool": 4.0}
    assert run(timeouts_for(30.0)) == {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}
    unbounded = run(timeouts_for(float("inf")))
    assert unbounded == {"connect": 10.0, "read": None, "write": None, "pool": None}


async def test_passed_transport_receives_exact_method_target_and_headers() -> None:
    """Method, target and headers are exact; no body, which HTX would reject, and no cookies."""
    transport = ScriptedTransport([make_response(b"")])
    await adapter_for(transport)(SIGNED)
    (request,) = transport.requests
    assert request.method == "GET"
    assert request.url.raw_path.decode() == f"/v2/point/account?{SIGNED.query}"
    assert str(request.url) == f"{URL}?{SIGNED.query}"
    assert set(request.headers) == {"host", "accept", "accept-encoding", "user-agent"}
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["user-agent"].startswith("htx_async/")
    assert request.headers["host"] == HOST
    assert await request.aread() == b""


@respx.mock
async def test_default_transport_sends_the_signed_target() -> None:
    """The signed target is sent byte for byte."""
    route = respx.get(host=HOST, path="/v2/point/account").respond(200, content=b"{}")
    adapter = adapter_for(None)
    await adapter(SIGNED)
    await adapter.aclose()
    (call,) = route.calls
    assert call.request.url.raw_path.decode() == f"/v2/point/account?{SIGNED.query}"
    assert call.request.headers["host"] == HOST


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.mark.parametrize("default", [False, True], ids=["passed", "default"])
@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_sent_bytes_equal_signed_bytes(default: bool, params: list[tuple[str, str]]) -> None:
    """The query is sent byte for byte for any parameters, and parses back to the same form."""

    async def sent_target(request: Request) -> bytes:
        targets: list[bytes] = []

        def record(http_request: httpx.Request) -> httpx.Response:
            targets.append(http_request.url.raw_path)
            return httpx.Response(200)

        if default:
            with respx.mock() as router:
                router.route().mock(side_effect=record)
                adapter = adapter_for(None)
                await adapter(request)
                await adapter.aclose()
        else:
            await adapter_for(httpx.MockTransport(record))(request)
        return targets[0]

    signed = sign_request(Request(ENDPOINT, ENDPOINT.path, tuple(params)), CREDENTIALS, HOST, AT)
    target = asyncio.run(sent_target(signed))
    path, _, query = target.decode("ascii").partition("?")
    assert (path, query) == ("/v2/point/account", signed.query)
    unsigned, _, signature = query.partition("&Signature=")
    assert unquote(signature) not in ("", signature[:-3])
    parsed = parse_qsl(unsigned, keep_blank_values=True, strict_parsing=True)
    assert canonical_query(parsed) == unsigned
    assert sorted(parsed) == sorted(
        [*CREDENTIALS.auth_params(), ("Timestamp", "2023-11-14T22:13:20"), *params]
    )


NOT_SENT = [
    httpx.ConnectError("[Errno 111] Connection refused"),
    httpx.ConnectTimeout(""),
    httpx.PoolTimeout("all are busy"),
    httpx.ProxyError("407"),
    httpx.UnsupportedProtocol("no"),
]
NO_RESPONSE = [
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.CloseError("x"),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    httpx.LocalProtocolError("x"),
    httpx.DecodingError("x"),
    httpx.InvalidURL("x"),
    httpcore.ReadError("x"),
    OSError(errno.ECONNRESET, "Connection reset by peer"),
    ssl.SSLError("x"),
    TimeoutError("x"),
    asyncio.IncompleteReadError(b"x", 7),
    ValueError("a transport with a bug"),
    RuntimeError("x"),
]


@pytest.mark.parametrize(
    ("error", "kind", "delivery"),
    [(error, ConnectError, "not_sent") for error in NOT_SENT]
    + [(error, NoResponseError, "unknown") for error in NO_RESPONSE],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_transport_error_is_translated(
    error: Exception, kind: type[HTXError], delivery: str
) -> None:
    """The error reports delivery; the original exception is named in a note, not chained."""
    for outcome in (await outcome_of(error), await outcome_of_interrupted_body(error)):
        assert isinstance(outcome, HTXError)
        assert type(outcome) is kind
        assert outcome.retryable
        assert outcome.delivery == delivery
        assert outcome.endpoint == "GET /v2/point/account"
        assert outcome.__cause__ is None
        assert outcome.__context__ is None
        if not isinstance(error, TimeoutError):
            assert type(error).__name__ in str(outcome)
            (note,) = outcome.__notes__
            assert type(error).__name__ in note


async def outcome_of_interrupted_body(fault: Exception) -> Response | HTXError:
    """Return the outcome when *fault* occurs in the middle of the body."""
    return await outcome_of(httpx.Response(200, stream=Chunks(b'{"code":', fault=fault)))


@pytest.mark.parametrize(
    "text",
    [
        f"GET {URL}?{SIGNED.query} failed",
        f"bad key {ACCESS_KEY} and {SIGNATURE}",
        f"illegal request line: {SIGNED.query!r}",
        "\n".join([ACCESS_KEY, SIGNATURE] * 30),
    ],
)
@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadError, ValueError])
async def test_transport_error_text_is_redacted(text: str, kind: type[Exception]) -> None:
    """The error, its notes and its traceback contain no key, signature or URL."""
    outcome = await outcome_of(kind(text))
    assert isinstance(outcome, HTXError)
    exposed = full_text(outcome)
    for secret in (ACCESS_KEY, SIGNATURE, SECRET_KEY, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in exposed
        assert secret[:12] not in exposed
    assert outcome.__notes__[0].isprintable()
    assert len(outcome.__notes__[0]) < 300


async def test_cancellation_is_not_translated() -> None:
    """A cancelled task gets `CancelledError`; one raised by the transport is a failed request."""
    hanging = ScriptedTransport([make_response(b"{}")], delay=60.0)
    call = asyncio.ensure_future(adapter_for(hanging)(SIGNED))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert isinstance(await outcome_of(asyncio.CancelledError()), NoResponseError)


async def test_error_status_takes_precedence_over_an_undecodable_body() -> None:
    """A proxy's error page with an unsupported encoding does not hide its status."""
    error_page = httpx.Response(503, headers={"content-encoding": "br"}, stream=Chunks(b"x"))
    response = await outcome_of(error_page)
    assert isinstance(response, Response)
    assert (response.status, response.body, response.error) == (503, b"", None)


async def test_data_after_a_gzip_stream_is_rejected() -> None:
    """Such data would be buffered without a limit."""
    stream = Chunks(gzip.compress(b"{}"), b"x" * 10, b"x" * 10)
    response = await outcome_of(
        httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)
    )
    assert isinstance(response, Response)
    assert isinstance(response.error, DecodeError)
    assert stream.closed


async def test_response_stream_is_always_closed() -> None:
    """The stream is closed after a complete, too large, failed or cancelled response."""
    for stream in (
        Chunks(b"x"),
        Chunks(b"x" * 2000, b"x"),
        Chunks(b"x", fault=httpx.ReadError("reset")),
        Chunks(b"x", fault=asyncio.CancelledError()),
    ):
        with contextlib.suppress(asyncio.CancelledError):
            await outcome_of(httpx.Response(200, stream=stream))
        assert stream.closed


@pytest.mark.parametrize(
    ("chunks", "max_body", "fits"),
    [
        ((b"x" * 10,), 10, True),
        ((b"x" * 11,), 10, False),
        ((b"x" * 5, b"x" * 5), 10, True),
        ((b"x" * 5, b"x" * 6), 10, False),
        ((b"",), 1, True),
        ((b"xy",), 1, False),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
async def test_max_body_limits_the_body(
    chunks: tuple[bytes, ...], max_body: int, fits: bool, zipped: bool
) -> None:
    """`max_body` counts decompressed bytes and is inclusive."""
    whole = b"".join(chunks)
    if zipped:
        packed = gzip.compress(whole)
        chunks = (packed[:12], packed[12:])
    outcome = await outcome_of(
        make_response(*chunks, content_encoding="gzip" if zipped else "identity"), max_body=max_body
    )
    assert isinstance(outcome, Response)
    if fits:
        assert outcome.error is None
        assert outcome.body == whole
    else:
        assert isinstance(outcome.error, DecodeError)
        assert f"{max_body} bytes (max_body)" in str(outcome.error)
        assert outcome.body == b""


async def test_max_body_stops_reading() -> None:
    """No chunk after the limit is read."""
    stream = Chunks(*[b"x" * 600] * 50)
    outcome = await outcome_of(httpx.Response(200, stream=stream))
    assert isinstance(outcome, Response)
    assert isinstance(outcome.error, DecodeError)
    assert stream.yielded == 2


async def test_max_body_bounds_a_gzip_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 MB in a small body, at most one byte more than the limit is decompressed."""
    largest = 0
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    assert len(bomb) < 200_000
    decompressobj = zlib.decompressobj

    class RecordingDecompressor:
        """A wrapper that records the largest part; `zlib`'s own type cannot be subclassed."""

        def __init__(self, wbits: int) -> None:
            self._real = decompressobj(wbits)

        @property
        def eof(self) -> bool:
            return self._real.eof

        def decompress(self, data: bytes, limit: int) -> bytes:
            nonlocal largest
            part = self._real.decompress(data, limit)
            largest = max(largest, len(part))
            return part

    monkeypatch.setattr(zlib, "decompressobj", RecordingDecompressor)
    outcome = await outcome_of(make_response(bomb, content_encoding="gzip"))
    assert isinstance(outcome, Response)
    assert isinstance(outcome.error, DecodeError)
    assert "larger than 1,000 bytes" in str(outcome.error)
    assert largest == 1001


@pytest.mark.parametrize(
    ("encoding", "body", "kind", "text"),
    [
        ("gzip", b'{"code":200}', DecodeError, "is not valid gzip"),
        ("gzip", gzip.compress(b"x" * 99, mtime=0)[:-9], NoResponseError, "was cut"),
        ("gzip", gzip.compress(b"x" * 99, mtime=0)[:5], NoResponseError, "was cut"),
        (
            "gzip",
            gzip.compress(b"x" * 99, mtime=0)[:-8] + b"\x00" * 8,
            DecodeError,
            "not valid gzip",
        ),
        ("br", b"x", DecodeError, "encoding that was not requested: br"),
        ("gzip, gzip", b"x", DecodeError, "encoding that was not requested: gzip, gzip"),
        ("deflate" * 9, b"x", DecodeError, "encoding that was not requested: deflatedeflatedefla"),
    ],
)
async def test_invalid_content_encoding_is_an_error(
    encoding: str, body: bytes, kind: type[HTXError], text: str
) -> None:
    """Invalid data is a `DecodeError`; a truncated body is a retryable `NoResponseError`."""
    outcome = await outcome_of(make_response(body, content_encoding=encoding))
    error = outcome.error if isinstance(outcome, Response) else outcome
    assert isinstance(error, kind)
    assert text in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("encoding", "chunks"),
    [
        ("gzip", [gzip.compress(b'{"a":1}')]),
        (" GZip ", [gzip.compress(b'{"a":1}')]),
        ("gzip", [bytes([byte]) for byte in gzip.compress(b'{"a":1}')]),
        ("identity", [b'{"a":1}']),
        ("", [b'{"a":1}']),
    ],
)
async def test_gzip_body_is_decompressed(encoding: str, chunks: list[bytes]) -> None:
    """Chunks may have any size; a body without an encoding is returned unchanged."""
    outcome = await outcome_of(make_response(*chunks, content_encoding=encoding))
    assert isinstance(outcome, Response)
    assert outcome.body == b'{"a":1}'


async def test_empty_body_is_accepted() -> None:
    """An empty body is not an error here, even with gzip encoding; parsing decides."""
    outcome = await outcome_of(make_response(status=204, content_encoding="gzip"))
    assert isinstance(outcome, Response)
    assert outcome.body == b""


async def test_adapter_leaves_a_passed_transport_open() -> None:
    transport = ScriptedTransport([make_response(b"")])
    adapter = adapter_for(transport)
    await adapter(SIGNED)
    await adapter.aclose()
    assert not transport.is_closed


async def test_aclose_of_an_unused_transport_opens_nothing() -> None:
    """The default transport is created with the first request."""
    await adapter_for(None).aclose()


@respx.mock
async def test_tls_and_proxy_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent first requests share the certificates and proxy settings."""
    respx.get(host=HOST).respond(200)
    origins: list[Origin] = []
    monkeypatch.setattr(httpx_transport, "proxy_for", origins.append)
    adapter = adapter_for(None)
    await asyncio.gather(*(adapter(SIGNED) for _ in range(3)))
    await adapter.aclose()
    assert len(origins) == 1


class RecordingTransport(httpx.AsyncHTTPTransport):
    """An httpx transport that records its instances and whether each is open."""

    instances: ClassVar[list[RecordingTransport]] = []
    outcomes: ClassVar[list[httpx.Response | Exception]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_open = True
        self.instances.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0) if self.outcomes else make_response(b"{}")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.is_open = False
        await super().aclose()


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> list[RecordingTransport]:
    """All transports created during the test."""
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", RecordingTransport)
    RecordingTransport.instances.clear()
    RecordingTransport.outcomes.clear()
    return RecordingTransport.instances


async def test_pool_uses_one_transport_per_concurrent_request(
    transports: list[RecordingTransport],
) -> None:
    """Idle transports are reused, the most recent first, and `aclose` closes all of them."""
    adapter = adapter_for(None)
    await asyncio.gather(*(adapter(SIGNED) for _ in range(3)))
    await asyncio.gather(*(adapter(SIGNED) for _ in range(3)))
    await adapter(SIGNED)
    assert len(transports) == 3
    assert all(transport.is_open for transport in transports)
    await adapter.aclose()
    assert not any(transport.is_open for transport in transports)


async def test_pool_discards_a_transport_after_a_failure(
    transports: list[RecordingTransport],
) -> None:
    """The next attempt uses a new transport."""
    RecordingTransport.outcomes[:] = [httpx.ReadError("cut")]
    adapter = adapter_for(None)
    with pytest.raises(NoResponseError):
        await adapter(SIGNED)
    assert [transport.is_open for transport in transports] == [False]
    await adapter(SIGNED)
    assert [transport.is_open for transport in transports] == [False, True]
    await adapter.aclose()


def test_pool_closes_idle_transports(transports: list[RecordingTransport]) -> None:
    """Transports idle for a minute are closed when a request returns another one."""

    async def main() -> None:
        clock = VirtualClock()
        adapter = adapter_for(None, clock=clock)
        await adapter(SIGNED)
        await asyncio.gather(*(adapter(SIGNED) for _ in range(3)))
        await clock.sleep(59)
        await adapter(SIGNED)
        assert sum(transport.is_open for transport in transports) == 3
        await clock.sleep(2)
        await adapter(SIGNED)
        assert sum(transport.is_open for transport in transports) == 1
        await adapter.aclose()

    run(main())


@respx.mock
async def test_httpx_instrumentation_sees_no_signed_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracers wrap httpx's transport and record the URL of each request: it has no query."""
    respx.get(host=HOST).respond(200)
    recorded: list[str] = []
    original = httpx.AsyncHTTPTransport.handle_async_request

    async def traced(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        url = request.url
        recorded.extend([str(url), repr(url), repr(request), f"{url}", str(url.query), url.path])
        return await original(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", traced)
    adapter = adapter_for(None)
    await adapter(SIGNED)
    await adapter.aclose()
    assert recorded[0] == URL
    assert "AccessKeyId" not in repr(recorded)


@respx.mock
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The redirect is returned as the response; no other host is contacted."""
    first = respx.get(host=HOST).respond(status, headers={"Location": "https://evil.example/"})
    other = respx.route(host="evil.example").respond(200)
    adapter = adapter_for(None)
    response = await adapter(SIGNED)
    await adapter.aclose()
    assert response.status == status
    assert (first.call_count, other.call_count) == (1, 0)


@respx.mock
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectTimeout, ConnectError),
        (httpx.ConnectError, ConnectError),
        (httpx.ReadTimeout, NoResponseError),
        (httpx.RemoteProtocolError, NoResponseError),
    ],
)
async def test_httpx_errors_of_the_default_transport_are_translated(
    error: type[httpx.TransportError], kind: type[HTXError]
) -> None:
    """Errors that httpx maps from httpcore are translated like those of any transport."""
    respx.get(host=HOST).mock(side_effect=error)
    adapter = adapter_for(None)
    with pytest.raises(kind) as caught:
        await adapter(SIGNED)
    await adapter.aclose()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# The tests below use real sockets on loopback.


@contextlib.asynccontextmanager
async def serving(reply: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Send *reply* to each request, then close; yield the address and the received requests."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(65_536))
        writer.write(reply)
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.slow
async def test_bytes_on_the_socket_equal_signed_bytes() -> None:
    """The request line is the signed target; no body, no cookie, the port in `Host`."""
    async with serving(OK) as (base_url, received):
        adapter = adapter_for(None, base_url)
        response = await adapter(SIGNED)
        await adapter.aclose()
    assert response.body == b"{}"
    (head,) = received
    line, *headers = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    assert line == f"GET /v2/point/account?{SIGNED.query} HTTP/1.1"
    names = [header.partition(":")[0].lower() for header in headers]
    assert sorted(names) == ["accept", "accept-encoding", "host", "user-agent"]
    assert f"Host: {base_url.removeprefix('http://')}" in headers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"", NoResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Len", NoResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", NoResponseError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", NoResponseError),
        (b"garbage\r\n\r\n", NoResponseError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", NoResponseError),
    ],
)
async def test_truncated_or_invalid_response_is_no_response_error(
    reply: bytes, kind: type[HTXError]
) -> None:
    """Delivery is unknown: HTX may have received the request."""
    async with serving(reply) as (base_url, _):
        adapter = adapter_for(None, base_url)
        with pytest.raises(kind) as caught:
            await adapter(SIGNED)
        await adapter.aclose()
    assert caught.value.__context__ is None
    assert base_url in str(caught.value)


@pytest.mark.slow
async def test_refused_connection_is_connect_error() -> None:
    """Delivery is `not_sent`."""
    async with serving(OK) as (base_url, _):
        pass
    adapter = adapter_for(None, base_url)
    with pytest.raises(ConnectError, match=r"ConnectError") as caught:
        await adapter(SIGNED)
    await adapter.aclose()
    assert caught.value.delivery == "not_sent"
    assert caught.value.__context__ is None


@pytest.mark.slow
async def test_log_records_at_any_level_contain_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """All loggers are at DEBUG, asyncio is in debug mode, and the server echoes the URL."""
    location = f"Location: https://api.huobi.pro/x?{SIGNED.query}\r\n".encode()
    replies = [
        OK,
        b"HTTP/1.1 302 Found\r\n" + location + b"Content-Length: 0\r\n\r\n",
        b"garbage " + SIGNED.query.encode() + b"\r\n\r\n",
        b"",
    ]
    asyncio.get_running_loop().set_debug(True)
    with caplog.at_level(logging.DEBUG):
        for reply in replies:
            async with serving(reply) as (base_url, _):
                adapter = adapter_for(None, base_url)
                with contextlib.suppress(HTXError):
                    await adapter(SIGNED)
                await adapter.aclose()
    logged = "\n".join([caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    assert "Location" in logged  # httpcore logs the response headers
    for secret in (ACCESS_KEY, SECRET_KEY, SIGNATURE, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in logged
        assert secret[:12] not in logged


@pytest.mark.slow
async def test_https_requires_tls() -> None:
    """A server that speaks plain HTTP on an https port receives no request."""
    async with serving(OK) as (base_url, received):
        adapter = adapter_for(None, base_url.replace("http://", "https://"))
        with pytest.raises(ConnectError):
            await adapter(SIGNED)
        await adapter.aclose()
    assert received
    assert b"AccessKeyId" not in b"".join(received)


@pytest.mark.parametrize("kind", [HTXError, DecodeError, ConnectError])
async def test_error_of_ours_from_a_passed_transport_is_translated(kind: type[HTXError]) -> None:
    """Its text may contain the signed URL, and its `delivery` may be wrong."""
    url = f"https://api.huobi.pro/x?{SIGNED.query}"
    error = await outcome_of(kind(f"failed at {url}", delivery="not_sent"))
    assert type(error) is NoResponseError
    assert error.delivery == "unknown"
    assert SIGNED.query.rpartition("Signature=")[2] not in full_text(error)
