"""Law 7, no secret leaves: search errors, logs, traces and reprs for secrets."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import re
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import attrs
import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from rich.console import Console
from rich.traceback import Traceback

from htx_async import Credentials, Event, HTXClient, HTXError, RetryPolicy
from htx_async.middleware import schema_drift
from htx_async.sandbox import APIKey, Sandbox, default_users, faults
from tests.error_text import full_text

TWICE = RetryPolicy(attempts=2, initial_delay=0.001)
ACCESS, SECRET = "AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210"

RESPONSES = {
    "page echoing the request": b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s",
    "API error echoing the request": (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"  # `_respond` builds the JSON body
    ),
    "redirect to the request": b"HTTP/1.1 302 Found\r\nLocation: http://portal/?to=%s\r\n\r\n",
    "truncated body": b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n%s",
    "no HTTP": b"%s\r\n\r\n",
    "no response": b"",
}


class EchoServer:
    """A server that echoes the request in one of the ways of `RESPONSES`."""

    def __init__(self) -> None:
        self.kind = ""
        self.signatures: set[str] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        target = head.split()[1]
        params = parse_qs(urlsplit(target.decode()).query)
        self.signatures |= set(params.get("Signature", ()))
        writer.write(self._respond(target))
        await writer.drain()
        writer.close()

    def _respond(self, target: bytes) -> bytes:
        template = RESPONSES[self.kind]
        if self.kind.startswith("API error"):
            target = b'{"status":"error","err-code":"%s","err-msg":"%s"}' % (target, target)
        if template.count(b"%") == 2:
            return template % (len(target), target)
        return template % target if b"%s" in template else template

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The output of all loggers at all levels."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root, names = logging.getLogger(), list(logging.root.manager.loggerDict)
    levels = {logger: logger.level for logger in (root, *map(logging.getLogger, names))}
    root.addHandler(handler)
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield all texts of an error and its chain: attributes, notes, tracebacks, pickle."""
    current: BaseException | None = error
    while current is not None:
        yield from (str(current), repr(current), repr(current.args), repr(vars(current)))
        yield from getattr(current, "__notes__", ())
        yield "".join(traceback.TracebackException.from_exception(current).format())
        yield _traceback_with_locals(current)
        current = current.__cause__ or current.__context__
    yield repr(pickle.dumps(error))


def _traceback_with_locals(error: BaseException) -> str:
    """Return the traceback with locals, as rich prints it, from our first frame on."""
    trace = error.__traceback__
    while trace is not None and "htx_async" not in trace.tb_frame.f_globals["__name__"]:
        trace = trace.tb_next
    console = Console(file=io.StringIO(), width=400)
    rendered = Traceback.from_exception(
        type(error),
        error,
        trace,
        extra_lines=0,
        show_locals=True,
        locals_max_string=9999,
        locals_max_length=999,
    )
    console.print(rendered)
    assert isinstance(console.file, io.StringIO)
    plain = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    text = console.file.getvalue() + "".join(plain.format())
    if trace is not None:
        info = pytest.ExceptionInfo.from_exc_info((type(error), error, trace))
        text += str(info.getrepr(showlocals=True, funcargs=True, truncate_locals=False))
    return text


def assert_no_secret(text: str, *secrets: str) -> None:
    """Fail if *text* contains a secret, raw or percent-encoded."""
    for secret in (ACCESS, SECRET, *secrets):
        for form in (secret, quote(secret, safe=""), quote(quote(secret, safe=""), safe="")):
            assert form not in text, f"{form} leaked: {text[:2000]}"


async def _failure(call: Callable[[], Awaitable[object]]) -> HTXError:
    with pytest.raises(HTXError) as caught:
        await call()
    return caught.value


async def _wait_until_in_flight(htx: HTXClient) -> None:
    """Run the loop until a request is in flight."""
    async with asyncio.timeout(5):
        while not any(shared.request.call.in_flight for shared in htx._coalescing._calls):  # noqa: ASYNC110
            await asyncio.sleep(0)  # there is no event for it


@pytest.mark.slow
@pytest.mark.parametrize("passed", [False, True])
@pytest.mark.parametrize("kind", RESPONSES)
async def test_failed_calls_expose_no_secret(kind: str, passed: bool, log: io.StringIO) -> None:
    """
    The server echoes the request in its response; the client does not pass it on.

    Nor does it if a transport of httpx was *passed* to it.
    """
    echo = EchoServer()
    echo.kind = kind
    transport = httpx.AsyncHTTPTransport() if passed else None
    async with (
        echo.serve() as base_url,
        HTXClient(
            Credentials(ACCESS, SECRET), base_url=base_url, retry=TWICE, transport=transport
        ) as htx,
    ):
        errors = [
            await _failure(htx.accounts.list),
            await _failure(lambda: htx.accounts.balance(1)),
            await _failure(lambda: htx.points.balance(sub_uid=2)),
        ]
    assert len(echo.signatures) >= 2
    for error in errors:
        for text in texts_of(error):
            assert_no_secret(text, *echo.signatures)
    assert ("receive_response" in log.getvalue()) == passed
    if transport is not None:
        await transport.aclose()
    assert_no_secret(log.getvalue(), *echo.signatures)


async def echo_in_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond with the values of the authentication as values of headers, and an invalid one."""
    head = await reader.readuntil(b"\r\n\r\n")
    params = parse_qs(urlsplit(head.split()[1].decode()).query)
    values = (params.get("AccessKeyId", [""])[0], params.get("Signature", [""])[0])
    ECHOED.update(values)
    names = ("X-Echo", "Date", "Retry-After", "Content-Encoding", "Content-Type", "Set-Cookie")
    lines = [f"{name}: {value}" for name in names for value in values]
    writer.write("\r\n".join(["HTTP/1.1 404 No", *lines, "Content-Length: 0", "", ""]).encode())
    await writer.drain()
    writer.close()


ECHOED: set[str] = set()


@pytest.mark.slow
@pytest.mark.parametrize("passed", [False, True])
async def test_response_headers_that_repeat_the_request_are_exposed_nowhere(
    passed: bool, log: io.StringIO
) -> None:
    """Bare, without a name by which they could be recognized: in no log, event or error."""
    server = await asyncio.start_server(echo_in_headers, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    events: list[Event] = []
    transport = httpx.AsyncHTTPTransport() if passed else None
    async with (
        server,
        HTXClient(
            Credentials(ACCESS, SECRET),
            base_url=base_url,
            retry=TWICE,
            transport=transport,
            on_event=events.append,
        ) as htx,
    ):
        errors = [await _failure(htx.accounts.list), await _failure(htx.points.balance)]
        texts = [repr(events), repr(htx.limits()), log.getvalue()]
    if transport is not None:
        await transport.aclose()
        assert "receive_response_headers.complete (headers are not logged)" in log.getvalue()
    assert ACCESS in ECHOED
    assert len(ECHOED) >= 3
    for text in (*texts, *(text for error in errors for text in texts_of(error))):
        assert_no_secret(text, *ECHOED)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"/v1/x?AccessKeyId={ACCESS}", None),
        ("/v1/x", {"AccessKeyId": ACCESS}),
        ("/v1/x", {"a": 1.5, "accessKey": ACCESS}),
    ],
)
async def test_rejected_path_and_parameters_are_in_no_traceback(
    path: str, params: dict[str, Any] | None
) -> None:
    """Somebody pasted a signed URL."""
    async with HTXClient(Credentials("a", "b")) as htx:
        error = await _failure(lambda: htx.get(path, params=params))
    assert_no_secret(full_text(error))


@pytest.mark.parametrize("name", ["hpack.hpack", "hpack.table"])
def test_headers_of_http2_are_not_logged(name: str, log: io.StringIO) -> None:
    """Hpack logs each header, the signed path included."""
    HTXClient(Credentials(ACCESS, SECRET), transport=httpx.AsyncHTTPTransport())
    logger = logging.getLogger(name)
    logger.setLevel(logging.DEBUG)
    logger.debug("Adding %s to the header table", (b":path", ACCESS.encode()))
    assert_no_secret(log.getvalue())


def test_failed_header_is_not_logged(log: io.StringIO) -> None:
    """The error of the parser contains the header that it rejects."""
    HTXClient(Credentials(ACCESS, SECRET), transport=httpx.AsyncHTTPTransport())
    logger = logging.getLogger("httpcore.http11")
    logger.debug("receive_response_headers.failed exception=%r", ValueError(ACCESS))
    logger.debug("%s", "")
    assert "receive_response_headers.failed (headers are not logged)" in log.getvalue()
    assert_no_secret(log.getvalue())


@pytest.mark.slow
async def test_connect_error_exposes_no_secret(log: io.StringIO) -> None:
    """The error of a refused connection names the base URL only."""
    async with HTXClient(
        Credentials(ACCESS, SECRET), base_url="http://127.0.0.1:1", retry=TWICE
    ) as htx:
        error = await _failure(htx.accounts.list)
    assert "http://127.0.0.1:1" in str(error)
    for text in (*texts_of(error), log.getvalue()):
        assert_no_secret(text)


@pytest.mark.slow
async def test_successful_and_rejected_calls_expose_no_secret(log: io.StringIO) -> None:
    """Neither a success nor an error about the key exposes one."""
    async with Sandbox().serve() as base_url:
        async with HTXClient(Credentials("access-key", "secret-key"), base_url=base_url) as htx:
            await htx.accounts.list()
            await htx.points.balance()
            texts = [repr(htx), repr(vars(htx)), repr(vars(htx.accounts)), repr(vars(htx.points))]
        async with HTXClient(Credentials(ACCESS, SECRET), base_url=base_url, retry=TWICE) as htx:
            error = await _failure(htx.accounts.list)
            texts += [repr(htx), repr(vars(htx)), *texts_of(error)]
    for text in (*texts, log.getvalue()):
        assert_no_secret(text, "access-key", "secret-key")


@pytest.mark.slow
async def test_cancelled_call_exposes_no_secret(log: io.StringIO) -> None:
    """The traceback of a cancellation contains no frame that has the signed URL."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        htx = HTXClient(Credentials(ACCESS, SECRET), base_url=base_url, timeout=0.3)
        call = asyncio.create_task(htx.accounts.list())
        await _wait_until_in_flight(htx)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        for text in (*texts_of(caught.value), log.getvalue()):
            assert_no_secret(text)
        error = await _failure(htx.accounts.list)
        for text in (*texts_of(error), log.getvalue()):
            assert_no_secret(text)
        await htx.aclose()


def _amounts(texts: Iterable[str]) -> set[str]:
    """Return the amounts in JSON bodies that cannot be anything else: they have a fraction."""
    amounts = re.findall(r"-?\d+\.\d+", " ".join(texts))
    return {amount for amount in amounts if len(amount.replace(".", "").strip("-0")) >= 4}


@pytest.mark.slow
@pytest.mark.parametrize("passed", [False, True])
async def test_log_of_a_session_has_no_secret_query_or_amount(
    passed: bool, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    At DEBUG, by all loggers: every read, errors, retries, a 429 and schema drift.

    Also if a transport of httpx is *passed*, whose loggers show the requests that it sends.
    """
    signatures: set[str] = set()
    sign = Credentials.signature

    def record(credentials: Credentials, text: str) -> str:
        signatures.add(sign(credentials, text))
        return sign(credentials, text)

    monkeypatch.setattr(Credentials, "signature", record)
    monkeypatch.setattr(schema_drift, "SAMPLE_INTERVAL", 0.0)
    monkeypatch.setattr(schema_drift, "_logged", set())
    first, *others = default_users()
    user = attrs.evolve(first, keys=(APIKey(ACCESS, SECRET),))
    sandbox = Sandbox((user, *others))
    transport = httpx.AsyncHTTPTransport() if passed else None
    async with sandbox.serve() as base_url:
        options = {"base_url": base_url, "retry": TWICE, "transport": transport}
        async with HTXClient(Credentials(ACCESS, SECRET), **options) as htx:  # type: ignore[arg-type]
            models = [
                await htx.accounts.snapshot(),
                await htx.points.balance(sub_uid="1001"),
                await htx.accounts.asset_valuation("spot", valuation_currency="USD"),
            ]
            schedule = sandbox.faults
            schedule.next(
                faults.too_many(headers=False, retry_after=0.01),
                endpoint="GET /v2/account/asset-valuation",
            )
            await htx.accounts.asset_valuation("spot")
            drift = faults.field("data.new-one", "91.8500437976")
            schedule.next(drift, endpoint="GET /v1/account/accounts/{account-id}/balance")
            await htx.accounts.balance(1000001)
            schedule.next(faults.maintenance(), endpoint="GET /v1/account/accounts", times=2)
            await _failure(htx.accounts.list)
            await _failure(lambda: htx.get("/v1/x", params={"symbol": "btcusdt"}))
    if transport is not None:
        await transport.aclose()
    text = log.getvalue()
    for expected in (
        "GET /v2/point/account: attempt 1: HTTP 200",
        "GET /v2/account/asset-valuation: rate limited (429)",
        "HTX sent data.new-one at GET",
        "GET /v1/account/accounts: gave up after 2 attempts: ServiceUnavailableError",
    ):
        assert expected in text
    assert len(signatures) >= 10
    assert_no_secret(text, *signatures)
    amounts = _amounts(model.to_json() for model in models)
    assert "91.850043797676510303" in amounts
    queries = ("Signature", "AccessKeyId", "Timestamp", "subUid", "valuationCurrency", "btcusdt")
    for private in (*amounts, *queries, "91.85"):
        assert private not in text


def error_with_local(secret: str) -> HTXError:
    """Return an error from a frame of the package that has *secret* as a local variable."""
    scope: dict[str, object] = {"__name__": "htx_async.planted", "HTXError": HTXError}
    code = "def fail(planted):\n    raise HTXError('x')"
    exec(code, scope)  # noqa: S102 - imitates a frame of the package
    fail = scope["fail"]
    assert callable(fail)
    with pytest.raises(HTXError) as caught:
        fail(secret)
    return caught.value


@pytest.mark.parametrize("secret", [ACCESS, SECRET, "a+b/c="])
def test_secret_search_detects_planted_secrets(secret: str, log: io.StringIO) -> None:
    """A secret in any of the places is detected, also percent-encoded."""
    noted, chained, encoded = HTXError("x"), HTXError("x"), HTXError("x")
    encoded.message = quote(secret, safe="")
    noted.add_note(f"https://api.huobi.pro/?Signature={quote(secret, safe='')}")
    chained.__context__ = ValueError(secret)
    logging.getLogger("httpcore.anything").debug("sent %s", secret)
    places = [
        *("\n".join(texts_of(error)) for error in (HTXError(secret), encoded)),
        *("\n".join(texts_of(error)) for error in (noted, chained, error_with_local(secret))),
        log.getvalue(),
        _spans(lambda tracer: tracer.start_span("x", attributes={"url.full": secret}).end()),
    ]
    for place in places:
        with pytest.raises(AssertionError, match="leaked"):
            assert_no_secret(place, secret)


def test_public_objects_expose_no_secret() -> None:
    """Their public attributes contain no secret, and they cannot be pickled."""
    keys = Credentials(ACCESS, SECRET)
    htx = HTXClient(keys)
    for item in (keys, htx, htx.accounts, htx.points, htx.with_options(timeout=1.0)):
        names = [*getattr(item, "__dict__", {}), *getattr(type(item), "__slots__", ())]
        public = [getattr(item, name) for name in names if not name.startswith("_")]
        assert_no_secret(f"{item!r} {getattr(item, '__dict__', '')} {public}")
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(item)


def _spans(record: Callable[[Tracer], object]) -> str:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(provider.get_tracer("test"))
    return "\n".join(str(span.to_json()) for span in exporter.get_finished_spans())
