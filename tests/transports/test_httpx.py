"""The bottom of the stack: what goes on the wire, what comes back, and what is told of faults."""

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
from htx_async.transports import httpx as httpx_transport
from htx_async.transports.adapter import TransportAdapter
from htx_async.validation import Origin, parse_base_url
from tests.shown import shown_by
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
    """A body in pieces, then perhaps a fault."""

    def __init__(self, *chunks: bytes, fault: BaseException | None = None) -> None:
        self.chunks, self.fault = chunks, fault
        self.given, self.closed = 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.given += 1
            yield chunk
        if self.fault is not None:
            raise self.fault

    async def aclose(self) -> None:
        self.closed = True


class Transport(httpx.AsyncBaseTransport):
    """A transport that a caller passes in: it answers, or fails, as it is told to."""

    def __init__(self, outcome: httpx.Response | BaseException) -> None:
        self.outcome = outcome
        self.requests: list[httpx.Request] = []
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    async def aclose(self) -> None:
        self.closed += 1


def http_by(
    transport: httpx.AsyncBaseTransport | None,
    base_url: str = "https://api.huobi.pro",
    *,
    max_body: int = 1000,
    clock: Clock | None = None,
) -> TransportAdapter:
    return TransportAdapter(
        transport, parse_base_url(base_url), clock or Clock(), max_connections=3, max_body=max_body
    )


def answer(*chunks: bytes, status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=Chunks(*chunks))


async def outcome_of(
    outcome: httpx.Response | BaseException, *, max_body: int = 1000
) -> Response | HTXError:
    """Return what the layer returns or raises where the transport does that."""
    try:
        return await http_by(Transport(outcome), max_body=max_body)(SIGNED)
    except HTXError as error:
        return error


async def test_the_body_and_the_headers_come_back() -> None:
    """Whole, with names of headers in lower case, and the query that was asked."""
    response = await http_by(Transport(answer(b'{"a"', b"", b":1}", status=418, X_HB="7")))(SIGNED)
    assert (response.status, response.body) == (418, b'{"a":1}')
    assert response.headers == {"x-hb": "7"}
    assert response.sent_query == SIGNED.query
    assert response.error is None


def test_the_answer_is_dated_by_its_first_byte() -> None:
    """`began` is when the headers came, not when the body was whole; the body may take long."""

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            await asyncio.sleep(3)
            return httpx.Response(200, stream=SlowBody())

    class SlowBody(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(4)
            yield b"x"

    response = run(http_by(Slow(), clock=VirtualClock())(SIGNED))
    assert (response.first_byte_at, response.body) == (3.0, b"x")


@pytest.mark.parametrize("slow", ["headers", "body"])
def test_a_slow_answer_can_be_stopped(slow: str) -> None:
    """When nobody waits for it any more, reading ends, and the connection is closed."""
    stream = Chunks(b"x")

    class Endless(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            del request
            if slow == "headers":
                await asyncio.sleep(100)
            return httpx.Response(200, stream=Body())

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await asyncio.sleep(100)
            yield b"x"

        async def aclose(self) -> None:
            await stream.aclose()

    async def main() -> float:
        clock = VirtualClock()
        request = Request(ENDPOINT, ENDPOINT.path)
        for _ in range(2):  # however often that is said
            clock.call_later(5.0, request.call.abort)
        with pytest.raises(NoResponseError, match="no complete response in time") as caught:
            await http_by(Endless(), clock=clock)(request)
        assert caught.value.delivery == "unknown"
        assert caught.value.retryable
        assert caught.value.endpoint == "GET /v2/point/account"
        return clock.monotonic()

    assert run(main()) == 5.0
    assert stream.closed == (slow == "body")


def test_timeouts_never_outlast_the_deadline() -> None:
    """The transport is told how long there is: at most 10 s to connect, all else what is left."""

    async def told(until: float) -> dict[str, Any]:
        transport = Transport(answer(b""))
        request = Request(ENDPOINT, ENDPOINT.path)
        request.call.deadline = until
        await http_by(transport, clock=VirtualClock())(request)
        timeouts: dict[str, Any] = transport.requests[0].extensions["timeout"]
        return timeouts

    assert run(told(4.0)) == {"connect": 4.0, "read": 4.0, "write": 4.0, "pool": 4.0}
    assert run(told(30.0)) == {"connect": 10.0, "read": 30.0, "write": 30.0, "pool": 30.0}
    forever = run(told(float("inf")))
    assert forever == {"connect": 10.0, "read": None, "write": None, "pool": None}


async def test_what_is_sent_by_a_transport_that_was_passed_in() -> None:
    """Method, target and headers; no body, which HTX would refuse, and no cookies."""
    transport = Transport(answer(b""))
    await http_by(transport)(SIGNED)
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
async def test_what_is_sent_by_our_own_transport() -> None:
    """The real httpx layer hands the signed target on, byte for byte."""
    route = respx.get(host=HOST, path="/v2/point/account").respond(200, content=b"{}")
    http = http_by(None)
    await http(SIGNED)
    await http.aclose()
    (call,) = route.calls
    assert call.request.url.raw_path.decode() == f"/v2/point/account?{SIGNED.query}"
    assert call.request.headers["host"] == HOST


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.mark.parametrize("ours", [False, True], ids=["passed in", "our own"])
@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_what_is_signed_is_what_is_sent(ours: bool, params: list[tuple[str, str]]) -> None:
    """Byte for byte, and once more canonical_query when parsed, whatever the parameters."""

    async def sent(request: Request) -> bytes:
        targets: list[bytes] = []

        def note(asked: httpx.Request) -> httpx.Response:
            targets.append(asked.url.raw_path)
            return httpx.Response(200)

        if ours:
            with respx.mock() as router:
                router.route().mock(side_effect=note)
                http = http_by(None)
                await http(request)
                await http.aclose()
        else:
            await http_by(httpx.MockTransport(note))(request)
        return targets[0]

    signed = sign_request(Request(ENDPOINT, ENDPOINT.path, tuple(params)), CREDENTIALS, HOST, AT)
    target = asyncio.run(sent(signed))
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
NO_ANSWER = [
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
    + [(error, NoResponseError, "unknown") for error in NO_ANSWER],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_fault_of_the_transport_is_told_as_ours(
    error: Exception, kind: type[HTXError], delivery: str
) -> None:
    """Whether it may have reached HTX; the fault itself is not chained, only noted."""
    for told in (await outcome_of(error), await outcome_of_cut(error)):
        assert isinstance(told, HTXError)
        assert type(told) is kind
        assert told.retryable
        assert told.delivery == delivery
        assert told.endpoint == "GET /v2/point/account"
        assert told.__cause__ is None
        assert told.__context__ is None
        if not isinstance(error, TimeoutError):
            assert type(error).__name__ in str(told)
            (note,) = told.__notes__
            assert type(error).__name__ in note


async def outcome_of_cut(fault: Exception) -> Response | HTXError:
    """Return what is told where the fault comes in the middle of the body."""
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
async def test_what_a_lower_layer_says_is_cleaned(text: str, kind: type[Exception]) -> None:
    """No key, signature or URL gets into the error, its notes, or its traceback."""
    told = await outcome_of(kind(text))
    assert isinstance(told, HTXError)
    said = shown_by(told)
    for secret in (ACCESS_KEY, SIGNATURE, SECRET_KEY, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in said
        assert secret[:12] not in said
    assert told.__notes__[0].isprintable()
    assert len(told.__notes__[0]) < 300


async def test_cancelling_is_no_fault() -> None:
    """Who cancels gets the cancellation; a transport that does so by itself is told as broken."""

    class Hanging(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError(request)

    read = asyncio.ensure_future(http_by(Hanging())(SIGNED))
    await asyncio.sleep(0)
    read.cancel()
    with pytest.raises(asyncio.CancelledError):
        await read
    assert isinstance(await outcome_of(asyncio.CancelledError()), NoResponseError)


async def test_a_status_of_failure_tells_more_than_a_body_that_cannot_be_read() -> None:
    """A proxy that compresses its error page in its own way is unavailable, not broken."""
    answer = httpx.Response(503, headers={"content-encoding": "br"}, stream=Chunks(b"x"))
    response = await outcome_of(answer)
    assert isinstance(response, Response)
    assert (response.status, response.body, response.error) == (503, b"", None)


async def test_what_follows_a_gzip_stream_is_not_read() -> None:
    """It would be held, beyond any limit."""
    stream = Chunks(gzip.compress(b"{}"), b"x" * 10, b"x" * 10)
    response = await outcome_of(
        httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)
    )
    assert isinstance(response, Response)
    assert isinstance(response.error, DecodeError)
    assert stream.closed


async def test_the_answer_is_closed_whatever_happens() -> None:
    """Read to its end, too large, or broken: the connection goes back or is closed."""
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
async def test_the_body_has_a_limit(
    chunks: tuple[bytes, ...], max_body: int, fits: bool, zipped: bool
) -> None:
    """`max_body` counts bytes, unzipped: so many fit, one more does not."""
    whole = b"".join(chunks)
    if zipped:
        packed = gzip.compress(whole)
        chunks = (packed[:12], packed[12:])
    told = await outcome_of(
        answer(*chunks, content_encoding="gzip" if zipped else "identity"), max_body=max_body
    )
    assert isinstance(told, Response)
    if fits:
        assert told.error is None
        assert told.body == whole
    else:
        assert isinstance(told.error, DecodeError)
        assert f"{max_body} bytes (max_body)" in str(told.error)
        assert told.body == b""


async def test_a_body_that_is_too_large_is_not_read_on() -> None:
    """What comes after the limit is not even asked for."""
    stream = Chunks(*[b"x" * 600] * 50)
    told = await outcome_of(httpx.Response(200, stream=stream))
    assert isinstance(told, Response)
    assert isinstance(told.error, DecodeError)
    assert stream.given == 2


async def test_a_gzip_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred megabytes in a small body: never more than the limit is unzipped."""
    largest = 0
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(100)) + packer.flush()
    assert len(bomb) < 200_000
    make = zlib.decompressobj

    class Watched:
        """`zlib`'s own object, watched: its types cannot be."""

        def __init__(self, wbits: int) -> None:
            self._real = make(wbits)

        @property
        def eof(self) -> bool:
            return self._real.eof

        def decompress(self, data: bytes, limit: int) -> bytes:
            nonlocal largest
            part = self._real.decompress(data, limit)
            largest = max(largest, len(part))
            return part

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    told = await outcome_of(answer(bomb, content_encoding="gzip"))
    assert isinstance(told, Response)
    assert isinstance(told.error, DecodeError)
    assert "larger than 1,000 bytes" in str(told.error)
    assert largest == 1001


@pytest.mark.parametrize(
    ("encoding", "body", "kind", "text"),
    [
        ("gzip", b'{"code":200}', DecodeError, "is not valid gzip"),
        ("gzip", gzip.compress(b"x" * 99)[:-9], NoResponseError, "was cut"),
        ("gzip", gzip.compress(b"x" * 99)[:5], NoResponseError, "was cut"),
        ("gzip", gzip.compress(b"x" * 99)[:-8] + b"\x00" * 8, DecodeError, "not valid gzip"),
        ("br", b"x", DecodeError, "encoding that was not requested: br"),
        ("gzip, gzip", b"x", DecodeError, "encoding that was not requested: gzip, gzip"),
        ("deflate" * 9, b"x", DecodeError, "encoding that was not requested: deflatedeflatedefla"),
    ],
)
async def test_a_body_that_cannot_be_unzipped(
    encoding: str, body: bytes, kind: type[HTXError], text: str
) -> None:
    """Garbage is not trusted; what was cut may come whole another time."""
    told = await outcome_of(answer(body, content_encoding=encoding))
    error = told.error if isinstance(told, Response) else told
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
async def test_a_body_is_unzipped(encoding: str, chunks: list[bytes]) -> None:
    """Gzip in pieces of any size, or no encoding at all."""
    told = await outcome_of(answer(*chunks, content_encoding=encoding))
    assert isinstance(told, Response)
    assert told.body == b'{"a":1}'


async def test_no_body_at_all_is_empty() -> None:
    """Also where it claims to be zipped: what that means is for the envelope to tell."""
    told = await outcome_of(answer(status=204, content_encoding="gzip"))
    assert isinstance(told, Response)
    assert told.body == b""


async def test_a_transport_that_was_passed_in_stays_open() -> None:
    """Whoever made it closes it."""
    transport = Transport(answer(b""))
    http = http_by(transport)
    await http(SIGNED)
    await http.aclose()
    assert transport.closed == 0


async def test_closing_what_was_never_used_opens_nothing() -> None:
    """Our own transport is made with the first request."""
    await http_by(None).aclose()


@respx.mock
async def test_the_first_requests_share_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want it at once, certificates and proxies are read once."""
    respx.get(host=HOST).respond(200)
    read: list[Origin] = []
    monkeypatch.setattr(httpx_transport, "proxy_for", read.append)
    http = http_by(None)
    await asyncio.gather(*(http(SIGNED) for _ in range(3)))
    await http.aclose()
    assert len(read) == 1


class Noted(httpx.AsyncHTTPTransport):
    """A transport of ours, that is noted when it is made and when it is closed."""

    made: ClassVar[list[Noted]] = []
    answers: ClassVar[list[httpx.Response | Exception]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.is_open = True
        self.made.append(self)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        del request
        await asyncio.sleep(0)
        outcome = self.answers.pop(0) if self.answers else answer(b"{}")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def aclose(self) -> None:
        self.is_open = False
        await super().aclose()


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Noted]:
    """All transports that are made."""
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", Noted)
    Noted.made.clear()
    Noted.answers.clear()
    return Noted.made


async def test_each_that_is_out_has_a_transport_of_its_own(noted: list[Noted]) -> None:
    """Those that are back are used again, the latest first, and all are closed at the end."""
    http = http_by(None)
    await asyncio.gather(*(http(SIGNED) for _ in range(3)))
    await asyncio.gather(*(http(SIGNED) for _ in range(3)))
    await http(SIGNED)
    assert len(noted) == 3
    assert all(transport.is_open for transport in noted)
    await http.aclose()
    assert not any(transport.is_open for transport in noted)


async def test_a_transport_on_which_an_attempt_failed_is_not_used_again(noted: list[Noted]) -> None:
    """Whatever its connection went through: the next attempt has another one."""
    Noted.answers[:] = [httpx.ReadError("cut")]
    http = http_by(None)
    with pytest.raises(NoResponseError):
        await http(SIGNED)
    assert [transport.is_open for transport in noted] == [False]
    await http(SIGNED)
    assert [transport.is_open for transport in noted] == [False, True]
    await http.aclose()


def test_a_transport_that_has_nothing_to_do_is_closed(noted: list[Noted]) -> None:
    """After a minute, when another one is back."""

    async def story() -> None:
        clock = VirtualClock()
        http = http_by(None, clock=clock)
        await http(SIGNED)
        await asyncio.gather(*(http(SIGNED) for _ in range(3)))
        await clock.sleep(59)
        await http(SIGNED)
        assert sum(transport.is_open for transport in noted) == 3
        await clock.sleep(2)
        await http(SIGNED)
        assert sum(transport.is_open for transport in noted) == 1
        await http.aclose()

    run(story())


@respx.mock
async def test_who_watches_httpx_sees_no_signed_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracers wrap httpx's transport and note the URL of each request: it has no query."""
    respx.get(host=HOST).respond(200)
    noted: list[str] = []
    real = httpx.AsyncHTTPTransport.handle_async_request

    async def traced(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        url = request.url
        noted.extend([str(url), repr(url), repr(request), f"{url}", str(url.query), url.path])
        return await real(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", traced)
    http = http_by(None)
    await http(SIGNED)
    await http.aclose()
    assert noted[0] == URL
    assert "AccessKeyId" not in repr(noted)


@respx.mock
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The answer comes back as it is; nobody else is asked."""
    first = respx.get(host=HOST).respond(status, headers={"Location": "https://evil.example/"})
    other = respx.route(host="evil.example").respond(200)
    http = http_by(None)
    response = await http(SIGNED)
    await http.aclose()
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
async def test_faults_of_our_own_transport(
    error: type[httpx.TransportError], kind: type[HTXError]
) -> None:
    """What httpx makes of httpcore's errors is told like that of any transport."""
    respx.get(host=HOST).mock(side_effect=error)
    http = http_by(None)
    with pytest.raises(kind) as caught:
        await http(SIGNED)
    await http.aclose()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# Real sockets from here on, all on loopback.

Serve = Callable[[bytes], contextlib.AbstractAsyncContextManager[tuple[str, list[bytes]]]]


@contextlib.asynccontextmanager
async def serving(reply: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve *reply* to each request, then hang up; yield the address and what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(65_536))
        writer.write(reply)
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.slow
async def test_the_bytes_on_the_wire() -> None:
    """The request line is what was signed; no body, no cookie, the port in `Host`."""
    async with serving(OK) as (base_url, asked):
        http = http_by(None, base_url)
        response = await http(SIGNED)
        await http.aclose()
    assert response.body == b"{}"
    (head,) = asked
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
async def test_an_answer_that_is_cut_or_no_http(reply: bytes, kind: type[HTXError]) -> None:
    """HTX may have had the request: nobody can tell."""
    async with serving(reply) as (base_url, _):
        http = http_by(None, base_url)
        with pytest.raises(kind) as caught:
            await http(SIGNED)
        await http.aclose()
    assert caught.value.__context__ is None
    assert base_url in str(caught.value)


@pytest.mark.slow
async def test_nobody_listens() -> None:
    """A refused connection surely carried nothing."""
    async with serving(OK) as (base_url, _):
        pass
    http = http_by(None, base_url)
    with pytest.raises(ConnectError, match=r"ConnectError") as caught:
        await http(SIGNED)
    await http.aclose()
    assert caught.value.delivery == "not_sent"
    assert caught.value.__context__ is None


@pytest.mark.slow
async def test_no_log_at_any_level_has_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """All loggers at DEBUG, asyncio's debug mode, and a server that sends the URL back."""
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
                http = http_by(None, base_url)
                with contextlib.suppress(HTXError):
                    await http(SIGNED)
                await http.aclose()
    said = "\n".join([caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    assert "Location" in said  # httpcore does log what came
    for secret in (ACCESS_KEY, SECRET_KEY, SIGNATURE, SIGNED.query.partition("&Signature=")[2]):
        assert secret not in said
        assert secret[:12] not in said


@pytest.mark.slow
async def test_the_system_tells_whom_to_trust() -> None:
    """For https the certificates are checked: plain text where TLS should be is not sent on."""
    async with serving(OK) as (base_url, asked):
        http = http_by(None, base_url.replace("http://", "https://"))
        with pytest.raises(ConnectError):
            await http(SIGNED)
        await http.aclose()
    assert asked
    assert b"AccessKeyId" not in b"".join(asked)
