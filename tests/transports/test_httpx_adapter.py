"""The adapter of passed transports: bytes sent, responses, translated errors."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import httpcore
import httpx
import httpx2
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    NO_RETRY,
    Clock,
    ConnectError,
    DecodeError,
    HTTPTransport,
    HTXClient,
    HTXError,
    InvalidInputError,
    NoResponseError,
)
from htx_async.auth.credentials import Credentials
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request, Response
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport, Step
from htx_async.transports.base import AsyncTransport
from htx_async.transports.httpx_adapter import HttpxAdapter
from htx_async.validation import parse_base_url
from tests.error_text import full_text
from tests.transports.signed_target import SIGNED_AT, check_signed_target
from tests.virtual import VirtualClock, run

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SECRET_KEY = "b0c1d2e3-f4a5b6c7-d8e9f0a1-b2c3d"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)
HOST = "api.huobi.pro"
ENDPOINT = Endpoint("/v2/point/account", RateLimit(2, per=1.0), bytes)
SIGNED = sign_request(
    Request(ENDPOINT, ENDPOINT.path, (("subUid", "7"),)), CREDENTIALS, HOST, SIGNED_AT
)
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
    transport: AsyncTransport,
    base_url: str = "https://api.huobi.pro",
    *,
    max_body: int = 1000,
    clock: Clock | None = None,
) -> HttpxAdapter:
    return HttpxAdapter(
        transport, parse_base_url(base_url), clock or Clock(), max_connections=3, max_body=max_body
    )


def request_until(deadline: float) -> Request:
    """Return a request whose attempt must be over at *deadline*."""
    request = Request(ENDPOINT, ENDPOINT.path)
    request.call.attempt_deadline = deadline
    return request


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
def test_adapter_ends_a_slow_attempt(slow: str) -> None:
    """At the end of the attempt, reading stops and the connection is closed."""
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
        with pytest.raises(NoResponseError, match="no complete response within") as caught:
            await adapter_for(transport, clock=clock)(request_until(5.0))
        assert caught.value.delivery == "unknown"
        assert caught.value.retryable
        assert caught.value.endpoint == "GET /v2/point/account"
        return clock.monotonic()

    assert run(main()) == 5.0
    assert stream.closed == (slow == "body")


def test_transport_timeouts_end_at_the_deadline() -> None:
    """
    They are the time that is left of the attempt.

    Connecting ends before the attempt, and after 10 s at most.
    """

    async def timeouts_for(until: float) -> dict[str, Any]:
        transport = ScriptedTransport([make_response(b"")])
        await adapter_for(transport, clock=VirtualClock())(request_until(until))
        timeouts: dict[str, Any] = transport.requests[0].extensions["timeout"]
        return timeouts

    assert run(timeouts_for(4.0)) == {"connect": 3.6, "read": 4.0, "write": 4.0, "pool": 3.6}
    assert run(timeouts_for(10.0)) == {"connect": 9.0, "read": 10.0, "write": 10.0, "pool": 9.0}
    assert run(timeouts_for(20.0)) == {
        "connect": 10.0,
        "read": 20.0,
        "write": 20.0,
        "pool": 18.0,
    }


@pytest.mark.parametrize("step", ["connect", "pool"])
def test_timeout_of_the_transport_is_a_connect_error(step: str) -> None:
    """Nothing was sent, so the token is returned."""
    kind = httpx.ConnectTimeout if step == "connect" else httpx.PoolTimeout

    async def time_out(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(request.extensions["timeout"][step])
        raise kind(step)

    async def main() -> int:
        options: dict[str, Any] = {"clock": VirtualClock(), "attempt_timeout": 5.0}
        transport = httpx.MockTransport(time_out)
        async with HTXClient(CREDENTIALS, transport=transport, retry=NO_RETRY, **options) as htx:
            with pytest.raises(ConnectError) as caught:
                await htx.accounts.list()
            assert caught.value.delivery == "not_sent"
            return htx.limits()["GET /v1/account/accounts"].available

    assert run(main()) == 100


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


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_sent_bytes_equal_signed_bytes(params: list[tuple[str, str]]) -> None:
    """The query is sent byte for byte for any parameters, and parses back to the same form."""
    targets: list[bytes] = []

    def record(http_request: httpx.Request) -> httpx.Response:
        targets.append(http_request.url.raw_path)
        return httpx.Response(200)

    signed = sign_request(
        Request(ENDPOINT, ENDPOINT.path, tuple(params)), CREDENTIALS, HOST, SIGNED_AT
    )
    asyncio.run(adapter_for(httpx.MockTransport(record))(signed))
    check_signed_target(targets[0], signed, CREDENTIALS)


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
    """The error and its traceback contain no key, signature or URL."""
    outcome = await outcome_of(kind(text))
    assert isinstance(outcome, HTXError)
    exposed = full_text(outcome)
    for secret in (ACCESS_KEY, SIGNATURE, SECRET_KEY, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in exposed
        assert secret[:12] not in exposed
    assert str(outcome).isprintable()
    assert len(str(outcome)) < 350


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (TypeError("a bug"), "the transport failed (TypeError: a bug)"),
        (NotImplementedError(), "the transport failed (NotImplementedError)"),
        (httpx.DecodingError("x"), "the transport failed (httpx.DecodingError: x)"),
        (httpx.ReadError("x"), f"lost the connection to https://{HOST} (httpx.ReadError: x)"),
        (OSError("x"), f"lost the connection to https://{HOST} (OSError: x)"),
        (httpx.ConnectError("x"), f"could not connect to https://{HOST} (httpx.ConnectError: x)"),
    ],
)
async def test_fault_of_the_transport_is_not_a_lost_connection(
    error: Exception, problem: str
) -> None:
    outcome = await outcome_of(error)
    assert isinstance(outcome, HTXError)
    assert str(outcome) == f"{ENDPOINT.name}: {problem}"


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


class ReadOnce(httpx.AsyncByteStream):
    """A body that hangs if it is read a second time, as that of httpx's own transport."""

    def __init__(self, body: bytes) -> None:
        self.body: bytes | None = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.body is None:
            await asyncio.Event().wait()
        body, self.body = self.body, None
        yield body or b""


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("size", [1000, 1001])
async def test_response_that_a_wrapper_has_read(encoding: str, size: int) -> None:
    """Its body is not read again, and `max_body` limits it."""
    body = gzip.compress(b"x" * size) if encoding == "gzip" else b"x" * size
    received = httpx.Response(200, headers={"content-encoding": encoding}, stream=ReadOnce(body))
    await received.aread()
    async with asyncio.timeout(5.0):
        outcome = await adapter_for(httpx.MockTransport(lambda _: received))(SIGNED)
    assert outcome.body == (b"x" * size if size == 1000 else b"")
    assert isinstance(outcome.error, DecodeError) == (size > 1000)


class SlowClose(httpx.AsyncByteStream):
    """A body that arrives after a delay, and takes long to close."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(self.delay)
        yield b"{}"

    async def aclose(self) -> None:
        await asyncio.sleep(100.0)


async def attempt_with_slow_close(delay: float, *, cancel_after: float | None = None) -> float:
    """Make an attempt of at most 5 s, and return the time at which it has ended."""
    clock = VirtualClock()
    transport = ScriptedTransport([httpx.Response(200, stream=SlowClose(delay))])
    attempt = asyncio.create_task(adapter_for(transport, clock=clock)(request_until(5.0)))
    if cancel_after is not None:
        asyncio.get_running_loop().call_later(cancel_after, attempt.cancel)
        with pytest.raises(asyncio.CancelledError):
            await attempt
    elif delay > 5.0:
        with pytest.raises(NoResponseError, match="no complete response within"):
            await attempt
    else:
        assert (await attempt).body == b"{}"
    return clock.monotonic()


def test_closing_a_response_is_bounded() -> None:
    """It takes 1 s at most, and changes nothing about the outcome."""
    assert run(attempt_with_slow_close(2.0)) == 3.0
    assert run(attempt_with_slow_close(60.0)) == 6.0
    assert run(attempt_with_slow_close(60.0, cancel_after=2.0)) == 3.0
    assert run(attempt_with_slow_close(2.0, cancel_after=2.5)) == 2.5


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

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def decompress(self, data: bytes, limit: int) -> bytes:
            nonlocal largest
            part = self._real.decompress(data, limit)
            largest = max(largest, len(part))
            return part

    monkeypatch.setattr(zlib, "decompressobj", RecordingDecompressor)
    outcome = await outcome_of(make_response(bomb, content_encoding="gzip"), max_body=200_000)
    assert isinstance(outcome, Response)
    assert isinstance(outcome.error, DecodeError)
    assert "larger than 200,000 bytes" in str(outcome.error)
    assert largest == 200_001


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
        ("br", b"x", DecodeError, "encoding that was not requested"),
        ("gzip, gzip", b"x", DecodeError, "encoding that was not requested"),
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
    """An empty body is not an error here, even with an encoding; parsing decides."""
    for encoding in ("gzip", "br"):
        outcome = await outcome_of(make_response(content_encoding=encoding))
        assert isinstance(outcome, Response)
        assert (outcome.body, outcome.error) == (b"", None)


async def test_balance_of_another_account_is_a_decode_error() -> None:
    """The connection is the transport's own affair."""
    data = '{"id":2,"type":"spot","state":"working","list":[]}'
    body = f'{{"status":"ok","data":{data}}}'.encode()
    transport = ScriptedTransport([make_response(body)])
    async with HTXClient(CREDENTIALS, transport=transport) as htx:
        with pytest.raises(DecodeError, match=r"data\.id is that of another account"):
            await htx.accounts.balance(1)


async def test_adapter_leaves_a_passed_transport_open() -> None:
    transport = ScriptedTransport([make_response(b"")])
    adapter = adapter_for(transport)
    await adapter(SIGNED)
    await adapter.aclose()
    assert not transport.is_closed


@pytest.mark.slow
@pytest.mark.parametrize("reply", [b"garbage ", b"HTTP/1.1 302 Found\r\nLocation: https://x/?"])
async def test_log_records_of_httpx_contain_no_secret(
    reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """All loggers are at DEBUG, and the server echoes the URL."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply + SIGNED.query.encode() + b"\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    asyncio.get_running_loop().set_debug(True)
    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with caplog.at_level(logging.DEBUG):
        async with server, httpx.AsyncHTTPTransport() as transport:
            with contextlib.suppress(HTXError):
                await adapter_for(transport, base_url)(SIGNED)
    logged = "\n".join([caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    assert "receive_response_headers" in logged  # httpcore logs the response headers
    for secret in (ACCESS_KEY, SECRET_KEY, SIGNATURE, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in logged
        assert secret[:12] not in logged


async def test_transport_of_httpx2_is_accepted() -> None:
    """It gets requests of httpx2, and its errors are translated."""
    targets: list[bytes] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        targets.append(request.url.raw_path)
        if len(targets) > 1:
            message = "refused"
            raise httpx2.ConnectError(message)
        return httpx2.Response(200, content=b'{"a":1}')

    adapter = adapter_for(httpx2.MockTransport(respond))
    assert (await adapter(SIGNED)).body == b'{"a":1}'
    assert targets[0].decode() == f"/v2/point/account?{SIGNED.query}"
    with pytest.raises(ConnectError, match=r"httpx2\.ConnectError"):
        await adapter(SIGNED)


@pytest.mark.parametrize(
    ("transport", "text"),
    [
        (httpx.AsyncClient(), "got httpx.AsyncClient"),
        (httpx2.AsyncClient(), "got httpx2.AsyncClient"),
        (httpx.HTTPTransport(), "got httpx.HTTPTransport"),
        (httpx.AsyncHTTPTransport, "got the class AsyncHTTPTransport"),
        (HTTPTransport, "got the class HTTPTransport"),
        (respx.MockRouter(), "got respx.MockRouter"),
        (Sandbox(), "got htx_async.Sandbox"),
        ("http://proxy:3128", "got str"),
        (5, "got int"),
        (False, "got bool"),
    ],
)
def test_other_transport_is_invalid_input(transport: Any, text: str) -> None:
    """The client rejects it at construction."""
    with pytest.raises(InvalidInputError, match=r"transport must be an httpx\.Async") as caught:
        HTXClient(CREDENTIALS, transport=transport)
    assert str(caught.value).endswith(text)


@pytest.mark.parametrize("kind", [HTXError, DecodeError, ConnectError])
async def test_error_of_ours_from_a_passed_transport_is_translated(kind: type[HTXError]) -> None:
    """Its text may contain the signed URL, and its `delivery` may be wrong."""
    url = f"https://api.huobi.pro/x?{SIGNED.query}"
    error = await outcome_of(kind(f"failed at {url}", delivery="not_sent"))
    assert type(error) is NoResponseError
    assert error.delivery == "unknown"
    assert SIGNED.query.rpartition("Signature=")[2] not in full_text(error)
